//! Deployments: a ReplicaSet per template, rolled from the old ones to the new one within surge and unavailability.

use std::sync::Arc;

use api::labels::POD_TEMPLATE_HASH_LABEL;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::json;

use super::action::{Action, controller_of, is_controlled_by};
use crate::random::hash;

const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// What to do for a Deployment, given the ReplicaSets of its namespace.
pub(super) fn reconcile<'a>(deployment: &Deployment, sets: impl Iterator<Item = &'a Arc<ReplicaSet>>, now: Timestamp) -> Vec<Action> {
    if deployment.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let spec = &deployment.spec;
    let mut owned: Vec<&ReplicaSet> = sets.map(Arc::as_ref).filter(|set| is_controlled_by(*set, deployment)).collect();
    owned.sort_by_key(|set| (revision(*set), set.name_any()));
    let hash = template_hash(&spec.template);
    let new_name = format!("{}-{hash}", deployment.name_any());
    let (new, old): (Vec<&ReplicaSet>, Vec<&ReplicaSet>) = owned.iter().partition(|set| set.name_any() == new_name);

    let mut actions = Vec::new();
    let latest = old.last().map_or(0, |set| revision(*set));
    let Some(new) = new.first().copied() else {
        let replicas = new_replicas(spec, None, &old);
        actions.push(Action::create(&new_set(deployment, spec, &hash, latest + 1, replicas)));
        actions.extend(status_action(deployment, spec, &owned, None, now));
        return actions;
    };
    // Rolled back to: an old template is new again, and the latest.
    let current = if revision(new) > latest { revision(new) } else { latest + 1 };
    let annotation = || json!({"metadata": {"annotations": {REVISION_ANNOTATION: current.to_string()}}});
    if revision(new) != current {
        actions.push(Action::patch(new, annotation()));
    }
    if revision(deployment) != current {
        actions.push(Action::patch(deployment, annotation()));
    }
    let scale = |set: &ReplicaSet, to: i32| Action::patch(set, json!({"spec": {"replicas": to}}));
    let to = new_replicas(spec, Some(new), &old);
    if to != replicas(new) {
        actions.push(scale(new, to));
    } else {
        actions.extend(old_replicas(spec, new, &old).into_iter().map(|(set, to)| scale(set, to)));
    }
    let kept = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let idle: Vec<&&ReplicaSet> = old.iter().filter(|set| replicas(set) == 0 && held(set) == 0).collect();
    actions.extend(idle.iter().take(idle.len().saturating_sub(kept)).map(|set| Action::delete(**set)));
    actions.extend(status_action(deployment, spec, &owned, Some(new), now));
    actions
}

/// How many replicas the new set should have now.
fn new_replicas(spec: &DeploymentSpec, new: Option<&ReplicaSet>, old: &[&ReplicaSet]) -> i32 {
    let desired = spec.replicas.unwrap_or(1);
    let (current, others) = (new.map_or(0, replicas), old.iter().map(|set| replicas(set)).sum::<i32>());
    if current >= desired {
        return desired;
    }
    if is_recreate(spec) {
        // Nothing new before the last old pod is gone.
        let is_clear = old.iter().all(|set| replicas(set) == 0 && held(set) == 0);
        return if is_clear { desired } else { current };
    }
    let (surge, _) = bounds(spec, desired);
    let room = (desired + surge - current - others).max(0);
    current + room.min(desired - current)
}

/// Which old sets shrink now, and to what.
fn old_replicas<'a>(spec: &DeploymentSpec, new: &ReplicaSet, old: &[&'a ReplicaSet]) -> Vec<(&'a ReplicaSet, i32)> {
    let mut shrunk: Vec<(&ReplicaSet, i32)> = old.iter().filter(|set| replicas(set) > 0).map(|set| (*set, replicas(set))).collect();
    if is_recreate(spec) {
        shrunk.iter_mut().for_each(|(_, to)| *to = 0);
        return shrunk;
    }
    let desired = spec.replicas.unwrap_or(1);
    let (_, unavailable) = bounds(spec, desired);
    let least = desired - unavailable;
    let total = replicas(new) + shrunk.iter().map(|(_, to)| to).sum::<i32>();
    let mut removable = (total - least - (replicas(new) - available(new)).max(0)).max(0);
    // What does not serve is no loss.
    for (set, to) in &mut shrunk {
        let dead = (*to - available(set)).clamp(0, removable);
        *to -= dead;
        removable -= dead;
    }
    let serving = available(new) + old.iter().map(|set| available(set)).sum::<i32>();
    let mut surplus = (serving - least).clamp(0, removable);
    for (_, to) in &mut shrunk {
        let take = surplus.min(*to);
        *to -= take;
        surplus -= take;
    }
    shrunk.retain(|(set, to)| *to != replicas(set));
    shrunk
}

/// How many pods may be too many, and how many may be missing, while rolling.
fn bounds(spec: &DeploymentSpec, desired: i32) -> (i32, i32) {
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter), desired, true);
    let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter), desired, false);
    // Rolling needs one of them.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable.min(desired)) }
}

/// A number, or a percentage of `total` rounded up or down; what is neither counts 0.
pub(super) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or(0);
            let hundredths = i64::from(total) * percent.clamp(0, 1_000_000);
            let rounded = if round_up { (hundredths + 99) / 100 } else { hundredths / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Pods that exist.
fn held(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn revision(object: &impl kube::ResourceExt) -> u64 {
    object.annotations().get(REVISION_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Ten characters of Kubernetes' safe alphabet that stand for a template.
fn template_hash(template: &PodTemplateSpec) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = serde_json::to_string(template).expect("Kubernetes' own types are JSON");
    let mut left = hash(&text);
    let mut next = || {
        let symbol = SAFE[(left % SAFE.len() as u64) as usize];
        left /= SAFE.len() as u64;
        char::from(symbol)
    };
    (0..10).map(|_| next()).collect()
}

fn new_set(deployment: &Deployment, spec: &DeploymentSpec, hash: &str, revision: u64, replicas: i32) -> ReplicaSet {
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH_LABEL.to_owned(), hash.to_owned());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(POD_TEMPLATE_HASH_LABEL.to_owned(), hash.to_owned());
    let metadata = ObjectMeta {
        name: Some(format!("{}-{hash}", deployment.name_any())),
        namespace: deployment.namespace(),
        labels: Some(labels),
        annotations: Some([(REVISION_ANNOTATION.to_owned(), revision.to_string())].into()),
        owner_references: Some(vec![controller_of(deployment)]),
        ..Default::default()
    };
    let spec = ReplicaSetSpec { replicas: Some(replicas), selector, template: Some(template), min_ready_seconds: spec.min_ready_seconds };
    ReplicaSet { metadata, spec, status: None }
}

fn status_action(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    owned: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> Option<Action> {
    let desired = spec.replicas.unwrap_or(1);
    let sum = |amount: fn(&ReplicaSet) -> i32| owned.iter().map(|set| amount(set)).sum::<i32>();
    let ready = sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let (total, serving, updated) = (sum(held), sum(available), new.map_or(0, held));
    let (_, unavailable) = bounds(spec, desired);
    let old = deployment.status.as_ref();
    let condition = |kind: &str, is_true: bool, reason: &str, message: String| {
        let status = if is_true { "True" } else { "False" };
        let existing =
            old.iter().flat_map(|status| status.conditions.iter().flatten()).find(|condition| condition.type_.as_deref() == Some(kind));
        let same = existing.filter(|condition| condition.status.as_deref() == Some(status));
        let unchanged = same.filter(|condition| condition.reason.as_deref() == Some(reason));
        DeploymentCondition {
            type_: Some(kind.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: same.and_then(|condition| condition.last_transition_time.clone()).or(Some(Time(now))),
            last_update_time: unchanged.and_then(|condition| condition.last_update_time.clone()).or(Some(Time(now))),
        }
    };
    let is_available = serving >= desired - unavailable;
    let is_complete = updated == desired && total == desired && serving == desired;
    let new_name = new.map(|set| set.name_any()).unwrap_or_default();
    let conditions = vec![
        if is_available {
            condition("Available", true, "MinimumReplicasAvailable", "Deployment has minimum availability.".to_owned())
        } else {
            condition("Available", false, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.".to_owned())
        },
        if is_complete {
            condition("Progressing", true, "NewReplicaSetAvailable", format!("ReplicaSet \"{new_name}\" has successfully progressed."))
        } else {
            condition("Progressing", true, "ReplicaSetUpdated", format!("ReplicaSet \"{new_name}\" is progressing."))
        },
    ];
    let status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(total),
        updated_replicas: Some(updated),
        ready_replicas: Some(ready),
        available_replicas: Some(serving),
        unavailable_replicas: Some((total.max(desired) - serving).max(0)),
        conditions: Some(conditions),
        ..old.cloned().unwrap_or_default()
    };
    Action::status(deployment, old, &status)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::replica_set::tests::object;
    use super::*;

    fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
        object(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "deployment", "generation": 1},
            "spec": {"replicas": replicas, "strategy": strategy, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}}},
        }))
    }

    /// A small cluster: the sets that a deployment has made, whose pods are ready as soon as `settle` is called.
    #[derive(Default)]
    struct Sets(Vec<ReplicaSet>);

    impl Sets {
        fn step(&mut self, deployment: &Deployment) -> usize {
            let arcs: Vec<Arc<ReplicaSet>> = self.0.iter().cloned().map(Arc::new).collect();
            let actions = reconcile(deployment, arcs.iter(), Timestamp::UNIX_EPOCH);
            let mut changes = 0;
            for action in actions {
                match action {
                    Action::Create { mut object, .. } => {
                        object["metadata"]["uid"] = object["metadata"]["name"].clone();
                        self.0.push(serde_json::from_value(object).unwrap());
                    }
                    Action::Patch { kind: super::super::Kind::ReplicaSet, name, patch, .. } => {
                        let set = self.0.iter_mut().find(|set| set.name_any() == name).unwrap();
                        if let Some(to) = patch["spec"]["replicas"].as_i64() {
                            set.spec.replicas = Some(to as i32);
                        }
                        if let Some(to) = patch["metadata"]["annotations"][REVISION_ANNOTATION].as_str() {
                            set.annotations_mut().insert(REVISION_ANNOTATION.to_owned(), to.to_owned());
                        }
                    }
                    Action::Delete { name, .. } => self.0.retain(|set| set.name_any() != name),
                    Action::Patch { .. } => continue,
                }
                changes += 1;
            }
            changes
        }

        fn settle(&mut self) {
            for set in &mut self.0 {
                let replicas = replicas(set);
                set.status = Some(object(json!({"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas})));
            }
        }

        fn sizes(&self) -> Vec<i32> {
            self.0.iter().map(replicas).collect()
        }
    }

    /// Rolls from one image to another and gives the sizes of both sets after every step.
    fn roll(replicas: i32, strategy: Value, settles: bool) -> Vec<Vec<i32>> {
        let mut sets = Sets::default();
        sets.step(&deployment(replicas, "a", strategy.clone()));
        sets.settle();
        let rolled = deployment(replicas, "b", strategy);
        let mut trace = Vec::new();
        while sets.step(&rolled) > 0 {
            trace.push(sets.sizes());
            assert!(trace.len() < 50, "it never ends: {trace:?}");
            if settles {
                sets.settle();
            }
        }
        trace
    }

    #[test]
    fn a_new_template_rolls_within_surge_and_unavailability() {
        let strategy = |surge: Value, unavailable: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let check = |replicas, strategy: Value, expected: &[[i32; 2]]| assert_eq!(roll(replicas, strategy, true), expected);
        check(2, strategy(json!(1), json!(0)), &[[2, 1], [1, 1], [1, 2], [0, 2]]);
        check(2, strategy(json!(0), json!(1)), &[[2, 0], [1, 0], [1, 1], [0, 1], [0, 2]]);
        check(4, Value::Null, &[[4, 1], [2, 1], [2, 3], [0, 3], [0, 4]]);
        check(3, strategy(json!("100%"), json!(0)), &[[3, 3], [0, 3]]);
        check(2, json!({"type": "Recreate"}), &[[2, 0], [0, 0], [0, 2]]);
    }

    #[test]
    fn a_new_template_that_does_not_come_up_leaves_the_old_one_serving() {
        let trace = roll(4, Value::Null, false);
        assert_eq!(trace.last(), Some(&vec![3, 2]), "{trace:?}");
    }

    #[test]
    fn scaling_changes_the_current_set_alone() {
        let mut sets = Sets::default();
        for (replicas, expected) in [(2, [2]), (5, [5]), (1, [1]), (0, [0])] {
            sets.step(&deployment(replicas, "a", Value::Null));
            sets.settle();
            assert_eq!(sets.sizes(), expected);
        }
    }

    #[test]
    fn rolling_back_reuses_the_old_set_under_a_new_revision() {
        let mut sets = Sets::default();
        for image in ["a", "b", "a"] {
            while sets.step(&deployment(1, image, Value::Null)) > 0 {
                sets.settle();
            }
        }
        assert_eq!(sets.sizes(), [1, 0]);
        assert_eq!(sets.0.iter().map(revision).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn old_sets_beyond_the_history_go() {
        let mut sets = Sets::default();
        for image in 0..14 {
            while sets.step(&deployment(1, &image.to_string(), Value::Null)) > 0 {
                sets.settle();
            }
        }
        assert_eq!(sets.0.len(), 11);
    }

    #[test]
    fn the_new_set_carries_the_hash() {
        let mut sets = Sets::default();
        sets.step(&deployment(1, "a", Value::Null));
        let set = &sets.0[0];
        let hash = set.name_any().strip_prefix("web-").unwrap().to_owned();
        let spec = &set.spec;
        let template_labels = spec.template.as_ref().unwrap().metadata.as_ref().unwrap().labels.as_ref().unwrap();
        assert_eq!((&template_labels["app"], &template_labels[POD_TEMPLATE_HASH_LABEL]), (&"web".to_owned(), &hash));
        assert_eq!(spec.selector.match_labels.as_ref().unwrap()[POD_TEMPLATE_HASH_LABEL], hash);
    }

    #[test]
    fn the_status_tells_when_the_rollout_is_complete() {
        let mut sets = Sets::default();
        let mut deployment = deployment(2, "a", Value::Null);
        let mut check = |ready: i32, expected: (i32, i32, &str, &str)| {
            if let Some(set) = sets.0.first_mut() {
                set.status = Some(object(json!({"replicas": 2, "readyReplicas": ready, "availableReplicas": ready})));
            }
            let arcs: Vec<Arc<ReplicaSet>> = sets.0.iter().cloned().map(Arc::new).collect();
            let actions = reconcile(&deployment, arcs.iter(), Timestamp::UNIX_EPOCH);
            let patch = actions.iter().find_map(|action| match action {
                Action::Patch { is_status: true, patch, .. } => Some(patch),
                _ => None,
            });
            let status: DeploymentStatus = object(patch.unwrap()["status"].clone());
            let conditions = status.conditions.clone().unwrap();
            let reasons = (conditions[0].reason.clone().unwrap(), conditions[1].reason.clone().unwrap());
            let counts = (status.ready_replicas.unwrap(), status.unavailable_replicas.unwrap());
            assert_eq!((counts.0, counts.1, reasons.0.as_str(), reasons.1.as_str()), expected);
            deployment.status = Some(status);
            sets.step(&deployment);
        };
        check(0, (0, 2, "MinimumReplicasUnavailable", "ReplicaSetUpdated"));
        check(1, (1, 1, "MinimumReplicasUnavailable", "ReplicaSetUpdated"));
        check(2, (2, 0, "MinimumReplicasAvailable", "NewReplicaSetAvailable"));
    }
}
