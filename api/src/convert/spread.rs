//! Topology spread constraints.

use super::Unreadable;
use super::label_selector::label_selector;
use k8s_openapi::api::core::v1;
use placement::cluster::{LabelSelector, Labels, SpreadConstraint};

/// A constraint that can't be read is left out, and its field named.
pub(super) fn spread(
    constraints: Option<&Vec<v1::TopologySpreadConstraint>>,
    labels: &Labels,
    unreadable: &mut Unreadable,
) -> Vec<SpreadConstraint> {
    constraints.into_iter().flatten().enumerate().filter_map(|(i, c)| constraint(i, c, labels, unreadable)).collect()
}

fn constraint(
    i: usize,
    constraint: &v1::TopologySpreadConstraint,
    labels: &Labels,
    unreadable: &mut Unreadable,
) -> Option<SpreadConstraint> {
    let path = |field: &str| format!("spec.topologySpreadConstraints[{i}].{field}");
    let hard = match constraint.when_unsatisfiable.as_str() {
        "DoNotSchedule" => true,
        "ScheduleAnyway" => false,
        other => {
            unreadable.add(path("whenUnsatisfiable"), format!("{other:?} is not one of DoNotSchedule, ScheduleAnyway"));
            return None;
        }
    };
    let mut honours = |field: &str, policy: &Option<String>, default: bool| match policy.as_deref() {
        None => default,
        Some("Honor") => true,
        Some("Ignore") => false,
        Some(other) => {
            unreadable.add(path(field), format!("{other:?} is not one of Honor, Ignore"));
            default
        }
    };
    let honour_affinity = honours("nodeAffinityPolicy", &constraint.node_affinity_policy, true);
    let honour_taints = honours("nodeTaintsPolicy", &constraint.node_taints_policy, false);
    // Newer API servers put them into the selector themselves; twice changes nothing.
    let keys = constraint.match_label_keys.iter().flatten();
    let own = LabelSelector::of_labels(keys.filter_map(|key| labels.get_key_value(key)));
    let selector = constraint.label_selector.as_ref().map(|s| label_selector(s, || path("labelSelector"), unreadable).and(own));
    Some(SpreadConstraint {
        max_skew: constraint.max_skew,
        topology_key: constraint.topology_key.clone(),
        hard,
        selector,
        min_domains: constraint.min_domains.unwrap_or(1),
        honour_affinity,
        honour_taints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(object: Value) -> (Vec<SpreadConstraint>, Vec<String>) {
        let mut unreadable = Unreadable::default();
        let labels = [("app".to_owned(), "web".to_owned()), ("pod-template-hash".to_owned(), "7f".to_owned())].into();
        let constraints = spread(Some(&vec![serde_json::from_value(object).unwrap()]), &labels, &mut unreadable);
        (constraints, unreadable.refusals.into_iter().map(|refusal| refusal.field).collect())
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let object = json!({"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"});
        let expected = SpreadConstraint { max_skew: 2, topology_key: "zone".into(), hard: false, ..SpreadConstraint::default() };
        assert_eq!(read(object), (vec![expected], vec![]));
    }

    #[test]
    fn label_keys_join_the_selector_with_the_pods_values() {
        let check = |selector: Value, certain: Option<Vec<(&str, &str)>>| {
            let object = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
                "matchLabelKeys": ["pod-template-hash", "absent"], "minDomains": 3, "nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor"});
            let (constraints, _) = read(object);
            let SpreadConstraint { selector, min_domains, honour_affinity, honour_taints, .. } = &constraints[0];
            assert_eq!((*min_domains, *honour_affinity, *honour_taints), (3, false, true));
            assert_eq!(selector.as_ref().map(|selector| selector.certain().collect()), certain);
        };
        check(json!({"matchLabels": {"app": "web"}}), Some(vec![("app", "web"), ("pod-template-hash", "7f")]));
        check(json!({"matchLabels": {"pod-template-hash": "7f"}}), Some(vec![("pod-template-hash", "7f")]));
        check(Value::Null, None);
    }

    #[test]
    fn an_unknown_word_is_named() {
        let (constraints, unreadable) = read(json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Later"}));
        assert_eq!((constraints, unreadable), (vec![], vec!["spec.topologySpreadConstraints[0].whenUnsatisfiable".to_owned()]));
        let (_, unreadable) =
            read(json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "honor"}));
        assert_eq!(unreadable, ["spec.topologySpreadConstraints[0].nodeTaintsPolicy"]);
    }
}
