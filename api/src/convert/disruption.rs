//! `policy/v1` PodDisruptionBudget to the model, as far as preemption reads it.

use super::Unreadable;
use super::label_selector::label_selector;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use placement::cluster::DisruptionBudget;

pub fn disruption_budget(object: &PodDisruptionBudget) -> DisruptionBudget {
    let selector = object.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let status = object.status.as_ref();
    DisruptionBudget {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        // The API server takes no operator that is not known here.
        selector: selector.map(|s| label_selector(s, || "spec.selector".to_owned(), &mut Unreadable::default())).unwrap_or_default(),
        allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or_default(),
        disrupted: status.and_then(|status| status.disrupted_pods.as_ref()).into_iter().flat_map(|pods| pods.keys().cloned()).collect(),
    }
}

#[test]
fn a_budget_is_read_with_what_it_still_allows() {
    let object = serde_json::json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": 2, "currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3,
            "disruptedPods": {"web-0": "2026-01-02T03:04:05Z"}},
    });
    let budget = disruption_budget(&serde_json::from_value(object).expect("a budget"));
    assert_eq!((budget.namespace.as_str(), budget.name.as_str(), budget.allowed), ("shop", "web", 2));
    assert!(budget.disrupted.contains("web-0") && budget.selector.certain().eq([("app", "web")]));
}
