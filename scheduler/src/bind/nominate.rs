//! Says where a pod is about to be bound, before a binding that takes time, as kube-scheduler does (NominatedNodeNameForExpectation): who adds and removes
//! nodes leaves this one alone, and a scheduler that comes after this one tries it first.
//!
//! The API server takes the nomination back as the pod is bound. Where that fails, the condition which says so takes it back.

use super::send::{Sent, patch, send};
use super::{Bound, Clients, Patience};
use chassis::client::Departure;
use k8s_openapi::api::core::v1;
use kube::Resource as _;
use kube::api::Patch;
use placement::cluster::{Pod, Snapshot};
use placement::devices::ClaimName;
use serde_json::json;

/// Whether something has to be done for the pod before it is bound: claims of devices or of volumes to be written, and perhaps waited for.
pub fn takes_time(snapshot: &Snapshot, pod: &Pod) -> bool {
    pod.claims.iter().any(|entry| entry.claim != ClaimName::NotNeeded) || snapshot.volume_plan(&pod.key).is_some()
}

/// Writes the nomination. That it can't be written is no reason not to bind.
///
/// # Errors
/// [`Bound::CalledOff`] alone.
pub async fn nominate(
    clients: &Clients,
    pod: &Pod,
    node: &str,
    patience: Patience,
    departure: &Departure,
    end: impl Future<Output = ()>,
) -> Result<(), Bound> {
    // By the UID it fails for another pod of the name.
    let body = json!({"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": node}});
    let pods = v1::Pod::url_path(&(), Some(&pod.key.namespace));
    let request = patch(pods, &pod.key.name, Some("status"), &Patch::Strategic(&body));
    match send(&clients.binding, request, patience.call, departure, end).await {
        Sent::Done(_pod) => {}
        Sent::CalledOff => return Err(Bound::CalledOff),
        Sent::Answered { message: why, .. } | Sent::Nowhere(why) | Sent::Unanswered(why) => {
            tracing::warn!(pod = %pod.key, node, why, "cannot write the nominated node");
        }
    }
    Ok(())
}
