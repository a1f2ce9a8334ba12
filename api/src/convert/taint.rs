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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> (Option<Toleration>, Vec<String>) {
        let mut unreadable = Unreadable::default();
        let read = toleration(3, &serde_json::from_value(value).unwrap(), &mut unreadable);
        (read, unreadable.refusals.into_iter().map(|refusal| refusal.field).collect())
    }

    #[test]
    fn empty_operators_and_effects_mean_what_kubernetes_says() {
        let check = |value: Value, operator, effect| {
            let (toleration, unreadable) = read(value);
            let toleration = toleration.unwrap();
            assert_eq!((toleration.operator, toleration.effect, unreadable.len()), (operator, effect, 0));
        };
        check(json!({"key": "a", "value": "b"}), TolerationOperator::Equal, None);
        check(json!({"operator": "Exists", "effect": "NoExecute"}), TolerationOperator::Exists, Some(TaintEffect::NoExecute));
        check(json!({"key": "a", "operator": "Gt", "value": "5", "effect": ""}), TolerationOperator::Gt, None);
    }

    #[test]
    fn what_kubernetes_does_not_know_tolerates_nothing_and_is_named() {
        let check = |value: Value, field: &str| assert_eq!(read(value), (None, vec![field.to_owned()]));
        check(json!({"operator": "Like"}), "spec.tolerations[3].operator");
        check(json!({"operator": "Exists", "effect": "Always"}), "spec.tolerations[3].effect");
    }
}
