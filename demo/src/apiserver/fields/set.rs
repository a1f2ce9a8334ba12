//! Sets of fields, as `metadata.managedFields` writes them (FieldsV1): `f:` fields and keys of maps, `k:` items of a list
//! by their keys, `v:` values of a set, and `.` for a field that is owned besides what is in it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

/// A set of fields, as a tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<Box<str>, Node>);

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Node {
    member: bool,
    inner: FieldSet,
}

/// The step to a field or to a map's key.
pub fn field(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

/// The step to an item of a list by its keys.
pub fn keyed(identity: Map<String, Value>) -> Box<str> {
    format!("k:{}", Value::Object(identity)).into()
}

/// The step to a value of a set.
pub fn valued(value: &Value) -> Box<str> {
    format!("v:{value}").into()
}

impl FieldSet {
    /// Adds what is at a step: the field itself if `member`, and what is in it.
    pub fn add(&mut self, step: Box<str>, member: bool, inner: Self) {
        if member || !inner.is_empty() {
            let node = self.0.entry(step).or_default();
            node.member |= member;
            node.inner.unite(inner);
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it holds the field itself.
    pub fn has(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(|node| node.member)
    }

    /// What it holds inside a field.
    pub fn inside(&self, step: &str) -> Option<&Self> {
        self.0.get(step).map(|node| &node.inner).filter(|inner| !inner.is_empty())
    }

    /// Forgets a field and what is in it.
    pub fn forget(&mut self, step: &str) {
        self.0.remove(step);
    }

    /// Forgets what `condition` says of the steps inside a field.
    pub fn forget_inside(&mut self, step: &str, condition: impl Fn(&str) -> bool) {
        if let Some(node) = self.0.get_mut(step) {
            node.member = false;
            node.inner.0.retain(|inner, _| !condition(inner));
            if node.inner.is_empty() {
                self.0.remove(step);
            }
        }
    }

    /// Takes everything of `other` in.
    pub fn unite(&mut self, other: Self) {
        for (step, node) in other.0 {
            match self.0.entry(step) {
                Entry::Vacant(entry) => {
                    entry.insert(node);
                }
                Entry::Occupied(mut entry) => {
                    entry.get_mut().member |= node.member;
                    entry.get_mut().inner.unite(node.inner);
                }
            }
        }
    }

    /// Takes everything of `other` out.
    pub fn subtract(&mut self, other: &Self) {
        self.0.retain(|step, node| {
            if let Some(gone) = other.0.get(step) {
                node.member &= !gone.member;
                node.inner.subtract(&gone.inner);
            }
            node.member || !node.inner.is_empty()
        });
    }

    /// What both hold.
    pub fn common(&self, other: &Self) -> Self {
        let mut found = Self::default();
        for (step, node) in &self.0 {
            if let Some(theirs) = other.0.get(step) {
                found.add(step.clone(), node.member && theirs.member, node.inner.common(&theirs.inner));
            }
        }
        found
    }

    /// What is in here that `others` hold neither itself nor anything in it: what nobody is left to want.
    pub fn unclaimed(&self, others: &Self) -> Self {
        let mut found = Self::default();
        for (step, node) in &self.0 {
            match others.0.get(step) {
                None => found.add(step.clone(), node.member, if node.member { Self::default() } else { node.inner.clone() }),
                Some(theirs) => found.add(step.clone(), false, node.inner.unclaimed(&theirs.inner)),
            }
        }
        found
    }

    /// The paths of all fields, as messages name them, outer ones first.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths("", &mut found);
        found
    }

    fn collect_paths(&self, before: &str, into: &mut Vec<String>) {
        into.extend(self.0.iter().filter(|(_, node)| node.member).map(|(step, _)| format!("{before}{}", readable(step))));
        for (step, node) in &self.0 {
            node.inner.collect_paths(&format!("{before}{}", readable(step)), into);
        }
    }

    /// FieldsV1.
    pub fn to_value(&self) -> Value {
        let node = |node: &Node| {
            let mut inner = node.inner.to_value();
            if node.member && !node.inner.is_empty() {
                let mut with_self = Map::new();
                with_self.insert(".".to_owned(), Value::Object(Map::new()));
                if let Value::Object(map) = &mut inner {
                    with_self.append(map);
                }
                inner = Value::Object(with_self);
            }
            inner
        };
        Value::Object(self.0.iter().map(|(step, inner)| (step.to_string(), node(inner))).collect())
    }

    /// From FieldsV1; `None` where it is not.
    pub fn from_value(value: &Value) -> Option<Self> {
        let mut found = Self::default();
        for (step, inner) in value.as_object()? {
            if step == "." {
                continue;
            }
            if !["f:", "k:", "v:", "i:"].iter().any(|prefix| step.starts_with(prefix)) {
                return None;
            }
            let member = inner.as_object().is_some_and(|map| map.is_empty() || map.contains_key("."));
            found.add(step.as_str().into(), member, Self::from_value(inner)?);
        }
        Some(found)
    }
}

/// A step as messages write it: `.spec`, `[name="web"]`, `[="a"]`.
pub fn readable(step: &str) -> String {
    match step.split_at(2) {
        ("f:", name) => format!(".{name}"),
        ("k:", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        ("v:", value) => format!("[={value}]"),
        (_, index) => format!("[{index}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::from_value(&value).unwrap()
    }

    #[test]
    fn the_written_form_is_kept() {
        let written = json!({ "f:spec": { "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:image": {} } }, "f:replicas": {} } });
        assert_eq!(set(written.clone()).to_value(), written);
        assert_eq!(set(written).paths(), [".spec.replicas", ".spec.containers[name=\"c\"]", ".spec.containers[name=\"c\"].image"]);
        assert_eq!(FieldSet::from_value(&json!({ "spec": {} })), None);
    }

    #[test]
    fn sums_and_differences() {
        let mut a = set(json!({ "f:a": {}, "f:b": { ".": {}, "f:c": {} } }));
        let b = set(json!({ "f:b": { "f:c": {}, "f:d": {} } }));
        assert_eq!(a.common(&b).to_value(), json!({ "f:b": { "f:c": {} } }));
        a.subtract(&b);
        assert_eq!(a.to_value(), json!({ "f:a": {}, "f:b": {} }));
        a.unite(b);
        assert_eq!(a.to_value(), json!({ "f:a": {}, "f:b": { ".": {}, "f:c": {}, "f:d": {} } }));
    }

    #[test]
    fn what_someone_holds_in_part_is_claimed() {
        let last = set(json!({ "f:a": { ".": {}, "f:x": {} }, "f:b": { ".": {}, "f:y": {} }, "f:c": { "f:z": {} } }));
        let others = set(json!({ "f:a": { "f:other": {} } }));
        assert_eq!(last.unclaimed(&others).to_value(), json!({ "f:a": { "f:x": {} }, "f:b": {}, "f:c": { "f:z": {} } }));
    }
}
