//! What is counted by labels and by terms against walking the pods, on random histories.

use placement::cluster::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;

type Counts = BTreeMap<NodeIx, u64>;

fn requirement() -> impl Strategy<Value = Requirement> {
    let operator = select(&[Operator::In, Operator::In, Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist][..]);
    (select(&["app", "tier"][..]), operator, subsequence(vec!["a", "b", "c"], 1..=2)).prop_map(|(key, operator, values)| {
        let valued = matches!(operator, Operator::In | Operator::NotIn);
        let values = if valued { values.into_iter().map(Into::into).collect() } else { vec![] };
        Requirement { key: key.into(), operator, values }
    })
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    proptest::collection::vec(requirement(), 0..=2).prop_map(LabelSelector::new)
}

fn term() -> impl Strategy<Value = PodTerm> {
    let namespaces = subsequence(vec!["x".to_owned(), "y".to_owned()], 0..=2);
    let namespace_selector = proptest::option::weighted(0.4, selector());
    (proptest::option::weighted(0.9, selector()), namespaces, namespace_selector).prop_map(|(selector, namespaces, namespace_selector)| {
        PodTerm { selector, namespaces, namespace_selector, topology_key: "zone".into() }
    })
}

fn affinity() -> impl Strategy<Value = PodAffinity> {
    (proptest::collection::vec(term(), 0..=1), proptest::collection::vec((1..=100i32, term()), 0..=1))
        .prop_map(|(required, preferred)| PodAffinity { required, preferred })
}

fn labels() -> impl Strategy<Value = Labels> {
    let value = || proptest::option::of(select(&["a", "b", "c"][..]));
    (value(), value()).prop_map(|(app, tier)| {
        let labels = [("app", app), ("tier", tier)];
        labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
    })
}

fn pod() -> impl Strategy<Value = Pod> {
    let standing = (proptest::option::of(0..4u32), proptest::bool::weighted(0.2), proptest::bool::weighted(0.1));
    (1..=6u32, select(&["x", "y"][..]), 0..3u32, labels(), standing, affinity(), affinity()).prop_map(
        |(name, namespace, uid, labels, (node, terminating, ended), pod_affinity, pod_anti_affinity)| Pod {
            key: PodKey::new(namespace, format!("p{name}")),
            uid: format!("u{uid}"),
            labels,
            node_name: node.map(|node| format!("n{node}")),
            terminating,
            phase: if ended { PodPhase::Ended } else { PodPhase::Running },
            pod_affinity,
            pod_anti_affinity,
            ..Pod::default()
        },
    )
}

#[derive(Clone, Debug)]
enum Event {
    Apply(Box<Pod>),
    Delete(PodKey),
    Assume(PodKey, u32),
    Forget(PodKey),
    Namespace(&'static str, Option<Labels>),
    DeleteNode(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let key = || (select(&["x", "y"][..]), 1..=6u32).prop_map(|(namespace, name)| PodKey::new(namespace, format!("p{name}")));
    prop_oneof![
        8 => pod().prop_map(|pod| Event::Apply(Box::new(pod))),
        2 => key().prop_map(Event::Delete),
        4 => (key(), 0..4u32).prop_map(|(key, node)| Event::Assume(key, node)),
        2 => key().prop_map(Event::Forget),
        1 => (select(&["x", "y"][..]), proptest::option::of(labels())).prop_map(|(name, labels)| Event::Namespace(name, labels)),
        1 => (0..4u32).prop_map(Event::DeleteNode),
    ]
}

fn change(cluster: &mut Cluster, event: Event) {
    match event {
        Event::Apply(pod) => drop(cluster.apply_pod(*pod)),
        Event::Delete(key) => drop(cluster.delete_pod(&key)),
        Event::Assume(key, node) => {
            let name = format!("n{node}");
            cluster.apply_node(Node { name: name.clone(), ..Node::default() });
            let uid = cluster.view().pod(&key).map(|view| view.pod.uid.clone());
            // Refused for a pod that already stands somewhere.
            let _ = uid.map(|uid| cluster.assume(&key, &uid, &name));
        }
        Event::Forget(key) => drop(cluster.forget(&key)),
        Event::Namespace(name, Some(labels)) => cluster.apply_namespace(name, labels),
        Event::Namespace(name, None) => cluster.delete_namespace(name),
        Event::DeleteNode(node) => drop(cluster.delete_node(&format!("n{node}"))),
    }
}

fn walked(snapshot: &Snapshot, counts: impl Fn(&Pod) -> u64) -> Counts {
    let mut all = Counts::new();
    for (view, node) in snapshot.pods().filter_map(|view| Some((view, view.node?))) {
        *all.entry(node).or_default() += counts(view.pod);
    }
    all.retain(|_, count| *count > 0);
    all
}

fn summed<'a>(parts: impl Iterator<Item = &'a NodeCounts>) -> Counts {
    let mut all = Counts::new();
    parts.flat_map(|counts| counts.iter()).for_each(|(node, count)| *all.entry(node).or_default() += u64::from(count));
    all
}

/// Every count of one snapshot.
fn check(snapshot: &Snapshot, terms: &[PodTerm], incoming: &Pod) -> Result<(), TestCaseError> {
    for own in [&terms[..0], &terms[..1], &terms[1..], terms] {
        let Some(query) = snapshot.query(own) else {
            prop_assert!(own.iter().any(|term| term.selector.is_none()));
            continue;
        };
        let means = |pod: &Pod| {
            own.iter().all(|term| {
                // A namespace that is not known is in no selection, but in that of all.
                let labels = snapshot.namespace_labels(&pod.key.namespace);
                let known = labels.is_some() || term.namespace_selector.as_ref().is_some_and(LabelSelector::is_empty);
                let term = PodTerm { namespace_selector: term.namespace_selector.clone().filter(|_| known), ..term.clone() };
                term.matches(pod, labels)
            })
        };
        prop_assert_eq!(summed(snapshot.count_pods(&query)), walked(snapshot, |pod| u64::from(means(pod))), "{:?}", query);
        let query = PodQuery { terminating: false, ..query };
        let counted = walked(snapshot, |pod| u64::from(means(pod) && !pod.terminating));
        prop_assert_eq!(summed(snapshot.count_pods(&query)), counted, "{:?}", query);
    }
    let labels = snapshot.namespace_labels(&incoming.key.namespace);
    let meant = |terms: &[PodTerm]| terms.iter().filter(|term| term.matches(incoming, labels)).count() as u64;
    let weighed = |terms: &[(i32, PodTerm)]| terms.iter().filter(|(_, term)| term.matches(incoming, labels)).map(|(w, _)| *w as u64).sum();
    let held = snapshot.held_terms(incoming);
    let of = |stance: fn(&Stance) -> u64| {
        let mut all = Counts::new();
        for held in &held {
            held.counts.iter().for_each(|(node, count)| *all.entry(node).or_default() += u64::from(count) * stance(&held.stance));
        }
        all.retain(|_, count| *count > 0);
        all
    };
    prop_assert_eq!(of(|s| u64::from(*s == Stance::Forbids)), walked(snapshot, |pod| meant(&pod.pod_anti_affinity.required)));
    prop_assert_eq!(of(|s| u64::from(*s == Stance::Requires)), walked(snapshot, |pod| meant(&pod.pod_affinity.required)));
    let towards = of(|s| if let Stance::Prefers(weight @ 1..) = s { *weight as u64 } else { 0 });
    prop_assert_eq!(towards, walked(snapshot, |pod| weighed(&pod.pod_affinity.preferred)));
    let away = of(|s| if let Stance::Prefers(weight @ ..0) = s { -*weight as u64 } else { 0 });
    prop_assert_eq!(away, walked(snapshot, |pod| weighed(&pod.pod_anti_affinity.preferred)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_what_walking_the_pods_finds(
        events in proptest::collection::vec(event(), 1..40),
        terms in proptest::collection::vec(term(), 2..=2),
        incoming in pod(),
    ) {
        let mut cluster = Cluster::new(Settings::default());
        (0..4).for_each(|node| drop(cluster.apply_node(Node { name: format!("n{node}"), ..Node::default() })));
        let mut snapshots = Vec::new();
        for (i, event) in events.into_iter().enumerate() {
            change(&mut cluster, event);
            check(cluster.view(), &terms, &incoming)?;
            // Held, so that what follows has something to share memory with.
            if i % 4 == 0 {
                snapshots.push(cluster.snapshot());
            }
        }
        let snapshot = cluster.snapshot();
        for view in snapshot.pods() {
            check(&snapshot.without(&view.pod.key), &terms, &incoming)?;
        }
        let pending: Vec<&PodKey> = snapshot.pods().filter(|view| view.node.is_none()).map(|view| &view.pod.key).collect();
        let placements: Vec<(&PodKey, NodeIx)> = pending.into_iter().map(|key| (key, NodeIx(1))).collect();
        check(&snapshot.with(&placements), &terms, &incoming)?;
        for old in &snapshots {
            check(old, &terms, &incoming)?;
        }
    }
}
