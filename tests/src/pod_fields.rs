//! What a kube-apiserver says a Pod may hold, in the form of `api/src/refusal/pod.txt`: one line a type, `Type field:type …`, with `[]` before the
//! type of a list's elements and `{}` before that of a map's values.

use serde_json::Value;
use std::collections::BTreeMap;

const HEADER: &str = "\
# What metadata and spec of a Pod may hold, as the OpenAPI of kube-apiserver 1.37.0 says: Type field:type …; [] a list, {} a map.
# UPDATE=1 cargo test --workspace --test control_plane the_api_server_has_no_field_of_pods
";

/// What the documents at `/openapi/v3/api/v1` say of the metadata and the spec of a Pod, and of every type that is reached from there.
///
/// # Panics
/// A schema of a form that the API server has not used so far.
pub fn of(openapi: &Value) -> String {
    let schemas = &openapi["components"]["schemas"];
    let mut types = BTreeMap::from([("Pod".to_owned(), "metadata:ObjectMeta spec:PodSpec".to_owned())]);
    let mut open = ["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "io.k8s.api.core.v1.PodSpec"].map(str::to_owned).to_vec();
    while let Some(full_name) = open.pop() {
        let schema = &schemas[&full_name];
        let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{full_name} has no properties: {schema}"));
        let mut fields: Vec<String> =
            properties.iter().map(|(name, property)| format!("{name}:{}", type_of(schemas, property, &mut open))).collect();
        fields.sort();
        types.insert(short(&full_name).to_owned(), fields.join(" "));
        open.retain(|name| !types.contains_key(short(name)));
    }
    let lines: String = types.into_iter().map(|(name, fields)| format!("{name} {fields}\n")).collect();
    format!("{HEADER}{lines}")
}

/// The type of a property; types with properties of their own are noted in `open`.
fn type_of(schemas: &Value, schema: &Value, open: &mut Vec<String>) -> String {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    if let Some(full_name) = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
        if schemas[full_name]["properties"].is_object() {
            open.push(full_name.to_owned());
        }
        return short(full_name).to_owned();
    }
    match schema["type"].as_str() {
        Some("array") => format!("[]{}", type_of(schemas, &schema["items"], open)),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("{{}}{}", type_of(schemas, &schema["additionalProperties"], open))
        }
        Some(plain) => plain.to_owned(),
        None => panic!("neither a reference nor a type: {schema}"),
    }
}

fn short(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}
