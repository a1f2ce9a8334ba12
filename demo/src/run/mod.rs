//! The demo: a world, a cluster, the three programs, requests, and a judgement.

mod args;
mod checks;
mod clients;
pub mod objects;
mod programs;
mod record;
mod say;

pub use args::{Args, Output, Topology};

use crate::apiserver::{Options, Server};
use crate::controllers::{self, Controllers};
use crate::kubelet::{self, Kubelets};
use crate::wan::{Links, Options as SwitchOptions, Switch, SwitchError};
use crate::world::{self, Role, World};
use anyhow::{Context, Result, bail};
use chassis::shutdown::Shutdown;
use checks::{Check, Seen};
use clients::{Sent, Site};
use comfy_table::{Table, presets};
use kube::Client;
use objects::NAMESPACE;
use programs::{ECHO_PORT, Programs};
use record::{PodState, Record};
use say::Say;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most nodes with which every object says who owns its fields: a pod's owners take as many bytes as the pod, and every router reads every pod.
const TRACKED_NODES: usize = 100;
/// Pods made up for a world that has no manifests of its own.
const DEFAULT_PODS: usize = 60;
/// Sites with clients, at most.
const SITES: usize = 8;
/// Distance between two requests of a site.
const REQUEST_GAP: Duration = Duration::from_millis(40);
/// A stage that has not come to its end by then has failed.
const MEASURE_LIMIT: Duration = Duration::from_secs(240);
const SETTLE_LIMIT: Duration = Duration::from_secs(150);
/// Nothing has changed for so long: what waits will go on waiting.
const QUIET: Duration = Duration::from_secs(8);
/// Jitter of the WAN in thousandths of a link's delay.
const JITTER_PERMILLE: u32 = 10;
const END_LIMIT: Duration = Duration::from_secs(10);
/// So many demos run on one machine at once.
const ECHO_PORTS: u16 = 16;

/// How a demo that could run came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every check held.
    Held,
    /// A check did not hold.
    Failed,
    /// Shut down before the checks were made.
    Interrupted,
}

/// Runs the demo until its checks are made, or, with `--stay`, until it is shut down. Everything it started has ended when it returns.
pub async fn run(args: Args, shutdown: Shutdown) -> Result<Ending> {
    let say = Say { output: args.output };
    let begun = Instant::now();
    let world = Arc::new(args.topology.load(args.seed).context("cannot load the topology")?);
    let folder = tempfile::tempdir().context("cannot make a temporary folder for kubeconfigs and tokens")?;
    if let Some(to) = &args.write_kubeconfig {
        // Minutes later is late to hear of it.
        tempfile::tempfile_in(folder_of(to)).with_context(|| format!("cannot write {} (--write-kubeconfig)", to.display()))?;
    }
    let server =
        Server::start(Options { seed: args.seed, enforce_rbac: true, track_fields: world.len() <= TRACKED_NODES, ..Options::default() })
            .await
            .context("the API server does not start")?;
    let record = Record::new(say);
    let following = tokio::spawn(record.clone().follow(server.subscribe()));

    // What runs ends before the API server does, however the stages came out.
    let stages = Stages { args: &args, say, world, server: &server, record, folder: folder.path(), shutdown: shutdown.child() };
    let outcome = tokio::select! {
        // First: what stays up until the shutdown has its verdict by then.
        biased;
        outcome = stages.run(begun) => outcome,
        () = shutdown.signalled() => Ok(Ending::Interrupted),
    };
    // What is cut short fails in many ways; none of them is news.
    let outcome = if shutdown.is_signalled() { outcome.or(Ok(Ending::Interrupted)) } else { outcome };
    stages.shutdown.trigger();
    if let Err(error) = stages.shutdown.wait_all(END_LIMIT).await {
        tracing::warn!(%error, "not everything ended in time");
    }
    server.shutdown().await;
    following.abort();
    outcome
}

struct Stages<'a> {
    args: &'a Args,
    say: Say,
    world: Arc<World>,
    server: &'a Server,
    record: Record,
    folder: &'a Path,
    shutdown: Shutdown,
}

impl Stages<'_> {
    async fn run(&self, begun: Instant) -> Result<Ending> {
        self.introduce();
        let client = self.cluster().await?;
        let (switch, echo_port) = self.wan().await?;
        let settings = kubelet::Settings::default();
        let _kubelets = Kubelets::start(client.clone(), self.world.clone(), Some(switch.clone()), settings, self.shutdown.child()).await?;
        Controllers::start(client.clone(), controllers::Settings::default(), &self.shutdown);
        let programs = Programs {
            server: self.server,
            client: client.clone(),
            world: &self.world,
            folder: self.folder,
            echo_port,
            shutdown: self.shutdown.clone(),
        };
        let service = programs.scheduler(self.args).await?;
        self.say.tell(format!("edge-scheduler: topology service at https://{service}"));
        let pingers = programs.pingers(service).await?;
        self.say.tell(format!("{} edge-pingers measure over the simulated WAN", pingers.len()));
        let measured = self.measure(&pingers).await?;

        self.create(&client).await?;
        self.settle(&pingers).await;
        let sites = self.sites(&pingers);
        let routers = programs.routers(&sites, service).await?;
        let sites: Vec<Site> = sites
            .iter()
            .zip(&routers)
            .map(|(&index, router)| Site { node: self.world.nodes[index].name.clone(), router: router.address })
            .collect();
        self.say.tell(format!("{} edge-routers serve at {}", sites.len(), join(sites.iter().map(|s| s.node.as_str()))));
        let max_rtt_us = self.max_rtt_us();
        let sent = self.requests(&sites, max_rtt_us).await?;

        let mut checks = vec![measured];
        checks.extend(self.judge(&pingers, &sent, max_rtt_us));
        self.summary(&checks, &sent, &switch, begun.elapsed());
        if self.args.stay {
            self.stay(&sites).await?;
        }
        Ok(if checks.iter().all(|check| check.ok) { Ending::Held } else { Ending::Failed })
    }

    fn introduce(&self) {
        let world = &self.world;
        let count = |role| world.with_role(role).count();
        let (edges, clouds) = (count(Role::Edge), count(Role::Cloud));
        self.say.tell(format!("world: {}: {edges} edge and {clouds} cloud nodes, seed {}", world.name, self.args.seed));
        if self.args.no_delay_filter {
            self.say.tell("negative control: delay bounds are NOT heeded");
        }
        self.say.line(|_| {
            let nodes: Vec<_> = world
                .nodes
                .iter()
                .map(|n| {
                    let allocatable = json!({"cpu": format!("{}m", n.allocatable.cpu.0), "memory": n.allocatable.memory.0.to_string(), "pods": n.allocatable.pods.to_string()});
                    json!({"name": n.name, "role": n.role, "zone": n.zone, "allocatable": allocatable})
                })
                .collect();
            let rtts: Vec<Vec<u32>> = (0..world.len()).map(|a| (0..world.len()).map(|b| world.rtt_us(a, b)).collect()).collect();
            json!({"event": "world", "seed": self.args.seed, "delayFilter": !self.args.no_delay_filter, "nodes": nodes, "trueRttUs": rtts})
        });
    }

    /// Custom resources, rights and namespaces, as `kubectl apply -k configs/` installs them.
    async fn cluster(&self) -> Result<Client> {
        let config = kube::Config::from_custom_kubeconfig(
            serde_saphyr::from_str(&self.server.admin_kubeconfig()).context("the API server's kubeconfig is not one")?,
            &Default::default(),
        )
        .await?;
        let client = Client::try_from(config)?;
        for namespace in [NAMESPACE, api::labels::SYSTEM_NAMESPACE] {
            objects::create(&client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await?;
        }
        for object in objects::installed()? {
            objects::create(&client, object).await?;
        }
        self.say.tell(format!("embedded cluster: {}", self.server.url()));
        Ok(client)
    }

    /// The WAN, and the port that it carries the agents' echo on: the usual one unless another demo has it.
    async fn wan(&self) -> Result<(Arc<Switch>, u16)> {
        let links = Arc::new(Links::new(self.world.len(), self.world.one_way_us.clone(), JITTER_PERMILLE)?);
        let mut port = ECHO_PORT;
        loop {
            let options = SwitchOptions { echo_port: Some(port), seed: self.args.seed };
            match Switch::start(links.clone(), options).await {
                Ok(switch) => return Ok((Arc::new(switch), port)),
                Err(SwitchError::Bind { source, .. }) if source.kind() == ErrorKind::AddrInUse && port + 1 < ECHO_PORT + ECHO_PORTS => {
                    port += 1
                }
                Err(error) => return Err(error).context("the simulated network does not start; do other demos run on this machine?"),
            }
        }
    }

    /// Waits until every pair is measured.
    async fn measure(&self, pingers: &[edge_pinger::Running]) -> Result<Check> {
        let pairs = self.world.len() * (self.world.len() - 1) / 2;
        let indexes: HashMap<&str, usize> = self.world.nodes.iter().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
        let begun = Instant::now();
        let mut told = 0;
        loop {
            let mut figures = BTreeMap::new();
            for (a, pinger) in pingers.iter().enumerate() {
                pinger.agent.with_row(|row| {
                    let known = row.measured().filter_map(|(peer, p50_us)| Some((*indexes.get(peer)?, p50_us)));
                    figures.extend(known.map(|(b, p50_us)| ((a.min(b), a.max(b)), p50_us)));
                });
            }
            let measured = figures.len();
            let percent = 100 * measured / pairs.max(1);
            if percent >= told + 10 || measured == pairs {
                told = percent;
                self.say.tell(format!("  measured {measured} of {pairs} pairs ({percent} %)"));
            }
            if measured == pairs {
                self.tell_rtts(&figures);
                return Ok(checks::measured(&self.world, &figures));
            }
            if begun.elapsed() > MEASURE_LIMIT {
                bail!("only {measured} of {pairs} pairs were measured within {} s", MEASURE_LIMIT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// `figures`: p50 in microseconds by pair of nodes, the lesser index first.
    fn tell_rtts(&self, figures: &BTreeMap<(usize, usize), u32>) {
        let mut errors: Vec<i64> = figures.iter().map(|(&(a, b), &us)| i64::from(us) - i64::from(self.world.rtt_us(a, b))).collect();
        errors.sort_unstable();
        let at = |percent: usize| errors.get((errors.len() * percent / 100).min(errors.len().saturating_sub(1))).copied().unwrap_or(0);
        self.say.tell(format!(
            "  measured p50 minus true RTT: median {:.2} ms, 95th percentile {:.2} ms",
            at(50) as f64 / 1e3,
            at(95) as f64 / 1e3
        ));
        self.say.line(|_| json!({"event": "measured", "pairs": figures.len(), "medianErrorUs": at(50), "p95ErrorUs": at(95)}));
        let Some(first) = self.world.nodes.first() else { return };
        let mut from_first: Vec<(u32, &str)> =
            figures.iter().filter(|((a, _), _)| *a == 0).map(|(&(_, b), &us)| (us, self.world.nodes[b].name.as_str())).collect();
        from_first.sort_unstable();
        let shown: Vec<String> = from_first.iter().take(13).map(|(us, node)| format!("{node} {:.1}", f64::from(*us) / 1e3)).collect();
        self.say.tell(format!("  RTT from {} in ms: {}", first.name, shown.join(", ")));
    }

    async fn create(&self, client: &Client) -> Result<()> {
        let pods = self.args.pods.unwrap_or(if self.built_in() { 0 } else { DEFAULT_PODS });
        let manifests = objects::manifests(&self.world, self.built_in())?;
        self.say.tell(format!("creating {} objects of demo/manifests and {pods} made-up pods", manifests.len()));
        for object in manifests {
            objects::create(client, object).await?;
        }
        for pod in world::pods(&self.world, NAMESPACE, pods, self.args.seed) {
            objects::create(client, serde_json::to_value(&pod)?).await?;
        }
        Ok(())
    }

    /// Waits until every pod is bound and running or waits for a reason, and nothing has changed for a while.
    async fn settle(&self, pingers: &[edge_pinger::Running]) {
        let begun = Instant::now();
        let mut changes = self.record.changes();
        let mut placed = usize::MAX;
        let mut since = Instant::now();
        while begun.elapsed() < SETTLE_LIMIT {
            let pods = self.pods();
            let open = pods.iter().filter(|p| p.node.is_none() && p.waiting.is_none() || p.node.is_some() && !p.running).count();
            let bound = pods.iter().filter(|p| p.node.is_some()).count();
            if bound != placed {
                (placed, since) = (bound, Instant::now());
            }
            let waiting = pods.iter().any(|p| p.node.is_none());
            // On a busy machine a short RTT needs more samples before its p90 is what it should be.
            let owed = !self.args.no_delay_filter
                && pods.iter().any(|p| p.node.is_none() && checks::is_owed(&self.world, p, &|a, b| self.p90_us(pingers, a, b)));
            if !pods.is_empty() && open == 0 && !owed && (!waiting || since.elapsed() > QUIET) {
                break;
            }
            // Retries of waiting pods change nothing that is recorded, so the clock moves this on as well.
            let _ = tokio::time::timeout(Duration::from_millis(500), changes.changed()).await;
        }
        for pod in self.pods().iter().filter(|p| p.node.is_none()) {
            let reason = pod.waiting.clone().unwrap_or_default();
            self.say.line(|at_ms| json!({"event": "waiting", "atMs": at_ms, "pod": pod.key, "reason": reason}));
        }
    }

    /// Our pods that exist.
    fn pods(&self) -> Vec<PodState> {
        self.record.seen().pods.values().filter(|pod| pod.ours && !pod.gone).cloned().collect()
    }

    /// Nodes with clients: those that have an endpoint of the video service well within its bound, and that measured as much (on a busy machine more is
    /// measured than is true), spread over the world. Where bounds are not heeded nobody may have one, and requests are refused.
    fn sites(&self, pingers: &[edge_pinger::Running]) -> Vec<usize> {
        let endpoints = self.endpoints();
        let max = self.max_rtt_us();
        let room = max / 3 * 2;
        let reaches = |site: usize, endpoint: usize| {
            site == endpoint
                || self.world.rtt_us(site, endpoint) <= room && self.p90_us(pingers, site, endpoint).is_some_and(|us| us <= max)
        };
        let near: Vec<usize> = self
            .world
            .with_role(Role::Edge)
            .filter(|&site| self.args.no_delay_filter || endpoints.iter().any(|&e| reaches(site, e)))
            .collect();
        let step = near.len().div_ceil(SITES).max(1);
        near.into_iter().step_by(step).collect()
    }

    fn endpoints(&self) -> Vec<usize> {
        let pods = self.pods();
        pods.iter()
            .filter(|pod| pod.labels.get("app").is_some_and(|app| app == "video"))
            .filter_map(|pod| self.world.index_of(pod.node.as_deref()?))
            .collect()
    }

    fn max_rtt_us(&self) -> u32 {
        objects::max_rtt_us(&self.world, self.built_in())
    }

    fn built_in(&self) -> bool {
        self.args.topology == Topology::BuiltIn
    }

    async fn requests(&self, sites: &[Site], max_rtt_us: u32) -> Result<Vec<Sent>> {
        if sites.is_empty() {
            bail!("no site has an endpoint of the video service within its bound");
        }
        self.say.tell(format!(
            "{} requests to video.{NAMESPACE} from {} sites, none farther than {:.1} ms",
            self.args.requests,
            sites.len(),
            f64::from(max_rtt_us) / 1e3
        ));
        // A router that has just started knows its endpoints when one request comes through.
        self.routers_ready(sites).await?;
        let load_balancer = format!("{NAMESPACE}/video");
        let mut sent = Vec::new();
        clients::send(sites, &format!("video.{NAMESPACE}"), self.args.requests, REQUEST_GAP, self.args.seed, |request| {
            self.say.line(|at_ms| {
                json!({
                    "event": "request", "atMs": at_ms, "from": request.from, "loadBalancer": load_balancer, "maxRttUs": max_rtt_us,
                    "status": request.status, "endpointPod": request.endpoint.as_ref().map(|e| &e.pod),
                    "endpointNode": request.endpoint.as_ref().map(|e| &e.node),
                    "latencyUs": request.latency.as_micros() as u64, "error": request.error,
                })
            });
            sent.push(request);
        })
        .await;
        self.tell_requests(&sent);
        Ok(sent)
    }

    async fn routers_ready(&self, sites: &[Site]) -> Result<()> {
        let begun = Instant::now();
        for site in sites {
            loop {
                let mut answer = None;
                clients::send(std::slice::from_ref(site), &format!("video.{NAMESPACE}"), 1, Duration::ZERO, 0, |sent| answer = Some(sent))
                    .await;
                match answer {
                    Some(sent) if sent.status == 200 => break,
                    // There is an answer, only no endpoint near enough.
                    Some(sent) if sent.status == 503 && self.args.no_delay_filter => break,
                    // What was measured while the machine was busy is forgotten only by and by.
                    Some(sent) if begun.elapsed() > Duration::from_secs(120) => {
                        bail!(
                            "the router on {} does not serve video.{NAMESPACE}: {} {}",
                            site.node,
                            sent.status,
                            sent.error.unwrap_or_default()
                        )
                    }
                    _ => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
        }
        Ok(())
    }

    fn tell_requests(&self, sent: &[Sent]) {
        let mut by_path: BTreeMap<(&str, &str), Vec<Duration>> = BTreeMap::new();
        let mut failures: BTreeMap<String, usize> = BTreeMap::new();
        for request in sent {
            match (&request.endpoint, request.status) {
                (Some(endpoint), 200) => by_path.entry((&request.from, &endpoint.node)).or_default().push(request.latency),
                _ => *failures.entry(format!("{} {}", request.status, request.error.clone().unwrap_or_default())).or_default() += 1,
            }
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["CLIENTS AT", "SERVED ON", "REQUESTS", "TRUE RTT", "RESPONSE P50", "P95"]);
        for ((from, to), latencies) in &mut by_path {
            latencies.sort_unstable();
            let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3;
            let rtt = self.world.index_of(from).zip(self.world.index_of(to)).map_or(0, |(a, b)| self.world.rtt_us(a, b));
            table.add_row([
                (*from).to_owned(),
                (*to).to_owned(),
                latencies.len().to_string(),
                format!("{:.1} ms", f64::from(rtt) / 1e3),
                format!("{:.1} ms", at(50)),
                format!("{:.1} ms", at(95)),
            ]);
        }
        self.say.tell(table.trim_fmt());
        for (failure, count) in failures {
            self.say.tell(format!("  {count} requests failed: {failure}"));
        }
    }

    fn judge(&self, pingers: &[edge_pinger::Running], sent: &[Sent], max_rtt_us: u32) -> Vec<Check> {
        let pods: Vec<PodState> = self.record.seen().pods.values().cloned().collect();
        let (world, endpoints) = (&*self.world, self.endpoints());
        let measured_p90 = |a, b| self.p90_us(pingers, a, b);
        let owed = |pod: &&PodState, rtt_us: &checks::Measured<'_>| checks::is_owed(world, pod, rtt_us);
        let waiting = || pods.iter().filter(|pod| pod.ours && !pod.gone && pod.node.is_none());
        let excused = waiting().filter(|pod| owed(pod, &|a, b| Some(world.rtt_us(a, b))) && !owed(pod, &measured_p90)).count();
        if excused > 0 && !self.args.no_delay_filter {
            self.say.tell(format!(
                "{excused} of the waiting pods would be bound if this machine were less busy: more was measured than is true"
            ));
        }
        let seen = Seen { world, pods: &pods, sent, max_rtt_us, endpoints: &endpoints, measured_p90: &measured_p90 };
        checks::judge(&seen, self.args.no_delay_filter)
    }

    /// p90 that the agents of two nodes measured between them, in microseconds: the larger, where both do.
    fn p90_us(&self, pingers: &[edge_pinger::Running], a: usize, b: usize) -> Option<u32> {
        let by = |a: usize, b: usize| pingers[a].agent.with_row(|row| row.p90_us(&self.world.nodes[b].name));
        by(a, b).max(by(b, a))
    }

    fn summary(&self, checks: &[Check], sent: &[Sent], switch: &Switch, took: Duration) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["CHECK", "", "FIGURE"]);
        for check in checks {
            let mark = if check.ok { "ok" } else { "FAILED" };
            let figure = if check.figure.fract() == 0.0 { format!("{:.0}", check.figure) } else { format!("{:.1}", check.figure) };
            table.add_row([check.name.to_owned(), mark.to_owned(), format!("{figure} {}", check.unit)]);
        }
        self.say.tell("");
        self.say.tell(table.trim_fmt());
        let megabytes = peak_memory_bytes().map_or("unknown".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
        self.say.tell(format!(
            "{} nodes, {} requests, {:.1} s, peak memory {megabytes}; the WAN delivered on average {:.0} us late",
            self.world.len(),
            sent.len(),
            took.as_secs_f64(),
            switch.counts().lateness.mean_us()
        ));
        self.say.last(json!({"summary": {"checks": checks}}));
    }

    async fn stay(&self, sites: &[Site]) -> Result<()> {
        let path = self.folder.join("admin.kubeconfig");
        std::fs::write(&path, self.server.admin_kubeconfig()).with_context(|| format!("cannot write {}", path.display()))?;
        let copy = self.args.write_kubeconfig.as_ref().map(|to| Removed::copy(&path, to)).transpose()?;
        let path = copy.as_ref().map_or(path.as_path(), |copy| copy.0.as_path());
        let kubeconfig = path.display();
        self.say.tell(format!("\nKUBECONFIG={kubeconfig}\nstays up until Ctrl-C; try, from another terminal:"));
        self.say.tell(format!("  kubectl --kubeconfig {kubeconfig} get pods,elb -n {NAMESPACE} -o wide"));
        self.say.tell(format!("  edge-scheduler explain --kubeconfig {kubeconfig} {NAMESPACE}/POD"));
        for site in sites {
            self.say.tell(format!("  curl -i -H 'Host: video.{NAMESPACE}' http://{}/    # as a client at {}", site.router, site.node));
        }
        self.shutdown.signalled().await;
        Ok(())
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that goes when this does.
struct Removed(PathBuf);

impl Removed {
    /// Complete as soon as it is there: programs wait for it.
    fn copy(from: &Path, to: &Path) -> Result<Removed> {
        let wanted = || format!("cannot write {} (--write-kubeconfig)", to.display());
        let mut file = tempfile::NamedTempFile::new_in(folder_of(to)).with_context(wanted)?;
        let text = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        file.write_all(&text).with_context(wanted)?;
        file.persist(to).with_context(wanted)?;
        Ok(Removed(to.to_owned()))
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        // Someone else may have removed it.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Peak resident memory of this process, all programs included.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
