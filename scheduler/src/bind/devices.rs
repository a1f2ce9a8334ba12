//! What has to be written into a pod's device claims before the pod is bound, as kube-scheduler's DynamicResources does it before binding: the finalizer,
//! the devices, and for whom they are reserved. And what is taken back: the reservation where the pod is not bound, the devices where nobody can use them.
//!
//! Every write names the version of the claim that it is made for. So a write whose answer was lost can't be done later: the claim is read and written
//! again until an answer comes.

use super::send::{Built, Sent, merge, patch, send, words};
use super::{BindError, Bound, Clients, FIRST_LOOK, LONGEST_LOOK, Patience};
use crate::state::{Shared, now};
use chassis::client::Departure;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch};
use kube::{Error, Resource};
use placement::cluster::{ClaimReservation, Pod, PodKey};
use placement::devices::Claim;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Keeps a claim until its devices have been given back.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// Why a claim is not the pod's. Texts are kube-scheduler's, and the API server's where it refused.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("claim {0} got deleted in the meantime")]
    Deleted(PodKey),
    #[error("claim {0} got allocated elsewhere in the meantime")]
    AllocatedElsewhere(PodKey),
    #[error("claim {0} got deallocated elsewhere in the meantime")]
    Deallocated(PodKey),
    #[error("{0}")]
    Changed(String),
    #[error("claim {claim}: {why}")]
    Refused { claim: PodKey, why: String },
}

/// Writes claims while the lease is held: `departure` gives each write its own, and `end` calls off what has not left.
pub struct ClaimWriter<'a, D, E> {
    pub clients: &'a Clients,
    pub shared: &'a Shared,
    pub patience: Patience,
    pub departure: D,
    pub end: E,
}

/// What a claim is to become.
enum Goal<'a> {
    /// The pod's, with its devices where it had none.
    Reserved { pod: &'a Pod, reservation: &'a ClaimReservation },
    /// Without devices, since the only pod that may use it can't where they are.
    Deallocated { pod_uid: &'a str },
}

/// How one try ended.
#[derive(Debug)]
enum Try {
    Done,
    Failed(Bound),
    /// Something came between, or nobody answered.
    Again(String),
}

impl<D: Fn() -> Departure, E: Fn() -> F, F: Future<Output = ()>> ClaimWriter<'_, D, E> {
    /// Makes the claims the pod's, with the devices that they were promised.
    ///
    /// # Errors
    /// The first claim that can't be written; those before it stay written: [`withdraw`](Self::withdraw) takes them back.
    pub async fn reserve(&self, pod: &Pod, reservations: &[ClaimReservation]) -> Result<(), Bound> {
        for reservation in reservations {
            self.bring_about(&reservation.claim, &Goal::Reserved { pod, reservation }).await?;
        }
        Ok(())
    }

    /// The pod was not bound: its claims are not reserved for it any more. They keep their devices, where the next attempt finds them.
    pub async fn withdraw(&self, pod: &Pod, reservations: &[ClaimReservation]) {
        for ClaimReservation { claim, .. } in reservations {
            let reserved = |known: &Claim| known.uid == claim.uid && known.reserved_for.contains(&pod.uid);
            if !self.shared.lock().cluster.view().inventory().claim(&claim.key).is_some_and(|known| reserved(known)) {
                continue;
            }
            let body = json!({"metadata": {"uid": claim.uid}, "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid}]}});
            let request = patch(path(&claim.key), &claim.key.name, Some("status"), &Patch::Strategic(&body));
            if let Err(error) = self.write(&claim.key, request).await {
                // The next attempt finds it reserved, or the controller of claims takes it back when the pod is gone.
                tracing::debug!(claim = %claim.key, pod = %pod.key, ?error, "the claim stays reserved");
            }
        }
    }

    /// Takes the devices from a claim that is of no use to the pod where they are, and used by nobody else.
    ///
    /// # Errors
    /// The claim stays as it is.
    pub async fn deallocate(&self, claim: &Claim, pod: &Pod) -> Result<(), Bound> {
        self.bring_about(claim, &Goal::Deallocated { pod_uid: &pod.uid }).await
    }

    async fn bring_about(&self, claim: &Claim, goal: &Goal<'_>) -> Result<(), Bound> {
        let (deadline, mut pause) = (Instant::now() + self.patience.look, FIRST_LOOK);
        loop {
            let why = match self.attempt(claim, goal).await {
                Try::Done => return Ok(()),
                Try::Failed(bound) => return Err(bound),
                Try::Again(why) => why,
            };
            if Instant::now() >= deadline {
                return Err(failed(DeviceError::Refused { claim: claim.key.clone(), why }));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_LOOK),
                () = (self.end)() => return Err(Bound::CalledOff),
            }
        }
    }

    async fn attempt(&self, known: &Claim, goal: &Goal<'_>) -> Try {
        let key = &known.key;
        let found = match Api::<ResourceClaim>::namespaced(self.clients.reading.clone(), &key.namespace).get_opt(&key.name).await {
            Ok(found) => found,
            Err(Error::Api(status)) if is_final(status.code) => return refused(key, status.message.clone()),
            Err(error) => return Try::Again(words(&error)),
        };
        let same = |claim: &ResourceClaim| claim.metadata.uid.as_deref() == Some(&known.uid) && claim.metadata.deletion_timestamp.is_none();
        let Some(mut claim) = found.filter(same) else { return Try::Failed(failed(DeviceError::Deleted(key.clone()))) };
        let status = match wanted(key, claim.status.as_ref(), goal) {
            Ok(Some(status)) => status,
            Ok(None) => {
                self.learn(&claim);
                return Try::Done;
            }
            Err(error) => return Try::Failed(failed(error)),
        };
        let mut finalizers = claim.metadata.finalizers.clone().unwrap_or_default();
        if status["allocation"].is_object() && !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            // Not with the status: finalizers are not the status's to change.
            let body = json!({"metadata": {"resourceVersion": claim.metadata.resource_version, "finalizers": finalizers}});
            claim = match self.write(key, merge(path(key), &key.name, None, &body)).await {
                Ok(written) => written,
                Err(ended) => return ended,
            };
        }
        let body = json!({"metadata": {"resourceVersion": claim.metadata.resource_version}, "status": status});
        match self.write(key, merge(path(key), &key.name, Some("status"), &body)).await {
            Ok(_) => Try::Done,
            Err(ended) => ended,
        }
    }

    /// Sends a write of a claim; what it became is known at once, whenever the watch brings it.
    async fn write(&self, key: &PodKey, request: Built) -> Result<ResourceClaim, Try> {
        match send(&self.clients.binding, request, self.patience.call, &(self.departure)(), (self.end)()).await {
            Sent::Done(object) => {
                let claim = serde_json::from_value(object).map_err(|error| Try::Again(error.to_string()))?;
                self.learn(&claim);
                Ok(claim)
            }
            Sent::CalledOff => Err(Try::Failed(Bound::CalledOff)),
            Sent::Answered { code: 404, .. } => Err(Try::Failed(failed(DeviceError::Deleted(key.clone())))),
            Sent::Answered { code, message } if is_final(code) => Err(refused(key, message)),
            Sent::Answered { message: why, .. } | Sent::Nowhere(why) | Sent::Unanswered(why) => Err(Try::Again(why)),
        }
    }

    fn learn(&self, claim: &ResourceClaim) {
        self.shared.change(|state| {
            let changes = state.cluster.apply_claim(api::convert::claim(claim));
            state.note(&changes, now());
        });
    }
}

fn path(claim: &PodKey) -> String {
    ResourceClaim::url_path(&(), Some(&claim.namespace))
}

fn failed(error: DeviceError) -> Bound {
    Bound::Failed(BindError::Devices(error))
}

fn refused(claim: &PodKey, why: String) -> Try {
    Try::Failed(failed(DeviceError::Refused { claim: claim.clone(), why }))
}

/// Whether the API server would answer the same again.
fn is_final(code: u16) -> bool {
    (400..500).contains(&code) && !matches!(code, 409 | 429)
}

/// The parts of the status that the goal asks for, as a merge patch; `None`: the claim has them.
fn wanted(claim: &PodKey, status: Option<&ResourceClaimStatus>, goal: &Goal<'_>) -> Result<Option<Value>, DeviceError> {
    let allocation = status.and_then(|status| status.allocation.as_ref());
    let mut users = status.and_then(|status| status.reserved_for.clone()).unwrap_or_default();
    let (pod, reservation) = match goal {
        Goal::Deallocated { pod_uid } => {
            let idle = allocation.is_some() && users.iter().all(|user| user.uid == *pod_uid);
            return Ok(idle.then(|| json!({"allocation": null, "reservedFor": null, "devices": null})));
        }
        Goal::Reserved { pod, reservation } => (pod, reservation),
    };
    let ours = users.iter().any(|user| user.uid == pod.uid);
    let promised = match (allocation, &reservation.allocation) {
        // As an attempt has left it, whose answer was lost or whose pod was not bound.
        (Some(_), None) if ours => return Ok(None),
        (Some(has), Some(promised))
            if ours && AllocationResult { allocation_timestamp: None, ..has.clone() } == api::convert::allocation_result(promised) =>
        {
            return Ok(None);
        }
        (Some(_), Some(_)) => return Err(DeviceError::AllocatedElsewhere(claim.clone())),
        (None, None) => return Err(DeviceError::Deallocated(claim.clone())),
        (Some(_), None) => None,
        (None, Some(promised)) => Some(api::convert::allocation_result(promised)),
    };
    if !ours {
        users.push(ResourceClaimConsumerReference {
            api_group: None,
            resource: "pods".to_owned(),
            name: pod.key.name.clone(),
            uid: pod.uid.clone(),
        });
    }
    // What is allocated can't be changed, not even by a missing time.
    Ok(Some(match promised {
        None => json!({"reservedFor": users}),
        Some(promised) => {
            let allocation = AllocationResult { allocation_timestamp: Some(Time(jiff::Timestamp::now())), ..promised };
            json!({"allocation": allocation, "reservedFor": users})
        }
    }))
}

#[cfg(test)]
mod tests;
