//! Who calls our own HTTP APIs, and may they: TokenReview and SubjectAccessReview of the API server, cached for a short while.

mod access;
mod expiring;
mod gate;
mod tokens;

pub use access::Authorizer;
pub use gate::{require_access, require_token};
pub use tokens::Authenticator;

use crate::http_error::HttpError;
use std::collections::BTreeMap;

/// The audience that tokens for the topology service are made for.
pub const TOPOLOGY_AUDIENCE: &str = "edge-topology";

const NODE_CLAIM: &str = "authentication.kubernetes.io/node-name";
const POD_CLAIM: &str = "authentication.kubernetes.io/pod-name";

/// An authenticated caller. A handler behind [`require_token`] takes it as an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `system:serviceaccount:edge-system:edge-pinger`, say.
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// What else the token says, node and pod among it.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// The node whose kubelet asked for the token, if it is bound to one.
    pub fn node(&self) -> Option<&str> {
        self.claim(NODE_CLAIM)
    }

    pub fn pod(&self) -> Option<&str> {
        self.claim(POD_CLAIM)
    }

    /// The node, or 403 that says how to get a token with one.
    pub fn require_node(&self) -> Result<&str, HttpError> {
        self.node().ok_or_else(|| {
            HttpError::forbidden(format!(
                "the token of {:?} names no node ({NODE_CLAIM}): use a projected service account token of a pod, \
                 or `kubectl create token --bound-object-kind=Node`",
                self.user
            ))
        })
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.extra.get(name)?.first().map(String::as_str)
    }
}

/// Why a caller is turned away.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("no bearer token: send `Authorization: Bearer TOKEN` with a token for the audience {audience:?}")]
    NoToken { audience: String },
    #[error("the token is not accepted: {reason}; it must be valid and for the audience {audience:?}")]
    Refused { audience: String, reason: String },
    #[error("user {user:?} needs the verb {verb:?} on the non-resource URL {path:?}{}", because(reason))]
    Denied { user: String, verb: String, path: String, reason: String },
    #[error("the API server could not be asked about the caller; try again")]
    Unavailable(#[source] Box<kube::Error>),
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

impl From<AuthError> for HttpError {
    fn from(error: AuthError) -> Self {
        let text = error.to_string();
        match error {
            AuthError::NoToken { .. } | AuthError::Refused { .. } => Self::unauthorized(text),
            AuthError::Denied { .. } => Self::forbidden(text),
            AuthError::Unavailable(cause) => {
                // Callers need not know how we reach the API server.
                tracing::warn!(error = crate::program::chain(&cause), "cannot review a caller");
                Self::unavailable(text)
            }
        }
    }
}

#[cfg(test)]
mod tests;
