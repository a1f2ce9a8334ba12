//! Node lifecycle: a node whose lease is not renewed is unknown, tainted, and its pods are not ready.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::json;

use super::action::Action;
use super::replica_set::is_ready;

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// What a kubelet reports and nobody knows any more once it is silent.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What to do for a node that may be silent for `grace`, given its lease and the pods bound to it.
pub(super) fn reconcile<'a>(
    node: &Node,
    lease: Option<&Lease>,
    pods: impl Iterator<Item = &'a Arc<Pod>>,
    grace: Duration,
    now: Timestamp,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut readiness = condition(node, "Ready").map_or("Unknown", |ready| ready.status.as_str());
    if readiness != "Unknown" && is_silent(node, lease, grace, now) {
        actions.push(unknown(node, now));
        readiness = "Unknown";
    }
    actions.extend(taint(node, readiness, now));
    if readiness != "True" {
        actions.extend(pods.filter(|pod| is_ready(pod)).filter_map(|pod| not_ready(pod, now)));
    }
    actions
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn is_silent(node: &Node, lease: Option<&Lease>, grace: Duration, now: Timestamp) -> bool {
    let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    let posted = condition(node, "Ready").and_then(|ready| Some(ready.last_heartbeat_time.as_ref()?.0));
    let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let last = renewed.max(posted).max(created);
    last.is_none_or(|last| now.duration_since(last).unsigned_abs() > grace && last < now)
}

fn unknown(node: &Node, now: Timestamp) -> Action {
    let mut conditions = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    for condition in conditions.iter_mut().filter(|condition| REPORTED.contains(&condition.type_.as_str())) {
        if condition.status != "Unknown" {
            condition.last_transition_time = Some(Time(now));
        }
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some("Kubelet stopped posting node status.".to_owned());
    }
    let mut status = node.status.clone().unwrap_or_default();
    status.conditions = Some(conditions);
    // It differs from what is there: the Ready condition was not Unknown.
    Action::status(node, node.status.as_ref(), &status).unwrap_or_else(|| Action::patch(node, json!({})))
}

/// Brings the taints that follow from readiness and cordoning in line.
fn taint(node: &Node, readiness: &str, now: Timestamp) -> Option<Action> {
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let wanted: Vec<(&str, &str)> = match readiness {
        "True" => vec![],
        "False" => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        _ => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
    };
    let wanted: Vec<(&str, &str)> = wanted.into_iter().chain(is_cordoned.then_some((UNSCHEDULABLE, "NoSchedule"))).collect();
    let existing = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let is_ours = |taint: &Taint| [UNREACHABLE, NOT_READY, UNSCHEDULABLE].contains(&taint.key.as_str());
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let missing = wanted.iter().filter(|(key, effect)| !existing.iter().any(|taint| taint.key == *key && taint.effect == *effect));
    let added = missing.map(|(key, effect)| Taint {
        key: key.to_string(),
        effect: effect.to_string(),
        time_added: Some(Time(now)),
        ..Default::default()
    });
    let taints: Vec<Taint> = existing.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().chain(added).collect();
    if taints == existing {
        return None;
    }
    // Someone else may taint the node at the same time: the version makes one of both writes wait.
    Some(Action::patch(node, json!({"metadata": {"resourceVersion": node.resource_version()}, "spec": {"taints": taints}})))
}

fn not_ready(pod: &Pod, now: Timestamp) -> Option<Action> {
    let mut status = pod.status.clone()?;
    for condition in status.conditions.iter_mut().flatten().filter(|condition| condition.type_ == "Ready") {
        condition.status = "False".to_owned();
        condition.reason = Some("NodeNotReady".to_owned());
        condition.last_transition_time = Some(Time(now));
    }
    Action::status(pod, pod.status.as_ref(), &status)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::Kind;
    use super::super::replica_set::tests::{object, pod};
    use super::*;

    const GRACE: Duration = Duration::from_secs(40);

    fn node(ready: &str, taints: Value, unschedulable: bool) -> Node {
        object(json!({
            "metadata": {"name": "edge-1", "uid": "node", "resourceVersion": "5", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"conditions": [
                {"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
                {"type": "NetworkUnavailable", "status": "False"}]},
        }))
    }

    /// The kinds and patches of what is done `after_s` seconds after the lease's last renewal, a minute after the node was made.
    fn check(node: &Node, after_s: i64, expected: &[(Kind, Value)]) {
        let lease: Lease = object(json!({"metadata": {"name": "edge-1"}, "spec": {"renewTime": "2026-01-01T00:01:00.000000Z"}}));
        let now = Timestamp::from_second(lease.spec.as_ref().unwrap().renew_time.as_ref().unwrap().0.as_second() + after_s).unwrap();
        let pods = [pod("a", "set", "Running", true, Some("edge-1")), pod("b", "set", "Pending", false, Some("edge-1"))];
        let actions = reconcile(node, Some(&lease), pods.iter(), GRACE, now);
        let found: Vec<(Kind, Value)> = actions
            .iter()
            .map(|action| match action {
                Action::Patch { kind, patch, is_status: true, .. } => {
                    let conditions = patch["status"]["conditions"].as_array().unwrap();
                    (*kind, conditions.iter().map(|condition| condition["status"].clone()).collect())
                }
                Action::Patch { kind, patch, .. } => {
                    let taints = patch["spec"]["taints"].as_array().unwrap();
                    (
                        *kind,
                        taints
                            .iter()
                            .map(|taint| json!(format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap())))
                            .collect(),
                    )
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_silent_node_becomes_unknown_with_taints_and_unready_pods() {
        check(&node("True", json!(null), false), 40, &[]);
        check(
            &node("True", json!([{"key": "mine", "effect": "NoSchedule"}]), false),
            41,
            &[
                (Kind::Node, json!(["Unknown", "False"])),
                (
                    Kind::Node,
                    json!(["mine:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]),
                ),
                (Kind::Pod, json!(["False"])),
            ],
        );
    }

    #[test]
    fn a_node_that_is_back_loses_the_taints_it_got() {
        let taints = json!([{"key": "mine", "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}]);
        check(&node("True", taints, false), 1, &[(Kind::Node, json!(["mine:NoSchedule"]))]);
    }

    #[test]
    fn a_node_that_says_it_is_not_ready_is_tainted_so() {
        check(
            &node("False", json!(null), false),
            1,
            &[
                (Kind::Node, json!(["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"])),
                (Kind::Pod, json!(["False"])),
            ],
        );
    }

    #[test]
    fn a_cordoned_node_is_tainted() {
        check(&node("True", json!(null), true), 1, &[(Kind::Node, json!(["node.kubernetes.io/unschedulable:NoSchedule"]))]);
    }
}
