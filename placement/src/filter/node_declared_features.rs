//! NodeDeclaredFeatures: the node declares every feature that the pod needs (kube-scheduler 1.37, plugin NodeDeclaredFeatures; unresolvable).

use crate::cluster::{Node, Pod, Snapshot};
use crate::plan::Reason;
use fixedbitset::FixedBitSet;

pub fn check(pod: &Pod, node: &Node) -> Option<Reason> {
    (!declares(node, &pod.required_features)).then_some(Reason::NodeDeclaredFeatures)
}

/// Takes out of the mask the nodes that lack a feature. Few pods need any: those are asked node by node.
pub fn restrict(snapshot: &Snapshot, required: &[String], mask: &mut FixedBitSet) {
    for (ix, node) in snapshot.nodes().filter(|_| !required.is_empty()) {
        if !declares(node, required) {
            mask.set(ix.at(), false);
        }
    }
}

/// Whether the node declares them all.
pub fn declares(node: &Node, required: &[String]) -> bool {
    required.iter().all(|feature| node.declared_features.contains(feature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_required_feature_is_declared() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let check = |required: &[&str], declared: &[&str], fits| {
            let pod = Pod { required_features: list(required), ..Pod::default() };
            let node = Node { declared_features: list(declared), ..Node::default() };
            assert_eq!(super::check(&pod, &node).is_none(), fits, "{required:?} of {declared:?}");
        };
        check(&[], &[], true);
        check(&["A"], &[], false);
        check(&["A", "B"], &["B", "A", "C"], true);
        check(&["A", "B"], &["B", "C"], false);
    }
}
