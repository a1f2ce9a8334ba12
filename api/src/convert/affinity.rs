//! Node affinity.

use super::Unreadable;
use k8s_openapi::api::core::v1;
use placement::cluster::{NodeAffinity, NodeSelectorTerm, Operator, Refusal, Requirement};

const PATH: &str = "spec.affinity.nodeAffinity";

pub(super) fn node_affinity(affinity: Option<&v1::NodeAffinity>, unreadable: &mut Unreadable) -> NodeAffinity {
    let Some(affinity) = affinity else { return NodeAffinity::default() };
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref().map(|selector| {
        let path = format!("{PATH}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        terms(&selector.node_selector_terms, &path, unreadable)
    });
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate().map(|(i, preference)| {
        let path = || format!("{PATH}.preferredDuringSchedulingIgnoredDuringExecution[{i}].preference");
        (preference.weight, term(&preference.preference, path, unreadable))
    });
    let preferred = preferred.collect();
    NodeAffinity { required, preferred }
}

/// Node affinity from a configuration.
///
/// # Errors
/// The first requirement that can't be read.
pub(crate) fn added_affinity(affinity: Option<&v1::NodeAffinity>) -> Result<NodeAffinity, Refusal> {
    let mut unreadable = Unreadable::default();
    let read = node_affinity(affinity, &mut unreadable);
    unreadable.refusals.into_iter().next().map_or(Ok(read), Err)
}

/// Terms of a node selector at a path.
pub(super) fn terms(of: &[v1::NodeSelectorTerm], path: &str, unreadable: &mut Unreadable) -> Vec<NodeSelectorTerm> {
    of.iter().enumerate().map(|(i, t)| term(t, || format!("{path}[{i}]"), unreadable)).collect()
}

fn term(term: &v1::NodeSelectorTerm, path: impl Fn() -> String, unreadable: &mut Unreadable) -> NodeSelectorTerm {
    let mut read = |requirements: &Option<Vec<v1::NodeSelectorRequirement>>, list: &str| {
        let requirements = requirements.iter().flatten().enumerate();
        requirements.filter_map(|(i, r)| requirement(r, || format!("{}.{list}[{i}].operator", path()), unreadable)).collect()
    };
    let match_expressions = read(&term.match_expressions, "matchExpressions");
    let match_fields = read(&term.match_fields, "matchFields");
    NodeSelectorTerm { match_expressions, match_fields }
}

fn requirement(r: &v1::NodeSelectorRequirement, path: impl Fn() -> String, unreadable: &mut Unreadable) -> Option<Requirement> {
    let operator = match r.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        other => {
            unreadable.add(path(), format!("{other:?} is not one of In, NotIn, Exists, DoesNotExist, Gt, Lt"));
            return None;
        }
    };
    Some(Requirement { key: r.key.clone(), operator, values: r.values.clone().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> (NodeAffinity, Vec<String>) {
        let mut unreadable = Unreadable::default();
        let affinity = node_affinity(Some(&serde_json::from_value(value).unwrap()), &mut unreadable);
        (affinity, unreadable.refusals.into_iter().map(|refusal| refusal.field).collect())
    }

    #[test]
    fn nothing_required_differs_from_no_term_that_could_match() {
        let (nothing, _) = read(json!({}));
        let (no_term, _) = read(json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}));
        assert_eq!((nothing.required, no_term.required), (None, Some(vec![])));
    }

    #[test]
    fn every_operator_is_known_and_another_is_named() {
        let required = |operator: &str| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {}, {"matchExpressions": [{"key": "a", "operator": operator, "values": ["1"]}]}]}})
        };
        for operator in ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] {
            let (affinity, unreadable) = read(required(operator));
            let terms = affinity.required.unwrap();
            assert_eq!((format!("{:?}", terms[1].match_expressions[0].operator), unreadable.len()), (operator.to_owned(), 0));
        }
        let (_, unreadable) = read(required("in"));
        let path =
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1].matchExpressions[0].operator";
        assert_eq!(unreadable, [path]);
    }
}
