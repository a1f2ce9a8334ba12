//! `/openapi/v3/PATH`.

use serde_json::{Map, Value, json};

use super::operations::{Operation, Parameter, Place, patch_types, places};
use super::{Documents, VERSION, schema_name, schemas, served_at};
use crate::apiserver::resource::{Resource, Tables};

/// The document of one group and version, by its path below `/openapi/v3/`; `None` where nothing is served.
pub fn document(documents: &Documents, tables: &Tables, path: &str) -> Option<Value> {
    let sources = documents.sources();
    let mut paths = Map::new();
    for resource in served_at(tables, path) {
        let name = schema_name(sources, resource);
        for place in places(resource, path) {
            paths.insert(place.path.clone(), item(resource, &place, &name));
        }
    }
    (!paths.is_empty()).then(|| {
        json!({ "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": VERSION }, "paths": paths,
            "components": { "schemas": schemas(sources, served_at(tables, path)) } })
    })
}

fn item(resource: &Resource, place: &Place, name: &str) -> Value {
    let mut item = Map::new();
    for operation in place.operations {
        item.insert(operation.method.to_owned(), described(resource, place, operation, name));
    }
    let mut parameters = Vec::new();
    for (wanted, parameter) in [(place.named, "name"), (place.namespaced, "namespace")] {
        if wanted {
            parameters.push(json!({ "name": parameter, "in": "path", "required": true, "schema": { "type": "string" } }));
        }
    }
    item.insert("parameters".to_owned(), parameters.into());
    Value::Object(item)
}

fn described(resource: &Resource, place: &Place, operation: &Operation, name: &str) -> Value {
    let name = if place.scale { "io.k8s.api.autoscaling.v1.Scale" } else { name };
    let object = json!({ "$ref": format!("#/components/schemas/{name}") });
    let answer = match (operation.lists, operation.method) {
        (true, _) => json!({ "$ref": format!("#/components/schemas/{name}List") }),
        (false, "delete") => json!({ "$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Status" }),
        (false, _) => object.clone(),
    };
    let parameter = |(name, kind, description): &Parameter| json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } });
    let mut found = json!({
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<Value>>(),
        "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": answer } } } },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": { "group": resource.group, "version": resource.version, "kind": resource.kind },
    });
    if place.scale {
        found["x-kubernetes-group-version-kind"] = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
    }
    let mut content = Map::new();
    if operation.takes_object {
        content.insert("*/*".to_owned(), json!({ "schema": object }));
    } else if operation.method == "patch" {
        content.extend(patch_types(resource).iter().map(|media| ((*media).to_owned(), json!({ "schema": { "type": "object" } }))));
    }
    if !content.is_empty() {
        found["requestBody"] = json!({ "required": true, "content": content });
    }
    found
}
