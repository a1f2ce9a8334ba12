//! Request bodies in protobuf, read as the JSON of the same object. The typed clients of client-go send nothing else, `kubectl create`
//! without `-f` among them; answers are JSON, which these clients take too.

mod wire;

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::client::protobuf::MAGIC;
use serde_json::{Map, Value, json};

use super::verbs::seconds;
use wire::{Item, items, text};

/// Fields by number, for each message.
static MESSAGES: LazyLock<HashMap<&'static str, HashMap<u64, Field>>> = LazyLock::new(|| {
    let lines = include_str!("fields.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (message, fields) = line.split_once(' ')?;
            Some((message, fields.split(' ').filter_map(Field::read).collect()))
        })
        .collect()
});

/// One field of a message.
#[derive(Debug)]
struct Field {
    /// Its name in JSON; none where its fields are its parent's.
    name: Option<&'static str>,
    form: Form,
    of: &'static str,
    /// Whether zero says something.
    optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    One,
    List,
    Map,
}

impl Field {
    /// Reads `name=number:type`.
    fn read(source: &'static str) -> Option<(u64, Self)> {
        let (name, rest) = source.split_once('=')?;
        let (number, kind) = rest.split_once(':')?;
        let (form, kind) = if let Some(kind) = kind.strip_prefix("[]") {
            (Form::List, kind)
        } else if let Some(kind) = kind.strip_prefix("{}") {
            (Form::Map, kind)
        } else {
            (Form::One, kind)
        };
        let of = kind.trim_end_matches('*');
        let name = Some(name).filter(|name| *name != "-");
        Some((number.parse().ok()?, Self { name, form, of, optional: of.len() < kind.len() }))
    }
}

/// The object in a body; the error says what cannot be read.
pub fn object(body: &[u8]) -> Result<Value, String> {
    let envelope = body.strip_prefix(MAGIC).ok_or("the body does not begin as protobuf of this API does")?;
    let (mut kind, mut api_version, mut raw) = (String::new(), String::new(), &[][..]);
    for (number, item) in items(envelope)? {
        match (number, item) {
            (1, Item::Bytes(types)) => {
                for (number, item) in items(types)? {
                    match number {
                        1 => api_version = text(item)?,
                        2 => kind = text(item)?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = json!({ "kind": kind, "apiVersion": api_version });
    if let Value::Object(fields) = &mut object {
        // Kinds of one name are told apart by their group.
        let whole = format!("{api_version}.{kind}");
        read_into(fields, if MESSAGES.contains_key(whole.as_str()) { &whole } else { &kind }, raw)?;
    }
    Ok(object)
}

/// Reads a message's fields into an object.
fn read_into(object: &mut Map<String, Value>, message: &str, bytes: &[u8]) -> Result<(), String> {
    let fields = MESSAGES.get(message).ok_or_else(|| format!("{message} is not read from protobuf here; send JSON"))?;
    for (number, item) in items(bytes)? {
        let field = fields.get(&number).ok_or_else(|| format!("field {number} of {message} is not known"))?;
        let Some(name) = field.name else {
            read_into(object, field.of, wire::bytes(item)?)?;
            continue;
        };
        match field.form {
            Form::One => {
                let value = value(field.of, item)?;
                let unset = matches!(&value, Value::String(text) if text.is_empty()) || value == json!(0) || value == json!(false);
                if field.optional || !unset {
                    object.insert(name.to_owned(), value);
                }
            }
            Form::List => {
                let value = value(field.of, item)?;
                if let Value::Array(list) = object.entry(name).or_insert_with(|| json!([])) {
                    list.push(value);
                }
            }
            Form::Map => {
                let (mut key, mut value_of_key) = (String::new(), Value::Null);
                for (number, item) in items(wire::bytes(item)?)? {
                    match number {
                        1 => key = text(item)?,
                        _ => value_of_key = value(field.of, item)?,
                    }
                }
                object.entry(name).or_insert_with(|| json!({}))[key] = value_of_key;
            }
        }
    }
    Ok(())
}

/// One value of the type.
fn value(of: &str, item: Item<'_>) -> Result<Value, String> {
    let part = |wanted: u64| -> Result<Option<Item<'_>>, String> {
        Ok(items(wire::bytes(item)?)?.into_iter().find(|(number, _)| *number == wanted).map(|(_, item)| item))
    };
    let number = |wanted: u64| part(wanted)?.map_or(Ok(0), wire::integer);
    let inner_text = |wanted: u64| part(wanted)?.map_or_else(|| Ok(String::new()), text);
    Ok(match of {
        "string" => text(item)?.into(),
        "bytes" => STANDARD.encode(wire::bytes(item)?).into(),
        "int" => wire::integer(item)?.into(),
        "bool" => (wire::integer(item)? != 0).into(),
        "Quantity" => inner_text(1)?.into(),
        "IntOrString" if number(1)? == 0 => number(2)?.into(),
        "IntOrString" => inner_text(3)?.into(),
        "Time" | "MicroTime" if wire::bytes(item)?.is_empty() => Value::Null,
        "Time" | "MicroTime" => {
            let nanoseconds = i32::try_from(number(2)?).map_err(|error| error.to_string())?;
            let at = jiff::Timestamp::new(number(1)?, nanoseconds).map_err(|error| error.to_string())?;
            if of == "Time" { seconds(at).into() } else { at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into() }
        }
        "FieldsV1" | "RawExtension" => {
            let raw = part(1)?.map_or(Ok(&b"null"[..]), wire::bytes)?;
            serde_json::from_slice(raw).map_err(|error| format!("{of} is not JSON: {error}"))?
        }
        message => {
            let mut object = Map::new();
            read_into(&mut object, message, wire::bytes(item)?)?;
            object.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &types), &field(2, raw)].concat()
    }

    #[test]
    fn an_object_is_read_as_its_json() {
        let metadata = [field(1, b"m"), field(2, b""), field(8, &[])].concat();
        let entry = |value: &[u8]| [field(1, b"k"), field(2, value)].concat();
        let raw = [field(1, &metadata), field(2, &entry(b"v")), field(3, &entry(&[0, 1])), vec![4 << 3, 1]].concat();
        let expected = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "m", "creationTimestamp": null },
            "data": { "k": "v" }, "binaryData": { "k": "AAE=" }, "immutable": true });
        assert_eq!(object(&body("v1", "ConfigMap", &raw)).unwrap(), expected);
    }

    #[test]
    fn kinds_of_one_name_are_told_apart_by_their_group() {
        let named = [field(1, &field(1, b"e")), field(10, b"what happened")].concat();
        assert_eq!(object(&body("events.k8s.io/v1", "Event", &named)).unwrap()["note"], "what happened");
        assert_eq!(object(&body("v1", "Event", &named)).unwrap_err(), "Event is not read from protobuf here; send JSON");
    }

    #[test]
    fn zero_is_kept_where_it_says_something() {
        let port = |port: &[u8]| field(2, &field(1, &[&[3 << 3, 80, 5 << 3, 0][..], &field(4, port)].concat()));
        let by_number = body("v1", "Service", &port(&[1 << 3, 0, 2 << 3, 0x90, 0x3f]));
        assert_eq!(object(&by_number).unwrap()["spec"], json!({ "ports": [{ "port": 80, "targetPort": 8080 }] }));
        let by_name = body("v1", "Service", &port(&[vec![1 << 3, 1], field(3, b"http")].concat()));
        assert_eq!(object(&by_name).unwrap()["spec"]["ports"][0]["targetPort"], "http");
        let deployment = body("apps/v1", "Deployment", &field(2, &[1 << 3, 0, 7 << 3, 0]));
        assert_eq!(object(&deployment).unwrap()["spec"], json!({ "replicas": 0 }));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(object(bytes).unwrap_err(), expected);
        check(b"{}", "the body does not begin as protobuf of this API does");
        check(&body("v1", "Nothing", &[]), "Nothing is not read from protobuf here; send JSON");
        check(&body("v1", "ConfigMap", &field(9, b"")), "field 9 of ConfigMap is not known");
        check(&body("v1", "ConfigMap", &[0x0a, 7]), "the message ends within a field");
    }

    #[test]
    fn every_message_that_is_named_is_in_the_table() {
        const PLAIN: [&str; 10] =
            ["string", "bytes", "int", "bool", "Time", "MicroTime", "Quantity", "IntOrString", "FieldsV1", "RawExtension"];
        for (message, fields) in MESSAGES.iter() {
            for field in fields.values().filter(|field| !PLAIN.contains(&field.of)) {
                assert!(MESSAGES.contains_key(field.of), "{message} names {}", field.of);
            }
        }
        assert!(MESSAGES.len() > 200, "{}", MESSAGES.len());
    }
}
