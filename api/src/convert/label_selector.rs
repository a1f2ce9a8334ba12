//! `metav1.LabelSelector` to the model.

use super::Unreadable;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use placement::cluster::{LabelSelector, Operator, Requirement};

/// A selector; what of it can't be read is named by its path.
pub(super) fn label_selector(selector: &v1::LabelSelector, path: impl Fn() -> String, unreadable: &mut Unreadable) -> LabelSelector {
    let expressions = selector.match_expressions.iter().flatten().enumerate().filter_map(|(i, expression)| {
        let found = requirement(expression);
        if found.is_none() {
            let operator = &expression.operator;
            unreadable.add(
                format!("{}.matchExpressions[{i}].operator", path()),
                format!("{operator:?} is not one of In, NotIn, Exists, DoesNotExist"),
            );
        }
        found
    });
    LabelSelector::of_labels(selector.match_labels.iter().flatten()).and(LabelSelector::new(expressions))
}

/// `None`: the operator is not known.
fn requirement(expression: &v1::LabelSelectorRequirement) -> Option<Requirement> {
    let operator = match expression.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    Some(Requirement { key: expression.key.clone(), operator, values: expression.values.clone().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_expressions_are_one_list() {
        let mut unreadable = Unreadable::default();
        let object = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["b", "a"]}, {"key": "x", "operator": "Gt", "values": ["1"]}]});
        let selector = label_selector(&serde_json::from_value(object).unwrap(), || "spec.s".to_owned(), &mut unreadable);
        let text: Vec<String> =
            selector.requirements().iter().map(|r| format!("{} {:?} {}", r.key, r.operator, r.values.join(","))).collect();
        assert_eq!(text, ["app In web", "tier NotIn a,b"]);
        assert_eq!(unreadable.refusals[0].field, "spec.s.matchExpressions[1].operator");
    }
}
