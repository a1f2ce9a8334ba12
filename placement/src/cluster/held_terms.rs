//! Terms of affinity and anti-affinity that placed pods have towards pods still to come, with the nodes on which they are held.
//!
//! The terms of a workload's replicas are one entry with a count for each node. It is filed under one label that every pod has that the term means, so
//! that a pod finds the terms that mean it by its own labels.

use super::index::label_hash;
use super::sharded::{Keyed, Sharded};
use super::{Labels, NodeCounts, NodeIx, Pod, PodTerm};
use smallvec::SmallVec;
use std::sync::Arc;

/// What a placed pod's term means for another that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stance {
    /// Required anti-affinity: the other may not come into the domain.
    Forbids,
    /// Required affinity: scoring prefers the domain, by a weight of its own.
    Requires,
    /// Preferred affinity (above zero) or anti-affinity (below).
    Prefers(i32),
}

/// A term that some placed pods have.
#[derive(Clone, Debug)]
pub struct HeldTerm {
    pub term: PodTerm,
    pub stance: Stance,
    /// Pods that have it, by node.
    pub counts: NodeCounts,
}

#[derive(Clone, Debug)]
struct Filing {
    hash: u64,
    terms: Vec<Arc<HeldTerm>>,
}

impl Keyed for Filing {
    fn hash(&self) -> u64 {
        self.hash
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct HeldTerms(Sharded<Filing>);

/// Stands for "any" where a term is not of one namespace alone: no namespace is called so.
const ANY: &str = "";

impl HeldTerms {
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// A pod comes to (`sign` 1) or leaves (-1) a node.
    pub fn change(&mut self, pod: &Pod, ix: NodeIx, sign: i64) {
        let (towards, away) = (&pod.pod_affinity, &pod.pod_anti_affinity);
        away.required.iter().for_each(|term| self.change_term(term, Stance::Forbids, ix, sign));
        towards.required.iter().for_each(|term| self.change_term(term, Stance::Requires, ix, sign));
        towards.preferred.iter().for_each(|(weight, term)| self.change_term(term, Stance::Prefers(*weight), ix, sign));
        away.preferred.iter().for_each(|(weight, term)| self.change_term(term, Stance::Prefers(-*weight), ix, sign));
    }

    fn change_term(&mut self, term: &PodTerm, stance: Stance, ix: NodeIx, sign: i64) {
        let Some(hash) = filed_under(term) else { return };
        let Some(filing) = self.0.find_mut(hash, |filing| filing.hash == hash) else {
            if sign > 0 {
                let mut counts = NodeCounts::default();
                counts.add(ix, 1);
                self.0.insert(Filing { hash, terms: vec![Arc::new(HeldTerm { term: term.clone(), stance, counts })] });
            }
            return;
        };
        let Some(at) = filing.terms.iter().position(|held| held.stance == stance && held.term == *term) else {
            if sign > 0 {
                let mut counts = NodeCounts::default();
                counts.add(ix, 1);
                filing.terms.push(Arc::new(HeldTerm { term: term.clone(), stance, counts }));
            }
            return;
        };
        let held = Arc::make_mut(&mut filing.terms[at]);
        held.counts.add(ix, sign);
        if held.counts.total() == 0 {
            filing.terms.remove(at);
            if filing.terms.is_empty() {
                self.0.remove(hash, |filing| filing.hash == hash);
            }
        }
    }

    /// Terms that mean the pod. `namespace_labels`: of the pod's namespace.
    pub fn meaning(&self, pod: &Pod, namespace_labels: Option<&Labels>) -> Vec<&HeldTerm> {
        if self.is_empty() {
            return Vec::new();
        }
        let of_namespace = |namespace| {
            let labels = pod.labels.iter().map(move |(key, value)| label_hash(namespace, Some((key, value))));
            labels.chain([label_hash(namespace, None)])
        };
        let mut hashes: SmallVec<[u64; 16]> = of_namespace(pod.key.namespace.as_str()).chain(of_namespace(ANY)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let filings = hashes.iter().filter_map(|&hash| self.0.find(hash, |filing| filing.hash == hash));
        let terms = filings.flat_map(|filing| &filing.terms).map(|held| &**held);
        terms.filter(|held| held.term.matches(pod, namespace_labels)).collect()
    }
}

/// `None`: the term means no pod.
fn filed_under(term: &PodTerm) -> Option<u64> {
    let label = term.selector.as_ref()?.certain().next();
    let namespace = match (&term.namespaces[..], &term.namespace_selector) {
        ([one], None) => one,
        _ => ANY,
    };
    Some(label_hash(namespace, label))
}
