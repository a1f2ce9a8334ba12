//! The claims of a pod's volumes, and what about them holds the pod back whatever the nodes say (kube-scheduler 1.37, PreFilter of VolumeRestrictions,
//! VolumeBinding and VolumeZone, in this order).

use crate::cluster::{PersistentVolume, PersistentVolumeClaim, Pod, PodVolume, Snapshot, StorageClass};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A claim of one of the pod's volumes.
#[derive(Clone, Copy, Debug)]
pub struct PodClaim<'a> {
    pub claim: &'a Arc<PersistentVolumeClaim>,
    /// It was made for this pod.
    pub ephemeral: bool,
}

/// Why a pod waits for its claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeHold {
    ClaimMissing {
        claim: String,
    },
    EphemeralClaimMissing {
        claim: String,
    },
    ClaimLost {
        claim: String,
        volume: String,
    },
    ClaimTerminating {
        claim: String,
    },
    /// A claim of the name that an ephemeral volume's would have, and it is not the pod's.
    NotOwner {
        namespace: String,
        claim: String,
        pod: String,
    },
    /// Some claim is to be bound without regard to the pod, and is not yet.
    Unbound,
    VolumeMissing {
        volume: String,
    },
}

impl VolumeHold {
    /// kube-scheduler's plugin of this text.
    pub fn plugin(&self) -> &'static str {
        match self {
            VolumeHold::ClaimMissing { .. } => "VolumeRestrictions",
            VolumeHold::VolumeMissing { .. } => "VolumeZone",
            _ => "VolumeBinding",
        }
    }
}

impl fmt::Display for VolumeHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VolumeHold::ClaimMissing { claim } => write!(f, "persistentvolumeclaim {claim:?} not found"),
            VolumeHold::EphemeralClaimMissing { claim } => {
                write!(f, "waiting for ephemeral volume controller to create the persistentvolumeclaim {claim:?}")
            }
            VolumeHold::ClaimLost { claim, volume } => {
                write!(f, "persistentvolumeclaim {claim:?} bound to non-existent persistentvolume {volume:?}")
            }
            VolumeHold::ClaimTerminating { claim } => write!(f, "persistentvolumeclaim {claim:?} is being deleted"),
            VolumeHold::NotOwner { namespace, claim, pod } => {
                write!(f, "PVC {namespace}/{claim} was not created for pod {namespace}/{pod} (pod is not owner)")
            }
            VolumeHold::Unbound => f.write_str("pod has unbound immediate PersistentVolumeClaims"),
            VolumeHold::VolumeMissing { volume } => write!(f, "persistentvolume {volume:?} not found"),
        }
    }
}

/// The pod's claims in the order of its volumes.
///
/// # Errors
/// The first thing that holds the pod back.
pub fn claims<'a>(snapshot: &'a Snapshot, pod: &'a Pod) -> Result<Vec<PodClaim<'a>>, VolumeHold> {
    let stored = |name: &str| snapshot.stored::<PersistentVolumeClaim>(&pod.key.namespace, name);
    for volume in &pod.volumes {
        if let PodVolume::Claim(name) = volume
            && stored(name).is_none()
        {
            return Err(VolumeHold::ClaimMissing { claim: name.clone() });
        }
    }
    let mut claims = Vec::new();
    for volume in &pod.volumes {
        let Some(name) = volume.claim() else { continue };
        let claim = stored(name).ok_or_else(|| VolumeHold::EphemeralClaimMissing { claim: name.to_owned() })?;
        let ephemeral = matches!(volume, PodVolume::Ephemeral(_));
        usable(claim, pod, ephemeral)?;
        claims.push(PodClaim { claim, ephemeral });
    }
    if claims.iter().any(|of| !of.claim.is_bound() && !waits_for_its_pod(snapshot, of.claim)) {
        return Err(VolumeHold::Unbound);
    }
    let of_others = claims.iter().filter(|of| !of.ephemeral).filter_map(|of| of.claim.volume.as_deref());
    match of_others.into_iter().find(|name| snapshot.stored::<PersistentVolume>("", name).is_none()) {
        Some(volume) => Err(VolumeHold::VolumeMissing { volume: volume.to_owned() }),
        None => Ok(claims),
    }
}

fn usable(claim: &PersistentVolumeClaim, pod: &Pod, ephemeral: bool) -> Result<(), VolumeHold> {
    let name = || claim.name.clone();
    if claim.lost {
        return Err(VolumeHold::ClaimLost { claim: name(), volume: claim.volume.clone().unwrap_or_default() });
    }
    if claim.terminating {
        return Err(VolumeHold::ClaimTerminating { claim: name() });
    }
    if ephemeral && claim.controller.as_ref() != Some(&pod.uid) {
        return Err(VolumeHold::NotOwner { namespace: claim.namespace.clone(), claim: name(), pod: pod.key.name.clone() });
    }
    Ok(())
}

/// Whether the unbound claim is bound by the scheduler, when its pod has a node. One that names its volume is not.
fn waits_for_its_pod(snapshot: &Snapshot, claim: &PersistentVolumeClaim) -> bool {
    claim.volume.is_none() && snapshot.stored::<StorageClass>("", &claim.class).is_some_and(|class| class.delayed)
}
