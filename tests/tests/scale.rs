//! A thousand nodes and five thousand pods with delay bounds on a real control plane, judged from the API's objects by code that knows nothing of the
//! scheduler. Left out, saying so, where the control plane is not built.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use chassis::shutdown::Shutdown;
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, Shared};
use edge_tests::load::{self, World, pod};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const NODES: u32 = 1_000;
const PODS: usize = 5_000;
/// For all pods to be bound, in a debug build on two busy cores.
const BOUND_WITHIN: Duration = Duration::from_secs(300);
const WRITTEN_WITHIN: Duration = Duration::from_secs(300);
/// The API server has other things to do.
const ASKED_EVERY: Duration = Duration::from_millis(500);

static PLANE: Shared = Shared::new(Options { nodes: NODES, kubelets: Kubelets::Kwok, controllers: false, scheduler: false, audit: true });

/// Asks until there is an answer; an error says what is missing yet.
async fn until<T>(limit: Duration, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(missing) => assert!(begun.elapsed() < limit, "after {limit:?}: {missing}"),
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

/// Waits until no pod of ours matches.
async fn none_left(plane: &ControlPlane, fields: &str, limit: Duration) {
    let api: Api<Pod> = Api::default_namespaced(plane.client().await.unwrap());
    let matching = ListParams::default().labels("app=load").fields(fields).limit(1);
    until(limit, async || {
        let page = api.list_metadata(&matching).await.unwrap();
        // A page may be empty though others follow.
        let more = page.metadata.continue_.is_some_and(|token| !token.is_empty());
        match page.items.first() {
            None if !more => Ok(()),
            left => Err(format!("{} and perhaps more are still {fields}", left.map(ResourceExt::name_any).unwrap_or_default())),
        }
    })
    .await
}

/// In thousandths of a CPU, or in MiB; the forms that this test writes.
fn amount(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().unwrap();
    match unit {
        "" => number * 1_000,
        "m" | "Mi" => number,
        "Gi" => number * 1_024,
        _ => panic!("{text}"),
    }
}

/// Every bound and every node's room, from the objects as the API server has them. Returns how many bounds were judged.
fn judge(world: &World, nodes: &[Node], pods: &[Pod]) -> (usize, Vec<String>) {
    let number = |name: &str| name.strip_prefix("node-").and_then(|number| number.parse::<usize>().ok()).map(|number| number - 1);
    let place: BTreeMap<&str, &str> =
        pods.iter().filter_map(|pod| Some((pod.metadata.name.as_deref()?, pod.spec.as_ref()?.node_name.as_deref()?))).collect();
    let (mut judged, mut wrong) = (0, Vec::new());
    let mut used: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap();
        let Some(node) = place.get(name) else {
            wrong.push(format!("{name} is not bound"));
            continue;
        };
        for (label, bound) in pod.metadata.labels.iter().flatten() {
            let Some(reference) = label.strip_prefix("delay_") else { continue };
            let from = number(reference).or_else(|| number(place[reference])).unwrap();
            let (us, bound_us) = (world.between(from, number(node).unwrap()), bound.parse::<u64>().unwrap() * 1_000);
            judged += 1;
            if us > bound_us {
                wrong.push(format!("{name} on {node}: {us} us from {reference}, bound {bound_us} us"));
            }
        }
        let requests = pod.spec.as_ref().unwrap().containers[0].resources.as_ref().unwrap().requests.as_ref().unwrap();
        let room = used.entry(node).or_default();
        for (index, figure) in [amount(&requests["cpu"].0), amount(&requests["memory"].0), 1].into_iter().enumerate() {
            room[index] += figure;
        }
    }
    for node in nodes {
        let allocatable = node.status.as_ref().unwrap().allocatable.as_ref().unwrap();
        let room = [amount(&allocatable["cpu"].0), amount(&allocatable["memory"].0), amount(&allocatable["pods"].0) / 1_000];
        let name = node.metadata.name.as_deref().unwrap();
        let used = used.remove(name).unwrap_or_default();
        if used.iter().zip(room).any(|(used, room)| *used > room) {
            wrong.push(format!("{name} is over-committed: {used:?} of {room:?} (thousandths of a CPU, MiB, pods)"));
        }
    }
    wrong.extend(used.keys().map(|node| format!("{node} is no node")));
    (judged, wrong)
}

/// Bindings of each pod that the API server accepted, by its audit log.
fn bindings(plane: &ControlPlane) -> BTreeMap<String, u32> {
    let mut bound = BTreeMap::new();
    for line in std::fs::read_to_string(plane.audit_log()).unwrap().lines().filter(|line| line.contains("/binding")) {
        let entry: Value = serde_json::from_str(line).unwrap();
        if entry["objectRef"]["subresource"] == "binding" && entry["responseStatus"]["code"] == 201 {
            *bound.entry(entry["objectRef"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    bound
}

#[test]
fn the_judge_sees_what_is_wrong() {
    let world = World::of(vec![vec![0, 9_000, 1], vec![11_000, 0, 1], vec![1, 1, 0]]);
    let node = |number: u32| -> Node {
        let room = json!({"cpu": "2", "memory": "4Gi", "pods": "2"});
        serde_json::from_value(json!({"metadata": {"name": format!("node-{number}")}, "status": {"allocatable": room}})).unwrap()
    };
    let placed = |name: &str, node: Option<&str>, bound: (&str, &str), cpu: &str| -> Pod {
        let label = (format!("delay_{}", bound.0), bound.1.to_owned());
        let mut pod = pod(name, "edge-scheduler", [label], &json!({"cpu": cpu, "memory": "1Gi"}));
        pod["spec"]["nodeName"] = json!(node);
        serde_json::from_value(pod).unwrap()
    };
    let check = |pods: &[Pod], expected: &[&str]| {
        let (_, wrong) = judge(&world, &[node(1), node(2)], pods);
        assert!(wrong.len() == expected.len() && wrong.iter().zip(expected).all(|(wrong, part)| wrong.contains(part)), "{wrong:?}");
    };
    check(&[placed("a", Some("node-2"), ("node-1", "11"), "2")], &[]);
    check(&[placed("a", Some("node-2"), ("node-1", "10"), "2")], &["11000 us from node-1, bound 10000 us"]);
    check(
        &[placed("a", Some("node-1"), ("node-1", "0"), "1"), placed("b", Some("node-2"), ("a", "9"), "1")],
        &["b on node-2: 11000 us from a"],
    );
    check(&[placed("a", None, ("node-1", "10"), "1")], &["a is not bound"]);
    check(&[placed("a", Some("node-1"), ("node-1", "9"), "2001m")], &["node-1 is over-committed"]);
    let three = ["a", "b", "c"].map(|name| placed(name, Some("node-1"), ("node-1", "9"), "1m"));
    check(&three, &["node-1 is over-committed: [3, 3072, 3]"]);
    check(&[placed("a", Some("node-3"), ("node-3", "9"), "1")], &["node-3 is no node"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_bound_within_its_bounds_and_no_node_is_over_committed() {
    let Some(plane) = PLANE.get("every_pod_is_bound_within_its_bounds").await else { return };
    plane.install().await.unwrap();
    let seed = std::env::var("EDGE_TESTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let world = World::generate(NODES as usize, seed);
    let matrix = plane.folder().join("matrix.csv");
    std::fs::write(&matrix, world.csv()).unwrap();

    let begun = Instant::now();
    let admin = plane.client().await.unwrap();
    let mut impossible =
        pod("impossible", "edge-scheduler", [("delay_node-1".to_owned(), "0".to_owned())], &json!({"cpu": "1m", "memory": "1Mi"}));
    impossible["metadata"]["labels"]["app"] = json!("impossible");
    impossible["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-2"});
    load::create(&admin, &world.bounded_pods(PODS, seed)).await.unwrap();
    load::create(&admin, &[impossible]).await.unwrap();
    let made = begun.elapsed();

    let mut config = plane.scheduler_config().await.unwrap();
    config.client.qps = 0.0;
    // It holds no lease: a debug build on busy cores renews too late; what a lost lease does is suite ha's.
    config.topology.source = edge_scheduler::config::Source::Files;
    config.topology.matrix = Some(matrix);
    let shutdown = Shutdown::new();
    let begun = Instant::now();
    let running = edge_scheduler::start(config, shutdown.clone()).await.unwrap().expect("not shut down");
    none_left(&plane, "spec.nodeName=", BOUND_WITHIN).await;
    let took = begun.elapsed();

    let nodes = Api::<Node>::all(admin.clone()).list(&ListParams::default()).await.unwrap().items;
    let bound = Api::<Pod>::default_namespaced(admin).list(&ListParams::default().labels("app=load")).await.unwrap().items;
    let (judged, wrong) = judge(&world, &nodes, &bound);
    assert!(wrong.is_empty() && bound.len() == PODS, "{} of {} bounds or nodes: {:#?}", wrong.len(), judged, &wrong[..wrong.len().min(20)]);
    let bindings = bindings(&plane);
    assert!(bindings.len() == PODS && bindings.values().all(|count| *count == 1), "{} pods, each bound once", bindings.len());
    println!(
        "seed {seed}: {PODS} pods on {NODES} nodes, {judged} bounds judged, 0 violations, 0 over-commits, none bound twice; made in {:.0} s, bound in \
         {:.0} s (debug build)",
        made.as_secs_f64(),
        took.as_secs_f64()
    );
    as_kubectl_shows_it(&plane).await;
    shutdown.trigger();
    running.join().await.unwrap();
}

async fn as_kubectl_shows_it(plane: &ControlPlane) {
    let conditions = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="PodScheduled")].status}{"\n"}{end}"#;
    let scheduled = plane.kubectl_as_admin(["get", "pods", "-l", "app=load", "-o", conditions]).await.unwrap();
    assert_eq!(scheduled.lines().filter(|status| *status == "True").count(), PODS, "condition PodScheduled");

    // Events are written behind the bindings. That the kubelets start all pods is not waited for: it is kwok's work, and shown where pods are few.
    let columns =
        ["get", "events", "--field-selector", "reason=Scheduled", "--no-headers", "-o", "custom-columns=:.involvedObject.name,:.message"];
    let written: Api<Event> = Api::all(plane.client().await.unwrap());
    let events = until(WRITTEN_WITHIN, async || {
        // Counted first: to list them all again and again keeps the API server from taking more.
        let some = written.list_metadata(&ListParams::default().limit(1)).await.unwrap();
        let count = some.items.len() as i64 + some.metadata.remaining_item_count.unwrap_or_default();
        if count < PODS as i64 {
            return Err(format!("{count} events"));
        }
        let events = plane.kubectl_as_admin(columns).await.unwrap();
        let told: BTreeSet<&str> = events.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let all = told.len() == PODS;
        if all { Ok(events) } else { Err(format!("{} of {PODS} pods have the event Scheduled", told.len())) }
    })
    .await;
    let figures = events.lines().filter(|line| line.contains("Successfully assigned default/") && line.contains(", bound ")).count();
    assert_eq!(figures, PODS, "every event names the RTT and the bound");
    let why = "0/1000 nodes are available: 1 RTT from node-1 above 0 ms, 999 node(s) didn't match Pod's node affinity/selector. \
               preemption: 0/1000 nodes are available: 1000 Preemption is not helpful for scheduling.";
    let described = plane.kubectl_as_admin(["describe", "pod", "impossible"]).await.unwrap();
    assert!(described.contains("FailedScheduling") && described.contains("0/1000 nodes are available"), "{described}");
    let message = r#"jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}"#;
    assert_eq!(plane.kubectl_as_admin(["get", "pod", "impossible", "-o", message]).await.unwrap(), why);
}
