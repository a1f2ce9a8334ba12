//! Why the real server, which reads JSON into structs of Go, could not read a value of a built-in type: in its decoder's words.

use placement::units::Quantity;
use serde_json::Value;

use super::{Definitions, Kind, Schema};

const NOT_A_QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The layouts by which times are read, as the errors about them tell.
const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROSECONDS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// The struct that is being read, and the fields on the way to the value.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    fields: &'a str,
}

/// The first thing that could not be read.
pub(super) fn find(definitions: &Definitions, schema: &Schema, value: &Value) -> Option<String> {
    walk(definitions, schema, value, Place { name: "", fields: "" })
}

fn walk(definitions: &Definitions, schema: &Schema, value: &Value, place: Place<'_>) -> Option<String> {
    let reference = schema.reference.as_deref().unwrap_or_default();
    let target = definitions.resolve(schema);
    let unfit = || Some(unmarshal(value, place, &go_type(schema)));
    match (target.kind, value) {
        (_, Value::Null)
        | (Kind::Any, _)
        | (Kind::IntOrString, Value::Number(_) | Value::String(_))
        | (Kind::Quantity, Value::Number(_)) => None,
        (Kind::Quantity, Value::String(text)) => Quantity::parse(text).is_err().then(|| NOT_A_QUANTITY.to_owned()),
        (Kind::Quantity, _) => Some(NOT_A_QUANTITY.to_owned()),
        (Kind::String, Value::String(text)) if reference.ends_with(".MicroTime") => time(text, MICROSECONDS),
        (Kind::String, Value::String(text)) if reference.ends_with(".Time") => time(text, SECONDS),
        (Kind::String, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) | (Kind::Number, Value::Number(_)) => None,
        (Kind::Integer, Value::Number(number)) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => None,
        (Kind::Array, Value::Array(list)) => {
            list.iter().find_map(|item| target.items.as_ref().and_then(|items| walk(definitions, items, item, place)))
        }
        (Kind::Object, Value::Object(map)) => map.iter().find_map(|(name, field)| match target.properties.get(name.as_str()) {
            Some(property) => {
                let fields = if place.fields.is_empty() { name.clone() } else { format!("{}.{name}", place.fields) };
                walk(definitions, property, field, Place { name: last(reference), fields: &fields })
            }
            None => target.additional.as_ref().and_then(|of| walk(definitions, of, field, place)),
        }),
        _ => unfit(),
    }
}

fn unmarshal(value: &Value, place: Place<'_>, wanted: &str) -> String {
    let found = match value {
        Value::Number(number) if number.is_f64() => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Object(_) | Value::Null => "object".to_owned(),
    };
    match place {
        Place { fields: "", .. } => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        Place { name, fields } => format!("json: cannot unmarshal {found} into Go struct field {name}.{fields} of type {wanted}"),
    }
}

/// The type as Go names it; of strings and numbers the schema does not tell the named types.
fn go_type(schema: &Schema) -> String {
    if let Some(reference) = &schema.reference {
        let mut parts = reference.rsplit('.');
        let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{package}.{name}");
    }
    let of = |inner: &Option<Box<Schema>>| inner.as_ref().map_or_else(|| "interface {}".to_owned(), |inner| go_type(inner));
    match schema.kind {
        Kind::Array => format!("[]{}", of(&schema.items)),
        Kind::Object => format!("map[string]{}", of(&schema.additional)),
        Kind::Integer => "int32".to_owned(),
        Kind::Number => "float64".to_owned(),
        Kind::Boolean => "bool".to_owned(),
        Kind::Quantity => "resource.Quantity".to_owned(),
        Kind::String | Kind::IntOrString => "string".to_owned(),
        Kind::Any => "interface {}".to_owned(),
    }
}

fn last(reference: &str) -> &str {
    reference.rsplit('.').next().unwrap_or(reference)
}

/// Why the text is not a time of the layout.
fn time(text: &str, layout: &str) -> Option<String> {
    let refuse = |rest: &str, element: &str| Some(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}"));
    let mut rest = text;
    for element in ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"] {
        let digits = element.as_bytes()[0].is_ascii_digit();
        let fits = |found: &str| if digits { found.bytes().all(|c| c.is_ascii_digit()) } else { found == element };
        match rest.split_at_checked(element.len()) {
            Some((found, left)) if fits(found) => rest = left,
            _ => return refuse(rest, element),
        }
    }
    let fraction = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    if layout == MICROSECONDS && fraction != 6 {
        return refuse(rest, ".000000");
    }
    if fraction > 0 {
        rest = &rest[fraction + 1..];
    }
    let zone = match rest.as_bytes() {
        [b'Z', ..] => 1,
        [b'+' | b'-', a, b, b':', c, d, ..] if [a, b, c, d].iter().all(|c| c.is_ascii_digit()) => 6,
        _ => return refuse(rest, "Z07:00"),
    };
    if rest.len() > zone {
        return Some(format!("parsing time {text:?}: extra text: {:?}", &rest[zone..]));
    }
    text.parse::<jiff::Timestamp>().is_err().then(|| format!("parsing time {text:?}: day out of range"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::resource::BUILTIN;

    fn check(kind: &str, value: Value, expected: Option<&str>) {
        let definitions = Definitions::builtin();
        let builtin = BUILTIN.iter().find(|builtin| builtin.kind == kind).unwrap();
        assert_eq!(definitions.unreadable(definitions.root(builtin), &value).as_deref(), expected);
    }

    #[test]
    fn json_types() {
        check("ConfigMap", json!({ "data": { "k": "v" } }), None);
        check(
            "ConfigMap",
            json!({ "data": { "k": 7 } }),
            Some("json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        );
        check(
            "ConfigMap",
            json!({ "data": [] }),
            Some("json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string"),
        );
        check(
            "Pod",
            json!({ "spec": { "containers": [{ "name": "c" }, { "name": true }] } }),
            Some("json: cannot unmarshal bool into Go struct field Container.spec.containers.name of type string"),
        );
        check("Service", json!({ "spec": { "ports": [{ "port": 80, "targetPort": "http" }] } }), None);
    }

    #[test]
    fn quantities_and_times() {
        let requests = |cpu: &str| json!({ "spec": { "containers": [{ "resources": { "requests": { "cpu": cpu } } }] } });
        check("Pod", requests("100m"), None);
        check("Pod", requests("much"), Some(NOT_A_QUANTITY));
        let lease = |time: &str| json!({ "spec": { "renewTime": time } });
        check("Lease", lease("2026-01-01T00:00:00.000001Z"), None);
        check("Lease", lease("2026-01-01T00:00:00.000001+02:00"), None);
        check(
            "Lease",
            lease("2026-01-01"),
            Some(r#"parsing time "2026-01-01" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "" as "T""#),
        );
        check(
            "Lease",
            lease("2026-01-01T00:00:00Z"),
            Some(r#"parsing time "2026-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#),
        );
        let event = |time: &str| json!({ "lastTimestamp": time });
        check("Event", event("2026-01-01T00:00:00Z"), None);
        check("Event", event("soon"), Some(r#"parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006""#));
        check("Event", event("2026-02-31T00:00:00Z"), Some(r#"parsing time "2026-02-31T00:00:00Z": day out of range"#));
    }
}
