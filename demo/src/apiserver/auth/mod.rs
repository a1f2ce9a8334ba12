//! Who is asking: client certificates of the server's own CA, and bearer tokens.

pub mod kubeconfig;
pub mod pki;
pub mod rbac;
pub mod reviews;
pub mod token_request;
pub mod tokens;

use std::collections::BTreeMap;

use http::HeaderMap;
use serde_json::{Value, json};

/// An authenticated user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `system:serviceaccount:NS:NAME`, `system:node:NAME`, or a plain name.
    pub user: String,
    /// Stable id; the ServiceAccount's UID for its tokens.
    pub uid: String,
    /// Groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// Extra claims, such as `authentication.kubernetes.io/node-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A user with the given groups; everyone who is known is in `system:authenticated`.
    pub fn new(user: impl Into<String>, mut groups: Vec<String>) -> Self {
        if !groups.iter().any(|g| g == "system:authenticated") {
            groups.push("system:authenticated".to_owned());
        }
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// A ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        Self::new(format!("system:serviceaccount:{namespace}:{name}"), groups)
    }

    /// The `user` of a TokenReview.
    pub fn to_value(&self) -> Value {
        let mut user = json!({ "username": self.user, "groups": self.groups });
        if !self.uid.is_empty() {
            user["uid"] = self.uid.as_str().into();
        }
        if !self.extra.is_empty() {
            user["extra"] = json!(self.extra);
        }
        user
    }
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
