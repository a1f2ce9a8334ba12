//! Which changes of storage may help a pod that was rejected for its volumes (the queueing hints of kube-scheduler's VolumeRestrictions,
//! NodeVolumeLimits, VolumeBinding and VolumeZone; nodes are in [`super::WakeOn`]).

use super::{Hold, Reason, Topic};
use crate::cluster::{Pod, PodVolume, StorageChange};
use crate::filter::VolumeHold;
use serde::{Deserialize, Serialize};

/// Classes of topics; those below are of `wake` and `wake_on_pods`.
const CLAIM: u64 = 20;
const STORAGE: u64 = 21;

/// Topics of everything but claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Volume,
    Class,
    CsiNode,
    CsiDriver,
    Capacity,
    Detached,
    /// A pod with volumes left its node.
    Released,
}

impl Kind {
    fn topic(self) -> Topic {
        Topic::new(STORAGE + self as u64, "")
    }
}

/// Any change of the pod's own claims may help, and of other storage what the reasons name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VolumeWait {
    namespace: String,
    claims: Vec<String>,
    kinds: Vec<Kind>,
}

impl VolumeWait {
    /// `None`: none of the reasons is about volumes.
    pub fn new<'a>(pod: &Pod, reasons: impl Iterator<Item = &'a Reason>) -> Option<Box<VolumeWait>> {
        let mut kinds: Vec<Kind> = reasons.flat_map(lifting).copied().collect();
        kinds.sort_by_key(|kind| *kind as u64);
        kinds.dedup();
        (!kinds.is_empty()).then(|| VolumeWait::on(pod, kinds))
    }

    /// `None`: the hold is about something else.
    pub fn on_hold(pod: &Pod, hold: &Hold) -> Option<Box<VolumeWait>> {
        let Hold::Volumes(hold) = hold else { return None };
        let kinds = match hold {
            VolumeHold::Unbound => vec![Kind::Class],
            VolumeHold::VolumeMissing { .. } => vec![Kind::Volume],
            _ => Vec::new(),
        };
        Some(VolumeWait::on(pod, kinds))
    }

    /// `None`: the pod has no such volumes.
    pub fn on_anything(pod: &Pod) -> Option<Box<VolumeWait>> {
        let all = [Kind::Volume, Kind::Class, Kind::CsiNode, Kind::CsiDriver, Kind::Capacity, Kind::Detached, Kind::Released];
        (!pod.volumes.is_empty()).then(|| VolumeWait::on(pod, all.to_vec()))
    }

    fn on(pod: &Pod, kinds: Vec<Kind>) -> Box<VolumeWait> {
        let claims = pod.volumes.iter().filter_map(PodVolume::claim).map(str::to_owned).collect();
        Box::new(VolumeWait { namespace: pod.key.namespace.clone(), claims, kinds })
    }

    pub fn topic_of(change: &StorageChange) -> Topic {
        match change {
            StorageChange::Claim { namespace, name } => claim_topic(namespace, name),
            other => kind(other).map_or(Topic::new(STORAGE, ""), Kind::topic),
        }
    }

    pub fn topic_of_released(pod: &Pod) -> Option<Topic> {
        (!pod.volumes.is_empty()).then(|| Kind::Released.topic())
    }

    /// Topics to be filed under.
    pub fn topics(&self) -> Vec<Topic> {
        let claims = self.claims.iter().map(|name| claim_topic(&self.namespace, name));
        claims.chain(self.kinds.iter().map(|kind| kind.topic())).collect()
    }

    pub fn changed(&self, change: &StorageChange) -> bool {
        match change {
            StorageChange::Claim { namespace, name } => *namespace == self.namespace && self.claims.contains(name),
            other => kind(other).is_some_and(|kind| self.kinds.contains(&kind)),
        }
    }

    /// Whether a pod helps by leaving its node.
    pub fn released(&self, pod: &Pod) -> bool {
        !pod.volumes.is_empty() && self.kinds.contains(&Kind::Released)
    }
}

fn claim_topic(namespace: &str, name: &str) -> Topic {
    Topic::new(CLAIM, &format!("{namespace}/{name}"))
}

fn kind(change: &StorageChange) -> Option<Kind> {
    Some(match change {
        StorageChange::Claim { .. } => return None,
        StorageChange::Volume => Kind::Volume,
        StorageChange::Class => Kind::Class,
        StorageChange::CsiNode => Kind::CsiNode,
        StorageChange::CsiDriver => Kind::CsiDriver,
        StorageChange::Capacity => Kind::Capacity,
        StorageChange::Detached => Kind::Detached,
    })
}

/// What would lift a reason, besides the pod's claims.
fn lifting(reason: &Reason) -> &'static [Kind] {
    match reason {
        Reason::DiskConflict | Reason::ClaimInUse { .. } => &[Kind::Released],
        Reason::VolumeLimit { .. } => &[Kind::CsiNode, Kind::Released, Kind::Detached, Kind::Volume],
        Reason::DriverMissing { .. } => &[Kind::CsiNode, Kind::CsiDriver],
        Reason::VolumeAffinity { .. } => &[Kind::Volume, Kind::CsiNode],
        Reason::NoVolume { .. } | Reason::StorageFull { .. } => &[Kind::Volume, Kind::Class, Kind::CsiDriver, Kind::Capacity],
        Reason::VolumeMissing { .. } => &[Kind::Volume],
        Reason::VolumeZone { .. } => &[Kind::Volume],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{ClusterEvent, PodKey};
    use crate::plan::WakeOn;
    use crate::units::Span;
    use std::sync::Arc;

    fn with_claim(name: &str) -> Pod {
        Pod { key: PodKey::new("shop", name), volumes: vec![PodVolume::Claim("data".into())], ..Pod::default() }
    }

    #[test]
    fn each_reason_names_the_storage_that_would_lift_it() {
        let claim = |namespace: &str| StorageChange::Claim { namespace: namespace.into(), name: "data".into() };
        let check = |reason: Reason, volume, capacity, detached, released| {
            let mut wake = WakeOn::new(&PodKey::new("shop", "web"), Span(1));
            wake.volumes = VolumeWait::new(&with_claim("web"), [&reason].into_iter());
            let wakes = |change| wake.wakes(&ClusterEvent::Storage(change));
            let gone = ClusterEvent::PodReleased { pod: Arc::new(with_claim("old")), node: "n".into() };
            let found = [wakes(StorageChange::Volume), wakes(StorageChange::Capacity), wakes(StorageChange::Detached), wake.wakes(&gone)];
            assert_eq!(found, [volume, capacity, detached, released], "{reason:?}");
            assert!(wakes(claim("shop")) && !wakes(claim("other")));
        };
        check(Reason::DiskConflict, false, false, false, true);
        check(Reason::VolumeLimit { driver: "d".into(), used: 1, limit: 1 }, true, false, true, true);
        check(Reason::NoVolume { claim: "data".into() }, true, true, false, false);
        check(Reason::VolumeZone { volume: "v".into() }, true, false, false, false);
        assert_eq!(VolumeWait::new(&with_claim("web"), [&Reason::NodePorts].into_iter()), None);
    }

    #[test]
    fn a_hold_is_lifted_by_the_claim() {
        let hold = Hold::Volumes(VolumeHold::ClaimMissing { claim: "data".into() });
        let wait = VolumeWait::on_hold(&with_claim("web"), &hold).unwrap();
        assert!(wait.changed(&StorageChange::Claim { namespace: "shop".into(), name: "data".into() }));
        assert!(!wait.changed(&StorageChange::Volume));
    }
}
