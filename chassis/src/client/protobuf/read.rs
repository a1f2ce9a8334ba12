//! Objects in protobuf as JSON, which is what the Kubernetes client reads.

use super::MAGIC;
use super::table::{Field, Holds, Kind, Message, TABLE};
use base64::Engine as _;
use std::borrow::Cow;
use std::io::Write as _;

/// What can't be read as Kubernetes' protobuf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not read from protobuf: {0}")]
pub struct Malformed(Cow<'static, str>);

fn malformed(what: impl Into<Cow<'static, str>>) -> Malformed {
    Malformed(what.into())
}

type Result<T, E = Malformed> = std::result::Result<T, E>;

/// Which fields are read.
#[derive(Clone, Copy, PartialEq)]
pub enum Fields {
    /// Every one: what is not in the table is an error.
    All,
    /// Those of the table, but not who manages which field, which is half of what a pod says in JSON.
    Known,
}

/// An object in its envelope, as JSON.
///
/// # Errors
/// It can't be read, or is of a kind that is not read here.
pub fn object(bytes: &[u8], fields: Fields) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(2 * bytes.len());
    Reader { fields }.object(bytes, &mut out)?;
    Ok(out)
}

/// Adds an event of a watch to `out`, as a line of JSON.
pub(super) fn event(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let message = TABLE.named(EVENT).ok_or(malformed("no events are known"))?;
    Reader { fields: Fields::Known }.braced(message, bytes, out)?;
    out.push(b'\n');
    Ok(())
}

/// The message of a watch's events. It is in no envelope: events in events have no end.
const EVENT: &str = "WatchEvent";

/// Of every list.
const ITEMS: u64 = 2;

#[derive(Clone, Copy)]
struct Reader {
    fields: Fields,
}

impl Reader {
    /// Adds an object in its envelope.
    fn object(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let envelope = bytes.strip_prefix(MAGIC).ok_or(malformed("it does not begin as protobuf of this API does"))?;
        let [types, raw] = parts(envelope, [1, 2])?;
        let [version, kind] = parts(types.bytes()?, [1, 2])?;
        let (version, kind) = (utf8(version.bytes()?)?, utf8(kind.bytes()?)?);
        // Kinds of one name are told apart by their group.
        let message = version.contains('/').then(|| TABLE.named(&format!("{version}.{kind}"))).flatten().or_else(|| TABLE.named(kind));
        let message = message.filter(|_| kind != EVENT).ok_or_else(|| malformed(format!("{kind} is not known here; send JSON")))?;
        write(out, format_args!("{{\"kind\":\"{kind}\",\"apiVersion\":"));
        self.text(version.as_bytes(), out)?;
        self.fields(message, raw.bytes()?, true, out)?;
        // A list without items has none on the wire, and JSON has to say so.
        if kind.ends_with("List") && parts(raw.bytes()?, [ITEMS])?[0].is_zero() {
            out.extend(b",\"items\":[]");
        }
        out.push(b'}');
        Ok(())
    }

    fn braced(self, message: &Message, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.push(b'{');
        self.fields(message, bytes, false, out)?;
        out.push(b'}');
        Ok(())
    }

    /// Adds the fields of a message, after others where there are `some` already; says whether there are some then.
    fn fields(self, message: &Message, bytes: &[u8], mut some: bool, out: &mut Vec<u8>) -> Result<bool> {
        // The field whose values are being listed, and what ends the list.
        let mut open: Option<(u64, u8)> = None;
        let mut seen = 0u128;
        each(bytes, |number, value| {
            let field = match (message.field(number), self.fields) {
                (Some(field), Fields::Known) if field.name == Some("managedFields") => return Ok(()),
                (Some(field), _) => field,
                (None, Fields::Known) => return Ok(()),
                (None, Fields::All) => return Err(malformed(format!("field {number} of {} is not known", message.name))),
            };
            if open.is_some_and(|(listed, _)| listed == number) {
                out.push(b',');
                return self.listed(field, value, out);
            }
            out.extend(open.take().map(|(_, end)| end));
            let once = 1u128.checked_shl(u32::try_from(number).unwrap_or(u32::MAX)).ok_or(malformed("a field's number is too large"))?;
            if seen & once != 0 {
                return Err(malformed(format!("field {number} of {} comes twice", message.name)));
            }
            seen |= once;
            let Some(name) = field.name else {
                let Kind::Message(index) = field.kind else { return Err(malformed("a field without a name")) };
                some = self.fields(TABLE.message(index), value.bytes()?, some, out)?;
                return Ok(());
            };
            if field.holds == Holds::One && value.is_zero() && !matches!(field.kind, Kind::Message(_)) {
                return Ok(());
            }
            if std::mem::replace(&mut some, true) {
                out.push(b',');
            }
            write(out, format_args!("\"{name}\":"));
            let (begin, end) = match field.holds {
                Holds::One | Holds::Optional => return self.single(field.kind, value, out),
                Holds::Several => (b'[', b']'),
                Holds::Map => (b'{', b'}'),
            };
            out.push(begin);
            open = Some((number, end));
            self.listed(field, value, out)
        })?;
        out.extend(open.map(|(_, end)| end));
        Ok(some)
    }

    /// Adds one of several values.
    fn listed(self, field: &Field, value: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
        if field.holds != Holds::Map {
            return self.single(field.kind, value, out);
        }
        let [key, value] = parts(value.bytes()?, [1, 2])?;
        self.text(key.bytes()?, out)?;
        out.push(b':');
        self.single(field.kind, value, out)
    }

    /// A text that is not UTF-8 is refused where every field counts. From an API server it comes as its JSON has it, with U+FFFD for what can't be read:
    /// who may make a pod may give it such an annotation, and that must not keep all others from being seen.
    fn text(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let text = match self.fields {
            Fields::All => utf8(bytes)?.into(),
            Fields::Known => String::from_utf8_lossy(bytes),
        };
        serde_json::to_writer(out, &text).map_err(|_error| malformed("a text that JSON can't have"))
    }

    fn single(self, kind: Kind, value: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
        match kind {
            Kind::Bool => write(out, format_args!("{}", value.int()? != 0)),
            Kind::Int => write(out, format_args!("{}", value.int()?)),
            Kind::String => self.text(value.bytes()?, out)?,
            Kind::Bytes => write(out, format_args!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(value.bytes()?))),
            Kind::Time | Kind::MicroTime if value.is_zero() => out.extend(b"null"),
            Kind::Time => write(out, format_args!("\"{}\"", time(value)?)),
            Kind::MicroTime => write(out, format_args!("\"{:.6}\"", time(value)?)),
            Kind::Quantity => {
                let [quantity] = parts(value.bytes()?, [1])?;
                self.text(if quantity.is_zero() { b"0" } else { quantity.bytes()? }, out)?;
            }
            Kind::IntOrString => {
                let [is_string, int, string] = parts(value.bytes()?, [1, 2, 3])?;
                if is_string.is_zero() { write(out, format_args!("{}", int.int()?)) } else { self.text(string.bytes()?, out)? }
            }
            Kind::Raw => {
                let [raw] = parts(value.bytes()?, [1])?;
                match raw.bytes()? {
                    b"" => out.extend(b"null"),
                    whole if whole.starts_with(MAGIC) => self.object(whole, out)?,
                    json if serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok() => out.extend(json),
                    _ => return Err(malformed("what should be JSON is not")),
                }
            }
            Kind::Message(index) => self.braced(TABLE.message(index), value.bytes()?, out)?,
        }
        Ok(())
    }
}

fn time(value: Value<'_>) -> Result<jiff::Timestamp> {
    let [seconds, nanos] = parts(value.bytes()?, [1, 2])?;
    let nanos = i32::try_from(nanos.int()?).ok();
    nanos.and_then(|nanos| jiff::Timestamp::new(seconds.int().ok()?, nanos).ok()).ok_or(malformed("a time that can't be"))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_error| malformed("a text that is not UTF-8"))
}

/// Writing to memory does not fail.
fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    _ = out.write_fmt(text);
}

/// A field's value on the wire.
#[derive(Clone, Copy)]
enum Value<'a> {
    Int(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn int(self) -> Result<i64> {
        match self {
            Self::Int(int) => Ok(int.cast_signed()),
            Self::Bytes(b"") => Ok(0),
            Self::Bytes(_) => Err(malformed("bytes where a number is expected")),
        }
    }

    fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Int(_) => Err(malformed("a number where bytes are expected")),
        }
    }

    fn is_zero(self) -> bool {
        matches!(self, Self::Int(0) | Self::Bytes(b""))
    }
}

/// The values of a message's fields of these numbers, zero where there are none.
fn parts<'a, const N: usize>(bytes: &'a [u8], numbers: [u64; N]) -> Result<[Value<'a>; N]> {
    let mut found = [Value::Bytes(b""); N];
    each(bytes, |number, value| {
        if let Some(index) = numbers.iter().position(|wanted| *wanted == number) {
            found[index] = value;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Passes on every field of a message, number and value.
fn each<'a>(mut bytes: &'a [u8], mut field: impl FnMut(u64, Value<'a>) -> Result<()>) -> Result<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Int(varint(&mut bytes)?),
            1 => Value::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return Err(malformed("a field of no known form")),
        };
        field(key >> 3, value)?;
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let (taken, rest) =
        usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length)).ok_or(malformed("it ends too early"))?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(malformed("it ends too early"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(malformed("a number of more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Node, Pod};
    use k8s_openapi::api::events::v1::Event;
    use serde::de::DeserializeOwned;
    use serde_json::{Value as Json, json};

    fn read(bytes: &[u8], fields: Fields) -> Result<Json> {
        let out = object(bytes, fields)?;
        Ok(serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out))))
    }

    fn without_managed_fields(json: &mut Json) {
        match json {
            Json::Object(fields) => {
                fields.remove("managedFields");
                fields.values_mut().for_each(without_managed_fields);
            }
            Json::Array(list) => list.iter_mut().for_each(without_managed_fields),
            _ => {}
        }
    }

    /// Samples are by Kubernetes' own serializers, with every field set.
    #[test]
    fn what_is_read_is_what_kubernetes_writes_in_json() {
        fn check<K: DeserializeOwned + PartialEq + std::fmt::Debug>(protobuf: &[u8], json: &str) {
            let mut expected: Json = serde_json::from_str(json).unwrap();
            assert!(read(protobuf, Fields::All).unwrap() == expected, "{}, all", std::any::type_name::<K>());
            without_managed_fields(&mut expected);
            let known = read(protobuf, Fields::Known).unwrap();
            assert!(known == expected, "{}", std::any::type_name::<K>());
            serde_json::from_value::<K>(known).unwrap();
        }
        check::<Pod>(include_bytes!("samples/pod.pb"), include_str!("samples/pod.json"));
        check::<Node>(include_bytes!("samples/node.pb"), include_str!("samples/node.json"));
        check::<Event>(include_bytes!("samples/event.pb"), include_str!("samples/event.json"));
    }

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        [MAGIC, &field(1, &[field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat()), &field(2, raw)].concat()
    }

    #[test]
    fn what_is_zero_is_left_out_where_that_is_the_same() {
        // A name, an empty generateName, and a grace period of 0, which is more than none.
        let metadata = [&field(1, b"a"), &field(2, b"")[..], &[10 << 3, 0]].concat();
        let expected = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "deletionGracePeriodSeconds": 0}});
        assert_eq!(read(&envelope("v1", "Pod", &field(1, &metadata)), Fields::All).unwrap(), expected);
    }

    #[test]
    fn a_list_says_that_it_is_empty() {
        let metadata = field(1, &field(2, b"12"));
        let check = |items: &[u8], expected: Json| {
            let expected = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "12"}, "items": expected});
            assert_eq!(read(&envelope("v1", "PodList", &[&metadata, items].concat()), Fields::Known).unwrap(), expected);
        };
        check(b"", json!([]));
        let pod = field(2, &field(1, &field(1, b"a")));
        check(&[&pod[..], &pod].concat(), json!([{"metadata": {"name": "a"}}, {"metadata": {"name": "a"}}]));
    }

    #[test]
    fn numbers_and_names_of_ports_are_told_apart() {
        let port = |target: &[u8]| field(2, &field(1, &[&[3 << 3, 80][..], &field(4, target)].concat()));
        let check = |target: &[u8], expected: Json| {
            let read = read(&envelope("v1", "Service", &port(target)), Fields::All).unwrap();
            assert_eq!(read["spec"], json!({"ports": [{"port": 80, "targetPort": expected}]}));
        };
        check(&[1 << 3, 0, 2 << 3, 0x90, 0x3f], json!(8080));
        check(&[&[1 << 3, 1][..], &field(3, b"http")].concat(), json!("http"));
    }

    #[test]
    fn an_event_is_a_line() {
        let object = envelope("v1", "Pod", &field(1, &field(6, b"12")));
        let bookmark = [field(1, b"BOOKMARK"), field(2, &field(1, &object))].concat();
        let mut out = Vec::new();
        event(&bookmark, &mut out).unwrap();
        assert!(out.ends_with(b"}\n"));
        let expected = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "12"}}});
        assert_eq!(serde_json::from_slice::<Json>(&out).unwrap(), expected);
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        let wrong = |bytes: &[u8], why: &'static str| assert_eq!(read(bytes, Fields::All), Err(malformed(why)));
        let pod = |raw: &[u8]| envelope("v1", "Pod", raw);
        wrong(b"{}", "it does not begin as protobuf of this API does");
        wrong(&envelope("v1", "Nothing", b""), "Nothing is not known here; send JSON");
        wrong(&envelope("v1", "WatchEvent", b""), "WatchEvent is not known here; send JSON");
        wrong(&pod(&[0x0a, 9, 1]), "it ends too early");
        wrong(&pod(&[0x08, 1]), "a number where bytes are expected");
        wrong(&pod(&field(1, &[0x09])), "it ends too early");
        wrong(&pod(&field(1, &[0x0c])), "a field of no known form");
        wrong(&pod(&field(1, &field(1, b"\xff"))), "a text that is not UTF-8");
        wrong(&pod(&field(1, &[0x80; 11])), "a number of more than 64 bits");
        wrong(&pod(&[field(1, b""), field(2, b""), field(1, b"")].concat()), "field 1 of Pod comes twice");
        wrong(&pod(&field(9, b"")), "field 9 of Pod is not known");
        assert_eq!(read(&pod(&field(9, b"")), Fields::Known).unwrap(), json!({"kind": "Pod", "apiVersion": "v1"}));
    }

    #[test]
    fn a_text_that_is_not_utf_8_comes_as_the_api_servers_json_has_it() {
        let annotation = field(12, &[field(1, b"a"), field(2, b"x\xffy")].concat());
        let pod = read(&envelope("v1", "Pod", &field(1, &annotation)), Fields::Known).unwrap();
        assert_eq!(pod["metadata"]["annotations"], json!({"a": "x\u{fffd}y"}));
    }

    #[test]
    fn no_cut_of_a_pod_is_a_panic() {
        let whole = include_bytes!("samples/pod.pb");
        for length in (0..whole.len()).step_by(13) {
            assert!(read(&whole[..length], Fields::Known).is_err(), "{length}");
        }
    }
}
