//! From a bearer token to an identity.

use super::{AuthError, Identity, expiring::Expiring};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, api::PostParams};
use sha2::{Digest as _, Sha256};
use std::{sync::Arc, time::Duration};

/// Reviews tokens for one audience. Clones share the cache.
#[derive(Clone)]
pub struct Authenticator {
    reviews: Api<TokenReview>,
    audience: Arc<str>,
    /// By the token's hash: tokens themselves are not kept.
    accepted: Expiring<[u8; 32], Identity>,
}

/// How long an accepted token is not asked about again, as kube-apiserver's webhook authenticator. A revoked one works until then.
const KEEP: Duration = Duration::from_secs(120);

impl Authenticator {
    /// `audience` is usually [`TOPOLOGY_AUDIENCE`](super::TOPOLOGY_AUDIENCE).
    pub fn new(client: kube::Client, audience: &str) -> Self {
        Self { reviews: Api::all(client), audience: audience.into(), accepted: Expiring::new() }
    }

    pub fn audience(&self) -> &str {
        &self.audience
    }

    pub async fn authenticate(&self, token: &str) -> Result<Identity, AuthError> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(identity) = self.accepted.get(&key) {
            return Ok(identity);
        }
        let spec = TokenReviewSpec { audiences: Some(vec![self.audience.to_string()]), token: token.to_owned() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.reviews.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| AuthError::Unavailable(Box::new(error)))?.status.unwrap_or_default();
        let refused = |reason: String| AuthError::Refused { audience: self.audience.to_string(), reason };
        if status.authenticated != Some(true) {
            return Err(refused(status.error.filter(|error| !error.is_empty()).unwrap_or_else(|| "unknown or expired".to_owned())));
        }
        // No audiences in the answer mean that the token is for the API server, and that nobody looked at ours.
        if !status.audiences.unwrap_or_default().iter().any(|audience| **audience == *self.audience) {
            return Err(refused("it is for another audience".to_owned()));
        }
        let user = status.user.unwrap_or_default();
        let identity = Identity {
            user: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        };
        self.accepted.insert(key, identity.clone(), KEEP);
        Ok(identity)
    }
}
