//! OpenAPI documents, version 3 and 2: what clients validate, explain, diff and merge objects by.
//!
//! The schemas are those that objects are judged by here (`schema::definitions` and the CRDs), so that the two cannot
//! disagree. Documents are made when someone asks.

mod operations;
mod v2;
mod v3;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::resource::{Resource, Shape, Tables};
use super::schema::definitions::Sources;

pub use v2::document as v2;
pub use v3::document as v3;

/// The version that documents say: that of the Kubernetes API which is followed here.
const VERSION: &str = "1.37";

/// The schemas of the built-in types, made when first asked for.
#[derive(Debug, Default)]
pub struct Documents {
    sources: OnceLock<Sources>,
}

impl Documents {
    fn sources(&self) -> &Sources {
        self.sources.get_or_init(Sources::builtin)
    }
}

/// `/openapi/v3`: which documents there are. The addresses change with what they say, because clients keep documents by them.
pub fn index(tables: &Tables) -> Value {
    let mut paths = Map::new();
    for (group, versions) in tables.groups() {
        for version in versions {
            let path = place(group, version);
            let url = url(tables, &path);
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths })
}

/// Where the present document of the path is.
pub fn url(tables: &Tables, path: &str) -> String {
    format!("/openapi/v3/{path}?hash={}", fingerprint(tables, path))
}

/// Changes when the document at the path does: built-in kinds never change, custom ones with their definition.
pub fn fingerprint(tables: &Tables, path: &str) -> String {
    let mut hash = Sha256::new();
    for resource in served_at(tables, path) {
        hash.update(resource.plural.as_bytes());
        hash.update([0]);
        if let Shape::Custom(custom) = &resource.shape {
            hash.update(custom.source.to_string().as_bytes());
            hash.update([u8::from(resource.status), u8::from(resource.scale.is_some())]);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// `api/v1`, `apis/apps/v1`.
fn place(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn served_at<'a>(tables: &'a Tables, path: &'a str) -> impl Iterator<Item = &'a Resource> + 'a {
    tables.resources.iter().map(|resource| &**resource).filter(move |resource| place(&resource.group, &resource.version) == path)
}

/// What a resource's kind is called among the schemas: that of its Go package, or the group spelt backwards.
fn schema_name(sources: &Sources, resource: &Resource) -> String {
    match &resource.shape {
        Shape::Builtin(builtin) => sources.name_of(builtin).unwrap_or_default().to_owned(),
        Shape::Custom(_) => {
            let reversed: Vec<&str> = resource.group.split('.').rev().collect();
            format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind)
        }
    }
}

/// The schemas of the resources and of everything that they refer to, by name.
fn schemas<'a>(sources: &Sources, resources: impl Iterator<Item = &'a Resource>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut due: Vec<String> =
        ["Status", "DeleteOptions", "ListMeta"].map(|kind| format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")).into();
    for resource in resources {
        let name = schema_name(sources, resource);
        let kind = |kind: &str| json!([{ "group": resource.group, "kind": kind, "version": resource.version }]);
        let mut schema = match &resource.shape {
            Shape::Builtin(_) => sources.named.get(&name).cloned().unwrap_or_default(),
            Shape::Custom(custom) => of_custom(&custom.source, &resource.group),
        };
        schema["x-kubernetes-group-version-kind"] = kind(&resource.kind);
        references(&schema, &mut due);
        if resource.stored() {
            found.insert(format!("{name}List"), list_of(&name, kind(&resource.list_kind), sources));
        }
        if resource.scale.is_some() {
            due.push("io.k8s.api.autoscaling.v1.Scale".to_owned());
        }
        found.insert(name, schema);
    }
    while let Some(name) = due.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let schema = sources.named.get(&name).cloned().unwrap_or_else(|| json!({ "type": "object" }));
        references(&schema, &mut due);
        found.insert(name, schema);
    }
    found.sort_keys();
    found
}

/// A custom resource's schema, with the fields that every object has.
fn of_custom(source: &Value, group: &str) -> Value {
    let mut schema = source.clone();
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let text = |description: &str| json!({ "description": description, "type": "string" });
    schema["properties"]["apiVersion"] = text(&format!("Version of this representation of the object, such as {group}/v1."));
    schema["properties"]["kind"] = text("What the object is; it cannot be changed.");
    schema["properties"]["metadata"] = json!({ "description": "Standard object's metadata.",
        "allOf": [{ "$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" }] });
    schema
}

fn list_of(name: &str, kind: Value, sources: &Sources) -> Value {
    let list = sources.named.get("io.k8s.apimachinery.pkg.apis.meta.v1.Status");
    let field = |field: &str| list.map_or(Value::Null, |schema| schema["properties"][field].clone());
    json!({ "description": format!("A list of {name}."), "type": "object", "required": ["items"], "properties": {
            "apiVersion": field("apiVersion"),
            "items": { "type": "array", "items": { "$ref": format!("#/components/schemas/{name}") } },
            "kind": field("kind"),
            "metadata": { "$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta" } },
        "x-kubernetes-group-version-kind": kind })
}

fn references(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next()) {
                into.push(name.to_owned());
            }
            map.values().for_each(|inner| references(inner, into));
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resource::Registry;

    #[test]
    fn every_reference_is_in_its_document() {
        let (documents, tables) = (Documents::default(), Registry::builtin().tables());
        let paths = index(&tables);
        let paths: Vec<&String> = paths["paths"].as_object().unwrap().keys().collect();
        assert!(paths.len() > 10);
        for path in paths {
            let document = v3(&documents, &tables, path).unwrap();
            let mut named = Vec::new();
            references(&document, &mut named);
            let schemas = document["components"]["schemas"].as_object().unwrap();
            let missing: Vec<&String> = named.iter().filter(|name| !schemas.contains_key(*name)).collect();
            assert!(missing.is_empty(), "{path}: {missing:?}");
        }
        assert!(v3(&documents, &tables, "apis/none/v1").is_none());
    }

    #[test]
    fn the_second_version_says_the_same() {
        let (documents, tables) = (Documents::default(), Registry::builtin().tables());
        let document = v2(&documents, &tables);
        let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{ "group": "", "kind": "Pod", "version": "v1" }]));
        let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation" && p["type"] == "string"));
        assert!(!document.to_string().contains("#/components/"));
    }
}
