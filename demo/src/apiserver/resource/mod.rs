//! What a served resource is: its names, its shape, where it is stored. Built-in kinds are rows of a table
//! (`builtin`), custom ones come from CustomResourceDefinitions.

mod builtin;
mod registry;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::crd::CustomVersion;
use super::status::GroupResource;
use super::store::Storage;

pub use builtin::{BUILTIN, Builtin};
pub use registry::{Registry, Tables};

/// Which names objects of a resource may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
    /// Anything that can be one segment of a path.
    PathSegment,
}

/// How the served form differs from the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Not at all.
    Stored,
    /// `events.k8s.io/v1` over stored core events.
    Events,
    /// Another version of a custom resource: only `apiVersion` differs.
    Version,
}

/// Where `scale` reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// JSON pointer of the desired replicas.
    pub spec: String,
    /// JSON pointer of the observed replicas.
    pub status: String,
    /// JSON pointer of the selector, an object or a string.
    pub selector: Option<String>,
}

/// What decides the shape of the objects.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A built-in kind.
    Builtin(&'static Builtin),
    /// A version of a CustomResourceDefinition.
    Custom(Arc<CustomVersion>),
}

/// One resource in one version, as served.
#[derive(Debug, Clone)]
pub struct Resource {
    /// API group, empty for core.
    pub group: Box<str>,
    /// API version.
    pub version: Box<str>,
    /// Plural name, in paths.
    pub plural: Box<str>,
    /// Singular name.
    pub singular: Box<str>,
    /// Kind.
    pub kind: Box<str>,
    /// Kind of lists.
    pub list_kind: Box<str>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Short names for kubectl.
    pub short_names: Vec<Box<str>>,
    /// Categories for kubectl, such as `all`.
    pub categories: Vec<Box<str>>,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// Where `scale` reads and writes, when it is served.
    pub scale: Option<ScalePaths>,
    /// Whether `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Where the objects are kept.
    pub storage: Arc<Storage>,
    /// `apiVersion` of the stored form.
    pub stored_api_version: Box<str>,
    /// How the served form differs from the stored one.
    pub view: View,
    /// Which names are valid.
    pub names: NameRule,
    /// Where the schema and the columns come from.
    pub shape: Shape,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The resource as messages name it.
    pub fn group_resource(&self) -> GroupResource<'_> {
        GroupResource { group: &self.group, resource: &self.plural }
    }

    /// Whether the resource is the given built-in kind (`pods`, `deployments.apps`), in any view.
    pub fn is(&self, id: &str) -> bool {
        *self.storage.id == *id && matches!(self.shape, Shape::Builtin(_))
    }

    /// Whether objects are kept, or only answered (reviews).
    pub fn stored(&self) -> bool {
        match &self.shape {
            Shape::Builtin(builtin) => builtin.stored,
            Shape::Custom(_) => true,
        }
    }

    /// The verbs in discovery, in the order in which the real server names them.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self.shape {
            _ if !self.stored() => &["create"],
            Shape::Custom(_) => &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
            Shape::Builtin(_) if self.is("namespaces") => &["create", "delete", "get", "list", "patch", "update", "watch"],
            Shape::Builtin(_) => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        }
    }

    /// Subresources as (name, kind with group and version, verbs), by name; group and version are empty where they are the resource's own.
    pub fn subresources(&self) -> Vec<(&'static str, [&str; 3], &'static [&'static str])> {
        const READ_WRITE: &[&str] = &["get", "patch", "update"];
        const CREATE: &[&str] = &["create"];
        let own = ["", "", &*self.kind];
        let mut found = Vec::new();
        if self.is("pods") {
            found.push(("binding", ["", "", "Binding"], CREATE));
            found.push(("eviction", ["policy", "v1", "Eviction"], CREATE));
        }
        if self.is("namespaces") {
            found.push(("finalize", own, &["update"] as &[&str]));
        }
        if self.scale.is_some() {
            found.push(("scale", ["autoscaling", "v1", "Scale"], READ_WRITE));
        }
        if self.status {
            found.push(("status", own, READ_WRITE));
        }
        if self.is("serviceaccounts") {
            found.push(("token", ["authentication.k8s.io", "v1", "TokenRequest"], CREATE));
        }
        if matches!(self.shape, Shape::Custom(_)) {
            // Of a definition the status comes first.
            found.reverse();
        }
        found
    }

    /// The stored name of a field that a selector may use here.
    pub fn selectable(&self, label: &str) -> Option<String> {
        if label == "metadata.name" || (label == "metadata.namespace" && self.namespaced) {
            return Some(label.to_owned());
        }
        let stored = match self.view {
            View::Events => match label {
                "reportingController" => "reportingComponent".to_owned(),
                _ => match label.strip_prefix("regarding.") {
                    Some(rest) => format!("involvedObject.{rest}"),
                    None => label.to_owned(),
                },
            },
            View::Stored | View::Version => label.to_owned(),
        };
        self.storage.fields.iter().any(|field| *field.label == *stored).then_some(stored)
    }

    /// Turns a stored object into the served form.
    pub fn to_served(&self, mut stored: Value) -> Value {
        if self.view != View::Stored {
            stored["apiVersion"] = self.api_version().into();
        }
        if self.view == View::Events {
            stored = rename(stored, EVENT_FIELDS.iter().map(|(core, events)| (*core, *events)));
            if let Some(event) = stored.as_object_mut() {
                event.retain(|name, value| !WRITTEN_BY_CORE.contains(&name.as_str()) || *value != "");
            }
        }
        stored
    }

    /// Turns a served object into the stored form.
    pub fn to_stored(&self, mut served: Value) -> Value {
        if self.view == View::Events {
            served = rename(served, EVENT_FIELDS.iter().map(|(core, events)| (*events, *core)));
            for field in ["reportingComponent", "reportingInstance"] {
                if served[field].is_null() {
                    served[field] = "".into();
                }
            }
        }
        served["apiVersion"] = (*self.stored_api_version).into();
        served["kind"] = (*self.kind).into();
        served
    }
}

/// `v1`, `apps/v1`.
pub fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

/// The fields of an event that core/v1 and events.k8s.io/v1 name differently.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Fields that core/v1 writes even where they are empty, as events.k8s.io/v1 names them.
const WRITTEN_BY_CORE: [&str; 2] = ["reportingController", "reportingInstance"];

fn rename<'a>(value: Value, names: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Value {
    let Value::Object(map) = value else { return value };
    let renamed: Map<String, Value> = map
        .into_iter()
        .map(|(key, value)| match names.clone().find(|(from, _)| *from == key) {
            Some((_, to)) => (to.to_owned(), value),
            None => (key, value),
        })
        .collect();
    Value::Object(renamed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_event_views_share_one_stored_form() {
        let registry = Registry::builtin();
        let events = registry.find("events.k8s.io", "v1", "events").unwrap();
        let core = registry.find("", "v1", "events").unwrap();
        assert!(Arc::ptr_eq(&events.storage, &core.storage));
        let served = json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "eventTime": null,
            "deprecatedSource": {}, "regarding": { "name": "p" }, "reportingController": "c" });
        let stored = events.to_stored(served.clone());
        assert_eq!(
            stored,
            json!({ "apiVersion": "v1", "kind": "Event", "message": "n", "eventTime": null, "source": {},
                "involvedObject": { "name": "p" }, "reportingComponent": "c", "reportingInstance": "" })
        );
        assert_eq!(events.to_served(stored.clone()), served);
        assert_eq!(core.to_served(stored.clone()), stored);
        assert_eq!(events.selectable("regarding.name"), Some("involvedObject.name".into()));
        assert_eq!(core.selectable("regarding.name"), None);
    }
}
