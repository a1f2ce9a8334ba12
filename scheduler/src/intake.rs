//! From watches to the state: pods of every scheduler, nodes, and what pods are selected by.

mod devices;
mod storage;

pub use devices::{DEVICE_CLASSES, DEVICE_TAINT_RULES, RESOURCE_SLICES, device_claims, devices};
pub use storage::storage;

use crate::state::{Shared, Told, now};
use crate::topology::board::Board;
use crate::topology::demand::DemandBoard;
use chassis::watches::Change;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::api::ObjectMeta;
use placement::cluster::{Controller, ControllerKind, LabelSelector, Labels, Node, Pod, PodKey};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Terminated pods hold nothing and are nobody's reference; their end comes as a deletion from the watch.
pub const POD_FIELDS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What is kept of a pod that was seen.
pub struct SeenPod {
    model: Arc<Pod>,
    told: Option<Told>,
}

impl SeenPod {
    pub fn of(pod: v1::Pod) -> Self {
        let model = Arc::new(api::convert::pod(&pod));
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let told = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled").map(|found| Told::of(&model, found));
        Self { model, told }
    }
}

/// Feeds pods until the watch ends.
pub async fn pods(mut changes: impl Stream<Item = Change<SeenPod>> + Unpin, shared: Arc<Shared>) {
    let apply = |SeenPod { model, told }: SeenPod| shared.change(|state| state.apply_pod(model, told, now()));
    let delete = |key: &PodKey| shared.change(|state| state.delete_pod(key, now()));
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(pod) => apply(pod),
            Change::Delete(pod) => delete(&pod.model.key),
            Change::Reset(pods) => {
                let listed: HashSet<&PodKey> = pods.iter().map(|pod| &pod.model.key).collect();
                let known = shared.lock().cluster.snapshot();
                let gone: BTreeSet<PodKey> = known.pods().map(|view| view.pod.key.clone()).filter(|key| !listed.contains(key)).collect();
                gone.iter().for_each(delete);
                pods.into_iter().for_each(apply);
            }
        }
    }
}

/// What is kept of a node that was seen, or why it can't be read.
pub struct SeenNode {
    name: String,
    model: Result<Node, api::convert::ConvertError>,
}

impl SeenNode {
    pub fn of(node: v1::Node) -> Self {
        Self { name: name(&node.metadata).to_owned(), model: api::convert::node(&node) }
    }
}

/// Feeds nodes until the watch ends.
pub async fn nodes(mut changes: impl Stream<Item = Change<SeenNode>> + Unpin, shared: Arc<Shared>, board: Arc<Board>) {
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(node) => apply_node(&shared, &board, node),
            Change::Delete(node) => delete_node(&shared, &board, &node.name),
            Change::Reset(nodes) => {
                let listed: HashSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
                let known = shared.lock().cluster.snapshot();
                for (_, node) in known.nodes().filter(|(_, node)| !listed.contains(node.name.as_str())) {
                    delete_node(&shared, &board, &node.name);
                }
                nodes.into_iter().for_each(|node| apply_node(&shared, &board, node));
            }
        }
        board.refresh_warm(now());
    }
}

fn apply_node(shared: &Shared, board: &Board, node: SeenNode) {
    match node.model {
        Ok(model) => {
            board.apply_node(&model);
            shared.change(|state| {
                let changes = state.cluster.apply_node(model);
                state.note(&changes, now());
            });
        }
        // Its last good state stands; without one it takes no pods.
        Err(error) => tracing::warn!(error = chassis::program::chain(&error), "a node that can't be read is not used"),
    }
}

fn delete_node(shared: &Shared, board: &Board, name: &str) {
    board.delete_node(name);
    shared.change(|state| {
        let changes = state.cluster.delete_node(name);
        state.note(&changes, now());
    });
}

/// Feeds the selectors of Services until the watch ends. Demand comes by Service, and is placed by workload; and pods of a Service are spread.
pub async fn services(mut changes: impl Stream<Item = Change<v1::Service>> + Unpin, shared: Arc<Shared>, demand: Arc<DemandBoard>) {
    let set = |namespace: &str, name: &str, selector: Option<Labels>| {
        shared.lock().cluster.apply_service(namespace, name, selector.as_ref().map(LabelSelector::of_labels));
        demand.set_service(namespace, name, selector);
    };
    let apply = |service: &v1::Service| {
        set(namespace(&service.metadata), name(&service.metadata), service.spec.as_ref().and_then(|spec| spec.selector.clone()));
    };
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(service) => apply(&service),
            Change::Delete(service) => set(namespace(&service.metadata), name(&service.metadata), None),
            Change::Reset(services) => {
                let listed: HashSet<(&str, &str)> = services.iter().map(|s| (namespace(&s.metadata), name(&s.metadata))).collect();
                let known = shared.lock().cluster.snapshot();
                for (namespace, name) in known.services().filter(|service| !listed.contains(service)) {
                    set(namespace, name, None);
                }
                demand.keep_services(|namespace, name| listed.contains(&(namespace, name)));
                services.iter().for_each(apply);
            }
        }
    }
}

/// Feeds the selectors of controllers of one kind until the watch ends: pods are spread by them that have no constraints of their own.
pub async fn controllers<K: Resource>(
    mut changes: impl Stream<Item = Change<K>> + Unpin,
    kind: ControllerKind,
    selector: fn(&K) -> Option<LabelSelector>,
    shared: Arc<Shared>,
) {
    let set = |namespace: &str, name: &str, selector: Option<LabelSelector>| {
        shared.lock().cluster.apply_controller(namespace, &Controller { kind, name: name.to_owned() }, selector);
    };
    let apply = |object: &K| set(namespace(object.meta()), name(object.meta()), selector(object));
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(object) => apply(&object),
            Change::Delete(object) => set(namespace(object.meta()), name(object.meta()), None),
            Change::Reset(objects) => {
                let listed: HashSet<(&str, &str)> = objects.iter().map(|o| (namespace(o.meta()), name(o.meta()))).collect();
                let known = shared.lock().cluster.snapshot();
                let of_kind = known.controllers().filter(|(_, controller)| controller.kind == kind);
                for (namespace, controller) in of_kind.filter(|(namespace, c)| !listed.contains(&(*namespace, c.name.as_str()))) {
                    set(namespace, &controller.name, None);
                }
                objects.iter().for_each(apply);
            }
        }
    }
}

/// Feeds budgets of disruption until the watch ends: preemption breaks them last.
pub async fn budgets(mut changes: impl Stream<Item = Change<PodDisruptionBudget>> + Unpin, shared: Arc<Shared>) {
    let apply = |budget: &PodDisruptionBudget| shared.lock().cluster.apply_budget(api::convert::disruption_budget(budget));
    let delete = |namespace: &str, name: &str| shared.lock().cluster.delete_budget(namespace, name);
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(budget) => apply(&budget),
            Change::Delete(budget) => delete(namespace(&budget.metadata), name(&budget.metadata)),
            Change::Reset(budgets) => {
                let listed: HashSet<(&str, &str)> = budgets.iter().map(|b| (namespace(&b.metadata), name(&b.metadata))).collect();
                let known = shared.lock().cluster.snapshot();
                for gone in known.budgets().filter(|budget| !listed.contains(&(budget.namespace.as_str(), budget.name.as_str()))) {
                    delete(&gone.namespace, &gone.name);
                }
                budgets.iter().for_each(apply);
            }
        }
    }
}

/// Feeds the labels of namespaces until the watch ends: affinity may mean namespaces by label.
pub async fn namespaces(mut changes: impl Stream<Item = Change<v1::Namespace>> + Unpin, shared: Arc<Shared>) {
    let apply = |namespace: &v1::Namespace| {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        shared.lock().cluster.apply_namespace(name(&namespace.metadata), labels);
    };
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(namespace) => apply(&namespace),
            Change::Delete(namespace) => shared.lock().cluster.delete_namespace(name(&namespace.metadata)),
            Change::Reset(namespaces) => {
                let listed: HashSet<&str> = namespaces.iter().map(|namespace| name(&namespace.metadata)).collect();
                let known = shared.lock().cluster.snapshot();
                for gone in known.namespace_names().filter(|name| !listed.contains(name)) {
                    shared.lock().cluster.delete_namespace(gone);
                }
                namespaces.iter().for_each(apply);
            }
        }
    }
}

fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or_default()
}

fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}
