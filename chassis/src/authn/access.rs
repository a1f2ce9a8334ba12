//! Whether an identity may do something, by the cluster's own rules (RBAC).

use super::{AuthError, Identity, expiring::Expiring};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, api::PostParams};
use std::time::Duration;

/// Asks about non-resource URLs: our API's paths. Clones share the cache.
#[derive(Clone)]
pub struct Authorizer {
    reviews: Api<SubjectAccessReview>,
    /// `Ok` or the reason of the denial.
    answers: Expiring<(Identity, String, String), Result<(), String>>,
}

/// kube-apiserver's delegating authorizer keeps answers as long.
const KEEP: Duration = Duration::from_secs(10);

impl Authorizer {
    pub fn new(client: kube::Client) -> Self {
        Self { reviews: Api::all(client), answers: Expiring::new() }
    }

    /// `verb` is the request's method in lower case (`get`), `path` the URL's (`/v1/snapshot`), as ClusterRoles have them.
    pub async fn authorize(&self, identity: &Identity, verb: &str, path: &str) -> Result<(), AuthError> {
        let key = (identity.clone(), verb.to_owned(), path.to_owned());
        let answer = match self.answers.get(&key) {
            Some(answer) => answer,
            None => {
                let answer = self.ask(identity, verb, path).await?;
                self.answers.insert(key, answer.clone(), KEEP);
                answer
            }
        };
        answer.map_err(|reason| AuthError::Denied { user: identity.user.clone(), verb: verb.to_owned(), path: path.to_owned(), reason })
    }

    async fn ask(&self, identity: &Identity, verb: &str, path: &str) -> Result<Result<(), String>, AuthError> {
        let spec = SubjectAccessReviewSpec {
            user: Some(identity.user.clone()),
            uid: Some(identity.uid.clone()),
            groups: Some(identity.groups.clone()),
            extra: Some(identity.extra.clone()),
            non_resource_attributes: Some(NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) }),
            resource_attributes: None,
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = self.reviews.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| AuthError::Unavailable(Box::new(error)))?.status.unwrap_or_default();
        Ok(if status.allowed { Ok(()) } else { Err(status.reason.or(status.evaluation_error).unwrap_or_default()) })
    }
}
