//! `scale`: the replicas of an object, whatever its kind.

use http::StatusCode;
use serde_json::{Value, json};

use crate::apiserver::patch::Patch;
use crate::apiserver::resource::ScalePaths;
use crate::apiserver::status::{ApiError, FieldError};
use crate::apiserver::store::Object;
use crate::apiserver::table::selector_text;
use crate::apiserver::verbs::decode::json_object;
use crate::apiserver::verbs::update::Part;
use crate::apiserver::verbs::{Call, Reply};

fn scale_of(object: &Object, paths: &ScalePaths) -> Value {
    let value = object.value();
    let number = |path: &str| value.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[key] = value["metadata"][key].clone();
    }
    let selector = paths.selector.as_deref().and_then(|path| value.pointer(path));
    let selector = match selector {
        Some(Value::String(text)) => text.clone(),
        Some(object) => selector_text(object),
        None => String::new(),
    };
    // Unlike those that are there, replicas that are wanted are left out where there are none.
    let spec = match number(&paths.spec) {
        0 => json!({}),
        wanted => json!({ "replicas": wanted }),
    };
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec,
        "status": { "replicas": number(&paths.status), "selector": selector } })
}

impl Call<'_> {
    fn scale_paths(&self) -> Result<&ScalePaths, ApiError> {
        self.resource.scale.as_ref().ok_or_else(ApiError::no_such_resource)
    }

    /// Reads the scale.
    pub fn get_scale(&self, name: &str) -> Result<Reply, ApiError> {
        let paths = self.scale_paths()?;
        Ok(Reply::Document(StatusCode::OK, scale_of(&*self.find(name)?, paths)))
    }

    /// Replaces the scale.
    pub fn update_scale(&self, name: &str, body: &[u8]) -> Result<Reply, ApiError> {
        let wanted = json_object(body)?;
        self.write_scale(name, |_| Ok(wanted.clone()))
    }

    /// Patches the scale.
    pub fn patch_scale(&self, name: &str, content_type: &str, body: &[u8]) -> Result<Reply, ApiError> {
        let patch = Patch::parse(content_type, true, body)?;
        self.write_scale(name, |mut scale| {
            patch.apply(&self.api.schemas, None, &mut scale)?;
            Ok(scale)
        })
    }

    fn write_scale(&self, name: &str, wanted: impl Fn(Value) -> Result<Value, ApiError>) -> Result<Reply, ApiError> {
        let paths = self.scale_paths()?;
        loop {
            let current = self.find(name)?;
            let wanted = wanted(scale_of(&current, paths))?;
            let version = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if !version.is_empty() && version.parse() != Ok(current.rv) {
                return Err(ApiError::modified(self.resource.group_resource(), name));
            }
            let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or_default();
            if replicas < 0 {
                let detail = "must be greater than or equal to 0";
                let error = FieldError::invalid("spec.replicas", &wanted["spec"]["replicas"], detail);
                return Err(ApiError::invalid("autoscaling", "Scale", name, &[error]));
            }
            let mut value = self.resource.to_served(current.value());
            set(&mut value, &paths.spec, replicas.into());
            if self.replace(&current, value, Part::Main)?.is_ok() {
                return self.get_scale(name);
            }
        }
    }
}

fn set(value: &mut Value, pointer: &str, to: Value) {
    let mut at = value;
    for key in pointer.split('/').filter(|key| !key.is_empty()) {
        at = &mut at[key];
    }
    *at = to;
}
