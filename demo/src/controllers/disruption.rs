//! PodDisruptionBudgets: how many pods may be evicted now.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::SelectorExt as _;

use super::action::{Action, selector};
use super::deployment::scaled;
use super::replica_set::{is_active, is_ready};

/// What to do for a budget, given pods and ReplicaSets of its namespace.
pub(super) fn reconcile<'a>(
    budget: &PodDisruptionBudget,
    pods: impl Iterator<Item = &'a Arc<Pod>>,
    sets: impl Iterator<Item = &'a Arc<ReplicaSet>>,
    now: Timestamp,
) -> Option<Action> {
    let spec = budget.spec.as_ref()?;
    let selector = selector(spec.selector.as_ref())?;
    let covered: Vec<&Pod> = pods.map(Arc::as_ref).filter(|pod| is_active(pod) && selector.matches(pod.labels())).collect();
    let healthy = i32::try_from(covered.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(i32::MAX);
    let present = i32::try_from(covered.len()).unwrap_or(i32::MAX);

    // Of pods that a controller makes, as many are expected as it was asked for, also while some are missing.
    let replicas: BTreeMap<String, i32> = sets.map(|set| (set.uid().unwrap_or_default(), set.spec.replicas.unwrap_or(1))).collect();
    let owners: BTreeMap<&str, i32> = covered
        .iter()
        .flat_map(|pod| pod.owner_references())
        .filter(|owner| owner.controller == Some(true))
        .filter_map(|owner| Some((owner.uid.as_str(), *replicas.get(&owner.uid)?)))
        .collect();
    let controlled: i32 = owners.values().sum();

    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => (controlled, controlled - scaled(unavailable, controlled, true)),
        (None, Some(least @ IntOrString::String(_))) => (controlled, scaled(least, controlled, true)),
        (None, Some(least)) => (present, scaled(least, present, true)),
        (None, None) => (present, 0),
    };
    let desired = desired.max(0);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };

    let old = budget.status.as_ref();
    let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let since = old
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "DisruptionAllowed" && condition.status == state)
        .map_or(Time(now), |condition| condition.last_transition_time.clone());
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: budget.metadata.generation,
        conditions: Some(vec![Condition {
            type_: "DisruptionAllowed".to_owned(),
            status: state.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: budget.metadata.generation,
            last_transition_time: since,
        }]),
        ..old.cloned().unwrap_or_default()
    };
    Action::status(budget, old, &status)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::replica_set::tests::{object, pod};
    use super::*;

    /// Budget for three replicas, of which `healthy` are ready and one is missing: allowed, desired, expected.
    fn check(spec: Value, healthy: usize, expected: (i32, i32, i32)) {
        let mut spec = spec;
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
        let mut budget: PodDisruptionBudget =
            object(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "budget"}, "spec": spec}));
        let pods = [pod("a", "set", "Running", healthy > 0, Some("n")), pod("b", "set", "Running", healthy > 1, Some("n"))];
        let set: Arc<ReplicaSet> =
            Arc::new(object(json!({"metadata": {"name": "set", "uid": "set"}, "spec": {"replicas": 3, "selector": {}, "template": {}}})));
        let action = reconcile(&budget, pods.iter(), [&set].into_iter(), Timestamp::UNIX_EPOCH).unwrap();
        let Action::Patch { patch, is_status: true, .. } = action else { panic!("{action:?}") };
        let status: PodDisruptionBudgetStatus = object(patch["status"].clone());
        let found = (status.disruptions_allowed.unwrap(), status.desired_healthy.unwrap(), status.expected_pods.unwrap());
        assert_eq!(found, expected);
        budget.status = Some(status);
        assert_eq!(reconcile(&budget, pods.iter(), [&set].into_iter(), Timestamp::now()), None, "it is written again");
    }

    #[test]
    fn budgets_count_what_may_go() {
        check(json!({"minAvailable": 1}), 2, (1, 1, 2));
        check(json!({"minAvailable": 2}), 2, (0, 2, 2));
        check(json!({"minAvailable": "50%"}), 2, (0, 2, 3));
        check(json!({"maxUnavailable": 1}), 2, (0, 2, 3));
        check(json!({"maxUnavailable": 2}), 2, (1, 1, 3));
        check(json!({"maxUnavailable": 2}), 1, (0, 1, 3));
        check(json!({}), 2, (2, 0, 2));
    }
}
