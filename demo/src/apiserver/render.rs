//! Objects, lists and events in the form that the client asked for.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::negotiate::{Form, IncludeObject};
use super::resource::{Resource, Shape, View};
use super::store::{Change, Object, frame};
use super::table;
use super::verbs::list::Page;
use super::watch::{at_version, bookmark_object};

/// Puts the objects of one resource in one form. Holds what a stream has said already.
#[derive(Debug)]
pub struct Renderer {
    resource: Arc<Resource>,
    form: Form,
    /// What an object of the kind holds where nobody set anything.
    empty: Value,
    /// A stream of tables names its columns once.
    columns_sent: bool,
}

impl Renderer {
    /// For one answer or one stream.
    pub fn new(resource: Arc<Resource>, form: Form) -> Self {
        Self { resource, form, empty: Value::Null, columns_sent: false }
    }

    /// A stream whose bookmarks carry this empty object.
    pub fn with_empty(self, empty: Value) -> Self {
        Self { empty, ..self }
    }

    fn plain(&self) -> bool {
        self.form == Form::Object && self.resource.view == View::Stored
    }

    /// The event of a change, in the shared serialised form where the client wants just that.
    pub fn change(&mut self, change: &Change) -> Bytes {
        if self.plain() { change.frame() } else { self.event(change.kind.event_type(), &change.object) }
    }

    /// An event about an object.
    pub fn event(&mut self, event_type: &str, object: &Object) -> Bytes {
        if self.plain() {
            return frame(event_type, &object.json);
        }
        let value = self.streamed(object.value());
        frame(event_type, value.to_string().as_bytes())
    }

    /// An event about an object as it was, under a later resourceVersion.
    pub fn event_at(&mut self, event_type: &str, object: &Object, rv: u64) -> Bytes {
        let value = at_version(object, rv);
        let value = if self.plain() { value } else { self.streamed(value) };
        frame(event_type, value.to_string().as_bytes())
    }

    fn streamed(&mut self, stored: Value) -> Value {
        let value = self.one(self.resource.to_served(stored));
        if matches!(self.form, Form::Table(_)) {
            let first = !std::mem::replace(&mut self.columns_sent, true);
            return table::only_rows(value, first);
        }
        value
    }

    /// A bookmark event.
    pub fn bookmark(&mut self, rv: u64, initial_events_end: bool) -> Bytes {
        let object = match self.form {
            Form::Object => {
                let mut object = bookmark_object(&self.resource.kind, &self.resource.api_version(), rv, initial_events_end);
                for (field, value) in self.empty.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata") {
                    object[field] = value.clone();
                }
                object
            }
            Form::Metadata => bookmark_object("PartialObjectMetadata", "meta.k8s.io/v1", rv, initial_events_end),
            Form::Table(_) => {
                let mut table = bookmark_object("Table", "meta.k8s.io/v1", rv, initial_events_end);
                table["columnDefinitions"] = Value::Null;
                table["rows"] = json!([]);
                table
            }
        };
        frame("BOOKMARK", object.to_string().as_bytes())
    }

    /// One served object in the form asked for.
    pub fn one(&self, served: Value) -> Value {
        match self.form {
            Form::Object => served,
            Form::Metadata => metadata_only(&served),
            Form::Table(include) => {
                let rv = served["metadata"]["resourceVersion"].clone();
                table::render(&self.resource, std::slice::from_ref(&served), include, &json!({ "resourceVersion": rv }))
            }
        }
    }

    /// One stored object in the form asked for.
    pub fn stored(&self, object: &Object) -> Bytes {
        if self.plain() {
            return object.json.clone();
        }
        self.one(self.resource.to_served(object.value())).to_string().into()
    }

    /// A list in the form asked for.
    pub fn list(&self, page: &Page) -> Bytes {
        let mut metadata = json!({ "resourceVersion": page.rv.to_string() });
        match &page.next {
            Some(next) => metadata["continue"] = next.as_str().into(),
            // A list of custom resources says so where no page follows.
            None if self.form == Form::Object && matches!(self.resource.shape, Shape::Custom(_)) => metadata["continue"] = "".into(),
            None => {}
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        let served = || page.objects.iter().map(|object| self.resource.to_served(object.value()));
        match self.form {
            Form::Table(include) => {
                let served: Vec<Value> = served().collect();
                table::render(&self.resource, &served, include, &metadata).to_string().into()
            }
            Form::Metadata => {
                let items: Vec<Value> = served().map(|object| metadata_only(&object)).collect();
                json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "items": items })
                .to_string()
                .into()
            }
            Form::Object => {
                let (kind, version) = (&self.resource.list_kind, self.resource.api_version());
                let head = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":[");
                let size: usize = page.objects.iter().map(|o| o.json.len() + 1).sum();
                let mut out = BytesMut::with_capacity(head.len() + size + 2);
                out.put_slice(head.as_bytes());
                for (at, object) in page.objects.iter().enumerate() {
                    if at > 0 {
                        out.put_u8(b',');
                    }
                    self.item(object, &mut out);
                }
                out.put_slice(b"]}");
                out.freeze()
            }
        }
    }

    /// One item of a list: of a built-in kind without its type, which the list says.
    fn item(&self, object: &Object, out: &mut BytesMut) {
        let custom = matches!(self.resource.shape, Shape::Custom(_));
        if !self.plain() {
            let mut served = self.resource.to_served(object.value());
            if let Some(fields) = served.as_object_mut().filter(|_| !custom) {
                fields.shift_remove("kind");
                fields.shift_remove("apiVersion");
            }
            out.put_slice(served.to_string().as_bytes());
        } else if let Some(fields) = object.untyped_fields().filter(|_| !custom) {
            out.put_u8(b'{');
            out.put_slice(fields);
        } else {
            out.put_slice(&object.json);
        }
    }
}

fn metadata_only(served: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": served["metadata"] })
}

/// What a table row carries of its object.
pub fn row_object(served: &Value, include: IncludeObject) -> Value {
    match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => metadata_only(served),
        IncludeObject::Object => served.clone(),
    }
}
