//! `v1.Pod` to the model.

use super::affinity::node_affinity;
use super::delay::delays;
use super::devices::pod_claims;
use super::pod_affinity::pod_affinity;
use super::pod_volumes::pod_volumes;
use super::ports::host_ports;
use super::requests::requests;
use super::spread::spread;
use super::taint::toleration;
use super::{Unreadable, features, images, requests::Requests};
use crate::labels::POD_TEMPLATE_HASH_LABEL;
use crate::refusal::refusals;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use placement::cluster::{Controller, ControllerKind, Pod, PodKey, PodPhase, Workload, WorkloadKind};
use placement::units::Timestamp;

/// A pod as the model sees it. Nothing is lost silently: what is not supported or can't be read stands in `refusals` or `delay_errors`, with
/// its field's name, and keeps the pod from being placed. A pod that is on a node already is not refused, only counted.
pub fn pod(pod: &v1::Pod) -> Pod {
    let metadata = &pod.metadata;
    let status = pod.status.as_ref();
    let none = v1::PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let mut unreadable = Unreadable::default();
    let Requests { requests, scoring, own_scoring } = requests(pod, &mut unreadable);
    let (delays, delay_errors) = delays(metadata);
    let affinity = spec.affinity.as_ref();
    let node_affinity = node_affinity(affinity.and_then(|affinity| affinity.node_affinity.as_ref()), &mut unreadable);
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let (pod_affinity, pod_anti_affinity) = pod_affinity(affinity, &namespace, &mut unreadable);
    let labels = metadata.labels.clone().unwrap_or_default();
    let spread = spread(spec.topology_spread_constraints.as_ref(), &labels, &mut unreadable);
    let tolerations = spec.tolerations.iter().flatten().enumerate();
    let tolerations = tolerations.filter_map(|(i, t)| toleration(i, t, &mut unreadable)).collect();
    let host_ports = host_ports(spec, &mut unreadable);
    let volumes = pod_volumes(spec, metadata.name.as_deref().unwrap_or_default(), &mut unreadable);
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    let node_name = spec.node_name.clone().filter(|name| !name.is_empty());
    let refusals = match &node_name {
        Some(_) => Vec::new(),
        None => [refusals(spec), unreadable.refusals].concat(),
    };
    Pod {
        key: PodKey::new(namespace, metadata.name.clone().unwrap_or_default()),
        uid: metadata.uid.clone().unwrap_or_default(),
        labels,
        scheduler_name: spec.scheduler_name.clone().unwrap_or_default(),
        priority: spec.priority.unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map(timestamp).unwrap_or_default(),
        node_name,
        nominated_node: status.and_then(|status| status.nominated_node_name.clone()).filter(|name| !name.is_empty()),
        grouped: spec.scheduling_group.is_some(),
        never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
        started: status.and_then(|status| status.start_time.as_ref()).map(timestamp),
        preempted: metadata.deletion_timestamp.is_some()
            && conditions.any(|condition| {
                condition.type_ == "DisruptionTarget"
                    && condition.status == "True"
                    && condition.reason.as_deref() == Some("PreemptionByScheduler")
            }),
        phase: match status.and_then(|status| status.phase.as_deref()) {
            Some("Succeeded" | "Failed") => PodPhase::Ended,
            // A kubelet that lost touch leaves its pods Unknown, and they may still run.
            Some("Running" | "Unknown") => PodPhase::Running,
            _ => PodPhase::Pending,
        },
        terminating: metadata.deletion_timestamp.is_some(),
        scheduling_gates: spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect(),
        owner: owner(metadata),
        controller: controller(metadata),
        requests,
        scoring_requests: scoring,
        own_scoring: own_scoring.map(Box::new),
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        affinity: node_affinity,
        pod_affinity,
        pod_anti_affinity,
        spread,
        tolerations,
        host_ports,
        images: images::of_pod(spec),
        volumes,
        required_features: features::required(spec),
        claims: pod_claims(pod),
        delays,
        delay_errors,
        refusals,
    }
}

fn timestamp(time: &Time) -> Timestamp {
    Timestamp(time.0.as_millisecond().max(0) as u64)
}

/// The pod's controller. A ReplicaSet that a Deployment made is named `<deployment>-<hash>`, and its pods carry the hash as a label: so the
/// Deployment is known without watching ReplicaSets.
fn owner(metadata: &ObjectMeta) -> Option<Workload> {
    let reference = metadata.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))?;
    let core = |group: &str| reference.api_version.split_once('/').is_some_and(|(g, _)| g == group);
    let kind = match reference.kind.as_str() {
        "ReplicaSet" if core("apps") => WorkloadKind::ReplicaSet,
        "StatefulSet" if core("apps") => WorkloadKind::StatefulSet,
        "DaemonSet" if core("apps") => WorkloadKind::DaemonSet,
        "Job" if core("batch") => WorkloadKind::Job,
        _ => return None,
    };
    let hash = metadata.labels.as_ref().and_then(|labels| labels.get(POD_TEMPLATE_HASH_LABEL));
    let deployment = hash.and_then(|hash| reference.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match (kind, deployment) {
        (WorkloadKind::ReplicaSet, Some(name)) if !name.is_empty() => {
            Some(Workload { kind: WorkloadKind::Deployment, name: name.to_owned() })
        }
        _ => Some(Workload { kind, name: reference.name.clone() }),
    }
}

/// The pod's controller as it is, when it is of a kind that pods are spread by.
fn controller(metadata: &ObjectMeta) -> Option<Controller> {
    let reference = metadata.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))?;
    let kind = match (reference.api_version.as_str(), reference.kind.as_str()) {
        ("v1", "ReplicationController") => ControllerKind::ReplicationController,
        ("apps/v1", "ReplicaSet") => ControllerKind::ReplicaSet,
        ("apps/v1", "StatefulSet") => ControllerKind::StatefulSet,
        _ => return None,
    };
    Some(Controller { kind, name: reference.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(value: Value) -> Pod {
        pod(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn what_every_pod_has_after_admission_is_known() {
        let pod = of(json!({
            "metadata": {"name": "a", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": "a"}},
            "spec": {
                "schedulerName": "edge-scheduler", "priority": 0, "preemptionPolicy": "PreemptLowerPriority", "enableServiceLinks": true,
                "serviceAccountName": "default", "serviceAccount": "default", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                "terminationGracePeriodSeconds": 30, "securityContext": {},
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
                "containers": [{
                    "name": "c", "image": "nginx", "imagePullPolicy": "Always", "resources": {}, "ports": [{"containerPort": 80}],
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}]}],
                "volumes": [{"name": "token", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}}, {"downwardAPI": {}}]}}],
            },
            "status": {"phase": "Pending"},
        }));
        assert_eq!(pod.refusals, []);
        assert_eq!((pod.key.to_string(), pod.uid.as_str(), pod.created), ("default/a".into(), "u", Timestamp(1_767_323_045_000)));
        assert_eq!((pod.phase, pod.terminating, pod.tolerations.len()), (PodPhase::Pending, false, 1));
        assert_eq!(pod.owner, None);
    }

    fn check_owner(reference: Value, labels: Value, expected: Option<(WorkloadKind, &str)>) {
        let pod = of(json!({"metadata": {"name": "p", "labels": labels, "ownerReferences": [reference]}}));
        assert_eq!(pod.owner, expected.map(|(kind, name)| Workload { kind, name: name.into() }), "{reference}");
    }

    #[test]
    fn the_owner_is_the_controller_and_a_deployment_behind_its_replica_set() {
        let reference =
            |api: &str, kind: &str, name: &str| json!({"apiVersion": api, "kind": kind, "name": name, "uid": "1", "controller": true});
        let hash = json!({"pod-template-hash": "5d8f7c"});
        check_owner(reference("apps/v1", "ReplicaSet", "my-web-5d8f7c"), hash.clone(), Some((WorkloadKind::Deployment, "my-web")));
        check_owner(reference("apps/v1", "ReplicaSet", "web"), hash.clone(), Some((WorkloadKind::ReplicaSet, "web")));
        check_owner(reference("apps/v1", "ReplicaSet", "web-5d8f7c"), json!({}), Some((WorkloadKind::ReplicaSet, "web-5d8f7c")));
        check_owner(reference("apps/v1", "StatefulSet", "db"), json!({}), Some((WorkloadKind::StatefulSet, "db")));
        check_owner(reference("batch/v1", "Job", "once"), json!({}), Some((WorkloadKind::Job, "once")));
        check_owner(reference("example.com/v1", "StatefulSet", "db"), json!({}), None);
        check_owner(reference("v1", "Node", "edge-1"), json!({}), None);
        let mut no_controller = reference("apps/v1", "DaemonSet", "agent");
        no_controller["controller"] = json!(false);
        check_owner(no_controller, json!({}), None);
    }

    #[test]
    fn the_controller_keeps_its_kind() {
        let check = |api: &str, kind: &str, expected: Option<ControllerKind>| {
            let reference = json!({"apiVersion": api, "kind": kind, "name": "web-7f", "uid": "1", "controller": true});
            let pod = of(json!({"metadata": {"name": "p", "labels": {"pod-template-hash": "7f"}, "ownerReferences": [reference]}}));
            assert_eq!(pod.controller, expected.map(|kind| Controller { kind, name: "web-7f".into() }), "{api} {kind}");
        };
        check("apps/v1", "ReplicaSet", Some(ControllerKind::ReplicaSet));
        check("apps/v1", "StatefulSet", Some(ControllerKind::StatefulSet));
        check("v1", "ReplicationController", Some(ControllerKind::ReplicationController));
        check("extensions/v1beta1", "ReplicaSet", None);
        check("batch/v1", "Job", None);
    }

    #[test]
    fn phases_tell_who_holds_capacity() {
        let check = |phase: &str, holds: bool| {
            let pod = of(json!({"spec": {"nodeName": "n", "containers": []}, "status": {"phase": phase}}));
            assert_eq!(pod.holds_capacity(), holds, "{phase}");
        };
        check("Pending", true);
        check("Running", true);
        check("Unknown", true);
        check("Succeeded", false);
        check("Failed", false);
    }

    #[test]
    fn what_preemption_reads_is_known() {
        let check = |object: Value, never_preempts: bool, preempted: bool, started: Option<u64>| {
            let pod = of(object);
            assert_eq!((pod.never_preempts, pod.preempted, pod.started), (never_preempts, preempted, started.map(Timestamp)));
        };
        check(json!({"spec": {"containers": [], "preemptionPolicy": "PreemptLowerPriority"}}), false, false, None);
        check(json!({"spec": {"containers": [], "preemptionPolicy": "Never"}}), true, false, None);
        let target = |reason: &str| {
            json!({"startTime": "2026-01-02T03:04:05Z", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason}]})
        };
        let deleted = json!({"name": "p", "deletionTimestamp": "2026-01-02T03:05:00Z"});
        check(json!({"metadata": deleted, "status": target("PreemptionByScheduler")}), false, true, Some(1_767_323_045_000));
        check(json!({"metadata": deleted, "status": target("EvictionByEvictionAPI")}), false, false, Some(1_767_323_045_000));
        check(json!({"status": target("PreemptionByScheduler")}), false, false, Some(1_767_323_045_000));
    }

    #[test]
    fn a_bound_pod_is_counted_whatever_it_uses() {
        let pod = of(json!({"spec": {"nodeName": "n", "containers": [], "schedulingGroup": {"podGroupName": "g"}}}));
        assert_eq!((pod.node_name.as_deref(), pod.refusals.len(), pod.grouped), (Some("n"), 0, true));
    }
}
