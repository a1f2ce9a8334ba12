//! Taints and tolerations.

use super::Unreadable;
use k8s_openapi::api::core::v1;
use placement::cluster::{Taint, TaintEffect, Toleration, TolerationOperator};

fn effect(name: &str) -> Option<TaintEffect> {
    match name {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}

/// `None` for an effect that Kubernetes does not know, which keeps no pod away.
pub(super) fn taint(taint: &v1::Taint) -> Option<Taint> {
    Some(Taint { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default(), effect: effect(&taint.effect)? })
}

/// Kubernetes' empty operator is Equal, its empty effect every effect.
pub(super) fn toleration(index: usize, toleration: &v1::Toleration, unreadable: &mut Unreadable) -> Option<Toleration> {
    let operator = match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => TolerationOperator::Equal,
        "Exists" => TolerationOperator::Exists,
        "Gt" => TolerationOperator::Gt,
        "Lt" => TolerationOperator::Lt,
        other => {
            unreadable.add(format!("spec.tolerations[{index}].operator"), format!("{other:?} is not one of Equal, Exists, Gt, Lt"));
            return None;
        }
    };
    let effect = match toleration.effect.as_deref().unwrap_or_default() {
        "" => None,
        name => match effect(name) {
            Some(effect) => Some(effect),
            None => {
                let why = format!("{name:?} is not one of NoSchedule, PreferNoSchedule, NoExecute");
                unreadable.add(format!("spec.tolerations[{index}].effect"), why);
                return None;
            }
        },
    };
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Some(Toleration { key: text(&toleration.key), operator, value: text(&toleration.value), effect })
}
