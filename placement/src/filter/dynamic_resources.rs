//! DynamicResources: the pod's claims have devices that the node reaches, or the node has devices for them (kube-scheduler 1.37, plugin
//! DynamicResources; unresolvable).
//!
//! kube-scheduler ends the whole attempt with an error where one node's devices can't be judged, a selector that fails on one of them for instance; here
//! that node is rejected with the error, and others may do.

use crate::cluster::{Node, NodeIx, Plugin, Pod, PodKey, Point, Snapshot};
use crate::devices::{AllocateError, Allocation, Allocator, Claim, ClaimName};
use crate::filter::node_affinity::term_matches;
use crate::plan::{Hold, Reason};
use crate::score::dynamic_resources::score;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::sync::Arc;

/// The claims of one pod, and what is known of nodes so far.
pub struct Claims<'a> {
    claims: Vec<&'a Arc<Claim>>,
    /// For those without devices.
    allocator: Allocator<'a>,
    /// By index of the node: its raw score, or why it can't be. Searching takes long, and a node is asked up to three times in a decision.
    judged: RefCell<FxHashMap<usize, Result<i64, Reason>>>,
}

impl<'a> Claims<'a> {
    /// `None`: the pod has no claims, or its profile does not look at them.
    ///
    /// # Errors
    /// The pod has to wait whatever the nodes say.
    pub fn new(snapshot: &'a Snapshot, pod: &Pod) -> Result<Option<Claims<'a>>, Hold> {
        if !are_looked_at(snapshot, pod) {
            return Ok(None);
        }
        let claims = claims(snapshot, pod).map_err(|why| Hold::Claims { why })?;
        let inventory = snapshot.inventory();
        for claim in &claims {
            if let Some(refusal) = claim.refusals.first() {
                return Err(Hold::Claims { why: format!("resourceclaim {:?}: {} {}", claim.key.name, refusal.field, refusal.why) });
            }
            if claim.allocation.is_some() {
                continue;
            }
            if inventory.is_pending(claim) {
                return Err(Hold::Claims { why: format!("resource claim {} is in the process of being allocated", claim.key) });
            }
            for request in &claim.requests {
                for (at, variant) in request.variants.iter().enumerate() {
                    if inventory.class(&variant.class).is_none() {
                        let why = format!("request {}: device class {} does not exist", request.name_of(at), variant.class);
                        return Err(Hold::Claims { why });
                    }
                }
            }
        }
        let open = claims.iter().filter(|claim| claim.allocation.is_none()).map(|claim| &***claim).collect();
        let (allocator, judged) = (Allocator::new(inventory, open), RefCell::default());
        Ok((!claims.is_empty()).then_some(Claims { claims, allocator, judged }))
    }

    /// All of them, in the pod's order.
    pub fn shared(&self) -> impl Iterator<Item = &'a Arc<Claim>> {
        self.claims.iter().copied()
    }

    /// Devices for the claims that have none.
    pub fn allocate(&self, node: &Node) -> Result<Vec<Allocation>, AllocateError> {
        self.allocator.allocate(node)
    }

    /// Claims whose devices are out of the node's reach.
    pub fn out_of_reach<'s>(&'s self, node: &'s Node) -> impl Iterator<Item = &'a Arc<Claim>> + 's {
        let reached =
            |allocation: &Allocation| allocation.nodes.as_ref().is_none_or(|terms| terms.iter().any(|term| term_matches(term, node)));
        self.shared().filter(move |claim| !claim.allocation.as_ref().is_none_or(reached))
    }

    pub fn check(&self, node: &Node, ix: NodeIx) -> Option<Reason> {
        self.judge(node, ix).err()
    }

    /// What the node's devices are worth; 0 where it does not fit.
    pub fn raw_score(&self, node: &Node, ix: NodeIx) -> i64 {
        self.judge(node, ix).unwrap_or(0)
    }

    fn judge(&self, node: &Node, ix: NodeIx) -> Result<i64, Reason> {
        if let Some(known) = self.judged.borrow().get(&ix.at()) {
            return known.clone();
        }
        let judged = self.search(node);
        self.judged.borrow_mut().insert(ix.at(), judged.clone());
        judged
    }

    fn search(&self, node: &Node) -> Result<i64, Reason> {
        let found = self.allocate(node).map_err(|error| match error {
            AllocateError::NoDevices => Reason::NoDevices,
            AllocateError::InvalidPools => Reason::InvalidPools,
            error => Reason::DevicesUnusable { why: error.to_string() },
        })?;
        if self.out_of_reach(node).next().is_some() {
            return Err(Reason::ClaimElsewhere);
        }
        let mut found = found.iter();
        let allocations = self.claims.iter().filter_map(|claim| Some((&***claim, claim.allocation.as_ref().or_else(|| found.next())?)));
        Ok(allocations.map(|(claim, allocation)| score(claim, allocation)).sum())
    }
}

/// Whether the pod has claims, and its profile heeds them.
pub(crate) fn are_looked_at(snapshot: &Snapshot, pod: &Pod) -> bool {
    !pod.claims.is_empty() && snapshot.profile(pod).plugins.has(Point::PreFilter, Plugin::DynamicResources)
}

/// The claims behind a pod's entries.
pub(crate) fn claims<'a>(snapshot: &'a Snapshot, pod: &Pod) -> Result<Vec<&'a Arc<Claim>>, String> {
    if snapshot.inventory().unserved {
        return Err("the API server does not serve resource.k8s.io/v1, which the pod's claims need".to_owned());
    }
    let mut found = Vec::new();
    for entry in &pod.claims {
        let (name, made) = match &entry.claim {
            ClaimName::Given(name) => (name, false),
            ClaimName::Made(name) => (name, true),
            ClaimName::NotNeeded => continue,
            ClaimName::NotMade => return Err(format!("pod \"{}\": ResourceClaim not created yet", pod.key)),
            ClaimName::Unknown => {
                return Err(format!("pod \"{}\", spec.resourceClaim {:?}: none of the supported fields are set", pod.key, entry.name));
            }
        };
        let key = PodKey::new(&pod.key.namespace, name);
        let claim = snapshot.inventory().claim(&key).ok_or_else(|| format!("could not find ResourceClaim \"{key}\""))?;
        if claim.terminating {
            return Err(format!("resourceclaim {name:?} is being deleted"));
        }
        if made && claim.controller.as_ref() != Some(&pod.uid) {
            return Err(format!("ResourceClaim {key} was not created for Pod {} (Pod is not owner)", pod.key));
        }
        if !found.iter().any(|known: &&Arc<Claim>| known.uid == claim.uid) {
            found.push(claim);
        }
    }
    Ok(found)
}
