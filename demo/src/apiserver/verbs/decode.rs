//! From a request body to an object of the resource: kind and version checked, unknown fields pruned or refused.

use serde_json::Value;

use super::Call;
use crate::apiserver::resource::Shape;
use crate::apiserver::schema::{Schema, type_name};
use crate::apiserver::status::ApiError;

/// Parses a JSON object.
pub fn json_object(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the object provided is unrecognized (must be of type JSON): {error}")))?;
    must_be_object(&value, "the object provided")?;
    for key in ["metadata", "spec", "status"] {
        if let Some(part) = value.get(key).filter(|part| !part.is_null()) {
            must_be_object(part, key)?;
        }
    }
    Ok(value)
}

pub fn must_be_object(value: &Value, what: &str) -> Result<(), ApiError> {
    if value.is_object() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{what} must be a JSON object, not {}", type_name(value))))
}

impl Call<'_> {
    /// Reads an object of the call's resource.
    pub fn decode(&self, body: &[u8]) -> Result<Value, ApiError> {
        let mut value = json_object(body)?;
        self.check_kind(&value)?;
        self.normalize(&mut value)?;
        Ok(value)
    }

    fn check_kind(&self, value: &Value) -> Result<(), ApiError> {
        let wanted = self.resource.api_version();
        let (kind, version) = (value["kind"].as_str(), value["apiVersion"].as_str());
        if kind.is_none() {
            return Err(ApiError::bad_request("Object 'Kind' is missing"));
        }
        if kind != Some(&self.resource.kind) {
            return Err(ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: no kind {:?} is registered for this resource",
                kind.unwrap_or_default(),
                version.unwrap_or_default(),
                self.resource.kind,
                kind.unwrap_or_default(),
            )));
        }
        if version != Some(&wanted) {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({}) does not match the expected API version ({wanted})",
                version.unwrap_or_default(),
            )));
        }
        Ok(())
    }

    /// The schema of the served form.
    pub fn schema(&self) -> &Schema {
        match &self.resource.shape {
            Shape::Builtin(builtin) => self.api.schemas.root(builtin),
            Shape::Custom(custom) => &custom.schema,
        }
    }

    /// Brings a served value into its canonical form, judging unknown fields by the `fieldValidation` parameter.
    pub fn normalize(&self, value: &mut Value) -> Result<(), ApiError> {
        must_be_object(value, "the object provided")?;
        let schemas = &self.api.schemas;
        let schema = self.schema();
        let findings = schemas.normalize(schema, value);
        if !findings.unknown.is_empty() {
            let fields: Vec<String> = findings.unknown.iter().map(|f| format!("unknown field \"{f}\"")).collect();
            match self.query.text("fieldValidation") {
                Some("Ignore") => {}
                Some("Strict") => {
                    return Err(ApiError::bad_request(format!(
                        "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                        self.resource.kind,
                        self.resource.api_version(),
                        self.resource.kind,
                        fields.join(", "),
                    )));
                }
                _ => self.warnings.borrow_mut().extend(fields),
            }
        }
        // The server cannot even read typed parts of the wrong type: 400, not 422. Of a custom resource only the
        // metadata are typed.
        let error = match self.resource.shape {
            Shape::Builtin(_) => schemas.validate(schema, value).into_iter().next(),
            Shape::Custom(_) => {
                let metadata = &mut value["metadata"];
                schemas.normalize(schemas.metadata(), metadata);
                schemas.validate(schemas.metadata(), metadata).into_iter().next()
            }
        };
        if let Some(error) = error {
            return Err(ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: json: cannot unmarshal field {error}",
                self.resource.kind,
                self.resource.api_version(),
                self.resource.kind,
            )));
        }
        if !value["metadata"].is_object() {
            value["metadata"] = Value::Object(serde_json::Map::new());
        }
        Ok(())
    }
}
