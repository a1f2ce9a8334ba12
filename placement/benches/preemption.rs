//! What it costs to decide for a pod that fits nowhere, and to find those that go for it; and that this does not grow with the square of the pods that
//! already wait for such room. Prints `name figure unit`.
//!
//! Every node is full of four pods of lower priority (scheduler_perf's PreemptionBasic); 500 more important pods are decided for, one after the other, each
//! nominated to its node.

mod measure;

use measure::core_seconds;
use placement::cluster::*;
use placement::plan::{Planner, Preemption, Warmth};
use placement::units::{Bytes, MilliCpu, Timestamp};

const PODS: usize = 500;

fn pod(name: String, milli_cpu: i64, priority: i32) -> Pod {
    let requests = Resources { cpu: MilliCpu(milli_cpu), memory: Bytes(500 << 20), ..Resources::default() };
    Pod { key: PodKey::new("bench", name.clone()), uid: name, scoring_requests: requests.clone(), requests, priority, ..Pod::default() }
}

/// Microseconds of a decision and of the search for victims, for the first and the last hundred pods.
fn measure(nodes: usize) -> [(f64, f64); 2] {
    let mut cluster = Cluster::new(Settings { undelayed: Undelayed::Any, ..Settings::default() });
    for i in 0..nodes {
        let name = format!("node-{i:04}");
        let allocatable = Resources { cpu: MilliCpu(4_000), memory: Bytes(32 << 30), pods: 110, ..Resources::default() };
        cluster.apply_node(Node { name: name.clone(), allocatable, ..Node::default() });
        for j in 0..4 {
            cluster.apply_pod(Pod { node_name: Some(name.clone()), ..pod(format!("low-{i}-{j}"), 900, 0) });
        }
    }
    let incoming: Vec<Pod> = (0..PODS).map(|i| pod(format!("high-{i}"), 3_000, 10)).collect();
    for pod in &incoming {
        cluster.apply_pod(pod.clone());
    }
    let mut planner = Planner::new();
    let (mut deciding, mut preempting) = (Vec::new(), Vec::new());
    for pod in &incoming {
        let start = core_seconds();
        let snapshot = cluster.snapshot();
        let decision = planner.decide(&snapshot, pod, Timestamp(0), Warmth::Warm);
        let decided = core_seconds();
        let found = planner.preempt(&snapshot, pod, &decision, Timestamp(0));
        deciding.push(decided - start);
        preempting.push(core_seconds() - decided);
        drop(snapshot);
        let Some(Preemption::Evict(eviction)) = found else { panic!("{} finds no room: {found:?}", pod.key) };
        cluster.nominate(&pod.key, &pod.uid, Some(&eviction.node));
    }
    let mean = |times: &[f64]| 1e6 * times.iter().sum::<f64>() / times.len() as f64;
    [0..100, PODS - 100..PODS].map(|part| (mean(&deciding[part.clone()]), mean(&preempting[part])))
}

fn main() {
    // `cargo test --benches` calls with --test: nothing to measure then.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    for nodes in [1_000, 5_000] {
        let [first, last] = measure(nodes);
        for (name, (decide, preempt)) in [("first", first), ("last", last)] {
            println!("preemption/{nodes}-nodes/{name}-100/decide {decide:.0} us");
            println!("preemption/{nodes}-nodes/{name}-100/preempt {preempt:.0} us");
        }
    }
}
