//! Binding: one `POST pods/binding` with the pod's UID, and what its answer means.
//!
//! The binder calls it under the lease, and tells the state and the user how it went.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | bound |
//! | 404 | the pod is gone |
//! | 409 | someone else bound it, or it is another pod of that name: the pod tells which |
//! | other 4xx | refused; nothing was changed |
//! | 429, 5xx, no answer | unknown: the pod is looked at before its room is given back |

mod binder;

pub use binder::Binder;

use k8s_openapi::api::core::v1::{self, Binding, ObjectReference};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use placement::cluster::Pod;
use std::time::Duration;

/// How a binding ended.
#[derive(Debug)]
pub enum Bound {
    /// The pod is on the node we chose.
    Here,
    /// It is on another node, which is another's decision.
    Elsewhere { node: String },
    /// It was deleted, or replaced by one of the same name.
    Gone,
    /// The API server refused, or could not be asked; the pod is not bound.
    Failed(BindError),
}

/// Texts are the API server's, where it gave one: they go into the pod's event and condition.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("binding rejected: {0}")]
    Refused(String),
    #[error("binding failed: {0}")]
    Failed(String),
}

/// In the API server's words, where it had any.
fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        other => chassis::program::chain(other),
    }
}

/// How long a binding and the look after it may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the binding itself is given up as unknown. Below what the lease leaves after its deadline, so that none is under way once another may
    /// lead.
    pub call: Duration,
    /// How long an API server that does not answer is asked what became of it.
    pub look: Duration,
}

/// Asked again for the pod after this, doubling to the second.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// Binds `pod` to `node`. Returns once it is known what became of it, or patience ends.
pub async fn bind(client: &Client, pod: &Pod, node: &str, patience: Patience) -> Bound {
    let api: Api<v1::Pod> = Api::namespaced(client.clone(), &pod.key.namespace);
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(pod.key.name.clone()),
            namespace: Some(pod.key.namespace.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let params = PostParams::default();
    let sent = api.create_subresource::<_, serde_json::Value>("binding", &pod.key.name, &params, &binding);
    let error = match tokio::time::timeout(patience.call, sent).await {
        Ok(Ok(_status)) => return Bound::Here,
        Ok(Err(Error::Api(status))) if status.code == 404 => return Bound::Gone,
        Ok(Err(Error::Api(status))) if (400..500).contains(&status.code) && !matches!(status.code, 409 | 429) => {
            return Bound::Failed(BindError::Refused(status.message.clone()));
        }
        Ok(Err(Error::Api(status))) if status.code == 409 => BindError::Refused(status.message.clone()),
        Ok(Err(error)) => BindError::Failed(words(&error)),
        Err(_elapsed) => BindError::Failed(format!("no answer within {:?}", patience.call)),
    };
    look(&api, pod, node, error, patience.look).await
}

/// Reads the pod until it says what became of the binding; `error` is what the binding itself said.
async fn look(api: &Api<v1::Pod>, pod: &Pod, node: &str, error: BindError, patience: Duration) -> Bound {
    let deadline = tokio::time::Instant::now() + patience;
    let mut delay = FIRST_LOOK;
    loop {
        match api.get_opt(&pod.key.name).await {
            Ok(None) => return Bound::Gone,
            Ok(Some(found)) if found.metadata.uid.as_deref() != Some(&pod.uid) => return Bound::Gone,
            Ok(Some(found)) => {
                return match found.spec.and_then(|spec| spec.node_name).filter(|name| !name.is_empty()) {
                    Some(on) if on == node => Bound::Here,
                    Some(on) => Bound::Elsewhere { node: on },
                    None => Bound::Failed(error),
                };
            }
            Err(error) if tokio::time::Instant::now() >= deadline => return Bound::Failed(BindError::Failed(words(&error))),
            Err(error) => tracing::debug!(pod = %pod.key, %error, "the pod can't be read; its room stays taken meanwhile"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_LOOK);
    }
}

#[cfg(test)]
mod tests;
