//! kube-scheduler, edge-scheduler and the floor on a real control plane, one after the other, over workloads of kube-scheduler's own benchmark: pods a second,
//! processor time of scheduler and API server, memory, latency of an attempt, as a table with ratios.
//!
//! Every measurement has a control plane of its own. Pods to measure are made before; the scheduler, which stood by with warm caches, is then let lead.
//! `tests/run perf` builds and runs it; `target/release/perf --help` for parts of it.

mod contender;
mod figures;
mod floor;
mod process;
mod stage;
mod workload;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use contender::{Contender, Running};
use edge_tests::control_plane::Component;
use edge_tests::load::World;
use figures::Figures;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use stage::Stage;
use std::collections::HashSet;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};
use workload::{Row, Source, Step};

const RUN_LIMIT: Duration = Duration::from_secs(300);
const REST_LIMIT: Duration = Duration::from_secs(120);
/// A delay bound asks for less than this from a node.
const BOUND_MS: u32 = 15;

#[derive(Parser)]
#[command(name = "perf", about = "Schedulers side by side on a real control plane (tests/control-plane/build)")]
struct Args {
    /// Sizes of the cluster
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000])]
    nodes: Vec<u32>,
    /// Rows of tests/perf/rows.yaml, by name; all by default
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Who is measured: kube, edge, floor; all by default
    #[arg(long, value_delimiter = ',', default_values_t = ["kube".to_owned(), "edge".to_owned(), "floor".to_owned()])]
    who: Vec<String>,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Where the table is written too, in Markdown
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Is the floor; this program starts itself so
    #[arg(long, hide = true, value_name = "KUBECONFIG")]
    floor: Option<PathBuf>,
    /// Of the floor: events too
    #[arg(long, hide = true)]
    events: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(kubeconfig) = &args.floor {
        return floor::run(kubeconfig, args.events).await;
    }
    let (source, rows) = (Source::find(), workload::rows()?);
    if let Some(unknown) = args.rows.iter().find(|name| rows.iter().all(|row| row.row != **name)) {
        bail!("no row {unknown}; there are: {}", rows.iter().map(|row| row.row.as_str()).collect::<Vec<_>>().join(", "));
    }
    if let Some(unknown) = args.who.iter().find(|who| !["kube", "edge", "floor"].contains(&who.as_str())) {
        bail!("nobody is called {unknown}; there are: kube, edge, floor");
    }
    let mut all = Vec::new();
    for nodes in &args.nodes {
        for row in rows.iter().filter(|row| args.rows.is_empty() || args.rows.contains(&row.row)) {
            if !row.params.contains_key(nodes) {
                continue;
            }
            let steps = source.steps(row, *nodes)?;
            for contender in contenders(row).into_iter().filter(|one| args.who.iter().any(|who| one.name().starts_with(who.as_str()))) {
                let what = format!("{}, {} nodes, {}", row.row, nodes, contender.name());
                let figures = measure(row, *nodes, &steps, contender, args.seed).await.with_context(|| format!("{what}: not measured"))?;
                eprintln!(
                    "{what}: {:.0} pods/s, {:.2} CPU s, API server {:.2} CPU s per 1,000 pods, {:.0} MB",
                    figures.pods_per_s, figures.cpu_s, figures.api_server_cpu_s, figures.peak_mb
                );
                all.push(figures);
                if let Some(path) = &args.table {
                    std::fs::write(path, figures::table(&all)).with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
    }
    println!("workloads from {}; each alone on its control plane; ratios to the first of a workload\n", source.name());
    print!("{}", figures::table(&all));
    Ok(())
}

fn contenders(row: &Row) -> Vec<Contender> {
    match row.row.as_str() {
        _ if row.bounded => vec![Contender::Edge],
        "basic" => vec![Contender::Kube, Contender::Edge, Contender::Floor { events: true }, Contender::Floor { events: false }],
        _ => vec![Contender::Kube, Contender::Edge],
    }
}

async fn measure(row: &Row, nodes: u32, steps: &[Step], contender: Contender, seed: u64) -> Result<Figures> {
    let mut stage = Stage::set(steps, contender.scheduler_name()).await?;
    let mut matrix = None;
    if row.bounded {
        let path = stage.plane.folder().join("matrix.csv");
        std::fs::write(&path, World::generate(nodes as usize, seed).csv())?;
        matrix = Some(path);
        for (index, pod) in stage.measured.iter_mut().enumerate() {
            // Every node in turn; 7 has no divisor in common with their number.
            let from = 1 + index * 7 % nodes as usize;
            pod.labels_mut().insert(format!("delay_node-{from}"), BOUND_MS.to_string());
        }
    }
    let (wanted, namespaces): (HashSet<String>, _) =
        (stage.measured.iter().map(|pod| pod.name_any()).collect(), stage::namespaces(&stage.measured));
    let [namespace] = &namespaces.into_iter().collect::<Vec<_>>()[..] else { bail!("measured pods are of one namespace") };
    let pods = wanted.len();

    let mut running = Running::stand_by(&stage.plane, contender, matrix.as_deref()).await?;
    running.process.rest(REST_LIMIT).await?;
    stage.make_measured().await?;
    running.process.rest(REST_LIMIT).await?;

    let mut bound = Bound { wanted, first: None, last: Instant::now() };
    let api_server = stage.plane.process(Component::ApiServer)?;
    let before = (running.process.cpu_s()?, process::cpu_s(api_server)?);
    running.begin(&stage.admin).await?;
    let run = async { tokio::try_join!(running.leads(&stage.admin), bound.follow(&stage, namespace)) };
    let followed = tokio::select! {
        followed = tokio::time::timeout(RUN_LIMIT, run) => followed,
        churned = stage.churn(), if stage.churns() => bail!("the churn ended: {churned:?}"),
    };
    let Ok(followed) = followed else {
        let words = running.process.last_words();
        bail!("{} of {pods} pods were not bound within {} s; the end of its log: {words}", bound.wanted.len(), RUN_LIMIT.as_secs());
    };
    let (led, ()) = followed?;
    running.process.rest(REST_LIMIT).await?;
    let cpu = |after: f64, before: f64| (after - before) * 1_000.0 / pods as f64;
    let (cpu_s, api_server_cpu_s) = (cpu(running.process.cpu_s()?, before.0), cpu(process::cpu_s(api_server)?, before.1));

    let events: Api<Event> = Api::namespaced(stage.admin.clone(), namespace);
    let events = events.list_metadata(&ListParams::default().fields("reason=Scheduled")).await?.items.len();
    let metrics = running.metrics(&stage.plane).await.context("no metrics")?;
    let attempt = |q| figures::quantile(&metrics, "scheduler_scheduling_attempt_duration_seconds", "result=\"scheduled\"", q);
    Ok(Figures {
        row: row.row.clone(),
        nodes,
        pods,
        who: contender.name(),
        pods_per_s: (pods - 1) as f64 / bound.first.map_or(f64::NAN, |first| (bound.last - first).as_secs_f64()),
        all_bound_s: (bound.last - led).as_secs_f64(),
        cpu_s,
        api_server_cpu_s,
        peak_mb: running.process.peak_mb()?,
        attempt_p50: attempt(0.5),
        attempt_p99: attempt(0.99),
        events,
    })
}

/// When pods were bound, as seen from outside.
struct Bound {
    /// Those that are not bound yet.
    wanted: HashSet<String>,
    first: Option<Instant>,
    last: Instant,
}

impl Bound {
    /// Follows until all are.
    async fn follow(&mut self, stage: &Stage, namespace: &str) -> Result<()> {
        let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(stage.admin.clone(), namespace);
        let bound = watcher::Config::default().fields("spec.nodeName!=");
        let mut changes = pin!(watcher(pods, bound).default_backoff().applied_objects());
        while !self.wanted.is_empty() {
            let pod = changes.try_next().await?.context("the watch of pods ended")?;
            if self.wanted.remove(&pod.name_any()) {
                self.last = Instant::now();
                self.first.get_or_insert(self.last);
            }
        }
        Ok(())
    }
}
