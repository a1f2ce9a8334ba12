//! Over-commitment of one node.

use super::{State, Violation};
use crate::cluster::{BASIC, Pod, PodKey, Resources, amount, basic};
use std::collections::BTreeMap;

fn amounts(resources: &Resources) -> BTreeMap<&str, i64> {
    let basic = BASIC.into_iter().zip(basic(resources));
    basic.chain(resources.extended.iter().map(|(name, raw)| (name.as_str(), amount(*raw)))).collect()
}

fn on<'a>(state: &'a State, node: &'a str) -> impl Iterator<Item = &'a Pod> {
    state.pods.values().filter(move |pod| pod.holds_capacity() && pod.node_name.as_deref() == Some(node))
}

/// Everything of which the node's pods ask for more than it has.
pub(super) fn check(state: &State, node: &str) -> Vec<Violation> {
    let Some(object) = state.nodes.get(node) else { return Vec::new() };
    let over = |resource: &str, used: i64, allocatable: i64| {
        let (node, resource) = (node.to_owned(), resource.to_owned());
        (used > allocatable).then_some(Violation::OverCommitted { node, resource, used, allocatable })
    };
    let mut used: BTreeMap<&str, i64> = BTreeMap::new();
    for (resource, amount) in on(state, node).flat_map(|pod| amounts(&pod.requests)) {
        *used.entry(resource).or_default() += amount;
    }
    let allocatable = amounts(&object.allocatable);
    let of_resources =
        used.into_iter().filter_map(|(resource, used)| over(resource, used, allocatable.get(resource).copied().unwrap_or(0)));
    of_resources.chain(over("pods", on(state, node).count() as i64, object.allocatable.pods)).collect()
}

/// As [`check`], of what the pod itself asks for: a node may have been over-committed in something else before.
pub(super) fn check_for(state: &State, node: &str, key: &PodKey) -> Vec<Violation> {
    let asked = state.pods.get(key).map(|pod| amounts(&pod.requests)).unwrap_or_default();
    let concerns = |violation: &Violation| match violation {
        Violation::OverCommitted { resource, .. } => resource == "pods" || asked.get(resource.as_str()).is_some_and(|amount| *amount > 0),
        _ => false,
    };
    check(state, node).into_iter().filter(concerns).collect()
}
