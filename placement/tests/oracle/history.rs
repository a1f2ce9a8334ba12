//! Random clusters that change.

use super::{NOW, among_pods};
use placement::cluster::*;
use placement::constraint::*;
use placement::topology::{Kind, PairStat};
use placement::units::{Bytes, Micros, MilliCpu, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const KEYS: [&str; 3] = ["zone", "cores", "disk"];

#[derive(Clone, Debug)]
pub enum Event {
    Node(Node),
    DeleteNode(String),
    Pod(Pod),
    DeletePod(PodKey),
    Rtt(String, String, PairStat),
    Service(&'static str, Option<Labels>),
    Demand(Workload, Option<Vec<(String, f64)>>),
    /// Decide for this pod, and assume it where it fits.
    Place(Pod),
}

fn node_name() -> impl Strategy<Value = String> {
    (1..=6u32).prop_map(|i| format!("n{i}"))
}

fn labels() -> impl Strategy<Value = Labels> {
    let label = |key: &'static str, values: &'static [&'static str]| (Just(key.to_owned()), select(values).prop_map(str::to_owned));
    let all = (
        proptest::option::weighted(0.8, label("zone", &["a", "b", "c"])),
        proptest::option::of(label("cores", &["8", "16", "many"])),
        proptest::option::of(label("disk", &["ssd"])),
        proptest::option::weighted(0.25, label("kubernetes.io/role", &["cloud", "edge"])),
        proptest::option::weighted(0.8, label("kubernetes.io/hostname", &["h1", "h2", "h3"])),
        proptest::option::weighted(0.8, label("topology.kubernetes.io/zone", &["", "a", "b"])),
        proptest::option::weighted(0.15, label("node-role.kubernetes.io/control-plane", &[""])),
    );
    all.prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].into_iter().flatten().collect())
}

fn resources(scale: i64) -> impl Strategy<Value = Resources> {
    (0..=4i64, 0..=4i64, 0..=2i64, proptest::option::weighted(0.3, 0..=2i64)).prop_map(move |(cpu, memory, storage, gpu)| Resources {
        cpu: MilliCpu(cpu * 250 * scale),
        memory: Bytes(memory * 100 * scale),
        ephemeral_storage: Bytes(storage * 10 * scale),
        pods: 3,
        extended: gpu.map(|n| ("x.io/gpu".to_owned(), n)).into_iter().collect(),
    })
}

fn taint() -> impl Strategy<Value = Taint> {
    let effect =
        select(&[TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule, TaintEffect::PreferNoSchedule, TaintEffect::NoExecute][..]);
    let key = select(&["t1", "t2", "node-role.kubernetes.io/control-plane"][..]);
    (key, select(&["", "x"][..]), effect).prop_map(|(key, value, effect)| Taint { key: key.into(), value: value.into(), effect })
}

fn node() -> impl Strategy<Value = Node> {
    (node_name(), labels(), proptest::collection::vec(taint(), 0..3), proptest::bool::weighted(0.1), resources(4)).prop_map(
        |(name, labels, taints, unschedulable, allocatable)| Node { name, labels, taints, unschedulable, allocatable, ..Node::default() },
    )
}

fn toleration() -> impl Strategy<Value = Toleration> {
    let key = select(&["", "t1", "t2", "node-role.kubernetes.io/control-plane", "node.kubernetes.io/unschedulable"][..]);
    let effect = proptest::option::of(select(&[TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule][..]));
    (key, proptest::bool::ANY, select(&["", "x"][..]), effect).prop_map(|(key, exists, value, effect)| Toleration {
        key: key.into(),
        operator: if exists || key.is_empty() { TolerationOperator::Exists } else { TolerationOperator::Equal },
        value: value.into(),
        effect,
    })
}

fn term() -> impl Strategy<Value = NodeSelectorTerm> {
    let operator = select(&[Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist, Operator::Gt, Operator::Lt][..]);
    let values = subsequence(vec!["a", "b", "ssd", "8", "12"], 0..=2);
    let expression = (select(&KEYS[..]), operator.clone(), values).prop_map(|(key, operator, values)| Requirement {
        key: key.into(),
        operator,
        values: values.into_iter().map(Into::into).collect(),
    });
    let field =
        (operator, node_name()).prop_map(|(operator, name)| Requirement { key: "metadata.name".into(), operator, values: vec![name] });
    (proptest::collection::vec(expression, 0..=2), proptest::option::weighted(0.2, field))
        .prop_map(|(match_expressions, field)| NodeSelectorTerm { match_expressions, match_fields: field.into_iter().collect() })
}

fn workload() -> impl Strategy<Value = Workload> {
    let kind = select(&[WorkloadKind::Deployment, WorkloadKind::Job][..]);
    (kind, select(&["api", "web", "n9"][..])).prop_map(|(kind, name)| Workload { kind, name: name.into() })
}

fn bound() -> impl Strategy<Value = DelayBound> {
    let from = prop_oneof![
        5 => node_name().prop_map(Reference::Name),
        1 => node_name().prop_map(Reference::Node),
        3 => select(&["api", "web", "p1", "p2", "n9"][..]).prop_map(|name| Reference::Name(name.into())),
        1 => workload().prop_map(|w| Reference::Workload(w.kind, w.name)),
        1 => select(&["p1", "p3"][..]).prop_map(|name| Reference::Pod(name.into())),
    ];
    let options = (proptest::bool::ANY, proptest::bool::weighted(0.3), proptest::bool::weighted(0.3));
    (from, 0..=12u32, options).prop_map(|(from, max, (p50, all, allow))| DelayBound {
        from,
        max: Micros(max * 1000),
        statistic: if p50 { Statistic::P50 } else { Statistic::P90 },
        replicas: if all { ReplicaRule::All } else { ReplicaRule::Any },
        missing: if allow { Missing::Allow } else { Missing::Deny },
        source: DelaySource::Annotation,
    })
}

fn pod() -> impl Strategy<Value = Pod> {
    let affinity =
        (proptest::option::weighted(0.3, proptest::collection::vec(term(), 0..=2)), proptest::collection::vec((1..=100i32, term()), 0..=2));
    let selector = proptest::option::weighted(0.2, select(&["a", "b"][..]));
    let standing = (proptest::bool::weighted(0.1), proptest::bool::weighted(0.1));
    (
        (1..=8u32, proptest::option::of(workload()), standing, 0..1000u32),
        (resources(1), selector, affinity),
        (proptest::collection::vec(toleration(), 0..=3), proptest::collection::vec(bound(), 0..=2), among_pods::wishes()),
    )
        .prop_map(
            |((name, owner, (terminating, ended), uid), (requests, zone, (required, preferred)), (tolerations, delays, wishes))| {
                let mut scoring_requests = requests.clone();
                if scoring_requests.cpu.0 == 0 {
                    scoring_requests.cpu = MilliCpu(100);
                }
                Pod {
                    key: PodKey::new("default", format!("p{name}")),
                    uid: format!("u{uid}"),
                    owner,
                    terminating,
                    phase: if ended { PodPhase::Ended } else { PodPhase::Pending },
                    requests,
                    scoring_requests,
                    node_selector: zone.map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().collect(),
                    affinity: NodeAffinity { required, preferred },
                    tolerations,
                    delays,
                    labels: wishes.labels,
                    pod_affinity: wishes.towards,
                    pod_anti_affinity: wishes.away,
                    spread: wishes.spread,
                    ..Pod::default()
                }
            },
        )
}

fn stat() -> impl Strategy<Value = PairStat> {
    let kind = select(&[Kind::Measured, Kind::Measured, Kind::Measured, Kind::Declared, Kind::Estimated][..]);
    let age = select(&[0u64, 0, 0, 500_000, 900_000, 900_001, 1_500_000][..]);
    (0..=8u32, 0..=2u32, kind, age).prop_map(|(p50, spread, kind, age)| PairStat {
        p50: Micros(p50 * 1000),
        p90: Micros((p50 + spread) * 1000),
        loss_permille: 0,
        samples: 20,
        at: Timestamp(NOW.0 - age),
        kind,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let demand = proptest::option::weighted(0.7, proptest::collection::vec((node_name(), (1..5u32).prop_map(f64::from)), 1..3));
    prop_oneof![
        4 => node().prop_map(Event::Node),
        1 => node_name().prop_map(Event::DeleteNode),
        3 => (pod(), node_name()).prop_map(|(pod, node)| Event::Pod(Pod { node_name: Some(node), ..pod })),
        1 => (1..=8u32).prop_map(|i| Event::DeletePod(PodKey::new("default", format!("p{i}")))),
        12 => (node_name(), node_name(), stat()).prop_map(|(a, b, stat)| Event::Rtt(a, b, stat)),
        1 => (workload(), demand).prop_map(|(workload, demand)| Event::Demand(workload, demand)),
        1 => (select(&["s1", "s2"][..]), proptest::option::weighted(0.8, among_pods::labels())).prop_map(|(name, selector)| Event::Service(name, selector)),
        8 => pod().prop_map(|pod| Event::Place(Pod { terminating: false, phase: PodPhase::Pending, ..pod })),
    ]
}

/// A cluster in which much is measured and references stand, then changes and decisions.
pub fn story() -> impl Strategy<Value = Vec<Event>> {
    let easy = |node: Node, i: usize| Node {
        name: format!("n{}", i + 1),
        unschedulable: false,
        taints: node.taints.into_iter().take(1).collect(),
        ..node
    };
    let nodes = proptest::collection::vec(node(), 6)
        .prop_map(move |nodes| nodes.into_iter().enumerate().map(|(i, n)| Event::Node(easy(n, i))).collect::<Vec<_>>());
    let pairs = proptest::collection::vec(stat(), 15).prop_map(|stats| {
        let pairs = (1..=6).flat_map(|a| (a + 1..=6).map(move |b| (format!("n{a}"), format!("n{b}"))));
        pairs.zip(stats).map(|((a, b), stat)| Event::Rtt(a, b, PairStat { at: NOW, ..stat })).collect::<Vec<_>>()
    });
    let standing = proptest::collection::vec((pod(), node_name()), 4).prop_map(|pods| {
        let stands = |(i, (pod, node)): (usize, (Pod, String))| Pod {
            key: PodKey::new("default", format!("p{}", i + 1)),
            owner: Some(Workload { kind: WorkloadKind::Deployment, name: if i < 3 { "api" } else { "web" }.into() }),
            node_name: Some(node),
            ..pod
        };
        pods.into_iter().enumerate().map(|pod| Event::Pod(stands(pod))).collect::<Vec<_>>()
    });
    let rest = proptest::collection::vec(event(), 1..60);
    (proptest::bool::weighted(0.9), nodes, pairs, standing, rest)
        .prop_map(|(settled, nodes, pairs, standing, rest)| if settled { [nodes, pairs, standing, rest].concat() } else { rest })
}

pub fn settings() -> impl Strategy<Value = Settings> {
    let undelayed = select(&[Undelayed::CloudPreferred, Undelayed::CloudOnly, Undelayed::Any, Undelayed::Any][..]);
    (undelayed, proptest::bool::weighted(0.9)).prop_map(|(undelayed, delay_filter)| Settings {
        undelayed,
        delay_filter,
        ..Settings::default()
    })
}
