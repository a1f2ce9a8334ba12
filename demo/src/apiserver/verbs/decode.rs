//! From a request body to an object of the resource: kind and version checked, unknown fields pruned or refused.

use serde_json::Value;

use super::{Call, duplicates};
use crate::apiserver::resource::{BUILTIN, Shape, api_version};
use crate::apiserver::schema::{Schema, type_name};
use crate::apiserver::status::ApiError;

/// Parses a JSON object.
pub fn json_object(body: &[u8]) -> Result<Value, ApiError> {
    json_object_with_duplicates(body).map(|(value, _)| value)
}

/// The same, with the paths of fields that come twice.
fn json_object_with_duplicates(body: &[u8]) -> Result<(Value, Vec<String>), ApiError> {
    let (value, twice) = duplicates::parse(body)
        .map_err(|error| ApiError::bad_request(format!("the object provided is unrecognized (must be of type JSON): {error}")))?;
    must_be_object(&value, "the object provided")?;
    for key in ["metadata", "spec", "status"] {
        if let Some(part) = value.get(key).filter(|part| !part.is_null()) {
            must_be_object(part, key)?;
        }
    }
    Ok((value, twice))
}

/// Reads YAML as JSON; the error says what is wrong with it.
pub fn yaml(body: &[u8]) -> Result<Value, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("error converting YAML to JSON: {error}");
    let text = std::str::from_utf8(body).map_err(|error| unreadable(&error))?;
    serde_saphyr::from_str(text).map_err(|error| unreadable(&error))
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
        let (mut value, twice) = json_object_with_duplicates(body).map_err(|error| self.unrecognized(error, body))?;
        if matches!(self.resource.shape, Shape::Builtin(_)) {
            // The path says what it must be.
            for (key, known) in [("apiVersion", self.resource.api_version()), ("kind", self.resource.kind.to_string())] {
                if matches!(&value[key], Value::Null) {
                    value[key] = known.into();
                }
            }
        }
        self.check_kind(&value)?;
        let twice = twice.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
        self.normalize(&mut value, twice).map_err(|why| self.not_decodable(&why))?;
        Ok(value)
    }

    /// Reads what is posted to a subresource, an object of a type of its own: `io.k8s.api.core.v1.Binding`.
    pub fn decode_as(&self, definition: &str, body: &[u8]) -> Result<Value, ApiError> {
        let mut value = json_object(body)?;
        let schemas = &self.api.schemas;
        let Some(schema) = schemas.definition(definition) else { return Ok(value) };
        schemas.normalize(schema, &mut value);
        if let Some(why) = schemas.unreadable(schema, &value) {
            let mut names = definition.rsplit('.');
            let (kind, version) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
            return Err(ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}")));
        }
        schemas.complete(schema, &mut value);
        Ok(value)
    }

    /// 400 for an object that cannot be one of this kind.
    pub fn not_decodable(&self, why: &str) -> ApiError {
        let (kind, version) = (&self.resource.kind, &self.resource.version);
        ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    }

    /// What the real server says of a body that ends too early; of others it quotes its own parser.
    fn unrecognized(&self, error: ApiError, body: &[u8]) -> ApiError {
        let parsed = serde_json::from_slice::<Value>(body);
        if !parsed.is_err_and(|error| error.is_eof()) {
            return error;
        }
        let (kind, text) = (&self.resource.kind, String::from_utf8_lossy(body));
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: unexpected end of \
             JSON input ({text})"
        ))
    }

    fn check_kind(&self, value: &Value) -> Result<(), ApiError> {
        let wanted = self.resource.api_version();
        let (kind, version) = (value["kind"].as_str(), value["apiVersion"].as_str());
        if kind.is_none() {
            return Err(ApiError::bad_request("Object 'Kind' is missing"));
        }
        if (kind != Some(&self.resource.kind) || version != Some(&wanted)) && matches!(self.resource.shape, Shape::Builtin(_)) {
            let (kind, version) = (kind.unwrap_or_default(), version.unwrap_or_default());
            let own = &self.resource.kind;
            let known = BUILTIN.iter().any(|builtin| builtin.kind == kind && api_version(builtin.group, builtin.version) == version);
            let package = |version: &str| version.rsplit('/').next().unwrap_or_default().to_owned();
            let group = self.resource.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
            let why = if known {
                format!("converting ({}.{kind}) to ({group}.{own}): unknown conversion", package(version))
            } else {
                format!("no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\"")
            };
            return Err(ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {own}: {why}")));
        }
        if kind != Some(&self.resource.kind) {
            return Err(ApiError::bad_request(format!(
                "the kind in the data ({}) does not match the expected kind ({})",
                kind.unwrap_or_default(),
                self.resource.kind,
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

    /// Brings a served value into its canonical form, judging fields that are unknown or come `twice` by the `fieldValidation` parameter.
    /// The error says what is wrong with it.
    pub fn normalize(&self, value: &mut Value, twice: Vec<String>) -> Result<(), String> {
        must_be_object(value, "the object provided").map_err(|error| error.message)?;
        let schemas = &self.api.schemas;
        let schema = self.schema();
        let findings = schemas.normalize(schema, value);
        let fields: Vec<String> = twice.into_iter().chain(findings.unknown.iter().map(|f| format!("unknown field \"{f}\""))).collect();
        if !fields.is_empty() {
            match self.query.text("fieldValidation") {
                Some("Ignore") => {}
                Some("Strict") => {
                    return Err(format!("strict decoding error: {}", fields.join(", ")));
                }
                _ => self.warnings.borrow_mut().extend(fields),
            }
        }
        // Of a custom resource only the metadata are typed.
        let unreadable = match self.resource.shape {
            Shape::Builtin(_) => schemas.unreadable(schema, value),
            Shape::Custom(_) => {
                let metadata = &mut value["metadata"];
                schemas.normalize(schemas.metadata(), metadata);
                schemas.unreadable(schemas.metadata(), metadata)
            }
        };
        if let Some(why) = unreadable {
            return Err(why);
        }
        if !value["metadata"].is_object() {
            value["metadata"] = Value::Object(serde_json::Map::new());
        }
        match self.resource.shape {
            Shape::Builtin(_) => schemas.complete(schema, value),
            Shape::Custom(_) => schemas.complete(schemas.metadata(), &mut value["metadata"]),
        }
        Ok(())
    }
}
