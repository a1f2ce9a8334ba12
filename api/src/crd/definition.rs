//! The CustomResourceDefinitions, finished for the API server.

use super::rules::{BACKUP_RESERVATION, EDGE_LOAD_BALANCER, NODE_NETWORK, Rule, Scope};
use super::{BackupReservation, EdgeLoadBalancer, NodeNetwork};
use crate::labels::APP_PART_OF_LABEL;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;

/// What is installed into a cluster: the derived definitions with the rules of `rules.rs`, without formats that Kubernetes does not know.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        finish(EdgeLoadBalancer::crd(), EDGE_LOAD_BALANCER),
        finish(NodeNetwork::crd(), NODE_NETWORK),
        finish(BackupReservation::crd(), BACKUP_RESERVATION),
    ]
}

fn finish<T>(mut crd: CustomResourceDefinition, rules: &[Rule<T>]) -> CustomResourceDefinition {
    crd.metadata.labels.get_or_insert_default().insert(APP_PART_OF_LABEL.to_owned(), crate::labels::SCHEDULER_NAME.to_owned());
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else { continue };
        root.required.get_or_insert_default().retain(|field| field != "metadata");
        tidy(root);
        for rule in rules {
            let schema = match rule.scope {
                Scope::Root => Some(&mut *root),
                Scope::Spec => root.properties.as_mut().and_then(|properties| properties.get_mut("spec")),
            };
            let rule = ValidationRule {
                rule: rule.cel.to_owned(),
                message: Some(format!("{}: {}", rule.field, rule.message)),
                ..ValidationRule::default()
            };
            schema.expect("every resource has a spec").x_kubernetes_validations.get_or_insert_default().push(rule);
        }
    }
    crd
}

/// Makes of a derived schema what the API server takes best.
fn tidy(schema: &mut JSONSchemaProps) {
    // schemars writes `uint32` and the like, at which the API server warns. Their minimum and maximum stay.
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    // A null for a field that is not nullable is dropped before defaults and rules: `service: null` is then no service.
    schema.nullable = None;
    if let Some(text) = &mut schema.description {
        *text = text.replace('\n', " ");
    }
    // Kubernetes' own types bring pages of text.
    if schema.x_kubernetes_int_or_string == Some(true) && schema.description.as_ref().is_some_and(|text| text.len() > 500) {
        schema.description = Some("A quantity, such as 100m or 6Gi.".to_owned());
    }
    if let Some(properties) = schema.properties.as_mut().filter(|properties| properties.contains_key("lastTransitionTime")) {
        for (name, text) in CONDITION {
            if let Some(property) = properties.get_mut(name) {
                property.description = Some(text.to_owned());
            }
        }
        schema.description = Some("One aspect of the object's state.".to_owned());
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tidy(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

const CONDITION: [(&str, &str); 6] = [
    ("type", "Which aspect."),
    ("status", "True, False or Unknown."),
    ("reason", "Why, in one word."),
    ("message", "Why, for people."),
    ("lastTransitionTime", "When status last changed."),
    ("observedGeneration", "Generation of the spec that this speaks of."),
];
