//! TaintToleration score: the number of PreferNoSchedule taints that are not tolerated, normalised in reverse (kube-scheduler 1.37). Only tolerations
//! without an effect or with PreferNoSchedule count.

use crate::cluster::{Taint, TaintEffect, Toleration};

/// Raw score: fewer is better.
pub fn intolerable(tolerations: &[Toleration], taints: &[Taint]) -> i64 {
    // `tolerates` compares the effect: a toleration of another effect does not match a PreferNoSchedule taint.
    let soft = taints.iter().filter(|taint| taint.effect == TaintEffect::PreferNoSchedule);
    soft.filter(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint))).count() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::TolerationOperator;

    #[test]
    fn soft_taints_without_a_toleration_are_counted() {
        let soft = |key: &str| Taint { key: key.into(), value: String::new(), effect: TaintEffect::PreferNoSchedule };
        let hard = Taint { effect: TaintEffect::NoSchedule, ..soft("c") };
        let tolerate =
            |key: &str, effect| Toleration { key: key.into(), operator: TolerationOperator::Exists, value: String::new(), effect };
        let check =
            |tolerations: &[Toleration], expected| assert_eq!(intolerable(tolerations, &[soft("a"), soft("b"), hard.clone()]), expected);
        check(&[], 2);
        check(&[tolerate("a", None)], 1);
        check(&[tolerate("a", Some(TaintEffect::NoSchedule))], 2);
        check(&[tolerate("", Some(TaintEffect::PreferNoSchedule))], 0);
    }
}
