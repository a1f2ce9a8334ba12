//! Rules in CEL (`x-kubernetes-validations`), after the schema itself has been satisfied.

use kube_cel::{CompiledSchema, ErrorKind};
use serde_json::Value;

use crate::apiserver::schema::type_name;
use crate::apiserver::status::FieldError;

/// Whether rules stand anywhere in a schema.
pub fn within(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(key, inner)| (key == "x-kubernetes-validations" && inner.is_array()) || within(inner)),
        Value::Array(list) => list.iter().any(within),
        _ => false,
    }
}

/// Said in place of what rules would say where the object is too wrong for them.
pub fn unchecked() -> FieldError {
    FieldError::invalid(
        "<nil>",
        &Value::Null,
        "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
    )
}

/// Which rules the object breaks; `old` is what it replaces. A rule that calls a function which is not built in here
/// is not judged: refusing every object of a foreign definition would help nobody.
pub fn broken(rules: &CompiledSchema, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Err(errors) = kube_cel::validate_compiled(rules, object, old) else { return Vec::new() };
    errors
        .into_iter()
        .filter(|error| error.kind != ErrorKind::UnsupportedReference)
        .map(|error| {
            let path = error.field_path.trim_start_matches('.');
            let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
            let value = match object.pointer(&pointer) {
                Some(plain @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => plain.clone(),
                Some(other) => type_name(other).into(),
                None => type_name(object).into(),
            };
            FieldError::invalid(path, &value, &error.message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: Value, old: Option<Value>, expected: &[&str]) {
        let schema = json!({ "type": "object", "properties": { "spec": { "type": "object",
            "x-kubernetes-validations": [
                { "rule": "has(self.a) != has(self.b)", "message": "give either a or b" },
                { "rule": "self.fixed == oldSelf.fixed", "message": "fixed is immutable" }],
            "properties": { "a": { "type": "string" }, "b": { "type": "string" }, "fixed": { "type": "integer" } } } } });
        let rules = kube_cel::compile_schema(&schema);
        let old = old.map(|spec| json!({ "spec": spec }));
        let found = broken(&rules, &json!({ "spec": spec }), old.as_ref());
        assert_eq!(found.iter().map(FieldError::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rules_judge_the_object_and_its_change() {
        check(json!({ "a": "x", "fixed": 1 }), None, &[]);
        check(json!({ "a": "x", "b": "y", "fixed": 1 }), None, &["spec: Invalid value: \"object\": give either a or b"]);
        check(
            json!({ "a": "x", "fixed": 2 }),
            Some(json!({ "a": "x", "fixed": 1 })),
            &["spec: Invalid value: \"object\": fixed is immutable"],
        );
    }
}
