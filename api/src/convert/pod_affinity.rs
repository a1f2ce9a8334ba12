//! Affinity between pods.

use super::Unreadable;
use super::label_selector::label_selector;
use k8s_openapi::api::core::v1;
use placement::cluster::{PodAffinity, PodTerm};

/// Towards other pods, and away from them. `namespace`: the pod's own.
pub(super) fn pod_affinity(affinity: Option<&v1::Affinity>, namespace: &str, unreadable: &mut Unreadable) -> (PodAffinity, PodAffinity) {
    let towards = affinity.and_then(|affinity| affinity.pod_affinity.as_ref()).map_or_else(PodAffinity::default, |towards| PodAffinity {
        required: required(&towards.required_during_scheduling_ignored_during_execution, "podAffinity", namespace, unreadable),
        preferred: preferred(&towards.preferred_during_scheduling_ignored_during_execution, "podAffinity", namespace, unreadable),
    });
    let away = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref()).map_or_else(PodAffinity::default, |away| PodAffinity {
        required: required(&away.required_during_scheduling_ignored_during_execution, "podAntiAffinity", namespace, unreadable),
        preferred: preferred(&away.preferred_during_scheduling_ignored_during_execution, "podAntiAffinity", namespace, unreadable),
    });
    (towards, away)
}

fn required(terms: &Option<Vec<v1::PodAffinityTerm>>, field: &str, namespace: &str, unreadable: &mut Unreadable) -> Vec<PodTerm> {
    let path = |i: usize| format!("spec.affinity.{field}.requiredDuringSchedulingIgnoredDuringExecution[{i}]");
    terms.iter().flatten().enumerate().map(|(i, t)| term(t, || path(i), namespace, unreadable)).collect()
}

fn preferred(
    terms: &Option<Vec<v1::WeightedPodAffinityTerm>>,
    field: &str,
    namespace: &str,
    unreadable: &mut Unreadable,
) -> Vec<(i32, PodTerm)> {
    let path = |i: usize| format!("spec.affinity.{field}.preferredDuringSchedulingIgnoredDuringExecution[{i}].podAffinityTerm");
    let terms = terms.iter().flatten().enumerate();
    terms.map(|(i, t)| (t.weight, term(&t.pod_affinity_term, || path(i), namespace, unreadable))).collect()
}

fn term(term: &v1::PodAffinityTerm, path: impl Fn() -> String, namespace: &str, unreadable: &mut Unreadable) -> PodTerm {
    let selector = term.label_selector.as_ref().map(|s| label_selector(s, || format!("{}.labelSelector", path()), unreadable));
    let namespace_selector =
        term.namespace_selector.as_ref().map(|s| label_selector(s, || format!("{}.namespaceSelector", path()), unreadable));
    let mut namespaces = term.namespaces.clone().unwrap_or_default();
    if namespaces.is_empty() && namespace_selector.is_none() {
        namespaces.push(namespace.to_owned());
    }
    namespaces.sort();
    namespaces.dedup();
    PodTerm { selector, namespaces, namespace_selector, topology_key: term.topology_key.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(term: Value) -> (PodTerm, Vec<String>) {
        let mut unreadable = Unreadable::default();
        let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let (mut towards, _) = pod_affinity(Some(&serde_json::from_value(affinity).unwrap()), "shop", &mut unreadable);
        (towards.required.remove(0), unreadable.refusals.into_iter().map(|refusal| refusal.field).collect())
    }

    #[test]
    fn the_own_namespace_stands_for_none() {
        let check = |term: Value, namespaces: &[&str], selects: bool| {
            let (term, unreadable) = read(term);
            assert_eq!(term.namespaces, namespaces);
            assert_eq!((term.namespace_selector.is_some(), unreadable.len()), (selects, 0));
        };
        check(json!({"topologyKey": "zone"}), &["shop"], false);
        check(json!({"topologyKey": "zone", "namespaces": ["b", "a", "b"]}), &["a", "b"], false);
        check(json!({"topologyKey": "zone", "namespaceSelector": {}}), &[], true);
        check(json!({"topologyKey": "zone", "namespaceSelector": {}, "namespaces": ["a"]}), &["a"], true);
    }

    #[test]
    fn every_list_keeps_its_place() {
        let term = |key: &str| json!({"topologyKey": key});
        let lists = |a: &str, b: &str| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": [term(a)],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": term(b)}]})
        };
        let affinity = json!({"podAffinity": lists("a", "b"), "podAntiAffinity": lists("c", "d")});
        let (towards, away) = pod_affinity(Some(&serde_json::from_value(affinity).unwrap()), "shop", &mut Unreadable::default());
        let keys = |affinity: &PodAffinity| {
            let (weight, preferred) = &affinity.preferred[0];
            (affinity.required[0].topology_key.clone(), *weight, preferred.topology_key.clone())
        };
        assert_eq!((keys(&towards), keys(&away)), (("a".into(), 7, "b".into()), ("c".into(), 7, "d".into())));
    }

    #[test]
    fn no_selector_differs_from_an_empty_one_and_an_unknown_operator_is_named() {
        assert_eq!(read(json!({"topologyKey": "zone"})).0.selector, None);
        assert_eq!(read(json!({"topologyKey": "zone", "labelSelector": {}})).0.selector, Some(Default::default()));
        let (_, unreadable) = read(json!({"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "in"}]}}));
        let path = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].operator";
        assert_eq!(unreadable, [path]);
    }
}
