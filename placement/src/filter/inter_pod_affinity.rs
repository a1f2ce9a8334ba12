//! InterPodAffinity: a pod goes into the domains of the pods that its affinity terms mean (unresolvable), and not into those of pods that its
//! anti-affinity terms mean, or whose anti-affinity terms mean it (kube-scheduler 1.37, plugin InterPodAffinity).
//!
//! A pod counts for affinity only if every term means it. The first of a group, whose terms mean itself and no pod in any domain, may go to any node that
//! has every topology key. Pods that are being deleted count.

use super::{Domains, pod_topology_spread::retain};
use crate::cluster::{HeldTerm, Pod, PodTerm, Snapshot, Stance};
use crate::plan::Reason;
use fixedbitset::FixedBitSet;

/// Domains by one topology key, with a mark on some.
struct Marked {
    key: String,
    domains: Domains,
    marks: Vec<bool>,
}

impl Marked {
    fn new(key: &str, domains: &mut impl FnMut(&str) -> Domains) -> Marked {
        let domains = domains(key);
        Marked { key: key.to_owned(), marks: domains.table(false), domains }
    }

    fn mark(&mut self, node: usize) -> bool {
        let domain = self.domains.of(node);
        domain.into_iter().for_each(|domain| self.marks[domain] = true);
        domain.is_some()
    }

    /// `None`: the node is in no domain.
    #[inline]
    fn at(&self, node: usize) -> Option<bool> {
        self.domains.of(node).map(|domain| self.marks[domain])
    }
}

/// What a pod's required terms, and those of placed pods, say of every domain.
pub struct PodRules {
    /// The node's domain must be marked in each.
    near: Vec<Marked>,
    /// The pod is the first of its group.
    first: bool,
    /// It must be marked in none.
    away: Vec<Marked>,
    forbidden: Vec<Marked>,
}

impl PodRules {
    /// `None`: no term says anything. `held`: terms of placed pods that mean the pod. `domains` gives those of a topology key.
    pub fn new(snapshot: &Snapshot, pod: &Pod, held: &[&HeldTerm], domains: &mut impl FnMut(&str) -> Domains) -> Option<PodRules> {
        let (towards, away) = (&pod.pod_affinity.required, &pod.pod_anti_affinity.required);
        let mut rules = PodRules { near: Vec::new(), first: false, away: Vec::new(), forbidden: Vec::new() };
        for held in held.iter().filter(|held| held.stance == Stance::Forbids) {
            let marked = of_key(&mut rules.forbidden, &held.term.topology_key, domains);
            for (node, _) in held.counts.iter() {
                marked.mark(node.at());
            }
        }
        for term in away {
            let marked = of_key(&mut rules.away, &term.topology_key, domains);
            nodes_meant(snapshot, [term], |node| {
                marked.mark(node);
            });
        }
        if !towards.is_empty() {
            for term in towards {
                of_key(&mut rules.near, &term.topology_key, domains);
            }
            let mut found = false;
            nodes_meant(snapshot, towards, |node| rules.near.iter_mut().for_each(|marked| found |= marked.mark(node)));
            rules.first = !found && snapshot.query(towards).is_some_and(|query| query.means(pod));
        }
        let silent = rules.near.is_empty() && rules.away.is_empty() && rules.forbidden.is_empty();
        (!silent).then_some(rules)
    }

    pub fn check(&self, node: usize) -> Option<Reason> {
        let marked = |list: &[Marked]| list.iter().find(|marked| marked.at(node) == Some(true)).map(|marked| marked.key.clone());
        if !self.is_near(node) {
            return Some(Reason::PodAffinity);
        }
        marked(&self.away)
            .map(|key| Reason::PodAntiAffinity { key })
            .or_else(|| marked(&self.forbidden).map(|key| Reason::ExistingAntiAffinity { key }))
    }

    /// Takes out of the mask the nodes that break a rule.
    pub fn restrict(&self, mask: &mut FixedBitSet) {
        if !self.near.is_empty() {
            retain(mask, |node| self.is_near(node));
        }
        for marked in self.away.iter().chain(&self.forbidden) {
            retain(mask, |node| marked.at(node) != Some(true));
        }
    }

    #[inline]
    fn is_near(&self, node: usize) -> bool {
        self.near.iter().all(|marked| marked.at(node).is_some_and(|marked| marked || self.first))
    }
}

fn of_key<'a>(list: &'a mut Vec<Marked>, key: &str, domains: &mut impl FnMut(&str) -> Domains) -> &'a mut Marked {
    let at = list.iter().position(|marked| marked.key == key).unwrap_or_else(|| {
        list.push(Marked::new(key, domains));
        list.len() - 1
    });
    &mut list[at]
}

/// Nodes with pods that every term means; a node may come up more than once.
fn nodes_meant<'a>(snapshot: &Snapshot, terms: impl IntoIterator<Item = &'a PodTerm>, mut on: impl FnMut(usize)) {
    let Some(query) = snapshot.query(terms) else { return };
    snapshot.count_pods(&query).flat_map(|counts| counts.iter()).for_each(|(node, _)| on(node.at()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{LabelSelector, PodAffinity, PodKey};
    use crate::filter::testing::{check_fits, labels, pod, stand, term, world};
    use crate::plan::VerdictCode::{Unresolvable, Unschedulable};

    const NEAR: &str = "node(s) didn't match pod affinity rules";
    const AWAY: &str = "node(s) didn't match pod anti-affinity rules";
    const EXISTING: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

    fn required(terms: &[PodTerm]) -> PodAffinity {
        PodAffinity { required: terms.to_vec(), preferred: vec![] }
    }

    fn near(app: &str, terms: &[PodTerm]) -> Pod {
        Pod { pod_affinity: required(terms), ..pod("new", app) }
    }

    fn away(app: &str, terms: &[PodTerm]) -> Pod {
        Pod { pod_anti_affinity: required(terms), ..pod("new", app) }
    }

    #[test]
    fn affinity_leads_to_the_domains_of_pods_that_every_term_means() {
        let mut cluster = world();
        stand(&mut cluster, "db", &["a"]);
        let rejected = [("x", NEAR, Unresolvable), ("bare", NEAR, Unresolvable)];
        check_fits(&cluster, &near("web", &[term("db", "zone")]), "a b", &rejected);
        check_fits(&cluster, &near("web", &[term("db", "zone"), term("db", "kubernetes.io/hostname")]), "a", &[]);
        stand(&mut cluster, "api", &["b"]);
        // No single pod is both.
        check_fits(&cluster, &near("web", &[term("db", "zone"), term("api", "zone")]), "", &[("a", NEAR, Unresolvable)]);
        check_fits(&cluster, &near("web", &[PodTerm { selector: None, ..term("db", "zone") }]), "", &[]);
    }

    #[test]
    fn the_first_of_a_group_goes_wherever_the_keys_are() {
        let mut cluster = world();
        check_fits(&cluster, &near("web", &[term("web", "zone")]), "a b x y", &[("bare", NEAR, Unresolvable)]);
        check_fits(&cluster, &near("web", &[term("db", "zone")]), "", &[]);
        // On a node without the key a pod is in no domain, so the next is still the first.
        stand(&mut cluster, "web", &["bare"]);
        check_fits(&cluster, &near("web", &[term("web", "zone")]), "a b x y", &[]);
        stand(&mut cluster, "web", &["bare", "x"]);
        check_fits(&cluster, &near("web", &[term("web", "zone")]), "x y", &[]);
    }

    #[test]
    fn anti_affinity_keeps_away_and_a_node_without_the_key_is_in_no_domain() {
        let mut cluster = world();
        stand(&mut cluster, "noisy", &["a", "bare"]);
        check_fits(&cluster, &away("web", &[term("noisy", "zone")]), "bare x y", &[("b", AWAY, Unschedulable)]);
        check_fits(&cluster, &away("web", &[term("noisy", "kubernetes.io/hostname")]), "b bare x y", &[]);
        check_fits(&cluster, &away("web", &[term("noisy", "zone"), term("web", "zone")]), "bare x y", &[]);
    }

    #[test]
    fn placed_pods_keep_others_away_by_their_own_terms() {
        let mut cluster = world();
        let shy = Pod { key: PodKey::new("shop", "shy"), node_name: Some("a".into()), ..away("shy", &[term("web", "zone")]) };
        cluster.apply_pod(shy.clone());
        check_fits(&cluster, &pod("new", "web"), "bare x y", &[("b", EXISTING, Unschedulable)]);
        check_fits(&cluster, &pod("new", "api"), "a b bare x y", &[]);
        check_fits(&cluster, &away("web", &[term("shy", "zone")]), "bare x y", &[("b", AWAY, Unschedulable)]);
        // Also while it is being deleted.
        cluster.apply_pod(Pod { terminating: true, ..shy });
        check_fits(&cluster, &pod("new", "web"), "bare x y", &[]);
    }

    #[test]
    fn namespaces_are_meant_by_name_or_label() {
        let mut cluster = world();
        let db = Pod { key: PodKey::new("data", "db"), node_name: Some("a".into()), ..pod("db", "db") };
        cluster.apply_pod(db);
        let of_team = LabelSelector::of_labels(&labels(&[("team", "data")]));
        let by = |namespaces: &[&str], namespace_selector: Option<LabelSelector>| {
            let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            near("web", &[PodTerm { namespaces, namespace_selector, ..term("db", "zone") }])
        };
        check_fits(&cluster, &by(&["shop"], None), "", &[]);
        check_fits(&cluster, &by(&["data", "shop"], None), "a b", &[]);
        check_fits(&cluster, &by(&[], Some(LabelSelector::default())), "a b", &[]);
        check_fits(&cluster, &by(&[], Some(of_team.clone())), "", &[]);
        cluster.apply_namespace("data", labels(&[("team", "data")]));
        check_fits(&cluster, &by(&[], Some(of_team.clone())), "a b", &[]);
        cluster.apply_namespace("data", labels(&[]));
        check_fits(&cluster, &by(&[], Some(of_team)), "", &[]);
    }
}
