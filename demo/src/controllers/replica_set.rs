//! ReplicaSets: as many pods of a template as asked for.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::action::{Action, controller_of, is_controlled_by};

/// Pods made or deleted at a time, as in Kubernetes.
const BURST: usize = 500;

/// What to do for a ReplicaSet, given the pods of its namespace.
pub(super) fn reconcile<'a>(set: &ReplicaSet, pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<Action> {
    if set.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let mut active: Vec<&Pod> = pods.map(Arc::as_ref).filter(|pod| is_controlled_by(*pod, set) && is_active(pod)).collect();
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);

    let mut actions = Vec::new();
    if active.len() < wanted {
        let pod = new_pod(set);
        actions.extend((active.len()..wanted).take(BURST).map(|_| Action::create(&pod)));
    } else {
        // Those that serve least go first; of equals the youngest.
        active.sort_by_key(|pod| (is_bound(pod), is_running(pod), is_ready(pod), std::cmp::Reverse(created(pod))));
        actions.extend(active.iter().take((active.len() - wanted).min(BURST)).map(|pod| Action::delete(*pod)));
    }
    actions.extend(Action::status(set, set.status.as_ref(), &status(set, &active)));
    actions
}

/// Neither ended nor about to.
pub(super) fn is_active(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), Some("Succeeded" | "Failed"))
}

/// Whether the pod's Ready condition is True.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(super) fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

fn is_running(pod: &Pod) -> bool {
    phase(pod) == Some("Running")
}

fn created(pod: &Pod) -> Option<k8s_openapi::jiff::Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn new_pod(set: &ReplicaSet) -> Pod {
    let template = set.spec.template.clone().unwrap_or_default();
    let from = template.metadata.unwrap_or_default();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", set.name_any())),
        namespace: set.namespace(),
        labels: from.labels,
        annotations: from.annotations,
        finalizers: from.finalizers,
        owner_references: Some(vec![controller_of(set)]),
        ..Default::default()
    };
    Pod { metadata, spec: template.spec, status: None }
}

fn status(set: &ReplicaSet, active: &[&Pod]) -> ReplicaSetStatus {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let labels = set.spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let is_labelled = |pod: &&&Pod| labels.into_iter().flatten().all(|(key, value)| pod.labels().get(key) == Some(value));
    // No readiness takes time here, so what is ready is available.
    let ready = count(active.iter().filter(|pod| is_ready(pod)).count());
    ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: Some(count(active.iter().filter(is_labelled).count())),
        ready_replicas: Some(ready),
        available_replicas: Some(ready),
        observed_generation: set.metadata.generation,
        ..set.status.clone().unwrap_or_default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn set(replicas: i32) -> ReplicaSet {
        object(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "set", "generation": 2},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"note": "x"}},
                "spec": {"containers": [{"name": "app"}], "schedulerName": "edge-scheduler"}}},
        }))
    }

    pub fn pod(name: &str, owner: &str, phase: &str, is_ready: bool, node: Option<&str>) -> Arc<Pod> {
        let ready = if is_ready { "True" } else { "False" };
        Arc::new(object(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        })))
    }

    fn deleted(actions: &[Action]) -> Vec<&str> {
        actions.iter().filter_map(|action| if let Action::Delete { name, .. } = action { Some(name.as_str()) } else { None }).collect()
    }

    fn created(actions: &[Action]) -> Vec<&Value> {
        actions.iter().filter_map(|action| if let Action::Create { object, .. } = action { Some(object) } else { None }).collect()
    }

    #[test]
    fn missing_pods_are_made_from_the_template() {
        let pods = [
            pod("a", "set", "Running", true, Some("n")),
            pod("b", "other", "Running", true, Some("n")),
            pod("c", "set", "Failed", false, Some("n")),
        ];
        let actions = reconcile(&set(3), pods.iter());
        let made = created(&actions);
        assert_eq!((made.len(), deleted(&actions).len()), (2, 0));
        assert_eq!(
            made[0]["metadata"],
            json!({"generateName": "web-1-", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"note": "x"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "set", "controller": true, "blockOwnerDeletion": true}]})
        );
        assert_eq!(made[0]["spec"]["schedulerName"], "edge-scheduler");
    }

    #[test]
    fn surplus_pods_go_those_that_serve_least_first() {
        let pods = [
            pod("serving", "set", "Running", true, Some("n")),
            pod("unready", "set", "Running", false, Some("n")),
            pod("starting", "set", "Pending", false, Some("n")),
            pod("unbound", "set", "Pending", false, None),
        ];
        let check = |replicas: i32, expected: &[&str]| assert_eq!(deleted(&reconcile(&set(replicas), pods.iter())), expected);
        check(4, &[]);
        check(3, &["unbound"]);
        check(1, &["unbound", "starting", "unready"]);
        check(0, &["unbound", "starting", "unready", "serving"]);
    }

    #[test]
    fn the_status_counts_and_is_written_once() {
        let pods = [pod("a", "set", "Running", true, Some("n")), pod("b", "set", "Pending", false, None)];
        let mut set = set(2);
        let actions = reconcile(&set, pods.iter());
        let [Action::Patch { is_status: true, patch, .. }] = actions.as_slice() else { panic!("{actions:?}") };
        set.status = Some(object(patch["status"].clone()));
        let status = set.status.as_ref().unwrap();
        assert_eq!((status.replicas, status.ready_replicas, status.observed_generation), (2, Some(1), Some(2)));
        assert_eq!(reconcile(&set, pods.iter()), []);
    }
}
