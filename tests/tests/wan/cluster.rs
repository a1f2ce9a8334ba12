//! A cluster on the network: the API server and the scheduler in a namespace of their own, an agent's process in the namespace of every node.

use anyhow::Context as _;
use chassis::shutdown::Shutdown;
use chassis::tls::JsonClient;
use edge_demo::apiserver::{Options, Server};
use edge_demo::run::objects;
use edge_demo::wan::Links;
use edge_tests::control_plane::root;
use edge_tests::wan::{Network, Program, address_v4, address_v6, build};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bound of every wait: far above what is needed, so that only what never comes fails.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Time between two probes of a pair.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// One way between a node and the control plane; it is not among the pairs that are judged.
const CONTROL_US: u32 = 2_500;
const AGENT_ADMIN: u16 = 9445;

/// How many nodes there are, and their delays one way in microseconds, row-major.
pub struct Matrix {
    pub names: Vec<String>,
    pub one_way_us: Vec<u32>,
}

pub struct Cluster<'a> {
    pub network: &'a Network,
    pub names: &'a [String],
    pub client: Client,
    pub scheduler: edge_scheduler::Running,
    pub folder: PathBuf,
    programs: PathBuf,
    server: Server,
    running: BTreeMap<String, Program>,
    shutdown: Shutdown,
    http: JsonClient,
}

/// Makes the network of these nodes and one more for the control plane, and runs `scenario` in there.
pub fn on_network(label: &str, matrix: &Matrix, scenario: impl AsyncFnOnce(&mut Cluster<'_>) + Send) {
    let nodes = matrix.names.len();
    let delay = |from: usize, to: usize| if from == nodes || to == nodes { CONTROL_US } else { matrix.one_way_us[from * nodes + to] };
    let all = (0..=nodes).flat_map(|from| (0..=nodes).map(move |to| if from == to { 0 } else { delay(from, to) })).collect();
    let programs = build(&["edge-pinger", "edge-router"]).unwrap();
    let network = Network::start(label, Arc::new(Links::new(nodes + 1, all, 0).unwrap()), 7).unwrap();
    let in_there = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut cluster = Cluster::start(label, &network, &matrix.names, programs).await;
            scenario(&mut cluster).await;
            cluster.end().await;
        });
    };
    network.node(nodes).run(in_there).unwrap();
}

impl<'a> Cluster<'a> {
    async fn start(label: &str, network: &'a Network, names: &'a [String], programs: PathBuf) -> Cluster<'a> {
        let folder = root().join(format!(".edge-tests/wan-{label}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let control: IpAddr = address_v4(names.len()).into();
        let server = Server::start(Options { listen: (control, 0).into(), enforce_rbac: true, ..Options::default() }).await.unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&server.admin_kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        for namespace in ["default", "edge-system"] {
            create(&client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
        }
        for object in objects::installed().unwrap() {
            create(&client, object).await;
        }
        for (node, name) in names.iter().enumerate() {
            add_node(&client, node, name).await;
        }
        let mut config = edge_scheduler::Config::default();
        config.client.kubeconfig = Some(write(&folder, "edge-scheduler.kubeconfig", &account(&server, "edge-scheduler")));
        config.client.qps = 0.0;
        config.admin_address = ([127, 0, 0, 1], 0).into();
        config.topology.address = (control, 0).into();
        config.topology.probe_interval = PROBE_INTERVAL.into();
        config.topology.warm_up = LIMIT.into();
        config.leader_election.leader_elect = false;
        let shutdown = Shutdown::new();
        let scheduler = edge_scheduler::start(config, shutdown.clone()).await.unwrap().unwrap();
        objects::topology_service(&client, scheduler.topology).await.unwrap();
        let http = JsonClient::new(&Default::default(), None, Duration::from_secs(10)).unwrap();
        Cluster { network, names, client, scheduler, folder, programs, server, running: BTreeMap::new(), shutdown, http }
    }

    /// A client's view of the network from nobody's side: node `a` to `b` and back, in microseconds, without jitter.
    pub fn true_rtt_us(&self, a: usize, b: usize) -> u32 {
        self.network.links().true_rtt_us(a, b).unwrap()
    }

    /// Starts edge-pinger on a node, as configs/ does; `change` may make it anything else.
    pub async fn start_agent(&mut self, node: usize, change: impl FnOnce(&mut edge_pinger::Config)) {
        let mut config = edge_pinger::Config { node_name: self.names[node].clone(), ..Default::default() };
        config.admin_address = SocketAddr::new([0, 0, 0, 0].into(), AGENT_ADMIN);
        config.client.kubeconfig = Some(self.kubeconfig("edge-pinger", node));
        config.topology.token_file = self.token("edge-pinger", node).await;
        change(&mut config);
        self.start_program("edge-pinger", node, &config);
    }

    /// Starts edge-router on a node.
    pub async fn start_router(&mut self, node: usize) {
        let mut config = edge_router::Config { node_name: self.names[node].clone(), workers: Some(0), ..Default::default() };
        config.client.kubeconfig = Some(self.kubeconfig("edge-router", node));
        config.topology.token_file = self.token("edge-router", node).await;
        self.start_program("edge-router", node, &config);
    }

    /// A file of its own for each program: one that is written again may be read half.
    fn kubeconfig(&self, app: &str, node: usize) -> PathBuf {
        write(&self.folder, &format!("{app}-{node}.kubeconfig"), &account(&self.server, app))
    }

    async fn token(&self, app: &str, node: usize) -> PathBuf {
        let token = objects::system_token(&self.client, app, &self.names[node]).await.unwrap();
        write(&self.folder, &format!("{app}-{node}.token"), &token)
    }

    fn start_program(&mut self, app: &str, node: usize, config: &impl Serialize) {
        let file = write(&self.folder, &format!("{app}-{node}.yaml"), &serde_saphyr::to_string(config).unwrap());
        let log = self.folder.join(format!("{app}-{node}.log"));
        let program = self.programs.join(app);
        let started = Program::start(self.network.node(node), &program, &["--config", file.to_str().unwrap()], log).unwrap();
        self.running.insert(format!("{app}-{node}"), started);
    }

    /// p50 of the pairs that a node's agent has measured, in microseconds, by peer: as its metrics say.
    pub async fn measured(&self, node: usize) -> BTreeMap<String, f64> {
        let text = self.http.get_text(&format!("http://{}:{AGENT_ADMIN}/metrics", address_v4(node))).await.unwrap_or_default();
        let line = |line: &str| {
            let (labels, seconds) = line.strip_prefix("edge_pinger_rtt_seconds{")?.split_once("} ")?;
            let peer = labels.strip_suffix(",quantile=\"0.5\"")?.strip_prefix("peer=\"")?.strip_suffix('"')?;
            Some((peer.to_owned(), seconds.parse::<f64>().ok()? * 1e6))
        };
        text.lines().filter_map(line).collect()
    }

    /// Peers that the node's agent probes, and whether they answer.
    pub async fn answering(&self, node: usize) -> BTreeMap<String, bool> {
        let url = format!("http://{}:{AGENT_ADMIN}/check", address_v4(node));
        let Ok(check) = self.http.get::<Value>(&url).await else { return BTreeMap::new() };
        let results = check["podResults"].as_object().into_iter().flatten();
        results.map(|(peer, result)| (peer.clone(), result["OK"] == true)).collect()
    }

    pub async fn pod(&self, name: &str) -> Pod {
        Api::<Pod>::default_namespaced(self.client.clone()).get(name).await.unwrap()
    }

    /// Events about a pod, as type, reason and note.
    pub async fn events(&self, pod: &str) -> Vec<(String, String, String)> {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        let about = |event: &Event| event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(pod));
        let all = events.list(&ListParams::default()).await.unwrap().items.into_iter().filter(about);
        all.map(|event| (event.type_.unwrap_or_default(), event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
    }

    /// One value of the scheduler's metrics.
    pub async fn scheduler_metric(&self, name: &str) -> Option<f64> {
        let text = self.http.get_text(&format!("http://{}/metrics", self.scheduler.admin)).await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Polls until there is an answer, up to the limit; whether there was one.
    pub async fn comes_true(&self, probe: impl AsyncFnMut(&Self) -> Option<()>) -> bool {
        self.poll(probe).await.is_some()
    }

    async fn poll<T>(&self, mut probe: impl AsyncFnMut(&Self) -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            if let Some(answer) = probe(self).await {
                return Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// Polls until there is an answer, up to the limit; panics, naming the programs that have ended, where there is none.
    pub async fn until<T>(&mut self, what: &str, probe: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        if let Some(answer) = self.poll(probe).await {
            return answer;
        }
        let ended: Vec<&str> = self.running.iter_mut().filter_map(|(name, program)| (!program.runs()).then_some(name.as_str())).collect();
        panic!("not within {LIMIT:?}: {what}; programs that have ended: {ended:?}; logs in {}", self.folder.display());
    }

    /// Ends everything as SIGTERM does; every program must end with success.
    async fn end(self) {
        for (name, program) in self.running {
            let log = program.log();
            assert!(tokio::task::spawn_blocking(move || program.stop()).await.unwrap(), "{name} did not end well: {log}");
        }
        self.shutdown.trigger();
        self.scheduler.join().await.unwrap();
        self.server.shutdown().await;
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

pub async fn create(client: &Client, object: Value) {
    objects::create(client, object.clone()).await.with_context(|| object.to_string()).unwrap();
}

/// A node with an InternalIP of each family: of every second one the IPv6 address comes first, so that both are probed.
async fn add_node(client: &Client, node: usize, name: &str) {
    let (v4, v6) = (IpAddr::V4(address_v4(node)), IpAddr::V6(address_v6(node)));
    let addresses = if node.is_multiple_of(2) { [v4, v6] } else { [v6, v4] };
    let addresses: Vec<Value> = addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
    let status = json!({
        "allocatable": {"cpu": "8", "memory": "8Gi", "pods": "110"},
        "capacity": {"cpu": "8", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": addresses,
    });
    let metadata = json!({"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/role": "edge"}});
    create(client, json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata})).await;
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap();
}

fn account(server: &Server, name: &str) -> String {
    server.service_account_kubeconfig("edge-system", name)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
