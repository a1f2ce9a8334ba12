//! Which pods that come, go, or change their labels may help a pod that was rejected for where other pods are (the queueing hints of kube-scheduler's
//! PodTopologySpread and InterPodAffinity; nodes are in [`super::WakeOn`]).

use super::{Reason, Topic, Topics};
use crate::cluster::{LabelSelector, Labels, Pod, PodTerm, Snapshot};
use crate::filter::pod_topology_spread;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Classes of topics; those below ten are `wake`'s.
const PLACED: u64 = 10;
const HATEFUL: u64 = 11;

/// Stands for "any" where pods of several namespaces are waited for: no namespace is called so.
const ANY: &str = "";

/// Of a term's namespaces the names count, and a selector of namespaces stands for all: labels of a namespace may be others when the event comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodWait {
    namespace: String,
    labels: Labels,
    /// Selectors of hard spread constraints.
    spread: Vec<LabelSelector>,
    /// Required affinity: a pod helps that every term means.
    near: Vec<PodTerm>,
    /// Required anti-affinity.
    away: Vec<PodTerm>,
    /// Anti-affinity of a placed pod means this one.
    forbidden: bool,
}

impl PodWait {
    /// `None`: none of the reasons is about other pods.
    pub fn new<'a>(snapshot: &Snapshot, pod: &Pod, reasons: impl Iterator<Item = &'a Reason>) -> Option<Box<PodWait>> {
        let (mut spread, mut affinity) = (false, false);
        for reason in reasons {
            match reason {
                Reason::SpreadSkew { .. } | Reason::SpreadLabel { .. } => spread = true,
                Reason::PodAffinity | Reason::PodAntiAffinity { .. } | Reason::ExistingAntiAffinity { .. } => affinity = true,
                _ => {}
            }
        }
        PodWait::on(snapshot, pod, spread, affinity)
    }

    /// What the pod waits for if it was rejected for its hard spread constraints or for affinity.
    pub fn on(snapshot: &Snapshot, pod: &Pod, spread: bool, affinity: bool) -> Option<Box<PodWait>> {
        let mut wait = PodWait { namespace: pod.key.namespace.clone(), labels: pod.labels.clone(), ..PodWait::default() };
        if spread {
            let (constraints, _) = pod_topology_spread::constraints(snapshot, pod);
            wait.spread = constraints.iter().filter(|constraint| constraint.hard).filter_map(|c| c.selector.clone()).collect();
        }
        if affinity {
            wait.near.clone_from(&pod.pod_affinity.required);
            wait.away.clone_from(&pod.pod_anti_affinity.required);
            wait.forbidden = true;
        }
        (spread || affinity).then(|| Box::new(wait))
    }

    /// Topics of a pod that is on a node from now on.
    pub fn topics_of_placed(pod: &Pod) -> Topics {
        let of = |namespace: &str| -> Topics {
            let labels = pod.labels.iter().map(|(key, value)| topic(namespace, Some((key, value))));
            labels.chain([topic(namespace, None)]).collect()
        };
        of(&pod.key.namespace).into_iter().chain(of(ANY)).collect()
    }

    /// Topics of a pod that was on a node.
    pub fn topics_of_released(pod: &Pod) -> Topics {
        let hateful = (!pod.pod_anti_affinity.required.is_empty()).then(|| Topic::new(HATEFUL, ANY));
        PodWait::topics_of_placed(pod).into_iter().chain(hateful).collect()
    }

    /// Topics to be filed under.
    pub fn topics(&self) -> Vec<Topic> {
        let spread = self.spread.iter().map(|selector| topic(&self.namespace, selector.certain().next()));
        let terms = self.near.iter().take(1).chain(&self.away).filter_map(|term| {
            let label = term.selector.as_ref()?.certain().next();
            let namespaces: SmallVec<[&str; 2]> = match term.namespace_selector {
                Some(_) => SmallVec::from_slice(&[ANY]),
                None => term.namespaces.iter().map(String::as_str).collect(),
            };
            Some(namespaces.into_iter().map(move |namespace| topic(namespace, label)).collect::<Vec<_>>())
        });
        let hateful = self.forbidden.then(|| Topic::new(HATEFUL, ANY));
        spread.chain(terms.flatten()).chain(hateful).collect()
    }

    /// Whether a pod helps by being on a node from now on.
    pub fn placed(&self, pod: &Pod) -> bool {
        self.counts_for_spread(pod) || self.is_near(pod)
    }

    /// Whether a pod helps by leaving its node. One that is wanted near helps too: with the last of them the pod may be the first of its group.
    pub fn released(&self, pod: &Pod) -> bool {
        let hates = |term: &PodTerm| {
            let selected = term.selector.as_ref().is_some_and(|selector| selector.matches(&self.labels));
            selected && within(term, &self.namespace)
        };
        let forbids = self.forbidden && pod.pod_anti_affinity.required.iter().any(hates);
        self.counts_for_spread(pod) || self.is_near(pod) || self.is_away(pod) || forbids
    }

    /// Whether a pod helps that stays where it is.
    pub fn relabelled(&self, before: &Pod, after: &Pod) -> bool {
        let counted =
            |pod: &Pod, selector: &LabelSelector| !pod.terminating && pod.key.namespace == self.namespace && selector.matches(&pod.labels);
        self.spread.iter().any(|selector| counted(before, selector) != counted(after, selector))
            || self.is_near(before) != self.is_near(after)
            || self.away.iter().any(|term| means(term, before) && !means(term, after))
    }

    fn counts_for_spread(&self, pod: &Pod) -> bool {
        pod.key.namespace == self.namespace && self.spread.iter().any(|selector| selector.matches(&pod.labels))
    }

    fn is_near(&self, pod: &Pod) -> bool {
        !self.near.is_empty() && self.near.iter().all(|term| means(term, pod))
    }

    fn is_away(&self, pod: &Pod) -> bool {
        self.away.iter().any(|term| means(term, pod))
    }
}

fn means(term: &PodTerm, pod: &Pod) -> bool {
    term.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels)) && within(term, &pod.key.namespace)
}

fn within(term: &PodTerm, namespace: &str) -> bool {
    term.namespace_selector.is_some() || term.namespaces.iter().any(|name| name == namespace)
}

fn topic(namespace: &str, label: Option<(&str, &str)>) -> Topic {
    let text = label.map_or_else(|| namespace.to_owned(), |(key, value)| format!("{namespace}/{key}={value}"));
    Topic::new(PLACED, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, ClusterEvent, PodKey, Settings, SpreadConstraint};
    use crate::plan::WakeOn;
    use crate::units::Span;
    use std::sync::Arc;

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn selector(app: &str) -> LabelSelector {
        LabelSelector::of_labels(&labels(&[("app", app)]))
    }

    fn term(app: &str) -> PodTerm {
        let selector = Some(selector(app));
        PodTerm { selector, namespaces: vec!["shop".into()], namespace_selector: None, topology_key: "zone".into() }
    }

    /// The pod app=web, spread over web, near db, away from noisy.
    fn waiting(reason: Reason) -> WakeOn {
        let mut pod = placed("shop", "web");
        pod.spread = vec![SpreadConstraint { selector: Some(selector("web")), ..SpreadConstraint::default() }];
        pod.pod_affinity.required = vec![term("db")];
        pod.pod_anti_affinity.required = vec![term("noisy"), term("loud")];
        let cluster = Cluster::new(Settings::default());
        let mut wake = WakeOn::new(&PodKey::new("shop", "waiting"), Span(1));
        wake.pods = PodWait::new(cluster.view(), &pod, [&reason].into_iter());
        wake
    }

    fn placed(namespace: &str, app: &str) -> Pod {
        Pod { key: PodKey::new(namespace, "other"), labels: labels(&[("app", app), ("x", "y")]), ..Pod::default() }
    }

    fn comes(pod: Pod) -> ClusterEvent {
        ClusterEvent::PodPlaced { pod: Arc::new(pod), node: "n".into() }
    }

    fn goes(pod: Pod) -> ClusterEvent {
        ClusterEvent::PodReleased { pod: Arc::new(pod), node: "n".into() }
    }

    #[test]
    fn spreading_waits_for_pods_that_it_counts() {
        let wake = waiting(Reason::SpreadSkew { key: "zone".into(), skew: 2, max_skew: 1 });
        let check = |event: ClusterEvent, wakes: bool| assert_eq!(wake.wakes(&event), wakes, "{event:?}");
        check(comes(placed("shop", "web")), true);
        check(goes(placed("shop", "web")), true);
        check(comes(placed("shop", "db")), false);
        check(goes(placed("other", "web")), false);
        let relabelled =
            |before: &str, after: Pod| ClusterEvent::PodRelabelled { before: Arc::new(placed("shop", before)), after: Arc::new(after) };
        check(relabelled("web", placed("shop", "api")), true);
        check(relabelled("api", placed("shop", "web")), true);
        check(relabelled("api", placed("shop", "db")), false);
        check(relabelled("web", Pod { terminating: true, ..placed("shop", "web") }), true);
    }

    #[test]
    fn affinity_waits_for_pods_that_terms_mean_either_way() {
        let wake = waiting(Reason::PodAffinity);
        let check = |event: ClusterEvent, wakes: bool| assert_eq!(wake.wakes(&event), wakes, "{event:?}");
        check(comes(placed("shop", "db")), true);
        check(comes(placed("other", "db")), false);
        check(comes(placed("shop", "noisy")), false);
        check(goes(placed("shop", "noisy")), true);
        let relabelled = |before: &str, after: &str| ClusterEvent::PodRelabelled {
            before: Arc::new(placed("shop", before)),
            after: Arc::new(placed("shop", after)),
        };
        check(relabelled("noisy", "api"), true);
        // The other term keeps apart from it still, perhaps in another domain.
        check(relabelled("noisy", "loud"), true);
        check(relabelled("loud", "noisy"), true);
        check(relabelled("api", "noisy"), false);
        check(goes(placed("shop", "web")), false);
        let mut hates_web = placed("elsewhere", "any");
        hates_web.pod_anti_affinity.required = vec![term("web")];
        check(goes(hates_web.clone()), true);
        hates_web.pod_anti_affinity.required = vec![term("api")];
        check(goes(hates_web), false);
    }

    #[test]
    fn another_reason_waits_for_no_pod() {
        assert_eq!(waiting(Reason::NodeAffinity).pods, None);
    }
}
