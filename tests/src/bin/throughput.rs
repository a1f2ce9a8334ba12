//! Pods a second, CPU and memory of kube-scheduler, edge-scheduler and the floor: a client that decides nothing and only posts bindings and events. All
//! on one real control plane, one after the other, with pods that were made before.
//!
//! `cargo build --release --bin edge-scheduler --bin throughput && target/release/throughput --nodes 1000 --pods 3000`

use anyhow::{Context as _, Result, bail};
use api::labels::{SCHEDULER, SCHEDULER_NAME};
use clap::Parser;
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, client, root};
use edge_tests::load::{self, World};
use futures::channel::mpsc;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls a second that each of them may make.
const QPS: u32 = 5_000;
/// Bindings under way at once of the floor, and events; more than any scheduler here has.
const FLOOR_PARALLEL: usize = 128;
const RUN_LIMIT: Duration = Duration::from_secs(300);
const EVENTS_LIMIT: Duration = Duration::from_secs(60);

#[derive(Parser)]
#[command(about = "Throughput of schedulers on a real control plane (tests/control-plane/build)")]
struct Args {
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=5_000))]
    nodes: u32,
    /// Of each scheduler
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pods: u32,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Where the table is written too, in Markdown
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Binds the pods of schedulerName `floor`, and ends; this program starts itself so
    #[arg(long, hide = true, value_name = "KUBECONFIG")]
    floor: Option<PathBuf>,
    /// Of the floor: events too
    #[arg(long, hide = true)]
    events: bool,
}

/// One line of the table.
struct Figures {
    who: &'static str,
    pods_per_s: f64,
    cpu_s_per_1000: f64,
    peak_mb: f64,
    events: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(kubeconfig) = &args.floor {
        return floor(kubeconfig, args.events).await;
    }
    let release = root().join("target/release/edge-scheduler");
    if !release.exists() {
        bail!("{} is missing: cargo build --release --bin edge-scheduler", release.display());
    }
    let options = Options { nodes: args.nodes, kubelets: Kubelets::None, controllers: false, scheduler: false, audit: false };
    let plane = ControlPlane::start(options).await?;
    plane.install().await?;
    let matrix = plane.folder().join("matrix.csv");
    let world = World::generate(args.nodes as usize, args.seed);
    std::fs::write(&matrix, world.csv())?;

    let edge = edge_config(&plane, &matrix).await?;
    let kube = kube_config(&plane)?;
    let (floor, account) = (std::env::current_exe()?, plane.kubeconfig_of(SCHEDULER).await?);
    let run_floor = |events: bool| {
        let mut command = Command::new(&floor);
        command.arg("--floor").arg(&account).args(events.then_some("--events"));
        command
    };
    let run_edge = || {
        let mut command = Command::new(&release);
        command.arg("--config").arg(&edge);
        command
    };
    let mut run_kube = Command::new(plane.folder().join("bin/kube-scheduler"));
    run_kube.arg("--config").arg(&kube).args(["--secure-port", "0"]);
    let contenders: [(&'static str, &str, bool, Command); 5] = [
        ("kube-scheduler", "default-scheduler", false, run_kube),
        ("edge-scheduler", SCHEDULER_NAME, false, run_edge()),
        ("edge-scheduler, a delay bound each", SCHEDULER_NAME, true, run_edge()),
        ("floor, bindings and events", "floor", false, run_floor(true)),
        ("floor, bindings alone", "floor", false, run_floor(false)),
    ];
    let mut table = Vec::new();
    for (who, scheduler, bounded, command) in contenders {
        eprintln!("{who}: makes {} pods", args.pods);
        load::create(&plane.client().await?, &load::light_pods(args.pods as usize, args.nodes as usize, scheduler, bounded, args.seed))
            .await?;
        let figures = measure(&plane, who, command, args.pods as usize).await.with_context(|| format!("{who} was not measured"))?;
        eprintln!("{who}: {:.0} pods/s, {:.2} CPU s per 1,000, {:.0} MB", figures.pods_per_s, figures.cpu_s_per_1000, figures.peak_mb);
        table.push(figures);
        clear(&plane).await?;
    }
    let table = markdown(&args, &table)?;
    print!("{table}");
    if let Some(path) = &args.table {
        std::fs::write(path, &table).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn markdown(args: &Args, table: &[Figures]) -> Result<String> {
    let mut text =
        format!("{} pods each on {} nodes, made before; seed {}; ratios to {}\n\n", args.pods, args.nodes, args.seed, table[0].who);
    writeln!(text, "| | pods/s | ratio | CPU s per 1,000 pods | ratio | peak MB | ratio | events |")?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    let base = &table[0];
    for row in table {
        writeln!(
            text,
            "| {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.2} | {} |",
            row.who,
            row.pods_per_s,
            row.pods_per_s / base.pods_per_s,
            row.cpu_s_per_1000,
            row.cpu_s_per_1000 / base.cpu_s_per_1000,
            row.peak_mb,
            row.peak_mb / base.peak_mb,
            row.events
        )?;
    }
    Ok(text)
}

async fn edge_config(plane: &ControlPlane, matrix: &Path) -> Result<PathBuf> {
    let config = json!({
        "client": {"kubeconfig": plane.kubeconfig_of(SCHEDULER).await?, "qps": QPS, "burst": QPS},
        "adminAddress": "127.0.0.1:0",
        "leaderElection": {"leaderElect": false},
        "placement": {"undelayed": "any"},
        "topology": {"address": "127.0.0.1:0", "source": "files", "matrix": matrix},
    });
    written(plane, "edge-scheduler.yaml", &config)
}

fn kube_config(plane: &ControlPlane) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": plane.folder().join("pki/kube-scheduler.conf"), "qps": QPS, "burst": QPS},
        "leaderElection": {"leaderElect": false},
    });
    written(plane, "kube-scheduler.yaml", &config)
}

/// JSON is YAML.
fn written(plane: &ControlPlane, name: &str, config: &serde_json::Value) -> Result<PathBuf> {
    let path = plane.folder().join(name);
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

/// Ends the process, however the measurement went.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it and follows the pods until all are bound and told of; CPU counts from its start until then.
async fn measure(plane: &ControlPlane, who: &'static str, mut command: Command, count: usize) -> Result<Figures> {
    let admin = plane.client().await?;
    let pods: Api<Pod> = Api::default_namespaced(admin.clone());
    let mut changes = pin!(watcher(pods, watcher::Config::default()).default_backoff().applied_objects());
    let log = plane.folder().join(format!("logs/{}.log", who.replace([' ', ','], "-")));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
    let mut process = Running(command.spawn().with_context(|| format!("{command:?}"))?);
    let pid = process.0.id();

    let mut bound: HashSet<String> = HashSet::new();
    let (mut first, mut last) = (None, Instant::now());
    let follow = async {
        while bound.len() < count {
            let pod = changes.try_next().await?.context("the watch of pods ended")?;
            if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) && bound.insert(pod.name_any()) {
                last = Instant::now();
                first.get_or_insert(last);
            }
        }
        anyhow::Ok(())
    };
    let followed = tokio::time::timeout(RUN_LIMIT, follow).await;
    let tail = || std::fs::read_to_string(&log).map(|text| text.lines().rev().take(5).collect::<Vec<_>>().join("\n")).unwrap_or_default();
    if followed.is_err() {
        bail!("{} of {count} pods were bound within {} s; the end of its log: {}", bound.len(), RUN_LIMIT.as_secs(), tail());
    }
    followed??;
    let events = told(&admin, who, count).await?;
    // A zombie still has its times, not its memory; the floor waits to be ended.
    let (cpu_s, peak_mb) = (cpu_s(pid)?, peak_mb(pid)?);
    if let Some(status) = process.0.try_wait()? {
        bail!("it ended early: {status}: {}", tail());
    }
    let took = first.map_or(0.0, |first| (last - first).as_secs_f64());
    Ok(Figures { who, pods_per_s: (count - 1) as f64 / took, cpu_s_per_1000: cpu_s * 1_000.0 / count as f64, peak_mb, events })
}

/// Waits until every pod has its event; how many there are.
async fn told(admin: &Client, who: &str, count: usize) -> Result<usize> {
    let events: Api<Event> = Api::default_namespaced(admin.clone());
    let begun = Instant::now();
    loop {
        let found = events.list_metadata(&ListParams::default().fields("reason=Scheduled")).await?.items.len();
        if found >= count || begun.elapsed() > EVENTS_LIMIT || who.ends_with("alone") {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// User and system time that the process has had.
fn cpu_s(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no process name")?.1.split(' ').collect();
    // The 14th and 15th of all, the first two being the id and the name.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The most memory that it had resident, in 10^6 bytes.
fn peak_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1.024 / 1_000.0)
}

/// Removes pods and events.
async fn clear(plane: &ControlPlane) -> Result<()> {
    let admin = plane.client().await?;
    let (pods, events): (Api<Pod>, Api<Event>) = (Api::default_namespaced(admin.clone()), Api::default_namespaced(admin));
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete_collection(&at_once, &ListParams::default()).await?;
    events.delete_collection(&at_once, &ListParams::default()).await?;
    Ok(())
}

/// Binds every pod of its name to the next node, and waits to be ended.
async fn floor(kubeconfig: &Path, with_events: bool) -> Result<()> {
    let client = client(kubeconfig).await?;
    let nodes: Vec<String> = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.iter().map(Node::name_any).collect();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let events: Api<Event> = Api::default_namespaced(client);
    let waiting = pods.list(&ListParams::default().fields("spec.schedulerName=floor,spec.nodeName=")).await?.items;
    let (bound, told) = mpsc::unbounded();
    let bind = async |(pod, node): (Pod, String)| -> Result<()> {
        let target = ObjectReference { kind: Some("Node".into()), name: Some(node.clone()), ..ObjectReference::default() };
        let metadata = ObjectMeta { name: Some(pod.name_any()), uid: pod.uid(), ..ObjectMeta::default() };
        let body = Binding { metadata, target };
        let _: serde_json::Value = pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &body).await?;
        Ok(bound.unbounded_send((pod, node))?)
    };
    let tell = async |(pod, node): (Pod, String)| -> Result<()> {
        if with_events {
            events.create(&PostParams::default(), &scheduled(&pod, &node)).await?;
        }
        Ok(())
    };
    let calls = futures::stream::iter(waiting.into_iter().zip(nodes.into_iter().cycle()).map(anyhow::Ok));
    // As schedulers do: an event follows its binding and holds up none. The channel stays open, and this goes on until it is ended.
    let bindings = calls.try_for_each_concurrent(FLOOR_PARALLEL, bind);
    let events = told.map(anyhow::Ok).try_for_each_concurrent(FLOOR_PARALLEL, tell);
    futures::try_join!(bindings, events).map(drop)
}

fn scheduled(pod: &Pod, node: &str) -> Event {
    let regarding = ObjectReference {
        kind: Some("Pod".into()),
        name: Some(pod.name_any()),
        namespace: pod.namespace(),
        uid: pod.uid(),
        api_version: Some("v1".into()),
        ..ObjectReference::default()
    };
    Event {
        metadata: ObjectMeta { name: Some(format!("{}.floor", pod.name_any())), ..ObjectMeta::default() },
        event_time: Some(MicroTime(k8s_openapi::jiff::Timestamp::now())),
        type_: Some("Normal".into()),
        reason: Some("Scheduled".into()),
        action: Some("Binding".into()),
        note: Some(format!("Successfully assigned default/{} to {node}", pod.name_any())),
        regarding: Some(regarding),
        reporting_controller: Some("floor".into()),
        reporting_instance: Some("floor".into()),
        ..Event::default()
    }
}
