//! `serviceaccounts/token`: a token for a ServiceAccount, bound to a pod if asked, and through it to a node.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::Identity;
use super::tokens::API_AUDIENCE;
use crate::apiserver::fields::{Manager, Managers, Operation, first_managers};
use crate::apiserver::schema::Typed;
use crate::apiserver::status::{ApiError, FieldError, GroupResource};
use crate::apiserver::verbs::{Call, Reply, now, seconds};

/// Shortest lifetime of a token.
const SHORTEST_S: i64 = 600;

/// Lifetime of a token that asks for none.
const DEFAULT_S: i64 = 3600;

const TOKEN_REQUEST: &str = "io.k8s.api.authentication.v1.TokenRequest";

const PREFIX: &str = "authentication.kubernetes.io";

impl Call<'_> {
    /// Issues a token. The call's resource is serviceaccounts.
    pub fn issue_token(&self, name: &str, body: &[u8]) -> Result<Reply, ApiError> {
        let account = self.find(name)?;
        let mut request = self.decode_as(TOKEN_REQUEST, body)?;
        let managers = self.complete_request(name, &mut request);
        let spec = &mut request["spec"];
        let mut audiences: Vec<String> =
            spec["audiences"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect();
        if audiences.is_empty() {
            audiences.push(API_AUDIENCE.to_owned());
        }
        let lifetime_s = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_S);
        if lifetime_s < SHORTEST_S {
            let detail = "may not specify a duration less than 10 minutes";
            let error = FieldError::invalid("spec.expirationSeconds", &spec["expirationSeconds"], detail);
            return Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", &[error]));
        }
        let mut identity = Identity::service_account(self.namespace, name);
        identity.uid = account.uid.to_string();
        let credential = format!("JTI={}", uuid::Uuid::new_v4());
        identity.extra.insert(format!("{PREFIX}/credential-id"), vec![credential]);
        let mut bound_to = vec![("serviceaccounts", self.namespace.to_owned(), name.to_owned(), account.uid.to_string())];
        let reference = &spec["boundObjectRef"];
        if reference.is_object() {
            bound_to.push(self.bind_token(reference, &mut identity)?);
        }
        spec["audiences"] = audiences.clone().into();
        spec["expirationSeconds"] = lifetime_s.into();
        let lifetime = Duration::from_secs(u64::try_from(lifetime_s).unwrap_or_default());
        let expires = jiff::Timestamp::now() + lifetime;
        let token = self.api.tokens.issue(identity, audiences, Some(lifetime), bound_to);
        if !managers.0.is_empty() {
            request["metadata"]["managedFields"] = managers.into_value();
        }
        request["status"]["token"] = token.into();
        request["status"]["expirationTimestamp"] = seconds(expires).into();
        Ok(Reply::Document(StatusCode::CREATED, request))
    }

    /// Brings a request into the form in which it is answered; says who set what.
    fn complete_request(&self, name: &str, request: &mut Value) -> Managers {
        const API_VERSION: &str = "authentication.k8s.io/v1";
        let schemas = &self.api.schemas;
        let schema = schemas.definition(TOKEN_REQUEST);
        let by = Manager { api_version: API_VERSION.to_owned(), ..self.manager(Operation::Update) };
        let managers =
            if self.api.track_fields { first_managers(Typed::root(schemas, schema, false), request, by) } else { Managers::default() };
        request["kind"] = "TokenRequest".into();
        request["apiVersion"] = API_VERSION.into();
        request["metadata"] = json!({ "name": name, "namespace": self.namespace, "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": now() });
        managers
    }

    fn bind_token(&self, reference: &Value, identity: &mut Identity) -> Result<(&'static str, String, String, String), ApiError> {
        let name = reference["name"].as_str().unwrap_or_default();
        let plural = match reference["kind"].as_str() {
            Some("Pod") => "pods",
            Some("Node") => "nodes",
            Some("Secret") => "secrets",
            other => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount to an object of kind {:?}: use Pod, Node or Secret",
                    other.unwrap_or_default()
                )));
            }
        };
        let resource = GroupResource { group: "", resource: plural };
        let namespace = if plural == "nodes" { "" } else { self.namespace };
        let object = self.api.find("", plural, namespace, name).ok_or_else(|| ApiError::not_found(resource, name))?;
        let uid = reference["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() && *object.uid != *uid {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            );
            return Err(ApiError::conflict(resource, name, &why));
        }
        let mut claim = |key: &str, value: &str| {
            identity.extra.insert(format!("{PREFIX}/{key}"), vec![value.to_owned()]);
        };
        let mut node = None;
        match plural {
            "pods" => {
                claim("pod-name", name);
                claim("pod-uid", &object.uid);
                node = object.field("spec.nodeName").filter(|node| !node.is_empty()).map(str::to_owned);
            }
            "nodes" => node = Some(name.to_owned()),
            _ => {}
        }
        if let Some(node) = node {
            claim("node-name", &node);
            if let Some(found) = self.api.find("", "nodes", "", &node) {
                claim("node-uid", &found.uid);
            }
        }
        Ok((plural, namespace.to_owned(), name.to_owned(), object.uid.to_string()))
    }
}
