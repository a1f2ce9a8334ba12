//! TaintToleration: taints with effect NoSchedule or NoExecute must be tolerated (kube-scheduler 1.37, plugin TaintToleration; unresolvable).

use crate::cluster::{Taint, TaintEffect, Toleration};
use crate::plan::Reason;

/// The first taint that keeps the pod away.
pub fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    let hard = taints.iter().filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
    hard.into_iter().find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

pub fn check(tolerations: &[Toleration], taints: &[Taint]) -> Option<Reason> {
    untolerated(tolerations, taints).map(|taint| Reason::UntoleratedTaint { key: taint.key.clone(), value: taint.value.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::TolerationOperator::{self, Equal, Exists, Gt};

    fn taint(key: &str, value: &str, effect: TaintEffect) -> Taint {
        Taint { key: key.into(), value: value.into(), effect }
    }

    fn toleration(key: &str, operator: TolerationOperator, value: &str, effect: Option<TaintEffect>) -> Toleration {
        Toleration { key: key.into(), operator, value: value.into(), effect }
    }

    #[test]
    fn the_first_hard_taint_without_a_toleration_is_named() {
        let check = |tolerations: &[Toleration], named: Option<&str>| {
            let taints = [
                taint("soft", "", TaintEffect::PreferNoSchedule),
                taint("gpu", "7", TaintEffect::NoSchedule),
                taint("down", "", TaintEffect::NoExecute),
            ];
            assert_eq!(untolerated(tolerations, &taints).map(|t| t.key.as_str()), named);
        };
        let gpu = || toleration("gpu", Equal, "7", None);
        check(&[], Some("gpu"));
        check(&[gpu()], Some("down"));
        check(&[gpu(), toleration("down", Exists, "", Some(TaintEffect::NoExecute))], None);
        check(&[gpu(), toleration("down", Exists, "", Some(TaintEffect::NoSchedule))], Some("down"));
        check(&[toleration("gpu", Gt, "6", None)], Some("down"));
        check(&[toleration("gpu", Gt, "7", None)], Some("gpu"));
        check(&[toleration("", Exists, "", None)], None);
    }
}
