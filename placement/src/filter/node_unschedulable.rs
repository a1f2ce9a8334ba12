//! NodeUnschedulable: a cordoned node takes only pods that tolerate `node.kubernetes.io/unschedulable:NoSchedule`. The *field* decides, whether or
//! not the node carries the taint as well (kube-scheduler 1.37, plugin NodeUnschedulable; unresolvable).

use crate::cluster::{Node, Pod, Taint, TaintEffect, Toleration};
use crate::plan::Reason;

pub fn check(pod: &Pod, node: &Node) -> Option<Reason> {
    (node.unschedulable && !tolerated(&pod.tolerations)).then_some(Reason::NodeUnschedulable)
}

/// Whether a pod with these tolerations goes to cordoned nodes.
pub fn tolerated(tolerations: &[Toleration]) -> bool {
    let taint = Taint { key: "node.kubernetes.io/unschedulable".into(), value: String::new(), effect: TaintEffect::NoSchedule };
    tolerations.iter().any(|toleration| toleration.tolerates(&taint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::TolerationOperator;

    #[test]
    fn a_cordoned_node_takes_only_who_tolerates_it() {
        let exists = |key: &str| Toleration { key: key.into(), operator: TolerationOperator::Exists, value: String::new(), effect: None };
        let check = |unschedulable, tolerations: Vec<Toleration>, fits| {
            let pod = Pod { tolerations, ..Pod::default() };
            assert_eq!(super::check(&pod, &Node { unschedulable, ..Node::default() }).is_none(), fits);
        };
        check(false, vec![], true);
        check(true, vec![], false);
        check(true, vec![exists("other")], false);
        check(true, vec![exists("node.kubernetes.io/unschedulable")], true);
        check(true, vec![exists("")], true);
    }
}
