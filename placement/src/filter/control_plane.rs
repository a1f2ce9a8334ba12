//! Control plane: a node that the control-plane selector matches and that lacks the taint is treated as if it had it with effect NoSchedule.
//! A tainted one is judged by its taints alone. So a pod that tolerates the control plane goes to either, and no other to any (unresolvable).

use crate::cluster::{Taint, TaintEffect, Toleration};
use crate::plan::Reason;

/// `implied`: key of the taint that the node lacks, from [`crate::cluster::FixedSlot::implied_taint`].
pub fn kept_out(tolerations: &[Toleration], implied: Option<&str>) -> bool {
    implied.is_some_and(|key| {
        let taint = Taint { key: key.to_owned(), value: String::new(), effect: TaintEffect::NoSchedule };
        !tolerations.iter().any(|toleration| toleration.tolerates(&taint))
    })
}

pub fn check(tolerations: &[Toleration], implied: Option<&str>) -> Option<Reason> {
    kept_out(tolerations, implied).then_some(Reason::ControlPlane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, Node, Settings, TolerationOperator};

    const KEY: &str = "node-role.kubernetes.io/control-plane";

    fn check(tainted: Option<TaintEffect>, labelled: bool, tolerates: bool, out: bool) {
        let mut cluster = Cluster::new(Settings::default());
        let labels = if labelled { [(KEY.to_owned(), String::new())].into() } else { Default::default() };
        let taints = tainted.map(|effect| Taint { key: KEY.into(), value: String::new(), effect }).into_iter().collect();
        cluster.apply_node(Node { name: "n".into(), labels, taints, ..Node::default() });
        let slot = cluster.view().slot(cluster.view().index("n").unwrap()).unwrap();
        let toleration = Toleration { key: KEY.into(), operator: TolerationOperator::Exists, value: String::new(), effect: None };
        let tolerations = if tolerates { vec![toleration] } else { vec![] };
        assert_eq!(kept_out(&tolerations, slot.implied_taint.as_deref()), out, "{tainted:?} {labelled} {tolerates}");
    }

    #[test]
    fn an_untainted_control_plane_node_is_kept_out_as_if_it_were_tainted() {
        check(None, true, false, true);
        check(None, true, true, false);
        check(None, false, false, false);
        check(Some(TaintEffect::PreferNoSchedule), true, false, true);
        check(Some(TaintEffect::NoSchedule), true, false, false);
    }
}
