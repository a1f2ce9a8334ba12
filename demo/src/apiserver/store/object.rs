//! A stored object: its JSON, serialised once, and the few fields that lists and watches select by.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

/// Where objects of one resource live, shared by every version and view of it.
#[derive(Debug)]
pub struct Storage {
    /// `pods`, `deployments.apps`.
    pub id: Box<str>,
    /// Fields that selectors may name.
    pub fields: Vec<Field>,
}

/// A field that selectors may name.
#[derive(Debug, Clone)]
pub struct Field {
    /// As the selector says it: `spec.nodeName`.
    pub label: Box<str>,
    /// Where it is in the stored object, as a JSON pointer.
    pub pointer: Box<str>,
    /// Its value where the object has none.
    pub default: &'static str,
}

/// One version of one object. Immutable; a write makes a new one.
#[derive(Debug)]
pub struct Object {
    /// `pods`, `deployments.apps`.
    pub storage: Arc<Storage>,
    /// Empty for cluster-scoped objects.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub rv: u64,
    /// `metadata.labels`.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Values of [`Storage::fields`], in its order; empty where absent.
    pub fields: Vec<Box<str>>,
    /// UIDs in `metadata.ownerReferences`.
    pub owners: Vec<Box<str>>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// The whole object, as stored.
    pub json: Bytes,
}

impl Object {
    /// Takes the object apart, with `rv` written into its metadata.
    pub(super) fn new(storage: &Arc<Storage>, namespace: &str, name: &str, mut value: Value, rv: u64) -> Self {
        value["metadata"]["resourceVersion"] = rv.to_string().into();
        lead_with_type(&mut value);
        let text = |value: &Value| -> Box<str> {
            match value {
                Value::String(s) => s.as_str().into(),
                Value::Null => "".into(),
                other => other.to_string().into(),
            }
        };
        let metadata = &value["metadata"];
        let labels = match metadata["labels"].as_object() {
            Some(map) => map.iter().map(|(k, v)| (k.as_str().into(), text(v))).collect(),
            None => Vec::new(),
        };
        let owners = match metadata["ownerReferences"].as_array() {
            Some(list) => list.iter().map(|owner| text(&owner["uid"])).collect(),
            None => Vec::new(),
        };
        let fields = storage.fields.iter().map(|field| value.pointer(&field.pointer).map_or(field.default.into(), text)).collect();
        let uid = text(&metadata["uid"]);
        let deleting = metadata["deletionTimestamp"].is_string();
        let json = serde_json::to_vec(&value).expect("a JSON value always serialises").into();
        Self { storage: storage.clone(), namespace: namespace.into(), name: name.into(), uid, rv, labels, fields, owners, deleting, json }
    }

    /// The fields after kind and `apiVersion`, without the opening brace: lists of built-in kinds say the type once, for all items. `None`
    /// for an object that has no such fields.
    pub fn untyped_fields(&self) -> Option<&[u8]> {
        let mut rest = self.json.strip_prefix(b"{")?;
        for key in [&b"\"kind\":\""[..], &b"\"apiVersion\":\""[..]] {
            rest = rest.strip_prefix(key)?;
            // Neither holds a quote: both were compared with the resource's own.
            let end = rest.iter().position(|byte| *byte == b'"')?;
            rest = rest[end + 1..].strip_prefix(b",")?;
        }
        Some(rest)
    }

    /// The object parsed; the caller may change it freely.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("stored objects are valid JSON")
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }

    /// The value of a selectable field, `metadata.name` and `metadata.namespace` included; `None` when unknown.
    pub fn field(&self, label: &str) -> Option<&str> {
        match label {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => {
                let index = self.storage.fields.iter().position(|field| &*field.label == label)?;
                self.fields.get(index).map(|v| &**v)
            }
        }
    }
}

/// Puts kind and `apiVersion` where the API puts them and [`Object::untyped_fields`] expects them.
fn lead_with_type(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for key in ["apiVersion", "kind"] {
        if let Some(text) = fields.shift_remove(key) {
            fields.shift_insert(0, key.to_owned(), text);
        }
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Created.
    Added,
    /// Updated.
    Modified,
    /// Removed; the change's object is its last state, under the deletion's resourceVersion.
    Deleted,
}

impl ChangeKind {
    /// The `type` of a watch event.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One stored change, shared by history, watchers and observers.
#[derive(Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object after the change.
    pub object: Arc<Object>,
    /// The object before it.
    pub previous: Option<Arc<Object>>,
    /// When the server accepted it.
    pub at: jiff::Timestamp,
    frame: OnceLock<Bytes>,
}

impl Change {
    pub(super) fn new(kind: ChangeKind, object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        Self { kind, object, previous, at: jiff::Timestamp::now(), frame: OnceLock::new() }
    }

    /// The watch event of the stored form, serialised by whoever needs it first and then shared.
    pub fn frame(&self) -> Bytes {
        self.frame.get_or_init(|| frame(self.kind.event_type(), &self.object.json)).clone()
    }
}

/// One line of a watch stream.
pub fn frame(event_type: &str, json: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(json.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(event_type.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(json);
    line.put_slice(b"}\n");
    line.freeze()
}
