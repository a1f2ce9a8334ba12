//! edge-scheduler and kube-scheduler on the same nodes of a real control plane, with kubelets that refuse what does not fit (the demo's). Left out, saying
//! so, where the control plane is not built.

use api::labels::SCHEDULER_NAME;
use chassis::shutdown::Shutdown;
use edge_demo::kubelet::{self, Kubelets as Played};
use edge_demo::world::{Role, World, WorldNode};
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, Shared};
use edge_tests::fault_proxy::FaultProxy;
use edge_tests::objects::{make, object};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt as _};
use placement::cluster::Resources;
use placement::units::{Bytes, MilliCpu};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Nodes belong to a cluster, so each test has its own, one after the other.
const OPTIONS: Options = Options { nodes: 0, kubelets: Kubelets::None, controllers: true, scheduler: true, audit: false };
static ALONE: Mutex<()> = Mutex::const_new(());
const SOON: Duration = Duration::from_secs(120);
const OTHERS: &str = "default-scheduler";

/// A cluster with both schedulers.
struct Cluster {
    client: Client,
    /// Between edge-scheduler and the API server.
    proxy: FaultProxy,
    ours: edge_scheduler::Running,
    _kubelets: Played,
    shutdown: Shutdown,
}

impl Cluster {
    async fn start(plane: &ControlPlane, nodes: usize, cpus: i64) -> Cluster {
        plane.install().await.unwrap();
        let client = plane.client().await.unwrap();
        let shutdown = Shutdown::new();
        let world = Arc::new(world(nodes, cpus));
        let kubelets = Played::start(client.clone(), world, None, kubelet::Settings::default(), shutdown.clone()).await.unwrap();
        let mut config = plane.scheduler_config().await.unwrap();
        let direct = config.client.kubeconfig.take().unwrap();
        let proxy = FaultProxy::start(&direct, 1).await.unwrap();
        let through = plane.folder().join("through-proxy.kubeconfig");
        proxy.kubeconfig(&direct, &through).unwrap();
        config.client.kubeconfig = Some(through);
        config.placement.undelayed = placement::cluster::Undelayed::Any;
        let ours = edge_scheduler::start(config, shutdown.child()).await.unwrap().expect("not shut down");
        Cluster { client, proxy, ours, _kubelets: kubelets, shutdown }
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// So many pods of a scheduler, each of so many CPUs; `more` is merged into their spec.
    async fn replicas(&self, scheduler: &str, replicas: i64, cpus: i64, more: Value) {
        let labels = json!({"of": scheduler});
        let mut spec = json!({
            "schedulerName": scheduler,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": cpus.to_string()}}}],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": scheduler, "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        });
        make(&self.client, &object(set).unwrap()).await.unwrap();
    }

    /// Waits until so many pods of the scheduler's set are Ready.
    async fn ready(&self, scheduler: &str, replicas: i32) {
        let sets: Api<ReplicaSet> = Api::default_namespaced(self.client.clone());
        let all = |set: Option<&ReplicaSet>| set.and_then(|set| set.status.as_ref()?.ready_replicas).is_some_and(|ready| ready == replicas);
        let reached = tokio::time::timeout(SOON, await_condition(sets, scheduler, all)).await;
        reached.unwrap_or_else(|_| panic!("the pods of {scheduler} do not all run")).unwrap();
    }

    /// Pods of a phase.
    async fn in_phase(&self, phase: &str) -> Vec<Pod> {
        let pods = self.pods().list(&ListParams::default().fields(&format!("status.phase={phase}"))).await.unwrap();
        pods.items
    }

    async fn stop(self) {
        self.shutdown.trigger();
        self.ours.join().await.unwrap();
        self.shutdown.wait_all(SOON).await.unwrap();
    }
}

fn world(nodes: usize, cpus: i64) -> World {
    let node = |at: usize| WorldNode {
        name: format!("node-{}", at + 1),
        role: Role::Edge,
        city: None,
        region: None,
        zone: "zone-1".into(),
        allocatable: Resources { cpu: MilliCpu(cpus * 1_000), memory: Bytes(64 << 30), pods: 110, ..Resources::default() },
        labels: BTreeMap::new(),
        taints: Vec::new(),
    };
    World { name: "coexistence".into(), nodes: (0..nodes).map(node).collect(), one_way_us: vec![0; nodes * nodes] }
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("nowhere")
}

fn label(pod: &Pod) -> &str {
    pod.labels().get("of").map_or("", String::as_str)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_the_kubelet_refuses_gives_its_room_back_and_its_successor_goes_elsewhere() {
    static PLANE: Shared = Shared::new(OPTIONS);
    let _alone = ALONE.lock().await;
    let Some(plane) = PLANE.get("a_pod_that_the_kubelet_refuses_gives_its_room_back_and_its_successor_goes_elsewhere").await else {
        return;
    };
    let cluster = Cluster::start(&plane, 2, 4).await;
    // Ours is decided for node-1, and while its binding is on its way kube-scheduler gives the room to another.
    let wish = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]});
    let prefers = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": wish}]}});
    let on_node_1 = json!({"kubernetes.io/hostname": "node-1"});
    cluster.proxy.hold_bindings(true);
    cluster.replicas(SCHEDULER_NAME, 1, 3, json!({"affinity": prefers})).await;
    tokio::time::timeout(SOON, cluster.proxy.until_a_binding_waits()).await.expect("a binding in time");
    cluster.replicas(OTHERS, 1, 3, json!({"nodeSelector": on_node_1})).await;
    cluster.ready(OTHERS, 1).await;
    cluster.proxy.hold_bindings(false);
    cluster.ready(SCHEDULER_NAME, 1).await;

    let refused = cluster.in_phase("Failed").await;
    let [refused] = refused.as_slice() else { panic!("{} pods were refused", refused.len()) };
    let status = refused.status.as_ref().unwrap();
    assert_eq!((label(refused), node_of(refused), status.reason.as_deref()), (SCHEDULER_NAME, "node-1", Some("OutOfcpu")));
    let running = cluster.in_phase("Running").await;
    let mut running: Vec<(&str, &str)> = running.iter().map(|pod| (label(pod), node_of(pod))).collect();
    running.sort_unstable();
    assert_eq!(running, [(OTHERS, "node-1"), (SCHEDULER_NAME, "node-2")]);

    // The refused one, still there, holds no room: what is left of node-1 is given.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "small", "namespace": "default"},
        "spec": {"schedulerName": SCHEDULER_NAME, "nodeSelector": on_node_1,
                 "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "1"}}}]},
    });
    make(&cluster.client, &object(pod).unwrap()).await.unwrap();
    let runs = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Running"));
    tokio::time::timeout(SOON, await_condition(cluster.pods(), "small", runs)).await.expect("it runs in time").unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_fill_the_same_nodes_to_the_last_cpu() {
    const NODES: usize = 6;
    const CPUS: i64 = 8;
    const EACH: i64 = NODES as i64 * CPUS / 2;
    static PLANE: Shared = Shared::new(OPTIONS);
    let _alone = ALONE.lock().await;
    let Some(plane) = PLANE.get("two_schedulers_fill_the_same_nodes_to_the_last_cpu").await else { return };
    let cluster = Cluster::start(&plane, NODES, CPUS).await;
    tokio::join!(cluster.replicas(SCHEDULER_NAME, EACH, 1, json!({})), cluster.replicas(OTHERS, EACH, 1, json!({})));
    tokio::join!(cluster.ready(SCHEDULER_NAME, EACH as i32), cluster.ready(OTHERS, EACH as i32));
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    for pod in cluster.in_phase("Running").await {
        *held.entry(node_of(&pod).to_owned()).or_default() += 1;
    }
    assert_eq!(held, (1..=NODES).map(|node| (format!("node-{node}"), CPUS)).collect());
    let refused = cluster.in_phase("Failed").await;
    for pod in &refused {
        assert_eq!(pod.status.as_ref().unwrap().reason.as_deref(), Some("OutOfcpu"), "{}", pod.name_any());
    }
    println!("FIGURE {} pods beside each other on {NODES} full nodes, {} refused by kubelets on the way", 2 * EACH, refused.len());
    cluster.stop().await;
}
