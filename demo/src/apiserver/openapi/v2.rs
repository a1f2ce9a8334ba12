//! `/openapi/v2`, in JSON: everything in one document, for clients that know no other. kubectl asks for it in protobuf
//! alone, and does without where it knows version 3.

use serde_json::{Map, Value, json};

use super::operations::{Parameter, Place, patch_types, places};
use super::{Documents, VERSION, place, schema_name, schemas};
use crate::apiserver::resource::{Resource, Tables};

/// The document of everything that is served.
pub fn document(documents: &Documents, tables: &Tables) -> Value {
    let sources = documents.sources();
    let mut paths = Map::new();
    for resource in &tables.resources {
        let name = schema_name(sources, resource);
        for place in places(resource, &place(&resource.group, &resource.version)) {
            paths.insert(place.path.clone(), item(resource, &place, &name));
        }
    }
    let mut definitions = Value::Object(schemas(sources, tables.resources.iter().map(|resource| &**resource)));
    plain_references(&mut definitions);
    let token = json!({ "type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication" });
    json!({ "swagger": "2.0", "info": { "title": "Kubernetes", "version": VERSION }, "paths": paths, "definitions": definitions,
        "securityDefinitions": { "BearerToken": token }, "security": [{ "BearerToken": [] }] })
}

fn item(resource: &Resource, place: &Place, name: &str) -> Value {
    let name = if place.scale { "io.k8s.api.autoscaling.v1.Scale" } else { name };
    let object = json!({ "$ref": format!("#/definitions/{name}") });
    let mut item = Map::new();
    for operation in place.operations {
        let query = |(name, kind, description): &Parameter| json!({ "name": name, "in": "query", "type": kind, "description": description, "uniqueItems": true });
        let mut parameters: Vec<Value> = operation.parameters.iter().map(query).collect();
        if operation.takes_object {
            parameters.push(json!({ "name": "body", "in": "body", "required": true, "schema": object }));
        }
        let kind = json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
        let mut described = json!({ "parameters": parameters, "produces": ["application/json"],
            "responses": { "200": { "description": "OK", "schema": object } },
            "x-kubernetes-action": operation.action, "x-kubernetes-group-version-kind": kind });
        if operation.lists {
            described["responses"]["200"]["schema"] = json!({ "$ref": format!("#/definitions/{name}List") });
        }
        if operation.method == "patch" {
            described["consumes"] = json!(patch_types(resource));
        }
        item.insert(operation.method.to_owned(), described);
    }
    let mut parameters = Vec::new();
    for (wanted, parameter) in [(place.named, "name"), (place.namespaced, "namespace")] {
        if wanted {
            parameters.push(json!({ "name": parameter, "in": "path", "required": true, "type": "string", "uniqueItems": true }));
        }
    }
    item.insert("parameters".to_owned(), parameters.into());
    Value::Object(item)
}

/// Version 2 knows neither wrapped references nor combined or nullable schemas.
fn plain_references(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(all)) = map.get("allOf")
                && let [only] = all.as_slice()
                && let Some(reference) = only.get("$ref").cloned()
            {
                map.shift_remove("allOf");
                map.insert("$ref".to_owned(), reference);
            }
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                *reference = reference.replace("#/components/schemas/", "#/definitions/");
            }
            for key in ["oneOf", "anyOf", "not", "nullable"] {
                // A field may be called so, too.
                if map.get(key).is_some_and(|value| value.is_array() || value.is_boolean() || key == "not") && !map.contains_key("$ref") {
                    map.shift_remove(key);
                }
            }
            map.values_mut().for_each(plain_references);
        }
        Value::Array(list) => list.iter_mut().for_each(plain_references),
        _ => {}
    }
}
