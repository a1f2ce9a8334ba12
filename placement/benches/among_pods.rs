//! What spreading and affinity between pods cost a decision, and that it does not grow with the pods that are there. Prints `name figure unit`.
//!
//! 5,000 nodes in 50 zones, 1,000 and 20,000 pods of 100 workloads on them; 300 pods of one workload are decided for and assumed, the snapshot held meanwhile.
//! `workload`: 20,000 pods, of which 4,000 instead of 200 are of that workload. `numbered`: every pod has a label of its own, as a StatefulSet's have.
//! `first`: the first decision of a new planner, which makes the columns of labels, in wall time.

mod measure;

use measure::{core_seconds, wall_seconds};
use placement::cluster::*;
use placement::plan::{Choice, Planner, Warmth};
use placement::units::{Bytes, MilliCpu, Timestamp};

const NODES: usize = 5_000;
const DECISIONS: usize = 300;
/// The fastest counts: others use the machine's caches too.
const TRIES: usize = 5;
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

fn labels(of: &[(&str, String)]) -> Labels {
    of.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

/// What a pod of a measured kind has.
type Shape = fn(&mut Pod);

/// Pods of the same workload.
fn own(pod: &Pod) -> LabelSelector {
    LabelSelector::of_labels(pod.labels.iter().filter(|(key, _)| *key == "app"))
}

fn pod(name: String, workload: usize, shape: Shape) -> Pod {
    let requests = Resources { cpu: MilliCpu(10), memory: Bytes(1 << 20), ..Resources::default() };
    let mut pod = Pod {
        key: PodKey::new("bench", name.clone()),
        uid: name,
        labels: labels(&[("app", format!("app-{workload}")), ("pod-template-hash", "7f".into()), ("tier", "edge".into())]),
        scoring_requests: requests.clone(),
        requests,
        ..Pod::default()
    };
    shape(&mut pod);
    pod
}

/// Pods that are there: all, and those of the workload that is measured.
#[derive(Clone, Copy)]
struct There {
    pods: usize,
    own: usize,
}

fn cluster(there: There, shape: Shape, service: bool) -> Cluster {
    let mut cluster = Cluster::new(Settings { undelayed: Undelayed::Any, ..Settings::default() });
    for i in 0..NODES {
        let name = format!("node-{i:04}");
        let allocatable = Resources { cpu: MilliCpu(64_000), memory: Bytes(256 << 30), pods: 110, ..Resources::default() };
        let labels = labels(&[(HOSTNAME, name.clone()), (ZONE, format!("zone-{}", i % 50))]);
        cluster.apply_node(Node { name, labels, allocatable, ..Node::default() });
    }
    if service {
        cluster.apply_service("bench", "app-0", Some(own(&pod(String::new(), 0, shape))));
    }
    for i in 0..there.pods {
        let workload = if i < there.own { 0 } else { 1 + i % 99 };
        let node = format!("node-{:04}", mix(i as u64) % NODES as u64);
        cluster.apply_pod(Pod { node_name: Some(node), ..pod(format!("there-{i}"), workload, shape) });
    }
    cluster
}

/// Microseconds of the first decision, and of each later one with its assume.
fn measure(there: There, shape: Shape, service: bool) -> (f64, f64) {
    let mut cluster = cluster(there, shape, service);
    let incoming: Vec<Pod> = (0..=DECISIONS).map(|i| pod(format!("new-{i}"), 0, shape)).collect();
    for pod in &incoming {
        cluster.apply_pod(pod.clone());
    }
    let mut planner = Planner::new();
    let mut decide = |pod: &Pod| {
        let snapshot = cluster.snapshot();
        let Choice::Place(ix) = planner.choose(&snapshot, pod, Timestamp(0), Warmth::Warm) else { panic!("{} finds no node", pod.key) };
        cluster.assume_at(&pod.key, &pod.uid, ix).expect("the pod is pending and the node known");
    };
    let start = wall_seconds();
    decide(&incoming[0]);
    let first = wall_seconds() - start;
    let start = core_seconds();
    incoming[1..].iter().for_each(&mut decide);
    (1e6 * first, 1e6 * (core_seconds() - start) / DECISIONS as f64)
}

/// Hard over zones, soft over nodes.
fn spread(pod: &mut Pod) {
    let selector = own(pod);
    let constraint = |topology_key: &str, hard| SpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        hard,
        selector: Some(selector.clone()),
        ..SpreadConstraint::default()
    };
    pod.spread = vec![constraint(ZONE, true), constraint(HOSTNAME, false)];
}

fn numbered_spread(pod: &mut Pod) {
    spread(pod);
    pod.labels.insert("pod-name".to_owned(), pod.key.name.clone());
}

/// Pods of the own workload in the same domain.
fn beside(pod: &Pod, topology_key: &str) -> PodTerm {
    let namespaces = vec![pod.key.namespace.clone()];
    PodTerm { selector: Some(own(pod)), namespaces, namespace_selector: None, topology_key: topology_key.to_owned() }
}

/// Away from pods of the own workload, by node.
fn anti_affinity(pod: &mut Pod) {
    pod.pod_anti_affinity.required = vec![beside(pod, HOSTNAME)];
}

/// In a zone with pods of the own workload, and rather on a node with some.
fn affinity(pod: &mut Pod) {
    pod.pod_affinity.required = vec![beside(pod, ZONE)];
    pod.pod_affinity.preferred = vec![(10, beside(pod, HOSTNAME))];
}

fn main() {
    // `cargo test --benches` calls with --test: nothing to measure then.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    // Pods of a Service are spread by the defaults: softly over nodes and zones.
    let shapes: [(&str, Shape, bool); 6] = [
        ("neither", |_| {}, false),
        ("default-spread", |_| {}, true),
        ("spread", spread, false),
        ("numbered-spread", numbered_spread, false),
        ("anti-affinity", anti_affinity, false),
        ("affinity", affinity, false),
    ];
    for (name, shape, service) in shapes {
        let fastest = |pods, own| {
            let tries = (0..TRIES).map(|_| measure(There { pods, own }, shape, service));
            tries.fold((f64::INFINITY, f64::INFINITY), |best, this| (best.0.min(this.0), best.1.min(this.1)))
        };
        let (few, many, own) = (fastest(1_000, 200), fastest(20_000, 200), fastest(20_000, 4_000));
        for (of, (first, later)) in [("1000-pods", few), ("20000-pods", many), ("20000-pods/workload", own)] {
            println!("{NODES}-nodes/{name}/{of}/first {first:.0} us");
            println!("{NODES}-nodes/{name}/{of} {later:.1} us/decision");
        }
        println!("{NODES}-nodes/{name}/20000-to-1000-pods {:.2} times", many.1 / few.1);
        println!("{NODES}-nodes/{name}/4000-to-200-of-its-own {:.2} times", own.1 / many.1);
    }
}
