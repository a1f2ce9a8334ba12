//! edge-router between an API server with roles enforced, a topology service, clients and endpoints, all on loopback.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use api::{
    crd::EdgeLoadBalancer,
    protocol::{DemandReport, PairEntry, StreamEvent, TopologyDelta, TopologySnapshot},
};
use axum::{
    Json, Router,
    body::Body,
    http::StatusCode,
    routing::{get, post},
};
use chassis::{
    serve::{self, Limits},
    shutdown::Shutdown,
    tls::{Authority, ServingCertificate},
};
use edge_demo::apiserver::{Options, Server};
use edge_router::{Config, Running};
use edge_tests::http::{self, Answer};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Namespace, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use placement::{
    topology::PairStat,
    units::{Micros, Timestamp},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
};

/// Bound of every wait: long enough for a loaded machine, and a test that hangs fails.
const LIMIT: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);

/// A topology service that says what the test says.
#[derive(Clone)]
struct Topology {
    snapshot: TopologySnapshot,
    events: broadcast::Sender<StreamEvent>,
    demand: watch::Sender<Vec<DemandReport>>,
}

fn line(event: &StreamEvent) -> Result<String, std::io::Error> {
    Ok(serde_json::to_string(event).unwrap() + "\n")
}

impl Topology {
    fn routes(&self) -> Router {
        let (here, demand) = (self.clone(), self.demand.clone());
        let stream = async move || {
            let events = here.events.subscribe();
            let first = line(&StreamEvent::Snapshot(here.snapshot.clone()));
            let later = futures::stream::unfold(events, async |mut events| {
                let event = events.recv().await.ok()?;
                Some((line(&event), events))
            });
            let lines = futures::StreamExt::chain(futures::stream::iter([first]), later);
            Body::from_stream(lines)
        };
        let take = async move |Json(report): Json<DemandReport>| {
            demand.send_modify(|all| all.push(report));
            StatusCode::NO_CONTENT
        };
        Router::new().route("/v1/stream", get(stream)).route("/v1/demand", post(take))
    }
}

struct World {
    server: Server,
    client: Client,
    topology: Topology,
    config: Config,
    shutdown: Shutdown,
    topology_shutdown: Shutdown,
    files: tempfile::TempDir,
}

fn pair(a: &str, b: &str, ms: u32) -> PairEntry {
    PairEntry { a: a.into(), b: b.into(), stat: Some(PairStat::declared(Micros(ms * 1000), Timestamp(1_000))) }
}

impl World {
    /// Nodes edge-1 to edge-3; from edge-1, where the router is, edge-2 is 5 ms and edge-3 30 ms away.
    async fn start() -> World {
        let server = Server::start(Options { enforce_rbac: true, ..Options::default() }).await.unwrap();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let admin = write("admin", &server.admin_kubeconfig());
        let client_config = chassis::client::ClientConfig { kubeconfig: Some(admin), ..Default::default() };
        let client = chassis::client::connect(&client_config, "test/0").await.unwrap().client;

        let shutdown = Shutdown::new();
        let topology_shutdown = shutdown.child();
        let authority = Authority::generate("test", DAY).unwrap();
        let serving = ServingCertificate::new(&authority.issue(&["127.0.0.1".to_owned()], DAY).unwrap()).unwrap();
        let pairs = vec![pair("edge-1", "edge-2", 5), pair("edge-3", "edge-1", 30)];
        let snapshot = TopologySnapshot { generation: 1, at_ms: 1_000, warm: true, nodes: Vec::new(), pairs };
        let topology = Topology { snapshot, events: broadcast::Sender::new(16), demand: watch::Sender::new(Vec::new()) };
        let listener = serve::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
        let tls = serving.server_config().unwrap();
        topology_shutdown.spawn(serve::serve_tls(listener, tls, topology.routes(), limits, topology_shutdown.clone()));

        let mut config = Config {
            node_name: "edge-1".into(),
            listen_address: ([127, 0, 0, 1], 0).into(),
            admin_address: ([127, 0, 0, 1], 0).into(),
            workers: Some(0),
            report_interval: chassis::config::Duration::from_millis(50),
            status_interval: chassis::config::Duration::from_millis(100),
            drain_timeout: chassis::config::Duration::from_secs(1),
            ..Config::default()
        };
        config.client.kubeconfig = Some(write("router", &server.service_account_kubeconfig("edge-system", "edge-router")));
        config.topology.endpoints = vec![format!("https://{address}")];
        config.topology.ca_file = Some(write("ca", authority.certificate_pem()));
        config.topology.token_file = write("token", "t0ken");
        let world = World { server, client, topology, config, shutdown, topology_shutdown, files };
        world.install().await;
        world
    }

    /// The definitions, the router's roles, and a Service `vision` with a pod on each node.
    async fn install(&self) {
        let post = PostParams::default();
        for definition in api::crd::definitions() {
            Api::all(self.client.clone()).create(&post, &definition).await.unwrap();
        }
        for name in ["demo", "edge-system"] {
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            drop(Api::all(self.client.clone()).create(&post, &namespace).await);
        }
        let (_, access) = api::rbac::programs().find(|(name, _)| *name == "edge-router").unwrap();
        Api::all(self.client.clone()).create(&post, &access.cluster_role).await.unwrap();
        Api::all(self.client.clone()).create(&post, &access.cluster_role_binding).await.unwrap();
        Api::namespaced(self.client.clone(), "edge-system").create(&post, &access.role).await.unwrap();
        Api::namespaced(self.client.clone(), "edge-system").create(&post, &access.role_binding).await.unwrap();
        for n in 1..=3 {
            let node: Node = serde_json::from_value(json!({"metadata": {"name": format!("edge-{n}")}})).unwrap();
            Api::all(self.client.clone()).create(&post, &node).await.unwrap();
        }
        self.create::<Service>(json!({
            "metadata": {"name": "vision"},
            "spec": {"selector": {"app": "vision"}, "ports": [{"port": 80}]},
        }))
        .await;
        for node in ["edge-2", "edge-3"] {
            self.pod(node).await;
        }
    }

    async fn create<K>(&self, value: Value) -> K
    where
        K: kube::Resource<Scope = NamespaceResourceScope> + DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(value).unwrap();
        Api::namespaced(self.client.clone(), "demo").create(&PostParams::default(), &object).await.unwrap()
    }

    /// A pod `vision-<node>` that answers with its node's name, and its endpoint.
    async fn pod(&self, node: &'static str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Router::new().fallback(async move || node);
        let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
        self.shutdown.spawn(serve::serve(listener, answer, limits, self.shutdown.clone()));
        let name = format!("vision-{node}");
        self.create::<Pod>(json!({
            "metadata": {"name": name, "labels": {"app": "vision"}},
            "spec": {"schedulerName": "edge-scheduler", "nodeName": node, "containers": [{"name": "c", "image": "vision"}]},
        }))
        .await;
        self.create::<EndpointSlice>(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "vision"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "nodeName": node, "targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": true}}],
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        }))
        .await;
    }

    async fn router(&self) -> Running {
        let running = edge_router::start(self.config.clone(), self.shutdown.clone()).await.unwrap();
        until("the router is ready", async || http::get(running.admin, "admin", "/readyz").await.status == 200).await;
        running
    }

    async fn status(&self) -> Value {
        let api: Api<EdgeLoadBalancer> = Api::namespaced(self.client.clone(), "demo");
        serde_json::to_value(api.get("near").await.unwrap().status).unwrap()
    }

    async fn end(self) {
        self.shutdown.trigger();
        self.shutdown.wait_all(LIMIT).await.expect("everything ends");
        self.server.shutdown().await;
        drop(self.files);
    }
}

async fn until(what: &str, state: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !state().await {
        assert!(tokio::time::Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn requests_go_to_the_nearest_pod_and_the_topology_moves_them() {
    let world = World::start().await;
    let running = world.router().await;
    let Answer { status, endpoint, body } = http::get(running.address, "vision.demo", "/").await;
    assert_eq!((status, endpoint.as_deref(), body.as_str()), (200, Some("demo/vision-edge-2@edge-2"), "edge-2"));

    // edge-2 goes far away, edge-3 comes near.
    let pairs = vec![pair("edge-1", "edge-2", 80), pair("edge-1", "edge-3", 2)];
    world
        .topology
        .events
        .send(StreamEvent::Delta(TopologyDelta { generation: 2, at_ms: 2_000, warm: true, pairs, ..Default::default() }))
        .unwrap();
    until("requests follow the topology", async || http::get(running.address, "vision.demo", "/").await.body == "edge-3").await;

    // What was asked for is reported, whole and with its rate.
    let mut demand = world.topology.demand.subscribe();
    let asked = |report: &DemandReport| {
        report.demand.iter().any(|row| row.load_balancer == "demo/vision" && row.site == "edge-1" && row.rate > 0.0)
    };
    tokio::time::timeout(LIMIT, demand.wait_for(|all| all.iter().any(asked))).await.expect("demand is reported").unwrap();

    // Without the topology service it routes on what it knows, and says so.
    world.topology_shutdown.trigger();
    until("the loss shows", async || {
        http::get(running.admin, "admin", "/metrics").await.body.contains("edge_router_topology_connected{} 0.0")
    })
    .await;
    assert_eq!(http::get(running.address, "vision.demo", "/").await.body, "edge-3");
    assert_eq!(http::get(running.admin, "admin", "/readyz").await.status, 200);
    let address = running.address;
    world.end().await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn an_object_bounds_the_rtt_and_its_status_says_what_serves() {
    let world = World::start().await;
    let spec = json!({"backend": {"service": "vision"}, "sla": {"maxRtt": "20ms"}, "routes": [{"host": "vision.example.com"}]});
    let metadata = json!({"name": "near"});
    let elb = json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": "EdgeLoadBalancer", "metadata": metadata, "spec": spec});
    world.create::<EdgeLoadBalancer>(elb).await;
    let running = world.router().await;
    for _ in 0..20 {
        assert_eq!(http::get(running.address, "vision.example.com", "/").await.body, "edge-2");
    }
    until("the status is written", async || {
        let status = world.status().await;
        status["ready"] == "2/2" && status["endpoints"][0]["pod"] == "vision-edge-2"
    })
    .await;

    // Tighter than any path: the answer says why.
    let api: Api<EdgeLoadBalancer> = Api::namespaced(world.client.clone(), "demo");
    let patch = |spec: Value| Patch::Merge(json!({ "spec": spec }));
    api.patch("near", &PatchParams::default(), &patch(json!({"sla": {"maxRtt": "1ms"}}))).await.unwrap();
    until("the new bound holds", async || http::get(running.address, "vision.demo", "/").await.status == 503).await;
    let Answer { endpoint, body, .. } = http::get(running.address, "vision.demo", "/").await;
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((endpoint, &error["error"]["reason"]), (None, &json!("NoFeasibleEndpoint")));
    assert_eq!(error["error"]["message"], "no endpoint of demo/near within 1 ms of edge-1: 2 of 2 excluded by RTT");

    // What is not supported is refused by name.
    api.patch("near", &PatchParams::default(), &patch(json!({"protocol": "tcp"}))).await.unwrap();
    until("the status refuses it", async || {
        let status = world.status().await;
        let accepted = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == "Accepted");
        accepted.is_some_and(|accepted| accepted["status"] == "False" && accepted["reason"] == "UnsupportedProtocol")
    })
    .await;
    world.end().await;
}
