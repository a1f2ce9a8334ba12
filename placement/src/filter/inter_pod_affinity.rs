//! InterPodAffinity: a pod goes into the domains of the pods that its affinity terms mean (unresolvable), and not into those of pods that its
//! anti-affinity terms mean, or whose anti-affinity terms mean it (kube-scheduler 1.37, plugin InterPodAffinity).
//!
//! A pod counts for affinity only if every term means it. The first of a group, whose terms mean itself and no pod in any domain, may go to any node that
//! has every topology key. Pods that are being deleted count.

use super::{Domains, pod_topology_spread::retain};
use crate::cluster::{Pod, PodTerm, Snapshot, Stance};
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
    /// `None`: no term says anything. `domains` gives those of a topology key.
    pub fn new(snapshot: &Snapshot, pod: &Pod, domains: &mut impl FnMut(&str) -> Domains) -> Option<PodRules> {
        let (towards, away) = (&pod.pod_affinity.required, &pod.pod_anti_affinity.required);
        let held = snapshot.held_terms(pod);
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
