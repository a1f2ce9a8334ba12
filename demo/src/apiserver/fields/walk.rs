//! Walks over values by their types: which fields a value has, how two differ, how one merges into another, what is left
//! without some fields. Structured merge and diff, as server-side apply defines them.

use serde_json::{Map, Value};

use super::set::{FieldSet, field, keyed, readable, valued};
use crate::apiserver::schema::{ListType, Typed};

/// How an object differs from what it was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Fields that have come.
    pub added: FieldSet,
    /// Fields with another value.
    pub modified: FieldSet,
    /// Fields that have gone.
    pub removed: FieldSet,
}

impl Difference {
    /// Fields that have come or have another value.
    pub fn set(self) -> (FieldSet, FieldSet) {
        let mut changed = self.added;
        changed.unite(self.modified);
        (changed, self.removed)
    }
}

/// A value taken apart: by field, by item, or not at all.
enum Parts<'a> {
    Map(&'a Map<String, Value>),
    Items(Vec<(Box<str>, &'a Value)>),
    Whole,
}

impl<'a> Parts<'a> {
    fn items(self) -> Vec<(Box<str>, &'a Value)> {
        match self {
            Self::Items(items) => items,
            Self::Map(_) | Self::Whole => Vec::new(),
        }
    }
}

fn parts<'a>(typed: Typed<'_>, value: Option<&'a Value>) -> Parts<'a> {
    match value {
        Some(Value::Object(map)) if !map.is_empty() && !typed.atomic() => Parts::Map(map),
        Some(Value::Array(list)) if !list.is_empty() && *typed.list() != ListType::Atomic => Parts::Items(items(typed, list)),
        _ => Parts::Whole,
    }
}

fn items<'a>(typed: Typed<'_>, list: &'a [Value]) -> Vec<(Box<str>, &'a Value)> {
    list.iter().map(|item| (step(typed, item), item)).collect()
}

/// The step to an item of a list that is not one piece.
fn step(typed: Typed<'_>, item: &Value) -> Box<str> {
    match typed.list() {
        ListType::Map(keys) => keyed(typed.identity(keys, item)),
        ListType::Set | ListType::Atomic => valued(item),
    }
}

/// The fields that a value has.
pub fn fields_of(typed: Typed<'_>, value: &Value) -> FieldSet {
    let mut found = FieldSet::default();
    match parts(typed, Some(value)) {
        Parts::Map(map) => {
            for (name, inner) in map {
                let child = typed.field(name);
                let whole = matches!(parts(child, Some(inner)), Parts::Whole);
                let empty_list = inner.as_array().is_some_and(Vec::is_empty) && *child.list() != ListType::Atomic;
                found.add(field(name), (whole && !empty_list) || !typed.declares(name), fields_of(child, inner));
            }
        }
        Parts::Items(items) => {
            for (step, item) in items {
                found.add(step, true, fields_of(typed.item(), item));
            }
        }
        Parts::Whole => {}
    }
    found
}

/// How `new` differs from `old`.
pub fn compare(typed: Typed<'_>, old: &Value, new: &Value) -> Difference {
    let mut found = Difference::default();
    compare_parts(typed, Some(old), Some(new), &mut found);
    found
}

/// Adds how the parts of two values differ; says whether they have any.
fn compare_parts(typed: Typed<'_>, old: Option<&Value>, new: Option<&Value>, into: &mut Difference) -> bool {
    match (parts(typed, old), parts(typed, new)) {
        (Parts::Whole, Parts::Whole) => return false,
        (Parts::Map(_), _) | (_, Parts::Map(_)) => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let nothing = Value::Object(Map::new());
            for (name, value) in before.into_iter().flatten() {
                compare_at(typed.field(name), || field(name), Some(value), after.and_then(|map| map.get(name)), into);
            }
            for (name, value) in after.into_iter().flatten().filter(|(name, _)| before.is_none_or(|map| !map.contains_key(*name))) {
                // A struct that is held by value was there, if empty, before anything was in it.
                let before = (old.is_some() && typed.field(name).by_value()).then_some(&nothing);
                compare_at(typed.field(name), || field(name), before, Some(value), into);
            }
        }
        (before, after) => {
            let (before, after) = (before.items(), after.items());
            let find = |list: &[(Box<str>, &Value)], step: &str| list.iter().position(|(other, _)| **other == *step);
            for (step, item) in &before {
                let same = find(&after, step).map(|at| after[at].1);
                compare_at(typed.item(), || step.clone(), Some(*item), same, into);
            }
            for (step, item) in after.iter().filter(|(step, _)| find(&before, step).is_none()) {
                compare_at(typed.item(), || step.clone(), None, Some(*item), into);
            }
        }
    }
    true
}

fn compare_at(typed: Typed<'_>, step: impl Fn() -> Box<str>, old: Option<&Value>, new: Option<&Value>, into: &mut Difference) {
    if old == new {
        return;
    }
    let mut inner = Difference::default();
    let apart = compare_parts(typed, old, new, &mut inner);
    let step = step();
    into.added.add(step.clone(), old.is_none(), inner.added);
    into.removed.add(step.clone(), new.is_none(), inner.removed);
    into.modified.add(step, !apart && old.is_some() && new.is_some(), inner.modified);
}

/// What becomes of `live` when `wanted` is merged into it: it wins, and what it does not name stays.
pub fn merge(typed: Typed<'_>, live: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(before), Value::Object(after)) if !typed.atomic() => {
            let mut merged = before.clone();
            for (name, value) in after {
                let value = match before.get(name) {
                    Some(old) => merge(typed.field(name), old, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(before), Value::Array(after)) if *typed.list() != ListType::Atomic => merge_lists(typed, before, after).into(),
        _ => wanted.clone(),
    }
}

/// Items that are in one list alone keep their place among their own; those of both come in the order in which they are wanted.
fn merge_lists(typed: Typed<'_>, live: &[Value], wanted: &[Value]) -> Vec<Value> {
    let (live, wanted) = (items(typed, live), items(typed, wanted));
    let mut merged = Vec::with_capacity(live.len().max(wanted.len()));
    let mut next = 0;
    let mut take = |merged: &mut Vec<Value>| {
        let (step, item) = wanted.get(next)?;
        let old = live.iter().find(|(other, _)| other == step);
        merged.push(old.map_or_else(|| (*item).clone(), |(_, old)| merge(typed.item(), old, item)));
        next += 1;
        Some(next)
    };
    let mut taken = 0;
    for (step, item) in &live {
        match wanted.iter().position(|(other, _)| other == step) {
            None => merged.push((*item).clone()),
            Some(at) => {
                while taken <= at
                    && let Some(count) = take(&mut merged)
                {
                    taken = count;
                }
            }
        }
    }
    while take(&mut merged).is_some() {}
    merged
}

/// Which lists hold two items of the same identity, with the first such item of each.
pub fn duplicates(typed: Typed<'_>, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_duplicates(typed, value, "", &mut found);
    found
}

fn collect_duplicates(typed: Typed<'_>, value: &Value, path: &str, into: &mut Vec<String>) {
    match parts(typed, Some(value)) {
        Parts::Map(map) => {
            for (name, inner) in map {
                collect_duplicates(typed.field(name), inner, &format!("{path}.{name}"), into);
            }
        }
        Parts::Items(items) => {
            let twice = (1..items.len()).find(|at| items[..*at].iter().any(|(step, _)| *step == items[*at].0));
            if let Some(at) = twice {
                into.push(format!("{path}: duplicate entries for key {}", readable(&items[at].0)));
            }
            for (step, item) in &items {
                collect_duplicates(typed.item(), item, &format!("{path}{}", readable(step)), into);
            }
        }
        Parts::Whole => {}
    }
}

/// The value without the given fields; nothing where nothing is left.
pub fn without(typed: Typed<'_>, value: &Value, gone: &FieldSet) -> Option<Value> {
    match parts(typed, Some(value)) {
        Parts::Map(map) => {
            let mut kept = Map::new();
            for (name, inner) in map {
                let step = field(name);
                if gone.has(&step) {
                    continue;
                }
                let left = match gone.inside(&step) {
                    Some(gone) => without(typed.field(name), inner, gone),
                    None => Some(inner.clone()),
                };
                kept.extend(left.map(|left| (name.clone(), left)));
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Parts::Items(items) => {
            let left = items.into_iter().filter(|(step, _)| !gone.has(step)).filter_map(|(step, item)| match gone.inside(&step) {
                Some(gone) => without(typed.item(), item, gone),
                None => Some(item.clone()),
            });
            let left: Vec<Value> = left.collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        Parts::Whole => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::resource::BUILTIN;
    use crate::apiserver::schema::Definitions;

    fn with_type<T>(kind: &str, run: impl FnOnce(Typed<'_>) -> T) -> T {
        let definitions = Definitions::builtin();
        let builtin = BUILTIN.iter().find(|builtin| builtin.kind == kind).unwrap();
        run(Typed::root(&definitions, Some(definitions.root(builtin)), false))
    }

    fn check_fields(kind: &str, value: Value, expected: Value) {
        assert_eq!(with_type(kind, |typed| fields_of(typed, &value).to_value()), expected);
    }

    /// `expected` is (added or modified, removed).
    fn check_difference(kind: &str, old: Value, new: Value, expected: (Value, Value)) {
        let (changed, removed) = with_type(kind, |typed| compare(typed, &old, &new).set());
        assert_eq!((changed.to_value(), removed.to_value()), expected);
    }

    fn check_merge(live: Value, wanted: Value, expected: Value) {
        let (live, wanted, expected) = (json!({ "spec": live }), json!({ "spec": wanted }), json!({ "spec": expected }));
        assert_eq!(with_type("Pod", |typed| merge(typed, &live, &wanted)), expected);
    }

    #[test]
    fn a_value_owns_its_leaves_and_the_items_of_its_lists() {
        check_fields(
            "Pod",
            json!({ "metadata": { "labels": { "a": "b" }, "finalizers": ["f"] }, "spec": { "nodeSelector": { "x": "y" },
                "containers": [{ "name": "c", "ports": [{ "containerPort": 80 }], "args": ["a"], "resources": {} }] } }),
            json!({ "f:metadata": { "f:labels": { "f:a": {} }, "f:finalizers": { "v:\"f\"": {} } }, "f:spec": { "f:nodeSelector": {},
                "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:name": {}, "f:args": {}, "f:resources": {}, "f:ports": {
                    "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } } } } } }),
        );
    }

    #[test]
    fn what_comes_is_owned_with_all_that_holds_it() {
        let empty = with_type("Deployment", |typed| typed.empty());
        check_difference(
            "Deployment",
            empty,
            json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": 1 } }, "template": { "metadata": { "labels": { "a": "b" } },
                "spec": { "containers": [{ "name": "c", "env": [{ "name": "E" }] }] } } } }),
            (
                json!({ "f:spec": { "f:strategy": { "f:rollingUpdate": { ".": {}, "f:maxSurge": {} } },
                    "f:template": { "f:metadata": { "f:labels": { ".": {}, "f:a": {} } }, "f:spec": { "f:containers": {
                        "k:{\"name\":\"c\"}": { ".": {}, "f:name": {}, "f:env": { ".": {}, "k:{\"name\":\"E\"}": { ".": {}, "f:name": {} } } } } } } } }),
                json!({ "f:metadata": {}, "f:spec": { "f:selector": {} }, "f:status": {} }),
            ),
        );
        check_difference(
            "Pod",
            json!({ "spec": { "containers": [{ "name": "a", "image": "1" }, { "name": "b" }], "nodeSelector": { "x": "1" } } }),
            json!({ "spec": { "containers": [{ "name": "a", "image": "2" }], "nodeSelector": { "x": "2" } } }),
            (
                json!({ "f:spec": { "f:containers": { "k:{\"name\":\"a\"}": { "f:image": {} } }, "f:nodeSelector": {} } }),
                json!({ "f:spec": { "f:containers": { "k:{\"name\":\"b\"}": { ".": {}, "f:name": {} } } } }),
            ),
        );
    }

    #[test]
    fn merging_keeps_what_is_not_named() {
        let named = |names: &[&str]| json!({ "containers": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() });
        check_merge(named(&["side", "a"]), named(&["a"]), named(&["side", "a"]));
        check_merge(named(&["a", "x", "b"]), named(&["b", "a"]), named(&["b", "a", "x"]));
        check_merge(named(&["x"]), named(&["a"]), named(&["x", "a"]));
        check_merge(
            json!({ "nodeSelector": { "a": "1" }, "containers": [{ "name": "c", "image": "1", "args": ["x"] }] }),
            json!({ "nodeSelector": { "b": "2" }, "containers": [{ "name": "c", "args": ["y"] }] }),
            json!({ "nodeSelector": { "b": "2" }, "containers": [{ "name": "c", "image": "1", "args": ["y"] }] }),
        );
    }

    #[test]
    fn removing_takes_items_whole_and_leaves_no_empty_maps() {
        let value =
            json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "a" }, { "name": "b", "image": "i" }] } });
        let gone = json!({ "f:metadata": { "f:labels": { "f:a": {} } }, "f:spec": { "f:containers": {
            "k:{\"name\":\"a\"}": {}, "k:{\"name\":\"b\"}": { "f:image": {} } } } });
        let left = with_type("Pod", |typed| without(typed, &value, &FieldSet::from_value(&gone).unwrap()));
        assert_eq!(left, Some(json!({ "spec": { "containers": [{ "name": "b" }] } })));
    }
}
