//! From watches to the state: pods of every scheduler, nodes, and what pods are selected by.

mod devices;
mod storage;

pub use devices::{device_claims, device_classes, device_taint_rules, resource_slices};
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
use placement::cluster::{Changes, Cluster, Controller, ControllerKind, LabelSelector, Labels, Node, Pod, PodKey};
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
        shared.pods.send_replace(());
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
            note(shared, |cluster| cluster.apply_node(model));
        }
        // Its last good state stands; without one it takes no pods.
        Err(error) => tracing::warn!(error = chassis::program::chain(&error), "a node that can't be read is not used"),
    }
}

fn delete_node(shared: &Shared, board: &Board, name: &str) {
    board.delete_node(name);
    note(shared, |cluster| cluster.delete_node(name));
}

/// Feeds the selectors of Services until the watch ends. Demand comes by Service, and is placed by workload; and pods of a Service are spread.
pub async fn services(changes: impl Stream<Item = Change<v1::Service>> + Unpin, shared: Arc<Shared>, demand: Arc<DemandBoard>) {
    let set = |key: &PodKey, selector: Option<Labels>| {
        shared.lock().cluster.apply_service(&key.namespace, &key.name, selector.as_ref().map(LabelSelector::of_labels));
        demand.set_service(&key.namespace, &key.name, selector);
    };
    let apply = |service: &v1::Service| set(&key(service), service.spec.as_ref().and_then(|spec| spec.selector.clone()));
    let known = || shared.lock().cluster.view().services().map(|(namespace, name)| PodKey::new(namespace, name)).collect();
    feed(changes, apply, |key| set(key, None), known).await;
}

/// Feeds the selectors of controllers of one kind until the watch ends: pods are spread by them that have no constraints of their own.
pub async fn controllers<K: Resource>(
    changes: impl Stream<Item = Change<K>> + Unpin,
    kind: ControllerKind,
    selector: fn(&K) -> Option<LabelSelector>,
    shared: Arc<Shared>,
) {
    let set = |key: &PodKey, selector: Option<LabelSelector>| {
        shared.lock().cluster.apply_controller(&key.namespace, &Controller { kind, name: key.name.clone() }, selector);
    };
    let known = || {
        let state = shared.lock();
        let all = state.cluster.view().controllers();
        all.filter(|(_, controller)| controller.kind == kind)
            .map(|(namespace, controller)| PodKey::new(namespace, &controller.name))
            .collect()
    };
    feed(changes, |object| set(&key(object), selector(object)), |key| set(key, None), known).await;
}

/// Feeds budgets of disruption until the watch ends: preemption breaks them last.
pub async fn budgets(changes: impl Stream<Item = Change<PodDisruptionBudget>> + Unpin, shared: Arc<Shared>) {
    let apply = |budget: &PodDisruptionBudget| shared.lock().cluster.apply_budget(api::convert::disruption_budget(budget));
    let delete = |key: &PodKey| shared.lock().cluster.delete_budget(&key.namespace, &key.name);
    let known = || shared.lock().cluster.view().budgets().map(|budget| PodKey::new(&budget.namespace, &budget.name)).collect();
    feed(changes, apply, delete, known).await;
}

/// Feeds the labels of namespaces until the watch ends: affinity may mean namespaces by label.
pub async fn namespaces(changes: impl Stream<Item = Change<v1::Namespace>> + Unpin, shared: Arc<Shared>) {
    let apply = |namespace: &v1::Namespace| {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        shared.lock().cluster.apply_namespace(name(&namespace.metadata), labels);
    };
    let delete = |key: &PodKey| shared.lock().cluster.delete_namespace(&key.name);
    let known = || shared.lock().cluster.view().namespace_names().map(|name| PodKey::new("", name)).collect();
    feed(changes, apply, delete, known).await;
}

/// Feeds objects of one kind until the watch ends. `known` are those that the state has: what a list lacks of them is deleted. What has no namespace has an
/// empty one in its key.
async fn feed<K: Resource>(
    mut changes: impl Stream<Item = Change<K>> + Unpin,
    apply: impl Fn(&K),
    delete: impl Fn(&PodKey),
    known: impl Fn() -> Vec<PodKey>,
) {
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(object) => apply(&object),
            Change::Delete(object) => delete(&key(&object)),
            Change::Reset(objects) => {
                let listed: HashSet<PodKey> = objects.iter().map(key).collect();
                known().iter().filter(|key| !listed.contains(key)).for_each(&delete);
                objects.iter().for_each(&apply);
            }
        }
    }
}

/// Changes the cluster, and tells the queue what changed.
fn note(shared: &Shared, change: impl FnOnce(&mut Cluster) -> Changes) {
    shared.change(|state| {
        let changes = change(&mut state.cluster);
        state.note(&changes, now());
    });
}

fn key<K: Resource>(object: &K) -> PodKey {
    PodKey::new(object.meta().namespace.as_deref().unwrap_or_default(), name(object.meta()))
}

fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}
