//! Bodies in protobuf of what is sent once a pod: the API server reads them at a third of what JSON costs it.
//!
//! The messages have the fields that are sent here, by the numbers that k8s.io/api publishes: whoever comes to set another adds it.

use super::{MAGIC, MEDIA_TYPE};
use http::{HeaderValue, Request, header};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{self, ObjectReference};
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use prost::Message;

/// What can be sent in protobuf.
pub trait Protobuf: Resource {
    /// The object's message.
    fn message(&self) -> impl Message;
}

/// The request that `of_body` makes, with the object in it. Answers come in JSON.
///
/// # Errors
/// Those of `of_body`.
pub fn request<K: Protobuf, E>(object: &K, of_body: impl FnOnce(Vec<u8>) -> Result<Request<Vec<u8>>, E>) -> Result<Request<Vec<u8>>, E> {
    let mut request = of_body(body(object))?;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(request)
}

/// The object's message in an envelope that says what it is.
fn body<K: Protobuf>(object: &K) -> Vec<u8> {
    let type_meta = TypeMeta { api_version: K::API_VERSION.to_owned(), kind: K::KIND.to_owned() };
    let unknown = Unknown { type_meta: Some(type_meta), raw: object.message().encode_to_vec() };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "3")]
    namespace: Option<String>,
    #[prost(string, optional, tag = "5")]
    uid: Option<String>,
}

impl From<&meta::ObjectMeta> for ObjectMeta {
    fn from(of: &meta::ObjectMeta) -> Self {
        Self { name: of.name.clone(), namespace: of.namespace.clone(), uid: of.uid.clone() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Reference {
    #[prost(string, optional, tag = "1")]
    kind: Option<String>,
    #[prost(string, optional, tag = "2")]
    namespace: Option<String>,
    #[prost(string, optional, tag = "3")]
    name: Option<String>,
    #[prost(string, optional, tag = "4")]
    uid: Option<String>,
    #[prost(string, optional, tag = "5")]
    api_version: Option<String>,
    #[prost(string, optional, tag = "6")]
    resource_version: Option<String>,
    #[prost(string, optional, tag = "7")]
    field_path: Option<String>,
}

impl From<&ObjectReference> for Reference {
    fn from(of: &ObjectReference) -> Self {
        Self {
            kind: of.kind.clone(),
            namespace: of.namespace.clone(),
            name: of.name.clone(),
            uid: of.uid.clone(),
            api_version: of.api_version.clone(),
            resource_version: of.resource_version.clone(),
            field_path: of.field_path.clone(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Binding {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    target: Option<Reference>,
}

impl Protobuf for v1::Binding {
    fn message(&self) -> impl Message {
        Binding { metadata: Some((&self.metadata).into()), target: Some((&self.target).into()) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct MicroTime {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl From<&meta::MicroTime> for MicroTime {
    fn from(of: &meta::MicroTime) -> Self {
        Self { seconds: of.0.as_second(), nanos: of.0.subsec_nanosecond() }
    }
}

/// Of `events.k8s.io/v1`, without a series and what is deprecated.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    event_time: Option<MicroTime>,
    #[prost(string, optional, tag = "4")]
    reporting_controller: Option<String>,
    #[prost(string, optional, tag = "5")]
    reporting_instance: Option<String>,
    #[prost(string, optional, tag = "6")]
    action: Option<String>,
    #[prost(string, optional, tag = "7")]
    reason: Option<String>,
    #[prost(message, optional, tag = "8")]
    regarding: Option<Reference>,
    #[prost(message, optional, tag = "9")]
    related: Option<Reference>,
    #[prost(string, optional, tag = "10")]
    note: Option<String>,
    #[prost(string, optional, tag = "11")]
    kind: Option<String>,
}

impl Protobuf for events::Event {
    fn message(&self) -> impl Message {
        Event {
            metadata: Some((&self.metadata).into()),
            event_time: self.event_time.as_ref().map(Into::into),
            reporting_controller: self.reporting_controller.clone(),
            reporting_instance: self.reporting_instance.clone(),
            action: self.action.clone(),
            reason: self.reason.clone(),
            regarding: self.regarding.as_ref().map(Into::into),
            related: self.related.as_ref().map(Into::into),
            note: self.note.clone(),
            kind: self.type_.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The event in a body, as JSON has it.
    pub(crate) fn event(body: &[u8]) -> Option<Value> {
        let unknown = Unknown::decode(body.strip_prefix(MAGIC)?).ok()?;
        let event = Event::decode(&*unknown.raw).ok()?;
        let at = event.event_time.unwrap_or_default();
        Some(json!({
            "metadata": {"name": event.metadata.unwrap_or_default().name},
            "eventTime": jiff::Timestamp::new(at.seconds, at.nanos).unwrap().to_string(),
            "type": event.kind,
            "reason": event.reason,
            "action": event.action,
            "note": event.note,
            "reportingController": event.reporting_controller,
            "reportingInstance": event.reporting_instance,
            "regarding": {"uid": event.regarding.unwrap_or_default().uid},
        }))
    }

    #[test]
    fn a_body_says_what_it_is_and_has_the_fields_by_their_numbers() {
        let binding = v1::Binding {
            metadata: meta::ObjectMeta { name: Some("a".into()), uid: Some("u".into()), ..Default::default() },
            target: ObjectReference { kind: Some("Node".into()), name: Some("n".into()), ..Default::default() },
        };
        let expected = b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07Binding\x12\x13\x0a\x06\x0a\x01a\x2a\x01u\x12\x09\x0a\x04Node\x1a\x01n";
        assert_eq!(body(&binding).escape_ascii().to_string(), expected.escape_ascii().to_string());
        let event = events::Event {
            event_time: Some(meta::MicroTime(jiff::Timestamp::new(1, 2_000).unwrap())),
            note: Some("b".into()),
            type_: Some("Normal".into()),
            ..Default::default()
        };
        let expected = b"k8s\0\x0a\x19\x0a\x10events.k8s.io/v1\x12\x05Event";
        let body = body(&event);
        assert_eq!(body[..expected.len()].escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert!(body.ends_with(b"\x0a\x00\x12\x05\x08\x01\x10\xd0\x0f\x52\x01b\x5a\x06Normal"), "{}", body.escape_ascii());
    }
}
