//! Affinity between pods, as `v1.PodAffinity` and `v1.PodAntiAffinity` have it.

use super::{LabelSelector, Labels, Pod};
use serde::{Deserialize, Serialize};

/// Pods in the same domain as those that the term matches. A domain is the nodes with one value of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodTerm {
    /// `None` matches no pod. matchLabelKeys and mismatchLabelKeys are in it: the API server puts them there.
    pub selector: Option<LabelSelector>,
    /// Sorted, each once; the pod's own where the term names none and has no selector of namespaces.
    pub namespaces: Vec<String>,
    /// Namespaces beside those named, by their labels; an empty selector stands for all.
    pub namespace_selector: Option<LabelSelector>,
    pub topology_key: String,
}

impl PodTerm {
    /// Whether the term means this pod. `namespace_labels`: of the pod's namespace, `None` when it is not known, which counts as no labels.
    pub fn matches(&self, pod: &Pod, namespace_labels: Option<&Labels>) -> bool {
        let none = Labels::new();
        let named = || self.namespaces.binary_search(&pod.key.namespace).is_ok();
        let selected = || self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(namespace_labels.unwrap_or(&none)));
        self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels)) && (named() || selected())
    }
}

/// Terms towards (affinity) or away from (anti-affinity) other pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodAffinity {
    pub required: Vec<PodTerm>,
    /// Terms with their weight, 1 to 100.
    pub preferred: Vec<(i32, PodTerm)>,
}

impl PodAffinity {
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PodKey;

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_term_means_pods_of_its_namespaces_by_name_or_by_label() {
        let web = LabelSelector::of_labels(&labels(&[("app", "web")]));
        let team = LabelSelector::of_labels(&labels(&[("team", "a")]));
        let check = |term: &PodTerm, namespace: &str, app: &str, team: Option<&str>, matches: bool| {
            let pod = Pod { key: PodKey::new(namespace, "p"), labels: labels(&[("app", app)]), ..Pod::default() };
            let namespace_labels = team.map(|team| labels(&[("team", team)]));
            assert_eq!(term.matches(&pod, namespace_labels.as_ref()), matches, "{term:?} {namespace} {app} {team:?}");
        };
        let named = PodTerm { selector: Some(web.clone()), namespaces: vec!["shop".into()], ..PodTerm::default() };
        check(&named, "shop", "web", None, true);
        check(&named, "shop", "api", None, false);
        check(&named, "other", "web", Some("a"), false);
        let selected = PodTerm { namespace_selector: Some(team), ..named.clone() };
        check(&selected, "other", "web", Some("a"), true);
        check(&selected, "other", "web", Some("b"), false);
        check(&selected, "other", "web", None, false);
        let all = PodTerm { namespace_selector: Some(LabelSelector::default()), namespaces: vec![], ..named.clone() };
        check(&all, "anywhere", "web", None, true);
        check(&PodTerm { selector: None, ..named.clone() }, "shop", "web", None, false);
        check(&PodTerm { selector: Some(LabelSelector::default()), ..named }, "shop", "api", None, true);
    }
}
