//! The metrics of edge-scheduler beside those of a real kube-scheduler that has placed the same pods: every family that kube-scheduler prints is printed here
//! with the same type, labels (and the values of some) and buckets, or is in `edge_scheduler::metrics::families` with the reason why not. Left out, saying so, where the control plane
//! is not built.

use api::labels::SCHEDULER_NAME;
use chassis::metrics::exposition::{Family, families};
use chassis::shutdown::Shutdown;
use edge_scheduler::metrics::families::{FAMILIES, named};
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, Shared};
use edge_tests::http;
use edge_tests::load::{create, pod};
use edge_tests::objects::priority_class;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of 32 CPUs each; one for either scheduler.
const NODES: u32 = 2;
const SOON: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const OTHERS: &str = "default-scheduler";

/// Labels whose values are the same whenever the pods are played: not those of samples, nor which event woke a pod and how often it was tried.
const STEADY: &[(&str, &[&str])] = &[
    ("scheduler_framework_extension_point_duration_seconds", &["extension_point", "status"]),
    ("scheduler_pending_pods", &["queue"]),
    ("scheduler_plugin_evaluation_total", &["plugin", "extension_point"]),
    ("scheduler_schedule_attempts_total", &["result"]),
    ("scheduler_scheduling_attempt_duration_seconds", &["result"]),
    ("scheduler_unschedulable_pods", &["plugin"]),
];

/// Values of labels that kube-scheduler prints here and edge-scheduler does not, by family; `docs/kube-scheduler.md` says what it prints.
const ABSENT: &[(&str, &[&str])] = &[
    ("scheduler_framework_extension_point_duration_seconds", &["Permit", "PostBind", "PreBindPreFlight", "PreEnqueue", "Sign", "Skip"]),
    ("scheduler_pending_pods", &["incomplete", "pending"]),
    // They have nothing to look at in such pods.
    (
        "scheduler_plugin_evaluation_total",
        &[
            "DynamicResources",
            "ImageLocality",
            "InterPodAffinity",
            "NodeDeclaredFeatures",
            "NodeName",
            "NodePorts",
            "NodeVolumeLimits",
            "PodTopologySpread",
            "VolumeBinding",
            "VolumeRestrictions",
            "VolumeZone",
        ],
    ),
];

static PLANE: Shared = Shared::new(Options { nodes: NODES, kubelets: Kubelets::Kwok, controllers: true, scheduler: true, audit: false });

/// One pod is placed, one waits, one is gated, and one is evicted for another.
async fn play(client: &Client, scheduler: &str, node: u32) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let on_node = json!({"kubernetes.io/hostname": format!("node-{node}")});
    let of = |name: &str, cpu: &str, more: Value| {
        let mut pod = pod(&format!("{name}-{node}"), scheduler, None, &json!({"cpu": cpu}));
        pod["spec"]["nodeSelector"] = on_node.clone();
        pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
        more.as_object().into_iter().flatten().for_each(|(field, value)| pod["spec"][field] = value.clone());
        pod
    };
    let until = async |name: &str, met: &dyn Fn(&Pod) -> bool| {
        let name = format!("{name}-{node}");
        let reached = await_condition(pods.clone(), &name, |pod: Option<&Pod>| pod.is_some_and(met));
        let pod = tokio::time::timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{scheduler}: {name}: not in time")).unwrap();
        pod.unwrap()
    };
    let placed = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let told = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
    };
    let gates = json!({"schedulingGates": [{"name": "example.com/wait"}]});
    create(client, &[of("low", "20", json!({})), of("waits", "200", json!({})), of("gated", "1", gates)]).await.unwrap();
    let low = until("low", &placed).await;
    until("waits", &told).await;
    create(client, &[of("high", "25", json!({"priorityClassName": "high"}))]).await.unwrap();
    until("high", &placed).await;
    let (name, uid) = (low.name_any(), low.uid().unwrap());
    let gone = await_condition(pods.clone(), &name, conditions::is_deleted(&uid));
    tokio::time::timeout(SOON, gone).await.unwrap_or_else(|_| panic!("{scheduler}: {name} stays")).unwrap();
}

/// What is printed once both bindings are counted: a pod has its node before its binding is counted.
async fn counted(scheduler: &str, read: impl AsyncFn() -> String) -> String {
    let both_bound = |line: &str| {
        let series = line.strip_prefix("scheduler_schedule_attempts_total{").and_then(|line| line.split_once("} "));
        series.is_some_and(|(labels, count)| labels.contains("result=\"scheduled\"") && count.starts_with('2'))
    };
    let polled = async {
        loop {
            let text = read().await;
            if text.lines().any(both_bound) {
                return text;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SOON, polled).await.unwrap_or_else(|_| panic!("{scheduler} does not count two bound pods"))
}

async fn of_kube_scheduler(plane: &ControlPlane) -> String {
    let port = std::fs::read_to_string(plane.folder().join("run/kube-scheduler.port")).unwrap();
    let server = format!("https://127.0.0.1:{}", port.trim());
    plane.kubectl_as_admin(["get", "--server", &server, "--raw", "/metrics"]).await.unwrap()
}

/// What is wrong with the table, or with what we print, given what kube-scheduler prints.
fn drift(real: &BTreeMap<String, Family>, ours: &BTreeMap<String, Family>) -> Vec<String> {
    let mut drift = Vec::new();
    for (name, printed) in real.iter().filter(|(name, _)| name.starts_with("scheduler_")) {
        let Some(family) = named(name) else {
            drift.push(format!("{name} is not in the table: {}", printed.help));
            continue;
        };
        if !printed.help.starts_with(&format!("[{}]", family.stability.name())) {
            drift.push(format!("{name} is not {} any more: {}", family.stability.name(), printed.help));
        }
        drift.extend(family.differences(printed).into_iter().map(|difference| format!("kube-scheduler's {difference}")));
        match ours.get(name) {
            Some(printed) => drift.extend(family.differences(printed).into_iter().map(|difference| format!("our {difference}"))),
            None if family.is_printed() => drift.push(format!("{name} is not printed by edge-scheduler")),
            None => {}
        }
    }
    for (name, labels) in STEADY {
        let (Some(real), Some(ours)) = (real.get(*name), ours.get(*name)) else {
            drift.push(format!("{name} is not printed"));
            continue;
        };
        for (label, values) in real.labels.iter().filter(|(label, _)| labels.contains(&label.as_str())) {
            let expected = |value: &&String| !ABSENT.iter().any(|(of, absent)| of == name && absent.contains(&value.as_str()));
            let printed = |value: &&String| ours.labels.get(label).is_some_and(|ours| ours.contains(*value));
            let missing: Vec<_> = values.iter().filter(expected).filter(|value| !printed(value)).collect();
            if !missing.is_empty() {
                drift.push(format!("{name}: {label} is never {missing:?}"));
            }
        }
    }
    let unknown = |name: &&String| name.starts_with("scheduler_") && named(name).is_none();
    drift.extend(ours.keys().filter(unknown).map(|name| format!("{name} is our own, and needs another prefix")));
    drift
}

#[tokio::test(flavor = "multi_thread")]
async fn families_are_those_of_a_real_kube_scheduler() {
    let Some(plane) = PLANE.get("families_are_those_of_a_real_kube_scheduler").await else { return };
    plane.install().await.unwrap();
    let client = plane.client().await.unwrap();
    let shutdown = Shutdown::new();
    let mut config = plane.scheduler_config().await.unwrap();
    config.placement.undelayed = placement::cluster::Undelayed::Any;
    let running = edge_scheduler::start(config, shutdown.clone()).await.unwrap().expect("not shut down");
    priority_class(&client, "high", 1_000, "PreemptLowerPriority").await.unwrap();
    tokio::join!(play(&client, OTHERS, 1), play(&client, SCHEDULER_NAME, 2));

    let real = families(&counted(OTHERS, async || of_kube_scheduler(&plane).await).await);
    let ours = families(&counted(SCHEDULER_NAME, async || http::get(running.admin, "localhost", "/metrics").await.body).await);
    let drift = drift(&real, &ours);
    assert!(drift.is_empty(), "{drift:#?}");
    let seen = FAMILIES.iter().filter(|family| real.contains_key(family.name)).count();
    let same = FAMILIES.iter().filter(|family| real.contains_key(family.name) && ours.contains_key(family.name)).count();
    println!("FIGURE {seen} families of metrics are printed by kube-scheduler, {same} of them by edge-scheduler");
    // Without these the comparison would be of nothing.
    assert!(real.len() >= 20 && seen >= 20, "{:?}", real.keys());

    shutdown.trigger();
    running.join().await.unwrap();
}
