//! The objects that routing follows, as last heard. Plain maps: tests feed them objects, and no cluster is needed.

use super::objects::{Key, NodeRecord, PodRecord, ServiceRecord, SliceRecord};
use api::crd::{EdgeLoadBalancer, EdgeLoadBalancerStatus};
use chassis::watches::Change;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct State {
    /// Without their status.
    pub load_balancers: BTreeMap<Key, EdgeLoadBalancer>,
    /// What routers wrote of them; routing does not depend on it.
    pub statuses: BTreeMap<Key, EdgeLoadBalancerStatus>,
    pub services: BTreeMap<Key, ServiceRecord>,
    pub slices: BTreeMap<Key, SliceRecord>,
    pub pods: BTreeMap<Key, PodRecord>,
    pub nodes: BTreeMap<Key, NodeRecord>,
}

/// A change of one of the followed kinds.
#[expect(clippy::large_enum_variant, reason = "one at a time, from the watch straight into the state: boxes would only cost")]
pub enum Event {
    LoadBalancer(Change<EdgeLoadBalancer>),
    Service(Change<Service>),
    Slice(Change<EndpointSlice>),
    Pod(Change<Pod>),
    Node(Change<Node>),
}

impl State {
    /// Takes in a change; `false` when routing does not depend on what changed.
    pub fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::LoadBalancer(change) => {
                self.keep_statuses(&change);
                apply(&mut self.load_balancers, change, |object| {
                    let mut object = object.clone();
                    // Routing does not depend on them, and the status is our own.
                    (object.metadata.managed_fields, object.metadata.resource_version, object.status) = (None, None, None);
                    Some(object)
                })
            }
            Event::Service(change) => apply(&mut self.services, change, |object| Some(ServiceRecord::of(object))),
            Event::Slice(change) => apply(&mut self.slices, change, |object| Some(SliceRecord::of(object))),
            Event::Pod(change) => apply(&mut self.pods, change, PodRecord::of),
            Event::Node(change) => apply(&mut self.nodes, change, |object| Some(NodeRecord::of(object))),
        }
    }
}

impl State {
    fn keep_statuses(&mut self, change: &Change<EdgeLoadBalancer>) {
        let status = |object: &EdgeLoadBalancer| Some((key(object), object.status.clone()?));
        match change {
            Change::Apply(object) => self.statuses.extend(status(object)),
            Change::Delete(object) => drop(self.statuses.remove(&key(object))),
            Change::Reset(objects) => self.statuses = objects.iter().filter_map(status).collect(),
        }
    }
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn apply<K: ResourceExt, R: PartialEq>(known: &mut BTreeMap<Key, R>, change: Change<K>, record: impl Fn(&K) -> Option<R>) -> bool {
    match change {
        Change::Apply(object) => match record(&object) {
            Some(record) if known.get(&key(&object)) == Some(&record) => false,
            Some(record) => {
                known.insert(key(&object), record);
                true
            }
            None => known.remove(&key(&object)).is_some(),
        },
        Change::Delete(object) => known.remove(&key(&object)).is_some(),
        Change::Reset(objects) => {
            let all = objects.iter().filter_map(|object| Some((key(object), record(object)?))).collect();
            let changed = *known != all;
            *known = all;
            changed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, zone: &str) -> Node {
        let value = json!({"metadata": {"name": name, "labels": {"zone": zone}}, "status": {"conditions": []}});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_routing_depends_on_is_a_change() {
        let mut state = State::default();
        let mut check = |change: Change<Node>, changed: bool, nodes: usize| {
            assert_eq!((state.apply(Event::Node(change)), state.nodes.len()), (changed, nodes));
        };
        check(Change::Reset(vec![node("a", "1"), node("b", "1")]), true, 2);
        let mut heartbeat = node("a", "1");
        heartbeat.metadata.resource_version = Some("7".into());
        check(Change::Apply(heartbeat), false, 2);
        check(Change::Apply(node("a", "2")), true, 2);
        check(Change::Delete(node("b", "1")), true, 1);
        check(Change::Delete(node("b", "1")), false, 1);
        check(Change::Reset(Vec::new()), true, 0);
    }
}
