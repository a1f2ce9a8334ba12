//! What has to be done about a pod's claims before the pod is bound, as kube-scheduler's VolumeBinding does it before binding: each chosen volume is
//! written as its claim's, each claim that a volume is to be provisioned for gets its node, and then the controllers are waited for that bind both sides.
//!
//! Nothing that was written is taken back where that fails: a volume that is promised to the claim, or a node that is chosen for it, is where the next
//! attempt begins.

use super::send::{Sent, merge, send};
use super::{BindError, Bound, Clients, Patience};
use crate::state::Shared;
use api::labels::{BOUND_BY_CONTROLLER_ANNOTATION, SELECTED_NODE_ANNOTATION};
use chassis::client::Departure;
use k8s_openapi::api::core::v1;
use placement::cluster::{ClaimRef, PersistentVolume, PersistentVolumeClaim, Pod, Snapshot, VolumePlan};
use placement::filter::volume_binding::is_reached;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Why the pod's claims did not get their volumes. Texts are kube-scheduler's, and the API server's where it refused.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("{0}")]
    Refused(String),
    #[error("binding volumes: failed to get node {0:?}: node {0:?} not found")]
    NoNode(String),
    #[error("binding volumes: failed to check binding: {kind} {name:?} not found")]
    NotFound { kind: &'static str, name: String },
    #[error("binding volumes: pv {volume:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms")]
    Elsewhere { volume: String, node: String },
    #[error("binding volumes: ClaimRef got reset for pv {0:?}")]
    Reset(String),
    #[error("binding volumes: provisioning failed for PVC {0:?}")]
    Provisioning(String),
    #[error("binding volumes: context deadline exceeded")]
    TimedOut,
    #[error("preempted by DefaultPreemption")]
    Preempted,
}

/// The state is looked at as often as this if nothing changes: nodes and pods go, too.
const LOOK: Duration = Duration::from_secs(1);

/// Carries out what the assumed pod has taken: then every claim is bound to a volume that the node reaches. `departure` gives each write its own.
pub async fn bind_volumes(
    clients: &Clients,
    shared: &Shared,
    pod: &Pod,
    node: &str,
    plan: &VolumePlan,
    patience: Patience,
    departure: impl Fn() -> Departure,
) -> Result<(), Bound> {
    let failed = |error| Err(Bound::Failed(BindError::Volumes(error)));
    let mut changed = shared.storage.subscribe();
    let snapshot = shared.lock().cluster.snapshot();
    let deadline = Instant::now() + Duration::from_millis(snapshot.profile(pod).volume_binding.timeout.0);
    let writes = writes(&snapshot, node, plan);
    drop(snapshot);
    let mut written = Written::new();
    for Write { path, name, body, key } in writes {
        // Refused where the object has changed meanwhile.
        match send(&clients.binding, merge(path, &name, None, &body), patience.call, &departure(), std::future::pending()).await {
            Sent::Done(object) => drop(written.insert(key, object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())),
            Sent::CalledOff => return Err(Bound::CalledOff),
            Sent::Answered { message, .. } | Sent::Nowhere(message) | Sent::Unanswered(message) => {
                return failed(VolumeError::Refused(message));
            }
        }
    }
    loop {
        let stage = progress(&shared.lock().cluster.snapshot(), pod, node, plan, &written);
        match stage {
            Ok(Stage::Done) => return Ok(()),
            Ok(Stage::Gone) => return Err(Bound::Gone),
            Err(error) => return failed(error),
            Ok(Stage::Waiting) if Instant::now() >= deadline => return failed(VolumeError::TimedOut),
            // Also when nothing changed; and the sender lives as long as the state.
            Ok(Stage::Waiting) => drop(tokio::time::timeout(LOOK, changed.changed()).await),
        }
    }
}

/// Resource versions that writes made, by namespace and name; a volume has no namespace.
type Written = BTreeMap<(String, String), String>;

struct Write {
    path: String,
    name: String,
    body: Value,
    key: (String, String),
}

/// What is not as the plan wants it.
fn writes(snapshot: &Snapshot, node: &str, plan: &VolumePlan) -> Vec<Write> {
    let volumes = plan.bindings.iter().filter_map(|(name, claim)| {
        let volume = snapshot.stored::<PersistentVolume>("", name)?;
        let path = <v1::PersistentVolume as kube::Resource>::url_path(&(), None);
        Some(Write { path, name: name.clone(), body: claimed(snapshot, volume, claim)?, key: (String::new(), name.clone()) })
    });
    let claims = plan.provisions.iter().filter_map(|reference| {
        let claim = stored(snapshot, reference)?;
        let body = json!({"metadata": {"resourceVersion": claim.version, "annotations": {SELECTED_NODE_ANNOTATION: node}}});
        let path = <v1::PersistentVolumeClaim as kube::Resource>::url_path(&(), Some(&claim.namespace));
        let (namespace, name) = (claim.namespace.clone(), claim.name.clone());
        (claim.selected_node.as_deref() != Some(node)).then(|| Write { path, name: name.clone(), body, key: (namespace, name) })
    });
    volumes.chain(claims).collect()
}

/// The volume as the claim's; `None`: it is already.
fn claimed(snapshot: &Snapshot, volume: &PersistentVolume, claim: &ClaimRef) -> Option<Value> {
    if volume.claim.as_ref() == Some(claim) {
        return None;
    }
    let version = stored(snapshot, claim).map(|claim| claim.version.clone());
    let mut body = json!({
        "metadata": {"resourceVersion": volume.version},
        "spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace, "name": claim.name, "uid": claim.uid,
            "resourceVersion": version,
        }},
    });
    // What a user has promised to the claim stays the user's.
    if volume.claim.is_none() && !volume.bound_by_controller {
        body["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER_ANNOTATION: "yes"});
    }
    Some(body)
}

enum Stage {
    Waiting,
    Done,
    Gone,
}

fn progress(snapshot: &Snapshot, pod: &Pod, node: &str, plan: &VolumePlan, written: &Written) -> Result<Stage, VolumeError> {
    let seen = |namespace: &str, name: &str, version: &str| {
        let written = written.get(&(namespace.to_owned(), name.to_owned()));
        written.is_none_or(|written| number(version) >= number(written))
    };
    let reached = |volume: &PersistentVolume| {
        let on = snapshot.node_index(node).and_then(|ix| snapshot.node(ix)).ok_or_else(|| VolumeError::NoNode(node.to_owned()))?;
        let elsewhere = || VolumeError::Elsewhere { volume: volume.name.clone(), node: node.to_owned() };
        if is_reached(snapshot, volume, on) { Ok(()) } else { Err(elsewhere()) }
    };
    if snapshot.node_index(node).is_none() {
        return Err(VolumeError::NoNode(node.to_owned()));
    }
    if snapshot.pod(&pod.key).is_none_or(|view| view.pod.uid != pod.uid) {
        return Ok(Stage::Gone);
    }
    let claim_of = |reference: &ClaimRef| {
        let gone = || VolumeError::NotFound { kind: "persistentvolumeclaim", name: reference.name.clone() };
        stored(snapshot, reference).ok_or_else(gone)
    };
    for (name, reference) in &plan.bindings {
        let gone = || VolumeError::NotFound { kind: "persistentvolume", name: name.clone() };
        let volume = snapshot.stored::<PersistentVolume>("", name).ok_or_else(gone)?;
        let claim = claim_of(reference)?;
        if !seen("", name, &volume.version) {
            return Ok(Stage::Waiting);
        }
        reached(volume)?;
        if volume.claim.as_ref().is_none_or(|claim| claim.uid.is_empty()) {
            return Err(VolumeError::Reset(name.clone()));
        }
        if !claim.is_bound() {
            return Ok(Stage::Waiting);
        }
    }
    for reference in &plan.provisions {
        let claim = claim_of(reference)?;
        if !seen(&claim.namespace, &claim.name, &claim.version) {
            return Ok(Stage::Waiting);
        }
        // A provisioner that can't make the volume there takes the node back.
        if claim.selected_node.as_deref() != Some(node) {
            return Err(VolumeError::Provisioning(claim.name.clone()));
        }
        if let Some(name) = &claim.volume {
            match snapshot.stored::<PersistentVolume>("", name) {
                Some(volume) => reached(volume)?,
                None => return Ok(Stage::Waiting),
            }
        }
        if !claim.is_bound() {
            return Ok(Stage::Waiting);
        }
    }
    Ok(Stage::Done)
}

fn stored<'a>(snapshot: &'a Snapshot, reference: &ClaimRef) -> Option<&'a PersistentVolumeClaim> {
    let claim = snapshot.stored::<PersistentVolumeClaim>(&reference.namespace, &reference.name)?;
    (claim.uid == reference.uid).then_some(claim)
}

/// Versions of one kind of object are numbers that rise.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests;
