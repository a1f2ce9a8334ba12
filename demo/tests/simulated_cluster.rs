//! Kubelets and controllers against the embedded API server, with the WAN between the nodes. The scheduler is played by hand.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::shutdown::Shutdown;
use edge_demo::apiserver;
use edge_demo::controllers::{self, Controllers};
use edge_demo::kubelet::{self, Kubelets};
use edge_demo::wan::{self, Links, Switch, address};
use edge_demo::world::World;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

const BOUND: Duration = Duration::from_secs(30);

struct Cluster {
    client: Client,
    world: Arc<World>,
    kubelets: Kubelets,
    shutdown: Shutdown,
    _switch: Arc<Switch>,
    server: apiserver::Server,
}

impl Cluster {
    async fn start(world: World) -> Cluster {
        let server = apiserver::Server::start(apiserver::Options::default()).await.unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&server.admin_kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let shutdown = Shutdown::new();
        let world = Arc::new(world);
        let links = Links::new(world.len(), world.one_way_us.clone(), 0).unwrap();
        let switch = Arc::new(Switch::start(Arc::new(links), wan::Options { echo_port: None, seed: 1 }).await.unwrap());
        let quick = controllers::Settings { node_grace: Duration::from_secs(3), node_period: Duration::from_millis(100) };
        Controllers::start(client.clone(), quick, &shutdown);
        let settings = kubelet::Settings { renew_every: Duration::from_millis(500), lease_duration_s: 3 };
        let kubelets = Kubelets::start(client.clone(), world.clone(), Some(switch.clone()), settings, shutdown.clone()).await.unwrap();
        Cluster { client, world, kubelets, shutdown, _switch: switch, server }
    }

    async fn stop(self) {
        self.shutdown.trigger();
        self.shutdown.wait_all(BOUND).await.unwrap();
        self.server.shutdown().await;
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, value: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + Debug,
    {
        let object = serde_json::from_value(value).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    async fn bind(&self, pod: &str, node: &str) {
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": node}});
        let _: Value = self.api::<Pod>().create_subresource("binding", pod, &PostParams::default(), &binding).await.unwrap();
    }

    /// Binds every pod that waits to `node`, until shutdown.
    fn bind_all_to(&self, node: &'static str) {
        let (client, shutdown, pods) = (self.client.clone(), self.shutdown.clone(), self.api::<Pod>());
        self.shutdown.spawn(async move {
            let (_, changes) = chassis::watches::watch(pods.clone(), kube::runtime::watcher::Config::default(), "pods", &shutdown);
            let mut changes = std::pin::pin!(changes);
            while let Some(change) = changes.next().await {
                let pods = match change {
                    chassis::watches::Change::Apply(pod) => vec![pod],
                    chassis::watches::Change::Reset(pods) => pods,
                    chassis::watches::Change::Delete(_) => continue,
                };
                for pod in pods.iter().filter(|pod| pod.spec.as_ref().unwrap().node_name.is_none()) {
                    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()}, "target": {"kind": "Node", "name": node}});
                    let api: Api<Pod> = Api::namespaced(client.clone(), "default");
                                        // A pod seen twice is bound once.
                    let _ = api.create_subresource::<Value, Value>("binding", &pod.name_any(), &PostParams::default(), &binding).await;
                }
            }
        });
    }

    /// Waits until `look` gives `expected`.
    async fn until<T: PartialEq + Debug, F: Future<Output = T>>(&self, expected: T, look: impl Fn() -> F) {
        let start = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let found = look().await;
            if found == expected {
                return;
            }
            assert!(start.elapsed() < BOUND, "still {found:?} instead of {expected:?}");
        }
    }

    /// Phase, reason, node's ready condition.. of all pods, by name.
    async fn pods(&self) -> Vec<(String, String, bool)> {
        let list = self.api::<Pod>().list(&ListParams::default()).await.unwrap();
        let describe = |pod: &Pod| {
            let status = pod.status.clone().unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let is_ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            let phase = status.phase.unwrap_or_default();
            (pod.name_any(), status.reason.map_or(phase.clone(), |reason| format!("{phase} {reason}")), is_ready)
        };
        list.iter().map(describe).collect()
    }

    async fn ready(&self) -> usize {
        self.pods().await.iter().filter(|(_, phase, is_ready)| phase == "Running" && *is_ready).count()
    }

    /// `address:port` of all ready endpoints of a Service.
    async fn endpoints(&self, service: &str) -> Vec<SocketAddr> {
        let selector = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let mut found = Vec::new();
        for slice in self.api::<EndpointSlice>().list(&selector).await.unwrap() {
            for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(true)) {
                for port in slice.ports.iter().flatten() {
                    found.push(SocketAddr::new(endpoint.addresses[0].parse().unwrap(), port.port.unwrap() as u16));
                }
            }
        }
        found.sort();
        found
    }

    /// Sends a request from a node and gives what came back and how long it took.
    async fn request(&self, from: &str, to: SocketAddr) -> (String, Duration) {
        let start = Instant::now();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address::private(self.world.index_of(from).unwrap()), 0).into_address()).unwrap();
        let exchange = async {
            let mut stream = socket.connect(to).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(BOUND, exchange).await.expect("no answer");
        (answer, start.elapsed())
    }

    fn true_rtt(&self, a: &str, b: &str) -> Duration {
        let index = |name| self.world.index_of(name).unwrap();
        Duration::from_micros(u64::from(self.world.rtt_us(index(a), index(b))))
    }
}

trait IntoAddress {
    fn into_address(self) -> SocketAddr;
}

impl IntoAddress for (std::net::Ipv4Addr, u16) {
    fn into_address(self) -> SocketAddr {
        SocketAddr::from(self)
    }
}

fn deployment(replicas: i32, version: &str, port: u16) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": format!("web:{version}"),
                "ports": [{"name": "http", "containerPort": port}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}}},
    })
}

fn pod(name: &str, memory: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "app", "image": "app", "resources": {"requests": {"memory": memory}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_runs_serves_rolls_and_goes() {
    let cluster = Cluster::start(World::built_in()).await;
    cluster.bind_all_to("edge-9");
    cluster.create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}})).await;
    cluster
        .create::<PodDisruptionBudget>(
            json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
        )
        .await;
    cluster.create::<Deployment>(deployment(2, "1", 18_080)).await;
    cluster.until(2, || cluster.ready()).await;
    cluster
        .until(Some((2, 2, 2)), || async {
            let status = cluster.api::<Deployment>().get("web").await.unwrap().status?;
            Some((status.ready_replicas?, status.updated_replicas?, status.available_replicas?))
        })
        .await;
    cluster.until(Some(1), || async { cluster.api::<PodDisruptionBudget>().get("web").await.unwrap().status?.disruptions_allowed }).await;

    // Both pods share the node's address: the second has got a spare port.
    cluster.until(2, || async { cluster.endpoints("web").await.len() }).await;
    for endpoint in cluster.endpoints("web").await {
        assert_eq!(endpoint.ip(), address::public(cluster.world.index_of("edge-9").unwrap()));
        let (answer, took) = cluster.request("edge-1", endpoint).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"node\":\"edge-9\""), "{answer}");
        let least = 2 * cluster.true_rtt("edge-1", "edge-9");
        assert!(took >= least, "handshake and request took {took:?}, less than {least:?}");
    }

    // A new template rolls: other pods, never fewer than one ready.
    let before: Vec<String> = cluster.pods().await.into_iter().map(|(name, ..)| name).collect();
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "web:2"}]}}}});
    cluster.api::<Deployment>().patch("web", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    cluster
        .until((2, 0), || async {
            let names: Vec<String> = cluster.pods().await.into_iter().map(|(name, ..)| name).collect();
            (names.len(), names.iter().filter(|name| before.contains(name)).count())
        })
        .await;
    cluster.until(2, || cluster.ready()).await;
    cluster.until(2, || async { cluster.endpoints("web").await.len() }).await;
    assert_eq!(cluster.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items.len(), 2);

    let scale = json!({"spec": {"replicas": 1}});
    cluster.api::<Deployment>().patch_scale("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    cluster.until(1, || async { cluster.pods().await.len() }).await;

    cluster.api::<Deployment>().delete("web", &DeleteParams::background()).await.unwrap();
    cluster.until(0, || async { cluster.pods().await.len() }).await;
    cluster.until(0, || async { cluster.endpoints("web").await.len() }).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_refuses_what_does_not_fit() {
    let cluster = Cluster::start(World::built_in()).await;
    for name in ["first", "second"] {
        cluster.create::<Pod>(pod(name, "6Gi")).await;
    }
    cluster.bind("first", "edge-1").await;
    cluster.until(1, || cluster.ready()).await;
    cluster.bind("second", "edge-1").await;
    let expected = [("first", "Running", true), ("second", "Failed OutOfmemory", false)];
    let expected = expected.map(|(name, phase, is_ready)| (name.to_owned(), phase.to_owned(), is_ready)).to_vec();
    cluster.until(expected, || cluster.pods()).await;
    let message = cluster.api::<Pod>().get("second").await.unwrap().status.unwrap().message.unwrap();
    let amounts = "memory, requested: 6442450944, used: 6442450944, capacity: 8589934592";
    assert_eq!(message, format!("Pod was rejected: Node didn't have enough resource: {amounts}"));
    // Room that is given back is room.
    cluster.api::<Pod>().delete("first", &DeleteParams::default()).await.unwrap();
    cluster.until(1, || async { cluster.pods().await.len() }).await;
    cluster.create::<Pod>(pod("third", "6Gi")).await;
    cluster.bind("third", "edge-1").await;
    cluster.until(1, || cluster.ready()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_node_goes_dark_and_comes_back() {
    let cluster = Cluster::start(World::built_in()).await;
    cluster
        .create::<Service>(
            json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 18_081}]}}),
        )
        .await;
    cluster.bind_all_to("edge-10");
    cluster.create::<Deployment>(deployment(1, "1", 18_081)).await;
    cluster.until(1, || async { cluster.endpoints("web").await.len() }).await;

    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let state = || async {
        let node = nodes.get("edge-10").await.unwrap();
        let conditions = node.status.unwrap().conditions.unwrap();
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().status;
        (ready, node.spec.and_then(|spec| spec.taints).unwrap_or_default().len())
    };
    cluster.kubelets.fail("edge-10").await.unwrap();
    cluster.until(("Unknown".to_owned(), 2), state).await;
    cluster.until(0, || async { cluster.endpoints("web").await.len() }).await;

    cluster.kubelets.heal("edge-10").await.unwrap();
    cluster.until(("True".to_owned(), 0), state).await;
    cluster.until(1, || async { cluster.endpoints("web").await.len() }).await;
    let (answer, _) = cluster.request("edge-1", cluster.endpoints("web").await[0]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(cluster.kubelets.fail("edge-99").await.is_err());
    cluster.stop().await;
}
