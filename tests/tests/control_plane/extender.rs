//! A real kube-scheduler that has edge-scheduler as its extender: pods of `default-scheduler` keep their delay bounds. Left out, saying so, where the control
//! plane is not built.

use chassis::shutdown::Shutdown;
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, Shared};
use edge_tests::load::{World, create, pod};
use edge_tests::objects::priority_class;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const NODES: usize = 6;
/// A bound on everything that is waited for here.
const SOON: Duration = Duration::from_secs(60);

static PLANE: Shared =
    Shared::new(Options { nodes: NODES as u32, kubelets: Kubelets::Kwok, controllers: false, scheduler: false, audit: false });

/// edge-scheduler over a matrix in which neighbours are 10 ms apart, and its extender's address.
async fn edge_scheduler(plane: &ControlPlane, shutdown: &Shutdown) -> (edge_scheduler::Running, SocketAddr) {
    let matrix = plane.folder().join("matrix.csv");
    let world = World::of((0..NODES).map(|a| (0..NODES).map(|b| a.abs_diff(b) as u64 * 10_000).collect()).collect());
    std::fs::write(&matrix, world.csv()).unwrap();
    let mut config = plane.scheduler_config().await.unwrap();
    config.topology.source = edge_scheduler::config::Source::Files;
    config.topology.matrix = Some(matrix);
    config.extender.address = Some(([127, 0, 0, 1], 0).into());
    let running = edge_scheduler::start(config, shutdown.clone()).await.unwrap().expect("not shut down");
    let address = running.extender.expect("an extender was asked for");
    (running, address)
}

/// Ends the process, however the test went.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kube_scheduler(plane: &ControlPlane, extender: SocketAddr) -> Running {
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": plane.folder().join("pki/kube-scheduler.conf")},
        "leaderElection": {"leaderElect": false},
        "extenders": [{
            "urlPrefix": format!("http://{extender}"),
            "filterVerb": "filter",
            "prioritizeVerb": "prioritize",
            "preemptVerb": "preempt",
            "weight": 100,
            "nodeCacheCapable": true,
            "httpTimeout": "10s",
        }],
    });
    let file = plane.folder().join("kube-scheduler-with-extender.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let log = std::fs::File::create(plane.folder().join("logs/kube-scheduler-with-extender.log")).unwrap();
    let mut command = Command::new(plane.folder().join("bin/kube-scheduler"));
    command.arg("--config").arg(file).args(["--secure-port", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Running(command.spawn().unwrap())
}

/// Waits until the pod is on a node, and tells which.
async fn node_of(pods: &Api<Pod>, name: &str) -> String {
    let node = |pod: Option<&Pod>| pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    let bound = tokio::time::timeout(SOON, await_condition(pods.clone(), name, move |pod: Option<&Pod>| node(pod).is_some())).await;
    let bound = bound.unwrap_or_else(|_| panic!("{name} is not bound after {SOON:?}")).unwrap();
    node(bound.as_ref()).unwrap()
}

/// Waits until the pod's condition PodScheduled is False, and tells why.
async fn refusal_of(pods: &Api<Pod>, name: &str) -> String {
    let why = |pod: Option<&Pod>| {
        let conditions = pod?.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?.message.clone()
    };
    let told = tokio::time::timeout(SOON, await_condition(pods.clone(), name, move |pod: Option<&Pod>| why(pod).is_some())).await;
    why(told.unwrap_or_else(|_| panic!("nothing is told of {name} after {SOON:?}")).unwrap().as_ref()).unwrap()
}

fn of_kube_scheduler(name: &str, bound: Option<(&str, &str)>, cpu: &str, more: Value) -> Value {
    let label = bound.map(|(from, ms)| (format!("delay_{from}"), ms.to_owned()));
    let mut pod = pod(name, "default-scheduler", label, &json!({"cpu": cpu}));
    let Value::Object(more) = more else { panic!("{more}") };
    pod["spec"].as_object_mut().unwrap().extend(more);
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_scheduler_keeps_delay_bounds_through_the_extender() {
    let Some(plane) = PLANE.get("kube_scheduler_keeps_delay_bounds").await else { return };
    plane.install().await.unwrap();
    let admin = plane.client().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(admin.clone());
    let shutdown = Shutdown::new();
    let (running, address) = edge_scheduler(&plane, &shutdown).await;
    let _kube_scheduler = kube_scheduler(&plane, address);

    let make = async |made: Vec<Value>| create(&admin, &made).await.unwrap();
    make(vec![
        of_kube_scheduler("camera", None, "1", json!({"nodeSelector": {"kubernetes.io/hostname": "node-5"}})),
        of_kube_scheduler("anywhere", None, "1", json!({})),
        of_kube_scheduler("nearest", Some(("node-3", "100")), "1", json!({})),
        of_kube_scheduler("too-far", Some(("node-1", "15")), "1", json!({"nodeSelector": {"kubernetes.io/hostname": "node-3"}})),
    ])
    .await;
    assert_eq!(node_of(&pods, "camera").await, "node-5");
    node_of(&pods, "anywhere").await;
    assert_eq!(node_of(&pods, "nearest").await, "node-3", "the score leads to the reference itself");
    make(vec![of_kube_scheduler("detector", Some(("camera", "10")), "1", json!({}))]).await;
    let near = node_of(&pods, "detector").await;
    assert!(["node-4", "node-5", "node-6"].contains(&near.as_str()), "{near} is not within 10 ms of node-5");
    let why = refusal_of(&pods, "too-far").await;
    assert!(why.contains("1 RTT from node-1 above 15 ms") && why.contains("5 node(s) didn't match Pod's node affinity/selector"), "{why}");
    make(vec![of_kube_scheduler("lost", Some(("nobody", "15")), "1", json!({}))]).await;
    let why = refusal_of(&pods, "lost").await;
    assert!(why.contains(r#"delay reference "nobody" is no node"#), "{why}");

    // Every node is full. Evicting is cheaper where the pod may not go: there the victims count for less.
    for (name, value) in [("least", 1), ("low", 10), ("high", 100)] {
        priority_class(&admin, name, value, "PreemptLowerPriority").await.unwrap();
    }
    let fillers = (1..=NODES).map(|number| {
        let class = if number <= 2 { "low" } else { "least" };
        let placed = json!({"nodeName": format!("node-{number}"), "priorityClassName": class, "terminationGracePeriodSeconds": 0});
        of_kube_scheduler(&format!("filler-{number}"), None, "28", placed)
    });
    make(fillers.collect()).await;
    make(vec![of_kube_scheduler("urgent", Some(("node-1", "10")), "8", json!({"priorityClassName": "high"}))]).await;
    let node = node_of(&pods, "urgent").await;
    assert!(["node-1", "node-2"].contains(&node.as_str()), "{node} is not within 10 ms of node-1");
    let left: Vec<String> = pods.list(&Default::default()).await.unwrap().into_iter().filter_map(|pod| pod.metadata.name).collect();
    let evicted: Vec<usize> = (1..=NODES).filter(|number| !left.contains(&format!("filler-{number}"))).collect();
    assert_eq!(evicted.iter().map(|number| format!("node-{number}")).collect::<Vec<_>>(), [node], "one filler, of that node");

    shutdown.trigger();
    running.join().await.unwrap();
}
