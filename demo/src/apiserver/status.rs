//! API errors: the `Status` object a client gets instead of what it asked for, in the API server's words.

use std::fmt;

use http::StatusCode;
use serde_json::{Value, json};

/// One `Status` failure: HTTP code, machine-readable reason, message, details.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code, repeated in the body.
    pub code: u16,
    /// `metav1.StatusReason`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// `details` of the Status, when there are any.
    pub details: Option<Box<Value>>,
    /// The token by which a list may go on nevertheless.
    pub next: Option<String>,
}

/// The group and plural that name a resource in messages: `pods`, `deployments.apps`.
#[derive(Debug, Clone, Copy)]
pub struct GroupResource<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural name, with `/subresource` where one is meant.
    pub resource: &'a str,
}

impl fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => f.write_str(self.resource),
            group => write!(f, "{}.{group}", self.resource),
        }
    }
}

impl ApiError {
    fn detail(&mut self, details: Value) {
        self.details = Some(Box::new(details));
    }

    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, next: None }
    }

    fn about(mut self, resource: GroupResource<'_>, name: &str) -> Self {
        let mut details = json!({});
        for (key, value) in [("name", name), ("group", resource.group), ("kind", resource.resource)] {
            if !value.is_empty() {
                details[key] = value.into();
            }
        }
        self.detail(details);
        self
    }

    /// 404: the named object does not exist.
    pub fn not_found(resource: GroupResource<'_>, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).about(resource, name)
    }

    /// 404: no such path or resource is served.
    pub fn no_such_resource() -> Self {
        let mut error = Self::new(404, "NotFound", "the server could not find the requested resource");
        error.detail(json!({}));
        error
    }

    /// 409: an object of that name exists.
    pub fn already_exists(resource: GroupResource<'_>, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} \"{name}\" already exists")).about(resource, name)
    }

    /// 409: the operation cannot be done on the object's present state.
    pub fn conflict(resource: GroupResource<'_>, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 409: someone else wrote first.
    pub fn modified(resource: GroupResource<'_>, name: &str) -> Self {
        Self::conflict(resource, name, "the object has been modified; please apply your changes to the latest version and try again")
    }

    /// 403 for an object: admission or a policy says no.
    pub fn forbidden(resource: GroupResource<'_>, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{resource} \"{name}\" is forbidden: {why}")).about(resource, name)
    }

    /// 403 for a new object in a namespace that is going away.
    pub fn terminating(resource: GroupResource<'_>, name: &str, namespace: &str) -> Self {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = Self::forbidden(resource, name, &why);
        if let Some(details) = &mut error.details {
            details["causes"] = json!([{ "reason": "NamespaceTerminating", "field": "metadata.namespace",
                "message": format!("namespace {namespace} is being terminated") }]);
        }
        error
    }

    /// 403 for a request that no stored role allows.
    pub fn unauthorized_request(resource: GroupResource<'_>, name: &str, message: String) -> Self {
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    /// 401: no credentials, or none that are known.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 400 with the given text.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// 406: none of the accepted media types can be produced.
    pub fn not_acceptable() -> Self {
        let mut error = Self::new(406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json");
        error.detail(json!({}));
        error
    }

    /// 410 for a watch or a list that asks for history that is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 415 with what would be accepted.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a patch of an unknown type.
    pub fn unsupported_patch() -> Self {
        let mut error = Self::unsupported_media_type("415: Unsupported Media Type");
        error.detail(json!({}));
        error
    }

    /// 422 for a JSON patch whose test fails or that names what is not there.
    pub fn unfit_patch() -> Self {
        let mut error = Self::new(422, "Invalid", "the server rejected our request due to an error in our request");
        error.detail(json!({}));
        error
    }

    /// 429 with a pause in seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_s: u32) -> Self {
        let mut error = Self::new(429, "TooManyRequests", message);
        error.detail(json!({ "retryAfterSeconds": retry_after_s }));
        error
    }

    /// 429 of an eviction that a disruption budget does not allow now.
    pub fn disruption_budget(budget: &str, detail: &str) -> Self {
        let mut error = Self::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
        error.detail(json!({ "causes": [{
            "reason": "DisruptionBudget",
            "message": format!("The disruption budget {budget} {detail}"),
        }]}));
        error
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        let mut error = Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        error.detail(json!({ "causes": [{ "message": message.to_string() }] }));
        error
    }

    /// 504 for a read of a resourceVersion that has not happened yet.
    pub fn version_too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut error = Self::new(504, "Timeout", message);
        error.detail(json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        }));
        error
    }

    /// 409: applying would change what others own.
    pub fn apply_conflict(message: String, causes: Vec<Value>) -> Self {
        let mut error = Self::new(409, "Conflict", message);
        error.detail(json!({ "causes": causes }));
        error
    }

    /// 500 without a reason, as the real server answers where it expects no failure.
    pub fn unexplained(message: String) -> Self {
        Self::new(500, "", message)
    }

    /// 422 with a cause per field. `kind` is the object's kind, `group` its API group.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let text: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        let list = match text.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut error = Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {list}"));
        let causes: Vec<Value> = errors.iter().map(|e| json!({ "reason": e.reason, "message": e.message, "field": e.field })).collect();
        let mut details = json!({});
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details[key] = value.into();
            }
        }
        details["causes"] = causes.into();
        error.detail(details);
        error
    }

    /// The HTTP status code.
    pub fn http_status(&self) -> StatusCode {
        StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Seconds for a `Retry-After` header, when the client should come back.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self.code {
            429 | 504 => self.details.as_ref()?.get("retryAfterSeconds")?.as_u64(),
            _ => None,
        }
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message,
        });
        if let Some(next) = &self.next {
            status["metadata"]["continue"] = next.as_str().into();
        }
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = Value::clone(details);
        }
        status["code"] = self.code.into();
        status
    }
}

/// What is wrong with one field; renders as `spec.x: Invalid value: "v": why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Dotted path with `[index]`.
    pub field: String,
    /// `FieldValueInvalid` and its like.
    pub reason: &'static str,
    /// The text after the path.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl FieldError {
    fn new(field: impl Into<String>, reason: &'static str, message: String) -> Self {
        Self { field: field.into(), reason, message }
    }

    /// A value that must be there and is not.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = match detail {
            "" => "Required value".to_owned(),
            detail => format!("Required value: {detail}"),
        };
        Self::new(field, "FieldValueRequired", message)
    }

    /// A value that breaks a rule.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(field, "FieldValueInvalid", format!("Invalid value: {value}: {detail}"))
    }

    /// A resourceVersion that is no number.
    pub fn not_a_version(text: &str) -> Self {
        let detail = format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
        Self::invalid("resourceVersion", &text.into(), &detail)
    }

    /// An update that does not say which version it replaces.
    pub fn unset_version() -> Self {
        Self::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update")
    }

    /// A name of something that is not there.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(field, "FieldValueNotFound", format!("Not found: {value}"))
    }

    /// A value of another JSON type than the schema's.
    pub fn wrong_type(field: impl Into<String>, found: &str, detail: &str) -> Self {
        Self::new(field, "FieldValueTypeInvalid", format!("Invalid value: \"{found}\": {detail}"))
    }

    /// Whether the value is of another JSON type than the schema's.
    pub fn is_wrong_type(&self) -> bool {
        self.reason == "FieldValueTypeInvalid"
    }

    /// Whether the rules of a custom resource are not judged where this is wrong.
    pub fn is_blocking(&self) -> bool {
        matches!(
            self.reason,
            "FieldValueNotSupported" | "FieldValueRequired" | "FieldValueTooLong" | "FieldValueTooMany" | "FieldValueTypeInvalid"
        )
    }

    /// A value outside an enumeration.
    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &[String]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", list.join(", "));
        Self::new(field, "FieldValueNotSupported", message)
    }

    /// A value that may not be set or changed here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, "FieldValueForbidden", format!("Forbidden: {detail}"))
    }

    /// A value that must be unique and is not.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(field, "FieldValueDuplicate", format!("Duplicate value: {value}"))
    }

    /// A string above its limit.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Self::new(field, "FieldValueTooLong", format!("Too long: may not be more than {limit} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &ApiError, code: u16, message: &str) {
        assert_eq!((error.code, error.message.as_str()), (code, message));
        let status = error.to_value();
        assert_eq!(status["code"], code);
        assert_eq!(status["kind"], "Status");
    }

    #[test]
    fn messages_are_the_api_servers() {
        let pods = GroupResource { group: "", resource: "pods" };
        let deployments = GroupResource { group: "apps", resource: "deployments" };
        check(&ApiError::not_found(pods, "x"), 404, "pods \"x\" not found");
        check(&ApiError::not_found(deployments, "x"), 404, "deployments.apps \"x\" not found");
        check(&ApiError::already_exists(deployments, "x"), 409, "deployments.apps \"x\" already exists");
    }

    #[test]
    fn invalid_lists_every_cause() {
        let one = FieldError::required("spec.containers", "");
        let two = FieldError::unsupported("spec.policy", &json!("x"), &["balance".into(), "squeeze".into()]);
        check(&ApiError::invalid("", "Pod", "p", std::slice::from_ref(&one)), 422, "Pod \"p\" is invalid: spec.containers: Required value");
        let both = ApiError::invalid("g", "Elb", "e", &[one, two]);
        check(
            &both,
            422,
            "Elb.g \"e\" is invalid: [spec.containers: Required value, \
             spec.policy: Unsupported value: \"x\": supported values: \"balance\", \"squeeze\"]",
        );
        assert_eq!(both.to_value()["details"]["causes"][1]["field"], "spec.policy");
    }
}
