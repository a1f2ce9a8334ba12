//! TokenReview and SubjectAccessReview: questions that the server answers and does not store.

use http::StatusCode;
use serde_json::{Value, json};

use super::Identity;
use super::rbac::{Attributes, allowed, rules_review};
use super::tokens::API_AUDIENCE;
use crate::apiserver::api::Api;
use crate::apiserver::status::{ApiError, FieldError};
use crate::apiserver::verbs::{Call, Reply, now};

impl Api {
    /// Whom a bearer token names, for one of the audiences; the error says why it names nobody.
    pub(in crate::apiserver) fn authenticate_token(&self, token: &str, audiences: &[String]) -> Result<(Identity, Vec<String>), String> {
        let found = self.tokens.find(token).ok_or_else(|| "invalid bearer token".to_owned())?;
        let shared: Vec<String> = found.audiences.iter().filter(|a| audiences.contains(a)).cloned().collect();
        if shared.is_empty() {
            return Err(format!(
                "[invalid bearer token, token audiences {:?} is invalid for the target audiences {audiences:?}]",
                found.audiences
            ));
        }
        for (plural, namespace, name, uid) in &found.bound_to {
            if self.find("", plural, namespace, name).is_none_or(|object| *object.uid != **uid) {
                return Err(format!("[invalid bearer token, service account token has been invalidated: {plural} {name} is gone]"));
            }
        }
        Ok((found.identity, shared))
    }
}

/// What is wrong with the question of an access review; of `another` it has to say who is meant.
fn check_access(spec: &Value, another: bool) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    if spec["resourceAttributes"].is_object() == spec["nonResourceAttributes"].is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid("spec", &spec["nonResourceAttributes"], why));
    }
    let nobody = spec["user"].as_str().is_none_or(str::is_empty) && spec["groups"].as_array().is_none_or(Vec::is_empty);
    if another && nobody {
        errors.push(FieldError::invalid("spec.user", &"".into(), "at least one of user or group must be specified"));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("authorization.k8s.io", "", "", &errors)) }
}

impl Call<'_> {
    /// Answers a review.
    pub fn review(&self, body: &[u8]) -> Result<Reply, ApiError> {
        let mut review = self.decode(body)?;
        let spec = &review["spec"];
        let status = match &*self.resource.plural {
            "tokenreviews" => self.token_review(spec),
            "selfsubjectreviews" => {
                let metadata = json!({ "creationTimestamp": now() });
                review = json!({ "kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": metadata });
                json!({ "userInfo": self.user.to_value() })
            }
            "selfsubjectrulesreviews" => {
                let namespace = spec["namespace"].as_str().unwrap_or_default();
                if namespace.is_empty() {
                    return Err(ApiError::bad_request("no namespace on request"));
                }
                let status = rules_review(self.api, self.user, namespace);
                // The question is not repeated.
                review = json!({ "kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": {}, "spec": {} });
                status
            }
            "selfsubjectaccessreviews" => {
                check_access(spec, false)?;
                self.access_review(self.user, spec)
            }
            _ => {
                check_access(spec, true)?;
                let groups = spec["groups"].as_array().into_iter().flatten();
                let groups = groups.filter_map(|g| g.as_str().map(str::to_owned)).collect();
                let user = spec["user"].as_str().unwrap_or_default();
                // The caller says who is meant, group by group; nothing is added.
                let user = Identity { user: user.to_owned(), groups, ..Identity::default() };
                self.access_review(&user, spec)
            }
        };
        if review["spec"].as_object().is_some_and(|spec| !spec.is_empty()) {
            let managers = self.first_managers(&review);
            if !managers.0.is_empty() {
                review["metadata"]["managedFields"] = managers.into_value();
            }
        }
        review["status"] = status;
        Ok(Reply::Document(StatusCode::CREATED, review))
    }

    fn token_review(&self, spec: &Value) -> Value {
        let mut audiences: Vec<String> =
            spec["audiences"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect();
        if audiences.is_empty() {
            audiences.push(API_AUDIENCE.to_owned());
        }
        match self.api.authenticate_token(spec["token"].as_str().unwrap_or_default(), &audiences) {
            Ok((user, audiences)) => {
                json!({ "authenticated": true, "user": user.to_value(), "audiences": audiences })
            }
            Err(error) => json!({ "user": {}, "error": error }),
        }
    }

    fn access_review(&self, user: &Identity, spec: &Value) -> Value {
        let resource = &spec["resourceAttributes"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let attributes = if resource.is_object() {
            Attributes {
                verb: text(&resource["verb"]),
                group: text(&resource["group"]),
                resource: text(&resource["resource"]),
                subresource: text(&resource["subresource"]),
                namespace: text(&resource["namespace"]),
                name: text(&resource["name"]),
                path: String::new(),
            }
        } else {
            let request = &spec["nonResourceAttributes"];
            Attributes { verb: text(&request["verb"]), path: text(&request["path"]), ..Attributes::default() }
        };
        match allowed(self.api, user, &attributes) {
            Some(reason) => json!({ "allowed": true, "reason": reason }),
            None => json!({ "allowed": false }),
        }
    }
}
