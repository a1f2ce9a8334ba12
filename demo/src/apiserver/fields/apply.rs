//! What applying a configuration makes of an object: merged, without what its manager no longer applies, unless someone
//! else owns a field that would change.

use serde_json::Value;

use super::set::FieldSet;
use super::walk::{compare, fields_of, merge, without};
use super::{Manager, Managers, Scope};
use crate::apiserver::schema::Typed;

/// What has become of the object.
#[derive(Debug)]
pub struct Applied {
    /// The object, without `managedFields`.
    pub value: Value,
    /// Its managers.
    pub managers: Managers,
    /// Whether anything differs from what it was, its managers included.
    pub changed: bool,
}

/// Who owns which fields that applying would change.
#[derive(Debug)]
pub struct Conflicts(pub Vec<(Manager, FieldSet)>);

/// Applies `wanted` to `live`; neither has `managedFields`. `by` names the manager, `force` takes others' fields over.
pub fn apply(
    typed: Typed<'_>,
    scope: Scope,
    live: &Value,
    wanted: &Value,
    mut managers: Managers,
    by: Manager,
    force: bool,
) -> Result<Applied, Conflicts> {
    let mut own = fields_of(typed, wanted);
    scope.keep(&mut own);
    let before = managers.0.iter().position(|manager| manager.is(&by)).map(|at| managers.0.remove(at));
    let mut value = merge(typed, live, wanted);
    if let Some(before) = &before {
        let mut held = own.clone();
        for manager in &managers.0 {
            held.unite(manager.fields.clone());
        }
        let gone = before.fields.unclaimed(&held);
        value = without(typed, &value, &gone).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    }
    let (mut changed, mut removed) = compare(typed, live, &value).set();
    scope.keep(&mut changed);
    scope.keep(&mut removed);
    let conflicts: Vec<(Manager, FieldSet)> = managers
        .0
        .iter()
        .map(|manager| (manager.clone(), manager.fields.common(&changed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(Conflicts(conflicts));
    }
    let same = changed.is_empty() && removed.is_empty() && before.as_ref().is_some_and(|before| before.fields == own);
    managers.take_away(&changed);
    managers.take_away(&removed);
    let time = if same { before.and_then(|before| before.time) } else { by.time.clone() };
    managers.give(Manager { time, ..by }, own);
    Ok(Applied { value, managers, changed: !same })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Operation;
    use super::*;
    use crate::apiserver::resource::BUILTIN;
    use crate::apiserver::schema::Definitions;

    fn by(name: &str) -> Manager {
        let operation = if name == "updater" { Operation::Update } else { Operation::Apply };
        Manager {
            name: name.to_owned(),
            operation,
            api_version: "v1".to_owned(),
            subresource: String::new(),
            time: None,
            fields: FieldSet::default(),
        }
    }

    /// Applies the pod specs in turn, each as (manager, spec), by force where the manager ends with `!`; the spec at the end, or the paths in conflict.
    fn check(steps: &[(&str, Value)], expected: Result<Value, &[&str]>) {
        let definitions = Definitions::builtin();
        let pod = BUILTIN.iter().find(|builtin| builtin.kind == "Pod").unwrap();
        let typed = Typed::root(&definitions, Some(definitions.root(pod)), false);
        let (mut live, mut managers) = (json!({ "spec": {} }), Managers::default());
        let mut conflict = None;
        for (name, spec) in steps {
            let wanted = json!({ "spec": spec });
            let (name, force) = name.strip_suffix('!').map_or((*name, false), |name| (name, true));
            if name == "updater" {
                managers = super::super::update(typed, Scope::Main, &live, &wanted, managers, by(name)).unwrap_or_default();
                live = wanted;
                continue;
            }
            match apply(typed, Scope::Main, &live, &wanted, managers.clone(), by(name), force) {
                Ok(applied) => (live, managers) = (applied.value, applied.managers),
                Err(Conflicts(found)) => conflict = Some(found.iter().flat_map(|(_, fields)| fields.paths()).collect::<Vec<_>>()),
            }
        }
        match expected {
            Ok(spec) => assert_eq!((conflict, &live["spec"]), (None, &spec)),
            Err(paths) => assert_eq!(conflict.unwrap_or_default(), paths),
        }
    }

    #[test]
    fn what_is_no_longer_applied_goes_and_what_others_own_stays() {
        let image = |image: &str| json!({ "containers": [{ "name": "c", "image": image }] });
        check(&[("a", json!({ "hostname": "x", "nodeName": "n" })), ("a", json!({ "nodeName": "n" }))], Ok(json!({ "nodeName": "n" })));
        check(&[("a", json!({ "hostname": "x" })), ("b", json!({ "hostname": "x" })), ("a", json!({}))], Ok(json!({ "hostname": "x" })));
        let both = json!({ "containers": [{ "name": "c", "image": "1" }, { "name": "d" }] });
        check(&[("a", both), ("a", image("2"))], Ok(image("2")));
        check(&[("updater", image("1")), ("a", json!({ "hostname": "x" })), ("a", json!({}))], Ok(image("1")));
    }

    #[test]
    fn fields_of_others_conflict_unless_forced() {
        let image = |image: &str| json!({ "containers": [{ "name": "c", "image": image }] });
        let path = ".spec.containers[name=\"c\"].image";
        check(&[("a", image("1")), ("b", image("2"))], Err(&[path]));
        check(&[("a", image("1")), ("b", image("1"))], Ok(image("1")));
        check(&[("updater", image("1")), ("b", image("2"))], Err(&[path]));
        check(&[("a", image("1")), ("b!", image("2"))], Ok(image("2")));
        // Taken over, a field is no longer the other's to remove.
        check(&[("a", image("1")), ("b!", image("2")), ("a!", json!({}))], Ok(image("2")));
    }
}
