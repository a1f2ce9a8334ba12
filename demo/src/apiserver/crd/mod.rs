//! CustomResourceDefinitions: from the stored definition to served resources.

mod columns;
pub mod rules;

use std::sync::Arc;

use serde_json::{Value, json};

use super::admit::default;
use super::api::Api;
use super::resource::{NameRule, Resource, ScalePaths, Shape, View, api_version};
use super::schema::{Schema, compile};
use super::status::FieldError;
use super::store::{Field, Storage};
use super::verbs::now;

pub use columns::Column;

/// What one version of a custom resource adds to a resource's names.
#[derive(Debug)]
pub struct CustomVersion {
    /// The schema as the definition has it.
    pub source: Value,
    /// The compiled schema.
    pub schema: Schema,
    /// `x-kubernetes-validations`, wherever they stand in the schema.
    pub rules: kube_cel::CompiledSchema,
    /// Whether there are any such rules.
    pub ruled: bool,
    /// `additionalPrinterColumns`.
    pub columns: Vec<Column>,
}

/// What a definition leaves to the server.
pub fn defaults(crd: &mut Value) {
    let spec = &mut crd["spec"];
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    default(&mut spec["names"], "singular", kind.to_lowercase());
    default(&mut spec["names"], "listKind", format!("{kind}List"));
    default(spec, "conversion", json!({ "strategy": "None" }));
}

/// The status of a definition that nobody has looked at yet.
pub fn submit(crd: &mut Value) {
    let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<Value> = versions.filter(|version| version["storage"] == true).map(|version| version["name"].clone()).collect();
    let stored = if stored.is_empty() { Value::Null } else { stored.into() };
    crd["status"] = json!({ "conditions": null, "acceptedNames": { "plural": "", "kind": "" }, "storedVersions": stored });
}

/// Accepts the names, as the server's controllers would a moment later.
pub fn establish(crd: &mut Value) {
    let spec = &crd["spec"];
    let names = spec["names"].clone();
    let stored =
        spec["versions"].as_array().into_iter().flatten().find(|v| v["storage"] == true).map_or(Value::Null, |v| v["name"].clone());
    let known = &crd["status"]["conditions"];
    let since = known[0]["lastTransitionTime"].as_str().map_or_else(now, str::to_owned);
    let condition = |kind: &str, reason: &str, message: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message });
    crd["status"] = json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": names,
        "storedVersions": [stored],
    });
}

/// What is wrong with a definition.
pub fn validate(crd: &Value) -> Vec<FieldError> {
    let spec = &crd["spec"];
    let mut errors = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (field, value) in
        [("spec.group", &spec["group"]), ("spec.names.plural", &spec["names"]["plural"]), ("spec.names.kind", &spec["names"]["kind"])]
    {
        if text(value).is_empty() {
            errors.push(FieldError::required(field, ""));
        }
    }
    let expected = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    if crd["metadata"]["name"] != expected.as_str() {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &crd["metadata"]["name"], why));
    }
    if !["Namespaced", "Cluster"].iter().any(|s| spec["scope"] == *s) {
        let supported = ["Cluster", "Namespaced"].map(str::to_owned);
        errors.push(FieldError::unsupported("spec.scope", &spec["scope"], &supported));
    }
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &versions.to_vec().into(), why));
    }
    if crd["status"]["storedVersions"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::invalid("status.storedVersions", &Value::Null, "must have at least one stored version"));
    }
    for (at, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{at}].schema.openAPIV3Schema");
        let schema = &version["schema"]["openAPIV3Schema"];
        if !schema.is_object() {
            errors.push(FieldError::required(path, "schemas are required"));
        } else if let Err(why) = compile(schema) {
            errors.push(FieldError::invalid(path, &json!("schema"), &why));
        }
    }
    errors
}

/// The resources that a stored definition serves.
fn resources(crd: &Value) -> Vec<Resource> {
    let spec = &crd["spec"];
    let text = |value: &Value| -> Box<str> { value.as_str().unwrap_or_default().into() };
    let strings = |value: &Value| -> Vec<Box<str>> { value.as_array().into_iter().flatten().map(text).collect() };
    let (group, names) = (text(&spec["group"]), &spec["names"]);
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let stored = versions.iter().find(|v| v["storage"] == true).map(|v| text(&v["name"])).unwrap_or_default();
    let mut fields: Vec<Field> = Vec::new();
    for version in versions {
        for field in version["selectableFields"].as_array().into_iter().flatten() {
            let label = field["jsonPath"].as_str().unwrap_or_default().trim_start_matches('.');
            if !fields.iter().any(|f| *f.label == *label) {
                let pointer = format!("/{}", label.replace('.', "/")).into();
                fields.push(Field { label: label.into(), pointer, default: "" });
            }
        }
    }
    let storage = Arc::new(Storage { id: format!("{}.{group}", text(&names["plural"])).into(), fields });
    let pointer = |path: &Value| path.as_str().map(|p| p.replace('.', "/"));
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .filter_map(|version| {
            let source = &version["schema"]["openAPIV3Schema"];
            let schema = compile(source).ok()?;
            let rules = kube_cel::compile_schema(source);
            let ruled = rules::within(source);
            let columns = Column::list(&version["additionalPrinterColumns"]);
            let subresources = &version["subresources"];
            let scale = subresources["scale"].is_object().then(|| ScalePaths {
                spec: pointer(&subresources["scale"]["specReplicasPath"]).unwrap_or_default(),
                status: pointer(&subresources["scale"]["statusReplicasPath"]).unwrap_or_default(),
                selector: pointer(&subresources["scale"]["labelSelectorPath"]),
            });
            Some(Resource {
                group: group.clone(),
                version: text(&version["name"]),
                plural: text(&names["plural"]),
                singular: text(&names["singular"]),
                kind: text(&names["kind"]),
                list_kind: text(&names["listKind"]),
                namespaced: spec["scope"] == "Namespaced",
                short_names: strings(&names["shortNames"]),
                categories: strings(&names["categories"]),
                status: subresources["status"].is_object(),
                scale,
                generation: true,
                storage: storage.clone(),
                stored_api_version: api_version(&group, &stored).into(),
                view: if version["name"] == *stored { View::Stored } else { View::Version },
                names: NameRule::Subdomain,
                shape: Shape::Custom(Arc::new(CustomVersion { source: source.clone(), schema, rules, ruled, columns })),
            })
        })
        .collect()
}

impl Api {
    /// Serves what a stored definition defines.
    pub(super) fn serve_custom(&self, crd: &Value) {
        let (group, plural) = group_and_plural(crd);
        self.registry.set_custom(&group, &plural, resources(crd));
    }

    /// Stops serving a removed definition, and removes its objects.
    pub(super) fn unserve_custom(&self, crd: &Value) {
        if let Some(resource) = resources(crd).first() {
            let (objects, _) = self.store.list(&resource.storage, None);
            for object in objects {
                // Gone already is gone.
                let _missing = self.store.remove(&resource.storage, &object.namespace, &object.name, None);
            }
        }
        let (group, plural) = group_and_plural(crd);
        self.registry.set_custom(&group, &plural, Vec::new());
    }
}

fn group_and_plural(crd: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&crd["spec"]["group"]), text(&crd["spec"]["names"]["plural"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elb() -> Value {
        json!({ "metadata": { "name": "elbs.g.io" }, "spec": { "group": "g.io", "scope": "Namespaced",
            "names": { "plural": "elbs", "kind": "Elb", "shortNames": ["e"] },
            "versions": [{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object" } },
                "additionalPrinterColumns": [{ "name": "P", "type": "string", "jsonPath": ".spec.policy" }] }] } })
    }

    #[test]
    fn a_definition_becomes_resources() {
        let mut crd = elb();
        defaults(&mut crd);
        establish(&mut crd);
        assert_eq!(validate(&crd), []);
        let served = resources(&crd);
        assert_eq!(served.len(), 1);
        assert_eq!((&*served[0].singular, &*served[0].list_kind, served[0].status), ("elb", "ElbList", true));
        assert_eq!(crd["status"]["conditions"][1]["type"], "Established");
    }

    #[test]
    fn bad_definitions_are_refused_by_field() {
        let mut crd = elb();
        crd["metadata"]["name"] = "other".into();
        crd["spec"]["scope"] = "Galactic".into();
        crd["spec"]["versions"][0]["storage"] = false.into();
        crd["spec"]["versions"][0]["schema"] = json!({ "openAPIV3Schema": { "type": "colour" } });
        submit(&mut crd);
        let fields: Vec<String> = validate(&crd).into_iter().map(|e| e.field).collect();
        let expected = ["metadata.name", "spec.scope", "spec.versions", "status.storedVersions", "spec.versions[0].schema.openAPIV3Schema"];
        assert_eq!(fields, expected);
    }
}
