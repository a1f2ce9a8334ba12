//! Binding: one `POST pods/binding` with the pod's UID, and what its answer means.
//!
//! The binder calls it under the lease, and tells the state and the user how it went. The lease is asked once more when the request's body goes to the
//! connection: between the two stand the client's rate limit and any pause of the process, either of which may outlast the lease.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | bound |
//! | 404 | the pod is gone |
//! | 409 | someone else bound it, or it is another pod of that name: the pod tells which |
//! | other 4xx | refused; nothing was changed |
//! | 429, 5xx | unknown: the pod is looked at before its room is given back |
//! | no answer | it may be under way still, whatever the pod says now: the same binding is sent again until one of them has an end |
//! | no connection | it never left; nothing was changed |
//!
//! The client's own retries are off here: after a 504 that was done all the same, the second answer would be a 409 about our own binding.

mod binder;
mod devices;
mod nominate;
mod send;
mod volumes;

pub use binder::Binder;
#[cfg(test)]
pub use binder::tests::binder;

use chassis::client::{Departure, protobuf};
use k8s_openapi::api::core::v1::{self, Binding, ObjectReference};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use placement::cluster::Pod;
use send::{Sent, send, words};
use std::time::Duration;
use tokio::time::Instant;

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
    /// The binding never left: the lease ran out or the program ends.
    CalledOff,
}

/// Texts are the API server's, where it gave one: they go into the pod's event and condition.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("binding rejected: {0}")]
    Refused(String),
    #[error("binding failed: {0}")]
    Failed(String),
    #[error("running PreBind plugin \"VolumeBinding\": {0}")]
    Volumes(volumes::VolumeError),
    #[error("running PreBind plugin \"DynamicResources\": {0}")]
    Devices(devices::DeviceError),
}

/// How long a binding and the look after it may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From when the binding leaves until it is given up as unknown. Below what the lease leaves after its deadline, so that none is under way once
    /// another may lead.
    pub call: Duration,
    /// How long an API server that does not answer is asked what became of it.
    pub look: Duration,
}

/// Asked again for the pod after this, doubling to the second.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// Where bindings go.
#[derive(Clone)]
pub struct Clients {
    /// Of [`chassis::client::connect_departing`]: it never sends a binding twice, and none whose departure was called off.
    pub binding: Client,
    /// For the look at what became of a pod.
    pub reading: Client,
}

/// Binds `pod` to `node`. Returns once it is known what became of it, or patience ends; `end` calls the binding off unless it has left.
pub async fn bind<F: Future<Output = ()>>(
    clients: &Clients,
    pod: &Pod,
    node: &str,
    patience: Patience,
    departure: impl Fn() -> Departure,
    end: impl Fn() -> F,
) -> Bound {
    let api: Api<v1::Pod> = Api::namespaced(clients.reading.clone(), &pod.key.namespace);
    // Since when a binding may be under way of which nothing is known.
    let mut unanswered: Option<Instant> = None;
    loop {
        let outcome = match ask(clients, pod, node, patience, &departure(), end()).await {
            Meaning::Ended(bound) => bound,
            Meaning::Open(error) => look(&api, pod, node, error, patience.look).await,
            Meaning::Missing(error) => {
                unanswered.get_or_insert_with(Instant::now);
                look(&api, pod, node, error, patience.look).await
            }
        };
        match (&outcome, unanswered) {
            // Sent twice, it is done once: the other is told that the pod is on this node already. To give the room back now could give it away twice.
            (Bound::Failed(_), Some(since)) if since.elapsed() < patience.look => tokio::time::sleep(FIRST_LOOK).await,
            _ => return outcome,
        }
    }
}

/// What the answer to one binding means.
enum Meaning {
    Ended(Bound),
    /// It leaves open whether it was done.
    Open(BindError),
    /// There was none.
    Missing(BindError),
}

async fn ask(
    clients: &Clients,
    pod: &Pod,
    node: &str,
    patience: Patience,
    departure: &Departure,
    end: impl Future<Output = ()>,
) -> Meaning {
    let failed = |error: BindError| Meaning::Ended(Bound::Failed(error));
    match send(&clients.binding, request(pod, node), patience.call, departure, end).await {
        Sent::Done(_status) => Meaning::Ended(Bound::Here),
        Sent::CalledOff => Meaning::Ended(Bound::CalledOff),
        Sent::Nowhere(why) => failed(BindError::Failed(why)),
        Sent::Answered { code: 404, .. } => Meaning::Ended(Bound::Gone),
        Sent::Answered { code: 409, message } => Meaning::Open(BindError::Refused(message)),
        Sent::Answered { code: 429 | 500.., message } => Meaning::Open(BindError::Failed(message)),
        Sent::Answered { message, .. } => failed(BindError::Refused(message)),
        Sent::Unanswered(why) => Meaning::Missing(BindError::Failed(why)),
    }
}

fn request(pod: &Pod, node: &str) -> send::Built {
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
    let pods = kube::core::Request::new(<v1::Pod as kube::Resource>::url_path(&(), Some(&pod.key.namespace)));
    protobuf::request(&binding, |body| pods.create_subresource("binding", &pod.key.name, &PostParams::default(), body))
}

/// Reads the pod until it says what became of the binding; `error` is what the binding itself said.
async fn look(api: &Api<v1::Pod>, pod: &Pod, node: &str, error: BindError, patience: Duration) -> Bound {
    let deadline = Instant::now() + patience;
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
            Err(error) if Instant::now() >= deadline => return Bound::Failed(BindError::Failed(words(&error))),
            Err(error) => tracing::debug!(pod = %pod.key, %error, "the pod can't be read; its room stays taken meanwhile"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_LOOK);
    }
}

#[cfg(test)]
mod tests;
