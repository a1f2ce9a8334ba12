//! Judging a value by its schema, in the API server's words.

use serde_json::Value;

use super::{Definitions, Kind, Schema, Step, render, type_name};
use crate::apiserver::status::FieldError;

pub(super) fn walk(definitions: &Definitions, schema: &Schema, value: &Value, path: &mut Vec<Step>, errors: &mut Vec<FieldError>) {
    let schema = definitions.resolve(schema);
    if value.is_null() && (schema.nullable || schema.kind == Kind::Any) {
        return;
    }
    if !has_type(schema.kind, value) {
        let field = render(path);
        let wanted = match schema.kind {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::Integer | Kind::IntOrString => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::String | Kind::Quantity | Kind::Any => "string",
        };
        let found = type_name(value);
        let detail = format!("{field} in body must be of type {wanted}: \"{found}\"");
        errors.push(FieldError::wrong_type(field, found, &detail));
        return;
    }
    limits(schema, value, path, errors);
    match value {
        Value::Object(map) => {
            for name in &schema.required {
                if !map.contains_key(&**name) {
                    path.push(Step::Field(name.to_string()));
                    errors.push(FieldError::required(render(path), ""));
                    path.pop();
                }
            }
            for (key, inner) in map {
                let (step, inner_schema) = match schema.properties.get(key.as_str()) {
                    Some(property) => (Step::Field(key.clone()), property),
                    None => match &schema.additional {
                        Some(additional) => (Step::Key(key.clone()), &**additional),
                        None => continue,
                    },
                };
                path.push(step);
                walk(definitions, inner_schema, inner, path, errors);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                path.push(Step::Index(at));
                if let Some(items) = &schema.items {
                    walk(definitions, items, item, path, errors);
                }
                if duplicates_earlier(schema, list, at) {
                    errors.push(FieldError::duplicate(render(path), &list_identity(schema, item)));
                }
                path.pop();
            }
        }
        _ => {}
    }
    combinations(definitions, schema, value, path, errors);
}

fn has_type(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Object => value.is_object(),
        Kind::Array => value.is_array(),
        Kind::String | Kind::Quantity => value.is_string(),
        Kind::Boolean => value.is_boolean(),
        Kind::Number => value.is_number(),
        Kind::Integer => is_integer(value),
        Kind::IntOrString => value.is_string() || is_integer(value),
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
}

fn list_identity(schema: &Schema, item: &Value) -> Value {
    if schema.is_set {
        return item.clone();
    }
    schema.list_keys.iter().map(|key| ((**key).to_owned(), item[&**key].clone())).collect()
}

fn duplicates_earlier(schema: &Schema, list: &[Value], at: usize) -> bool {
    if !schema.is_set && schema.list_keys.is_empty() {
        return false;
    }
    let identity = list_identity(schema, &list[at]);
    list[..at].iter().any(|earlier| list_identity(schema, earlier) == identity)
}

fn limits(schema: &Schema, value: &Value, path: &[Step], errors: &mut Vec<FieldError>) {
    let limits = &schema.limits;
    let field = || render(path);
    let mut fail = |detail: String| {
        let field = field();
        let detail = format!("{field} in body {detail}");
        errors.push(FieldError::invalid(field, value, &detail));
    };
    if let Some(number) = value.as_f64() {
        if let Some(minimum) = limits.minimum {
            if limits.exclusive_minimum && number <= minimum {
                fail(format!("should be greater than {minimum}"));
            } else if number < minimum {
                fail(format!("should be greater than or equal to {minimum}"));
            }
        }
        if let Some(maximum) = limits.maximum {
            if limits.exclusive_maximum && number >= maximum {
                fail(format!("should be less than {maximum}"));
            } else if number > maximum {
                fail(format!("should be less than or equal to {maximum}"));
            }
        }
        if let Some(step) = limits.multiple_of
            && number % step != 0.0
        {
            fail(format!("should be a multiple of {step}"));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count();
        if let Some(minimum) = limits.min_length.filter(|minimum| length < *minimum) {
            fail(format!("should be at least {minimum} chars long"));
        }
        if let Some(maximum) = limits.max_length.filter(|maximum| length > *maximum) {
            fail(format!("should be at most {maximum} chars long"));
        }
        if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            fail(format!("should match '{pattern}'"));
        }
        if limits.date_time && text.parse::<jiff::Timestamp>().is_err() {
            fail(format!("must be of type date-time: \"{text}\""));
        }
    }
    let counted = match value {
        Value::Array(list) => Some((list.len(), limits.min_items, limits.max_items, "items")),
        Value::Object(map) => Some((map.len(), limits.min_properties, limits.max_properties, "properties")),
        _ => None,
    };
    if let Some((count, minimum, maximum, what)) = counted {
        if let Some(minimum) = minimum.filter(|minimum| count < *minimum) {
            fail(format!("should have at least {minimum} {what}"));
        }
        if let Some(maximum) = maximum.filter(|maximum| count > *maximum) {
            fail(format!("should have at most {maximum} {what}"));
        }
    }
    if !schema.accepted.is_empty() && !schema.accepted.contains(value) {
        let supported: Vec<String> = schema.accepted.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        errors.push(FieldError::unsupported(field(), value, &supported));
    }
}

fn combinations(definitions: &Definitions, schema: &Schema, value: &Value, path: &mut Vec<Step>, errors: &mut Vec<FieldError>) {
    for inner in &schema.all_of {
        walk(definitions, inner, value, path, errors);
    }
    let mut passing = |schemas: &[Schema]| {
        let holds = |inner: &&Schema| {
            let mut found = Vec::new();
            walk(definitions, inner, value, path, &mut found);
            found.is_empty()
        };
        schemas.iter().filter(holds).count()
    };
    let any = schema.any_of.is_empty() || passing(&schema.any_of) > 0;
    let one = schema.one_of.is_empty() || passing(&schema.one_of) == 1;
    let not = schema.not.as_ref().is_none_or(|not| passing(std::slice::from_ref(&**not)) == 0);
    let field = render(path);
    let mut fail = |detail: &str| {
        let detail = format!("\"{field}\" must {detail}");
        errors.push(FieldError::invalid(field.clone(), value, &detail));
    };
    if !any {
        fail("validate at least one schema (anyOf)");
    }
    if !one {
        fail("validate one and only one schema (oneOf)");
    }
    if !not {
        fail("not validate the schema (not)");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::compile;
    use super::*;

    fn check(property: Value, value: Value, expected: &[&str]) {
        let schema = json!({ "type": "object", "properties": { "f": property } });
        let schema = compile(&schema).unwrap();
        let errors = Definitions::default().validate(&schema, &json!({ "f": value }));
        let text: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn types() {
        let integer = json!({ "type": "integer" });
        check(integer.clone(), json!(3), &[]);
        check(integer, json!("x"), &["f: Invalid value: \"string\": f in body must be of type integer: \"string\""]);
        check(json!({ "x-kubernetes-int-or-string": true }), json!("25%"), &[]);
        check(json!({ "type": "string", "nullable": true }), Value::Null, &[]);
        check(json!({ "type": "string" }), Value::Null, &["f: Invalid value: \"null\": f in body must be of type string: \"null\""]);
    }

    #[test]
    fn bounds_enums_and_required() {
        check(
            json!({ "type": "integer", "minimum": 1 }),
            json!(0),
            &["f: Invalid value: 0: f in body should be greater than or equal to 1"],
        );
        check(
            json!({ "type": "string", "enum": ["balance", "random"] }),
            json!("x"),
            &["f: Unsupported value: \"x\": supported values: \"balance\", \"random\""],
        );
        check(json!({ "type": "string", "pattern": "^a+$" }), json!("b"), &["f: Invalid value: \"b\": f in body should match '^a+$'"]);
        check(json!({ "type": "object", "required": ["g"] }), json!({}), &["f.g: Required value"]);
        check(
            json!({ "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" } }),
            json!(["a", "b", "a"]),
            &["f[2]: Duplicate value: \"a\""],
        );
    }

    #[test]
    fn combined_schemas() {
        let either = json!({ "type": "object", "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] });
        check(either.clone(), json!({ "a": 1 }), &[]);
        check(
            either,
            json!({ "a": 1, "b": 1 }),
            &["f: Invalid value: {\"a\":1,\"b\":1}: \"f\" must validate one and only one schema (oneOf)"],
        );
    }
}
