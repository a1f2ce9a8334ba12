//! Label and field selectors, as query parameters and as `LabelSelector` objects.

mod syntax;

use serde_json::Value;

use super::resource::{Resource, Shape};
use super::status::ApiError;
use super::store::{Object, Trigger};

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelRule {
    /// The label is one of the values.
    In(String, Vec<String>),
    /// The label is none of the values, or absent.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent.
    Absent(String),
    /// The label is an integer above the number.
    Above(String, i64),
    /// The label is an integer below the number.
    Below(String, i64),
}

/// A conjunction of label conditions; empty selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(pub Vec<LabelRule>);

/// One condition on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// As in the stored form: `spec.nodeName`.
    pub label: String,
    /// The value.
    pub value: String,
    /// Whether it must equal the value, or differ from it.
    pub equal: bool,
}

/// What a list or watch is about.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// On labels.
    pub labels: LabelSelector,
    /// On fields.
    pub fields: Vec<FieldRule>,
}

impl LabelRule {
    fn matches(&self, get: &impl Fn(&str) -> Option<String>) -> bool {
        let number = |key: &str| get(key).and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(key, values) => get(key).is_some_and(|v| values.contains(&v)),
            Self::NotIn(key, values) => get(key).is_none_or(|v| !values.contains(&v)),
            Self::Exists(key) => get(key).is_some(),
            Self::Absent(key) => get(key).is_none(),
            Self::Above(key, limit) => number(key).is_some_and(|v| v > *limit),
            Self::Below(key, limit) => number(key).is_some_and(|v| v < *limit),
        }
    }
}

impl LabelSelector {
    /// Whether the labels that `get` knows satisfy every condition.
    pub fn matches(&self, get: impl Fn(&str) -> Option<String>) -> bool {
        self.0.iter().all(|rule| rule.matches(&get))
    }

    /// Whether a stored object's labels satisfy every condition.
    pub fn matches_object(&self, object: &Object) -> bool {
        self.0.is_empty() || self.matches(|key| object.label(key).map(str::to_owned))
    }

    /// Reads the query parameter form: `a=b,c!=d,e in (f,g),!h`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        syntax::rules(text).map(Self).map_err(ApiError::bad_request)
    }

    /// Reads a `LabelSelector` object. An absent one selects nothing and gives `None`; an empty one everything.
    pub fn from_object(selector: &Value) -> Option<Self> {
        let selector = selector.as_object()?;
        let mut rules = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            rules.push(LabelRule::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        }
        for rule in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = rule["key"].as_str().unwrap_or_default().to_owned();
            let values = rule["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|v| v.as_str().map(str::to_owned)).collect();
            rules.push(match rule["operator"].as_str()? {
                "In" => LabelRule::In(key, values),
                "NotIn" => LabelRule::NotIn(key, values),
                "Exists" => LabelRule::Exists(key),
                "DoesNotExist" => LabelRule::Absent(key),
                _ => return None,
            });
        }
        Some(Self(rules))
    }
}

/// Reads a field selector; `translate` gives the stored name of a field, or `None` when it cannot be selected by.
pub fn parse_fields(text: &str, resource: &Resource) -> Result<Vec<FieldRule>, ApiError> {
    let mut rules = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (label, value, equal) = if let Some((label, value)) = part.split_once("!=") {
            (label, value, false)
        } else if let Some((label, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (label, value, true)
        } else {
            let message = format!("invalid selector: '{text}'; can't understand '{part}'");
            return Err(ApiError::bad_request(message));
        };
        let Some(stored) = resource.selectable(label.trim()) else {
            let label = label.trim();
            return Err(ApiError::bad_request(match resource.shape {
                Shape::Builtin(_) if resource.storage.fields.is_empty() => {
                    format!("\"{label}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
                }
                _ => format!("field label not supported: {label}"),
            }));
        };
        rules.push(FieldRule { label: stored, value: value.trim().to_owned(), equal });
    }
    Ok(rules)
}

impl Selector {
    /// Whether the object is selected.
    pub fn matches(&self, object: &Object) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| **namespace == *object.namespace)
            && self.fields.iter().all(|rule| {
                let found = object.field(&rule.label).unwrap_or_default();
                (found == rule.value) == rule.equal
            })
            && self.labels.matches_object(object)
    }

    /// The cheapest exact condition in it, for the watch hub.
    pub fn trigger(&self) -> Trigger {
        let exact = |label: &str| self.fields.iter().find(|rule| rule.equal && rule.label == label);
        if let Some(rule) = exact("metadata.name") {
            Trigger::Name(rule.value.as_str().into())
        } else if let Some(rule) = exact("spec.nodeName") {
            Trigger::Node(rule.value.as_str().into())
        } else if let Some(namespace) = &self.namespace {
            Trigger::Namespace(namespace.as_str().into())
        } else {
            Trigger::All
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::resource::Registry;

    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let parsed = LabelSelector::parse(selector).unwrap();
        let get = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
        assert_eq!(parsed.matches(get), expected, "{selector} on {labels:?}");
    }

    #[test]
    fn equality_and_sets() {
        let labels = [("app", "web"), ("tier", "1")];
        check("", &labels, true);
        check("app=web", &labels, true);
        check("app==web,tier=1", &labels, true);
        check("app!=web", &labels, false);
        check("zone!=x", &labels, true);
        check("app in (api, web),!zone", &labels, true);
        check("app notin (web)", &labels, false);
        check("zone notin (a)", &labels, true);
        check("tier", &labels, true);
        check("zone", &labels, false);
        check("tier>0,tier<2", &labels, true);
        check("tier>1", &labels, false);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let registry = Registry::builtin();
        for (plural, expected) in [
            ("pods", "field label not supported: spec.foo"),
            ("configmaps", "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        ] {
            let error = parse_fields("spec.foo=1", &registry.find("", "v1", plural).unwrap()).unwrap_err();
            assert_eq!(error.message, expected);
        }
    }

    #[test]
    fn selector_objects() {
        let object = json!({ "matchLabels": { "a": "b" }, "matchExpressions": [
            { "key": "c", "operator": "NotIn", "values": ["d"] }, { "key": "e", "operator": "DoesNotExist" }] });
        let selector = LabelSelector::from_object(&object).unwrap();
        assert!(selector.matches(|k| (k == "a").then(|| "b".to_owned())));
        assert!(!selector.matches(|k| ["a", "e"].contains(&k).then(|| "b".to_owned())));
        assert_eq!(LabelSelector::from_object(&Value::Null), None);
        assert_eq!(LabelSelector::from_object(&json!({})), Some(LabelSelector::default()));
    }
}
