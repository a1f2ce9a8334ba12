//! Decisions per second on one core, allocations per decision, bytes per node and per pod. Prints `name figure unit`.
//!
//! Clusters of 1,000, 5,000 and 20,000 nodes; 2,000 distinct pod shapes, each with resources, tolerations and a delay bound, half with a selector and a
//! quarter with preferred terms; every score on; a snapshot and an assume with each decision, which is timed as the scheduler times it. The snapshot is let
//! go before, as the cycle does; with `snapshot-held` it is not, so that every assume pays for copy-on-write. 200 reference nodes, each measured to 200 to
//! 2,000 others (the store's rows are sparse beyond 4,096 nodes).

#[allow(dead_code)] // Not every bench needs all of it.
mod measure;

use measure::{core_seconds, wall_seconds};
use placement::cluster::*;
use placement::constraint::{DelayBound, DelaySource, Missing, Reference, ReplicaRule, Statistic};
use placement::plan::{Choice, Planner, Stopwatch, Warmth};
use placement::topology::{Kind, PairStat};
use placement::units::{Bytes, Micros, MilliCpu, Timestamp};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

#[allow(unsafe_code)] // A global allocator can't be written without; it only counts and passes on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(layout.size() as i64, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Timestamp = Timestamp(1_000_000_000);
const SHAPES: usize = 2_000;
const REFERENCES: usize = 200;
/// Pods placed in the measured run.
const PODS: usize = 20_000;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn node(i: usize, random: &mut Random) -> Node {
    let label = |k: &str, v: String| (k.to_owned(), v);
    let labels = [
        label("kubernetes.io/hostname", format!("edge-{i:05}")),
        label("kubernetes.io/arch", (*random.pick(&["amd64", "arm64"])).to_owned()),
        label("kubernetes.io/os", "linux".to_owned()),
        label("topology.kubernetes.io/zone", format!("site-{}", i / 100)),
        label("topology.kubernetes.io/region", format!("region-{}", i / 2500)),
        label("example.com/tier", (*random.pick(&["gold", "silver", "bronze"])).to_owned()),
        label("node.kubernetes.io/instance-type", format!("type-{}", random.below(6))),
    ];
    let taint = |key: &str, effect| Taint { key: key.into(), value: "yes".into(), effect };
    let taints = match random.below(10) {
        0 => vec![taint("example.com/gpu", TaintEffect::NoSchedule)],
        1 => vec![taint("example.com/spot", TaintEffect::PreferNoSchedule)],
        2 => vec![taint("example.com/tenant", TaintEffect::NoSchedule), taint("example.com/spot", TaintEffect::PreferNoSchedule)],
        _ => vec![],
    };
    let allocatable = Resources {
        cpu: MilliCpu(8_000 + 4_000 * random.below(15) as i64),
        memory: Bytes((16 + 8 * random.below(15) as i64) << 30),
        ephemeral_storage: Bytes(100 << 30),
        pods: 110,
        ..Resources::default()
    };
    Node {
        name: format!("edge-{i:05}"),
        uid: format!("node-{i}"),
        labels: labels.into(),
        taints,
        ready: true,
        allocatable,
        ..Node::default()
    }
}

/// A pod without a name; `salt` makes it distinct.
fn shape(random: &mut Random, references: &[String]) -> Pod {
    let tolerate = |key: &str| Toleration { key: key.into(), operator: TolerationOperator::Exists, value: String::new(), effect: None };
    let keys =
        ["example.com/gpu", "example.com/spot", "example.com/tenant", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
    let tolerations = keys.iter().filter(|_| random.below(2) == 0).map(|key| tolerate(key)).collect();
    let requirement = |key: &str, values: Vec<String>| Requirement { key: key.into(), operator: Operator::In, values };
    let term = |requirement| NodeSelectorTerm { match_expressions: vec![requirement], match_fields: vec![] };
    let selector = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
    let node_selector = match random.below(4) {
        0 => selector("kubernetes.io/arch", "amd64"),
        1 => selector("example.com/tier", random.pick::<&str>(&["gold", "silver", "bronze"])),
        _ => Labels::new(),
    };
    let required = (random.below(4) == 0).then(|| {
        let types = (0..6).filter(|_| random.below(3) > 0).map(|t| format!("type-{t}")).collect();
        vec![term(requirement("node.kubernetes.io/instance-type", types))]
    });
    let preferred = match random.below(4) {
        0 => vec![(1 + random.below(100) as i32, term(requirement("example.com/tier", vec!["gold".into()])))],
        _ => vec![],
    };
    let requests = Resources {
        cpu: MilliCpu(5 * (1 + random.below(20) as i64)),
        memory: Bytes((8 * (1 + random.below(16) as i64)) << 20),
        ephemeral_storage: Bytes((random.below(4) as i64) << 20),
        ..Resources::default()
    };
    let bound = DelayBound {
        from: Reference::Name(random.pick(references).clone()),
        max: Micros(2_000 + 500 * random.below(60) as u32),
        statistic: Statistic::P90,
        replicas: ReplicaRule::Any,
        missing: Missing::Deny,
        source: DelaySource::Label,
    };
    Pod {
        scheduler_name: "edge-scheduler".into(),
        scoring_requests: requests.clone(),
        requests,
        node_selector,
        affinity: NodeAffinity { required, preferred },
        tolerations,
        delays: vec![bound],
        ..Pod::default()
    }
}

/// Sites of 100 nodes on a plane; from each reference the nearest sites and some far ones are measured.
fn cluster(nodes: usize, random: &mut Random) -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::new(Settings::default());
    for i in 0..nodes {
        cluster.apply_node(node(i, random));
    }
    let places: Vec<(f64, f64)> = (0..nodes.div_ceil(100)).map(|_| (random.below(1000) as f64, random.below(1000) as f64)).collect();
    let references: Vec<usize> = (0..REFERENCES).map(|_| random.below(nodes)).collect();
    for &reference in &references {
        let own = places[reference / 100];
        let mut sites: Vec<(f64, usize)> = places.iter().enumerate().map(|(s, p)| ((p.0 - own.0).hypot(p.1 - own.1), s)).collect();
        sites.sort_by(|a, b| a.0.total_cmp(&b.0));
        let measured = 200 + random.below(1801);
        let near = sites.iter().flat_map(|&(distance, site)| (site * 100..((site + 1) * 100).min(nodes)).map(move |n| (distance, n)));
        for (distance, to) in near.take(measured).filter(|(_, to)| *to != reference) {
            let rtt = 200.0 + distance * 50.0 + random.below(500) as f64;
            let p50 = Micros(rtt as u32);
            let stat = PairStat { p50, p90: Micros((rtt * 1.1) as u32), loss_permille: 0, samples: 20, at: NOW, kind: Kind::Measured };
            cluster.report_rtt(&format!("edge-{reference:05}"), &format!("edge-{to:05}"), stat);
        }
    }
    let mut names: Vec<String> = references.iter().map(|r| format!("edge-{r:05}")).collect();
    names.dedup();
    (cluster, names)
}

fn named(shape: &Pod, i: usize) -> Pod {
    Pod {
        key: PodKey::new("bench", format!("pod-{i:06}-abcde")),
        uid: format!("00000000-0000-0000-0000-{i:012}"),
        owner: Some(Workload { kind: WorkloadKind::Deployment, name: format!("app-{}", i % 500) }),
        ..shape.clone()
    }
}

fn run(planner: &mut Planner, cluster: &mut Cluster, pods: &[Pod], hold_snapshot: bool) -> (usize, f64, f64) {
    let start = core_seconds();
    let (mut placed, mut in_choose) = (0, 0);
    for (at, pod) in pods.iter().enumerate() {
        planner.stopwatch.begin(at % 10 == 0);
        let snapshot = cluster.snapshot();
        let before = ALLOCATIONS.load(Relaxed);
        let choice = planner.choose(&snapshot, pod, NOW, Warmth::Warm);
        in_choose += ALLOCATIONS.load(Relaxed) - before;
        let snapshot = hold_snapshot.then_some(snapshot);
        if let Choice::Place(ix) = choice {
            cluster.assume_at(&pod.key, &pod.uid, ix).expect("the pod is pending and the node known");
            placed += 1;
        }
        drop(snapshot);
    }
    let seconds = core_seconds() - start;
    (placed, pods.len() as f64 / seconds, in_choose as f64 / pods.len() as f64)
}

fn main() {
    // `cargo test --benches` calls with --test: nothing to measure then.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    for nodes in [1_000, 5_000, 20_000] {
        let mut random = Random(nodes as u64);
        let live = || LIVE_BYTES.load(Relaxed);
        let before = live();
        let mut bare = Cluster::new(Settings::default());
        for i in 0..nodes {
            bare.apply_node(node(i, &mut random));
        }
        println!("{nodes}-nodes/bytes-per-node {} B", (live() - before) / nodes as i64);
        drop(bare);
        let (mut cluster, references) = cluster(nodes, &mut random);
        let mut shapes = Vec::new();
        let mut seen = BTreeSet::new();
        while shapes.len() < SHAPES {
            let shape = shape(&mut random, &references);
            if seen.insert(format!("{shape:?}")) {
                shapes.push(shape);
            }
        }
        let warm: Vec<Pod> = (0..SHAPES).map(|i| named(&shapes[i], PODS + i)).collect();
        let pods: Vec<Pod> = (0..PODS).map(|i| named(&shapes[i % SHAPES], i)).collect();
        let repeats: Vec<Pod> = (0..PODS / 4).map(|i| named(&shapes[7], 2 * PODS + i)).collect();
        let held: Vec<Pod> = (0..PODS).map(|i| named(&shapes[i % SHAPES], 3 * PODS + i)).collect();
        let anywhere: Vec<Pod> = (0..SHAPES).map(|i| named(&Pod { delays: vec![], ..shapes[i].clone() }, 4 * PODS + i)).collect();
        let before = live();
        for pod in pods.iter().chain(&warm).chain(&repeats).chain(&held).chain(&anywhere) {
            cluster.apply_pod(pod.clone());
        }
        println!("{nodes}-nodes/bytes-per-pod {} B", (live() - before) / cluster.view().pod_count() as i64);
        let mut planner = Planner::timed(Stopwatch::new(|| Duration::from_secs_f64(wall_seconds())));
        let (_, rate, _) = run(&mut planner, &mut cluster, &warm, false);
        println!("{nodes}-nodes/first-sight {rate:.0} decisions/s");
        let (placed, rate, allocations) = run(&mut planner, &mut cluster, &pods, false);
        println!("{nodes}-nodes/distinct-shapes {rate:.0} decisions/s");
        println!("{nodes}-nodes/distinct-shapes-placed {:.1} %", 100.0 * placed as f64 / pods.len() as f64);
        println!("{nodes}-nodes/allocations-per-decision {allocations:.3} allocations");
        let (_, rate, _) = run(&mut planner, &mut cluster, &held, true);
        println!("{nodes}-nodes/distinct-shapes-snapshot-held {rate:.0} decisions/s");
        let (_, rate, _) = run(&mut planner, &mut cluster, &repeats, false);
        println!("{nodes}-nodes/cached-repeats {rate:.0} decisions/s");
        // No bound and no cloud nodes: every node is a candidate and gets every score, which kube-scheduler avoids by sampling.
        let (_, rate, _) = run(&mut planner, &mut cluster, &anywhere, false);
        println!("{nodes}-nodes/without-bounds {rate:.0} decisions/s");
        let (snapshot, start) = (cluster.snapshot(), core_seconds());
        let far = Pod { requests: Resources { cpu: MilliCpu(1 << 40), ..Resources::default() }, ..pods[0].clone() };
        let verdicts = planner.place(&snapshot, &far, NOW, Warmth::Warm).nodes.len();
        println!("{nodes}-nodes/table-of-{verdicts}-reasons {:.2} ms", 1000.0 * (core_seconds() - start));
    }
}
