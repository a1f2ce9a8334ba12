//! What a PodDisruptionBudget allows, counted from the pods it selects.

use serde_json::{Value, json};

use crate::apiserver::api::Api;
use crate::apiserver::selector::LabelSelector;
use crate::apiserver::store::Object;
use crate::apiserver::verbs::now;

/// The figures of a budget's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Ready pods that nobody deletes.
    pub healthy: i64,
    /// How many must stay healthy.
    pub desired: i64,
    /// How many pods there should be.
    pub expected: i64,
}

impl Figures {
    /// How many may go now.
    pub fn allowed(self) -> i64 {
        if self.expected == 0 { 0 } else { (self.healthy - self.desired).max(0) }
    }

    /// The budget's status.
    pub fn status(self, budget: &Value) -> Value {
        let (status, reason) = if self.allowed() > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let conditions = budget["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let known = conditions.iter().find(|condition| condition["type"] == "DisruptionAllowed");
        let since = match known {
            Some(known) if known["status"] == status => known["lastTransitionTime"].clone(),
            _ => now().into(),
        };
        let condition = json!({ "type": "DisruptionAllowed", "status": status, "reason": reason, "message": "",
            "observedGeneration": budget["metadata"]["generation"], "lastTransitionTime": since });
        json!({ "observedGeneration": budget["metadata"]["generation"], "currentHealthy": self.healthy,
            "desiredHealthy": self.desired, "disruptionsAllowed": self.allowed(), "expectedPods": self.expected,
            "conditions": [condition] })
    }
}

/// Whether the pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Whether the budget selects the pod.
pub fn selects(budget: &Value, pod: &Object) -> bool {
    LabelSelector::from_object(&budget["spec"]["selector"]).is_some_and(|selector| selector.matches_object(pod))
}

/// Counts the pods of a budget.
pub fn figures(api: &Api, namespace: &str, budget: &Value) -> Figures {
    let pods = api.builtin("", "pods");
    let (all, _) = api.store.list(&pods.storage, Some(namespace));
    let selected: Vec<Value> = all.iter().filter(|pod| selects(budget, pod)).map(|pod| pod.value()).collect();
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let deleting = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let healthy = count(selected.iter().filter(|p| is_ready(p) && !deleting(p)).count());
    let expected = expected(api, namespace, &selected).unwrap_or_else(|| count(selected.iter().filter(|p| !ended(p)).count()));
    let spec = &budget["spec"];
    let desired = match (share(&spec["minAvailable"], expected), share(&spec["maxUnavailable"], expected)) {
        (Some(minimum), _) => minimum,
        (None, Some(maximum)) => (expected - maximum).max(0),
        (None, None) => 0,
    };
    Figures { healthy, desired, expected }
}

/// What the pods' controllers want to run; `None` where a pod has no controller that says.
fn expected(api: &Api, namespace: &str, pods: &[Value]) -> Option<i64> {
    let mut seen: Vec<&str> = Vec::new();
    let mut total = 0;
    for pod in pods {
        let owner = pod["metadata"]["ownerReferences"].as_array()?.iter().find(|o| o["controller"] == true)?;
        let uid = owner["uid"].as_str()?;
        if seen.contains(&uid) {
            continue;
        }
        seen.push(uid);
        let group = owner["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group);
        let tables = api.registry.tables();
        let resource = tables.by_kind(group, owner["kind"].as_str()?)?;
        let found = api.store.get(&resource.storage, namespace, owner["name"].as_str()?)?.value();
        total += found.pointer(&resource.scale.as_ref()?.spec)?.as_i64()?;
    }
    (!seen.is_empty()).then_some(total)
}

/// A number, or a percentage rounded up.
fn share(value: &Value, of: i64) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    Some((percent * of + 99).div_euclid(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, of: i64, expected: Option<i64>) {
        assert_eq!(share(&value, of), expected);
    }

    #[test]
    fn shares_round_up() {
        check(json!(2), 9, Some(2));
        check(json!("50%"), 5, Some(3));
        check(json!("0%"), 5, Some(0));
        check(json!("half"), 5, None);
        check(Value::Null, 5, None);
    }

    #[test]
    fn nothing_may_go_below_the_budget() {
        let figures = |healthy, desired, expected| Figures { healthy, desired, expected }.allowed();
        assert_eq!(figures(3, 2, 3), 1);
        assert_eq!(figures(1, 2, 3), 0);
        assert_eq!(figures(0, 0, 0), 0);
    }
}
