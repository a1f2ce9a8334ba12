//! A claim that keeps a pod from every node, and that nobody else uses, may have devices where the pod can't go: kube-scheduler takes them from it, and
//! the pod finds others (1.37, PostFilter of DynamicResources).

use super::{Decision, Reason, Verdict};
use crate::cluster::{Pod, Snapshot};
use crate::devices::Claim;
use crate::filter::dynamic_resources::Claims;
use std::sync::Arc;

impl Decision {
    /// A claim that should lose its devices for the pod that this decision found no node for.
    pub fn deallocation(&self, snapshot: &Snapshot, pod: &Pod) -> Option<Arc<Claim>> {
        let claims = Claims::new(snapshot, pod).ok()??;
        let elsewhere =
            self.nodes.iter().filter(|of| matches!(&of.verdict, Verdict::Rejected(why) if why.contains(&Reason::ClaimElsewhere)));
        let mut out_of_reach = elsewhere.filter_map(|of| {
            let node = snapshot.node(snapshot.node_index(&of.node)?)?;
            claims.out_of_reach(node).find(|claim| claim.idle_but_for(&pod.uid)).cloned()
        });
        out_of_reach.next()
    }
}
