//! All devices, classes and claims there are, and which devices are taken.

use super::claim::{Allocation, Claim, DeviceClass};
use super::device::{ResourceSlice, TaintRule, device_id};
use crate::cluster::PodKey;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Each part is shared with the snapshots that hold it until it changes.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    slices: Arc<BTreeMap<String, Arc<ResourceSlice>>>,
    classes: Arc<BTreeMap<String, DeviceClass>>,
    /// By name.
    rules: Arc<Vec<TaintRule>>,
    claims: Arc<BTreeMap<PodKey, Arc<Claim>>>,
    /// Allocations that are being written, by the claim's UID.
    pending: Arc<BTreeMap<String, Pending>>,
    /// Devices that a claim has or is about to have, by how many; not those with admin access.
    allocated: Arc<FxHashMap<String, u32>>,
    /// The API server has no claims.
    pub(crate) unserved: bool,
}

/// An allocation that the API server has not confirmed.
#[derive(Clone, Debug)]
struct Pending {
    claim: PodKey,
    /// UID of the pod that it is for.
    pod: String,
    allocation: Allocation,
}

/// What a change of a claim may mean to pods that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimChange {
    Nothing,
    /// To those that use it.
    Changed,
    /// And to all others: its devices are free.
    Freed,
}

impl Inventory {
    pub fn slices(&self) -> &BTreeMap<String, Arc<ResourceSlice>> {
        &self.slices
    }

    pub fn class(&self, name: &str) -> Option<&DeviceClass> {
        self.classes.get(name)
    }

    /// A class whose devices could stand for an extended resource.
    pub fn class_offering(&self, resource: &str) -> Option<&DeviceClass> {
        self.classes.values().find(|class| class.offers(resource))
    }

    pub fn rules(&self) -> &[TaintRule] {
        &self.rules
    }

    pub fn claim(&self, key: &PodKey) -> Option<&Arc<Claim>> {
        self.claims.get(key)
    }

    pub fn claims(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.claims.values()
    }

    pub fn class_names(&self) -> impl Iterator<Item = &str> {
        self.classes.keys().map(String::as_str)
    }

    /// Whether an allocation of the claim is on its way.
    pub fn is_pending(&self, claim: &Claim) -> bool {
        self.pending.contains_key(&claim.uid)
    }

    /// What the claim is promised for a pod.
    pub(crate) fn promised(&self, claim: &Claim, pod_uid: &str) -> Option<&Allocation> {
        self.pending.get(&claim.uid).filter(|pending| pending.pod == pod_uid).map(|pending| &pending.allocation)
    }

    /// Whether anything is promised for a pod.
    pub(crate) fn has_reserved(&self, pod_uid: &str) -> bool {
        self.pending.values().any(|pending| pending.pod == pod_uid)
    }

    pub(super) fn allocated(&self) -> &FxHashMap<String, u32> {
        &self.allocated
    }

    /// False where nothing changed; so below.
    pub(crate) fn apply_slice(&mut self, slice: ResourceSlice) -> bool {
        if self.slices.get(&slice.name).is_some_and(|have| **have == slice) {
            return false;
        }
        Arc::make_mut(&mut self.slices).insert(slice.name.clone(), Arc::new(slice));
        true
    }

    pub(crate) fn delete_slice(&mut self, name: &str) -> bool {
        self.slices.contains_key(name) && Arc::make_mut(&mut self.slices).remove(name).is_some()
    }

    pub(crate) fn apply_class(&mut self, class: DeviceClass) -> bool {
        if self.classes.get(&class.name) == Some(&class) {
            return false;
        }
        Arc::make_mut(&mut self.classes).insert(class.name.clone(), class);
        true
    }

    pub(crate) fn delete_class(&mut self, name: &str) -> bool {
        self.classes.contains_key(name) && Arc::make_mut(&mut self.classes).remove(name).is_some()
    }

    pub(crate) fn apply_rule(&mut self, rule: TaintRule) -> bool {
        if self.rules.contains(&rule) {
            return false;
        }
        let rules = Arc::make_mut(&mut self.rules);
        match rules.binary_search_by(|have| have.name.cmp(&rule.name)) {
            Ok(at) => rules[at] = rule,
            Err(at) => rules.insert(at, rule),
        }
        true
    }

    pub(crate) fn delete_rule(&mut self, name: &str) -> bool {
        let known = self.rules.iter().any(|rule| rule.name == name);
        if known {
            Arc::make_mut(&mut self.rules).retain(|rule| rule.name != name);
        }
        known
    }

    /// An older state than the one that is known, as a watch may bring after our own write, changes nothing.
    pub(crate) fn apply_claim(&mut self, claim: Claim) -> ClaimChange {
        let have = self.claims.get(&claim.key).cloned();
        let same_uid = have.as_ref().is_some_and(|have| have.uid == claim.uid);
        if have.as_ref().is_some_and(|have| same_uid && (have.version > claim.version || **have == claim)) {
            return ClaimChange::Nothing;
        }
        if claim.allocation.is_some() {
            self.confirm(&claim.uid);
        }
        let mut freed = false;
        if let Some(have) = &have {
            freed = have.allocation.is_some() && (claim.allocation.is_none() || !same_uid);
            self.count(have.allocation.as_ref(), -1);
        }
        self.count(claim.allocation.as_ref(), 1);
        Arc::make_mut(&mut self.claims).insert(claim.key.clone(), Arc::new(claim));
        if freed { ClaimChange::Freed } else { ClaimChange::Changed }
    }

    pub(crate) fn delete_claim(&mut self, key: &PodKey) -> ClaimChange {
        let Some(have) = self.claims.get(key).cloned() else { return ClaimChange::Nothing };
        Arc::make_mut(&mut self.claims).remove(key);
        self.count(have.allocation.as_ref(), -1);
        let was_pending = self.confirm(&have.uid);
        if have.allocation.is_some() || was_pending { ClaimChange::Freed } else { ClaimChange::Changed }
    }

    /// The claim is about to have these devices, for a pod.
    pub(crate) fn reserve(&mut self, claim: &Claim, pod_uid: &str, allocation: Allocation) {
        self.count(Some(&allocation), 1);
        let pending = Pending { claim: claim.key.clone(), pod: pod_uid.to_owned(), allocation };
        Arc::make_mut(&mut self.pending).insert(claim.uid.clone(), pending);
    }

    /// Gives back what was reserved for a pod; the claims that it was reserved for.
    pub(crate) fn release(&mut self, pod_uid: &str) -> Vec<PodKey> {
        let of_pod: Vec<(String, PodKey)> =
            self.pending.iter().filter(|(_, of)| of.pod == pod_uid).map(|(uid, of)| (uid.clone(), of.claim.clone())).collect();
        for (uid, _) in &of_pod {
            self.confirm(uid);
        }
        of_pod.into_iter().map(|(_, key)| key).collect()
    }

    /// An allocation is not pending any more, one way or the other.
    fn confirm(&mut self, claim_uid: &str) -> bool {
        if !self.pending.contains_key(claim_uid) {
            return false;
        }
        if let Some(pending) = Arc::make_mut(&mut self.pending).remove(claim_uid) {
            self.count(Some(&pending.allocation), -1);
        }
        true
    }

    fn count(&mut self, allocation: Option<&Allocation>, sign: i8) {
        let exclusive = allocation.iter().flat_map(|allocation| &allocation.devices).filter(|device| !device.admin_access);
        for device in exclusive {
            let id = device_id(&device.driver, &device.pool, &device.device);
            let allocated = Arc::make_mut(&mut self.allocated);
            if sign > 0 {
                *allocated.entry(id).or_default() += 1;
            } else if let Some(count) = allocated.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    allocated.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::AllocatedDevice;

    fn allocation(device: &str) -> Allocation {
        let device = AllocatedDevice {
            request: "r".into(),
            driver: "gpu.test".into(),
            pool: "p".into(),
            device: device.into(),
            admin_access: false,
            tolerations: vec![],
        };
        Allocation { devices: vec![device], ..Allocation::default() }
    }

    fn claim(version: u64, allocation: Option<Allocation>) -> Claim {
        Claim { version, allocation, ..Claim::new(PodKey::new("d", "c"), "u") }
    }

    fn taken(inventory: &Inventory) -> Vec<(&str, u32)> {
        let mut taken: Vec<_> = inventory.allocated.iter().map(|(id, count)| (id.as_str(), *count)).collect();
        taken.sort_unstable();
        taken
    }

    #[test]
    fn a_device_is_taken_from_the_reservation_until_the_claim_is_freed() {
        let mut inventory = Inventory::default();
        assert_eq!(inventory.apply_claim(claim(1, None)), ClaimChange::Changed);
        inventory.reserve(&claim(1, None), "pod", allocation("a"));
        assert_eq!((taken(&inventory), inventory.is_pending(&claim(1, None))), (vec![("gpu.test/p/a", 1)], true));
        assert_eq!(inventory.apply_claim(claim(3, Some(allocation("a")))), ClaimChange::Changed);
        assert_eq!((taken(&inventory), inventory.is_pending(&claim(1, None))), (vec![("gpu.test/p/a", 1)], false));
        // The watch is behind our own write.
        assert_eq!((inventory.apply_claim(claim(2, None)), inventory.release("pod")), (ClaimChange::Nothing, vec![]));
        assert_eq!(taken(&inventory), [("gpu.test/p/a", 1)]);
        assert_eq!((inventory.apply_claim(claim(4, None)), taken(&inventory)), (ClaimChange::Freed, vec![]));
    }

    #[test]
    fn what_a_pod_gave_back_is_free() {
        let mut inventory = Inventory::default();
        inventory.apply_claim(claim(1, None));
        inventory.reserve(&claim(1, None), "pod", allocation("a"));
        assert_eq!(inventory.release("another"), []);
        assert_eq!((inventory.release("pod"), taken(&inventory)), (vec![PodKey::new("d", "c")], vec![]));
        inventory.reserve(&claim(1, None), "pod", allocation("a"));
        assert_eq!((inventory.delete_claim(&PodKey::new("d", "c")), taken(&inventory)), (ClaimChange::Freed, vec![]));
    }
}
