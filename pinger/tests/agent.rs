//! Two agents and a topology service over TLS on loopback: peers in, rows out, deltas after, the whole row on demand.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use api::protocol::{AgentPeer, Peers, ProbeMethod, Report, ReportAck};
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::config::Duration as ConfigDuration;
use chassis::serve::{self, Limits};
use chassis::shutdown::Shutdown;
use chassis::tls::{Authority, ServingCertificate};
use edge_pinger::{Config, Running};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const DAY: Duration = Duration::from_secs(86_400);
const LIMIT: Duration = Duration::from_secs(30);

/// A topology service that names fixed peers and keeps every report.
#[derive(Clone)]
struct Service {
    peers: Arc<Mutex<Vec<AgentPeer>>>,
    reports: watch::Sender<Vec<Report>>,
    forget_once: Arc<Mutex<bool>>,
}

impl Service {
    fn routes(&self) -> Router {
        let peers = async |State(service): State<Service>, Query(query): Query<BTreeMap<String, u64>>| {
            if query.contains_key("after") {
                std::future::pending::<()>().await;
            }
            let peers = service.peers.lock().unwrap().clone();
            Json(Peers { node: "any".into(), generation: 1, interval_ms: 200, timeout_ms: 500, peers })
        };
        let report = async |State(service): State<Service>, Json(report): Json<Report>| {
            service.reports.send_modify(|reports| reports.push(report));
            let need_full = std::mem::take(&mut *service.forget_once.lock().unwrap());
            Json(ReportAck { need_full, also_probe: Vec::new() })
        };
        Router::new().route("/v1/peers", get(peers)).route("/v1/report", post(report)).with_state(self.clone())
    }

    /// Waits until a report satisfies `wanted`.
    async fn report(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        let mut reports = self.reports.subscribe();
        let seen =
            tokio::time::timeout(LIMIT, reports.wait_for(|all| all.iter().any(&wanted))).await.expect("no such report in time").unwrap();
        seen.iter().find(|report| wanted(report)).unwrap().clone()
    }
}

struct World {
    service: Service,
    config: Config,
    shutdown: Shutdown,
    _files: tempfile::TempDir,
}

async fn world() -> World {
    let shutdown = Shutdown::new();
    let authority = Authority::generate("test", DAY).unwrap();
    let serving = ServingCertificate::new(&authority.issue(&["127.0.0.1".to_owned()], DAY).unwrap()).unwrap();
    let service = Service { peers: Arc::default(), reports: watch::Sender::new(Vec::new()), forget_once: Arc::default() };
    let listener = serve::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    shutdown.spawn(serve::serve_tls(listener, serving.server_config().unwrap(), service.routes(), limits, shutdown.clone()));
    let files = tempfile::tempdir().unwrap();
    let (ca, token) = (files.path().join("ca.crt"), files.path().join("token"));
    std::fs::write(&ca, authority.certificate_pem()).unwrap();
    std::fs::write(&token, "t0ken").unwrap();
    let mut config = Config {
        node_name: "a".into(),
        listen_address: IpAddr::from([127, 0, 0, 1]),
        echo_port: 0,
        admin_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        methods: vec![ProbeMethod::Udp],
        report_interval: ConfigDuration::from_millis(50),
        ..Config::default()
    };
    config.topology.endpoints = vec![format!("https://{address}")];
    config.topology.ca_file = Some(ca);
    config.topology.token_file = token;
    World { service, config, shutdown, _files: files }
}

impl World {
    async fn agent(&self, node: &str) -> Running {
        edge_pinger::start(Config { node_name: node.into(), ..self.config.clone() }, self.shutdown.child()).await.unwrap()
    }

    fn peer(&self, node: &str, address: SocketAddr) {
        self.service.peers.lock().unwrap().push(AgentPeer { node: node.into(), address: Some(address), probe: true });
    }

    async fn end(self) {
        self.shutdown.trigger();
        self.shutdown.wait_all(LIMIT).await.expect("everything ends");
    }
}

#[tokio::test]
async fn an_agent_reports_its_peers_whole_and_then_what_changed() {
    let mut world = world().await;
    // The peer starts first, with no peers of its own, so that its echo is known.
    let config = std::mem::take(&mut world.config);
    let peer = {
        let alone = Config { node_name: "b".into(), topology: Default::default(), ..config.clone() };
        let topology = chassis::topology::TopologyConfig { endpoints: vec!["https://127.0.0.1:1".into()], ..config.topology.clone() };
        edge_pinger::start(Config { topology, ..alone }, world.shutdown.child()).await.unwrap()
    };
    world.config = config;
    world.peer("b", peer.echo);
    let agent = world.agent("a").await;
    let first = world.service.report(|r| r.pairs.iter().any(|p| &*p.to == "b")).await;
    let pair = &first.pairs[0];
    assert_eq!(
        (first.node.as_str(), first.echo, pair.method),
        ("a", Some(SocketAddr::from(([0, 0, 0, 0], agent.echo.port()))), ProbeMethod::Udp)
    );
    assert!(pair.samples >= 5 && pair.p50_us > 0 && pair.p90_us >= pair.p50_us, "{pair:?}");

    // A service that lost the row asks for all of it.
    *world.service.forget_once.lock().unwrap() = true;
    drop(peer);
    world.service.report(|r| r.sequence > first.sequence && r.full && !r.pairs.is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn a_silent_peer_is_reported_as_failing() {
    let world = world().await;
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    world.peer("dead", silent.local_addr().unwrap());
    let _agent = world.agent("a").await;
    let report = world.service.report(|r| r.pairs.iter().any(|p| &*p.to == "dead")).await;
    assert!(report.pairs[0].failing && report.pairs[0].samples == 0, "{report:?}");
    world.end().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let world = world().await;
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = edge_pinger::start(Config { echo_port: port, ..world.config.clone() }, world.shutdown.child()).await.err().expect("in use");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    world.end().await;
}

#[tokio::test]
async fn an_agent_without_a_way_to_the_cluster_fails() {
    let world = world().await;
    let mut config = Config { topology: Default::default(), ..world.config.clone() };
    config.client.kubeconfig = Some("/nowhere/kubeconfig".into());
    let ended = tokio::time::timeout(LIMIT, edge_pinger::run(config, world.shutdown.child())).await.expect("in time");
    let error = ended.expect_err("no success").to_string();
    assert!(error.contains("/nowhere/kubeconfig"), "{error}");
    world.end().await;
}

#[tokio::test]
async fn the_admin_port_answers_as_goldpinger_does() {
    let world = world().await;
    let agent = world.agent("a").await;
    let text = chassis::tls::JsonClient::new(&Default::default(), None, LIMIT).unwrap();
    let check: serde_json::Value = text.get(&format!("http://{}/check", agent.admin)).await.unwrap();
    assert!(check["podResults"].is_object(), "{check}");
    let metrics = text.get_text(&format!("http://{}/metrics", agent.admin)).await.unwrap();
    assert!(metrics.contains("edge_pinger_peers 0"), "{metrics}");
    world.end().await;
}
