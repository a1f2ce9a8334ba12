//! The schemas of the built-in types as JSON, with what `merge_rules` adds: what is compiled here and published as OpenAPI.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Status};
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::merge_rules::annotate;
use crate::apiserver::resource::{BUILTIN, Builtin};

/// Group, version and kind.
pub type Gvk = (&'static str, &'static str, &'static str);

/// JSON schemas by name.
#[derive(Debug)]
pub struct Sources {
    /// By the name that references use, `io.k8s.api.core.v1.Pod`.
    pub named: BTreeMap<String, Value>,
    /// A reference for each built-in kind.
    pub roots: HashMap<Gvk, Value>,
}

impl Sources {
    /// The schemas of every built-in kind and of what they are built from.
    pub fn builtin() -> Self {
        let mut generator = SchemaSettings::openapi3().into_generator();
        let key = |builtin: &Builtin| (builtin.group, builtin.version, builtin.kind);
        let roots = BUILTIN.iter().map(|builtin| (key(builtin), (builtin.schema)(&mut generator).to_value())).collect();
        generator.subschema_for::<Scale>();
        generator.subschema_for::<Binding>();
        generator.subschema_for::<TokenRequest>();
        generator.subschema_for::<Status>();
        generator.subschema_for::<DeleteOptions>();
        let mut named: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
        for (name, schema) in &mut named {
            annotate(name, schema);
        }
        Self { named, roots }
    }

    /// The name of a built-in kind's schema.
    pub fn name_of(&self, builtin: &Builtin) -> Option<&str> {
        self.roots.get(&(builtin.group, builtin.version, builtin.kind))?["$ref"].as_str()?.rsplit('/').next()
    }
}
