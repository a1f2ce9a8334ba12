//! NodeAffinity: `nodeSelector` and one of the required terms must match (kube-scheduler 1.37, plugin NodeAffinity; unresolvable).
//!
//! A term without any requirement matches nothing, and neither does one with a requirement that is no valid requirement.

use crate::cluster::{Labels, Node, NodeSelectorTerm, Operator, Pod, Requirement};
use crate::plan::Reason;

/// `added`: what the settings require of every pod's node.
pub fn check(pod: &Pod, added: Option<&[NodeSelectorTerm]>, node: &Node) -> Option<Reason> {
    if added.is_some_and(|terms| !terms.iter().any(|term| term_matches(term, node))) {
        return Some(Reason::AddedAffinity);
    }
    (!matches(&pod.node_selector, pod.affinity.required.as_deref(), node)).then_some(Reason::NodeAffinity)
}

pub fn matches(selector: &Labels, required: Option<&[NodeSelectorTerm]>, node: &Node) -> bool {
    let selected = selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    selected && required.is_none_or(|terms| terms.iter().any(|term| term_matches(term, node)))
}

pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    term_matches_labels(term, &node.labels, &node.name)
}

/// Of a node with these labels and this name.
pub fn term_matches_labels(term: &NodeSelectorTerm, labels: &Labels, name: &str) -> bool {
    let expressions = || term.match_expressions.iter().all(|r| requirement_matches(r, labels.get(&r.key).map(String::as_str)));
    let fields = || term.match_fields.iter().all(|r| field_matches(r, name));
    !is_empty(term) && expressions() && fields()
}

pub fn is_empty(term: &NodeSelectorTerm) -> bool {
    term.match_expressions.is_empty() && term.match_fields.is_empty()
}

/// Whether a label with this value (`None`: absent) meets the requirement. False when the requirement has the wrong number or kind of values.
pub fn requirement_matches(requirement: &Requirement, value: Option<&str>) -> bool {
    let values = &requirement.values;
    let named = || value.is_some_and(|value| values.iter().any(|v| v == value));
    let integers = || {
        let [bound] = &values[..] else { return None };
        Some((value?.parse::<i64>().ok()?, bound.parse::<i64>().ok()?))
    };
    match requirement.operator {
        Operator::In => !values.is_empty() && named(),
        Operator::NotIn => !values.is_empty() && !named(),
        Operator::Exists => values.is_empty() && value.is_some(),
        Operator::DoesNotExist => values.is_empty() && value.is_none(),
        Operator::Gt => integers().is_some_and(|(value, bound)| value > bound),
        Operator::Lt => integers().is_some_and(|(value, bound)| value < bound),
    }
}

/// On fields: `metadata.name`, In or NotIn, exactly one value.
pub fn field_matches(requirement: &Requirement, name: &str) -> bool {
    match (&requirement.values[..], requirement.operator) {
        ([value], Operator::In) if requirement.key == "metadata.name" => value == name,
        ([value], Operator::NotIn) if requirement.key == "metadata.name" => value != name,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let labels = [("zone", "a"), ("cores", "16"), ("word", "many")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Node { name: "n1".into(), labels: labels.into(), ..Node::default() }
    }

    fn requirement(key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement { key: key.into(), operator, values: values.iter().map(|v| (*v).to_owned()).collect() }
    }

    fn check(key: &str, operator: Operator, values: &[&str], fits: bool) {
        let term = NodeSelectorTerm { match_expressions: vec![requirement(key, operator, values)], match_fields: vec![] };
        assert_eq!(term_matches(&term, &node()), fits, "{key} {operator:?} {values:?}");
    }

    #[test]
    fn operators_are_kubernetes_operators() {
        check("zone", Operator::In, &["a", "b"], true);
        check("zone", Operator::In, &["b"], false);
        check("zone", Operator::In, &[], false);
        check("zone", Operator::NotIn, &["b"], true);
        check("zone", Operator::NotIn, &["a"], false);
        check("absent", Operator::NotIn, &["a"], true);
        check("absent", Operator::In, &["a"], false);
        check("zone", Operator::Exists, &[], true);
        check("zone", Operator::Exists, &["a"], false);
        check("absent", Operator::DoesNotExist, &[], true);
        check("zone", Operator::DoesNotExist, &[], false);
        check("cores", Operator::Gt, &["15"], true);
        check("cores", Operator::Gt, &["16"], false);
        check("cores", Operator::Lt, &["17"], true);
        check("cores", Operator::Lt, &["17", "18"], false);
        check("word", Operator::Lt, &["17"], false);
        check("cores", Operator::Gt, &["few"], false);
    }

    #[test]
    fn terms_are_alternatives_and_the_selector_holds_as_well() {
        let term = |expressions, fields| NodeSelectorTerm { match_expressions: expressions, match_fields: fields };
        let is = |operator, name: &str| term(vec![], vec![requirement("metadata.name", operator, &[name])]);
        let fits = |selector: &[(&str, &str)], required: Option<Vec<NodeSelectorTerm>>| {
            let selector = selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            matches(&selector, required.as_deref(), &node())
        };
        assert!(fits(&[], None) && fits(&[("zone", "a")], None) && !fits(&[("zone", "b")], None));
        assert!(!fits(&[], Some(vec![])), "no terms match nothing");
        assert!(!fits(&[], Some(vec![term(vec![], vec![])])), "an empty term matches nothing");
        assert!(fits(&[], Some(vec![is(Operator::In, "n2"), is(Operator::In, "n1")])));
        assert!(!fits(&[("zone", "b")], Some(vec![is(Operator::In, "n1")])));
        assert!(fits(&[], Some(vec![is(Operator::NotIn, "n2")])) && !fits(&[], Some(vec![is(Operator::Exists, "n1")])));
        let both = term(vec![requirement("zone", Operator::In, &["b"])], vec![requirement("metadata.name", Operator::In, &["n1"])]);
        assert!(!fits(&[], Some(vec![both])), "requirements of a term hold together");
    }
}
