//! Namespaces with their labels, and what terms of affinity mean by them.

use super::census::{Namespaces, PodQuery};
use super::live::Cluster;
use super::snapshot::Snapshot;
use super::{LabelSelector, Labels, PodTerm};
use std::sync::Arc;

impl Cluster {
    /// A namespace appeared or changed. No pod is woken: kube-scheduler wakes none either.
    pub fn apply_namespace(&mut self, name: &str, labels: Labels) {
        if self.state.namespace_labels(name) != Some(&labels) {
            Arc::make_mut(&mut self.change().namespaces).insert(name.to_owned(), Arc::new(labels));
        }
    }

    pub fn delete_namespace(&mut self, name: &str) {
        if self.state.namespaces.contains_key(name) {
            Arc::make_mut(&mut self.change().namespaces).remove(name);
        }
    }
}

impl Snapshot {
    pub fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name).map(|labels| &**labels)
    }

    pub fn namespace_names(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(String::as_str)
    }

    /// Placed pods that every one of the terms means. `None`: there can't be any.
    pub fn query<'a>(&self, terms: impl IntoIterator<Item = &'a PodTerm>) -> Option<PodQuery> {
        let mut query = PodQuery { namespaces: Namespaces::All, selector: LabelSelector::default(), terminating: true };
        for term in terms {
            query.namespaces = query.namespaces.and(self.namespaces_of(term));
            query.selector = query.selector.and(term.selector.clone()?);
        }
        Some(query)
    }

    /// A namespace without an object is found by its name, or by a selector of all.
    fn namespaces_of(&self, term: &PodTerm) -> Namespaces {
        let Some(selector) = &term.namespace_selector else { return Namespaces::Named(term.namespaces.clone()) };
        if selector.is_empty() {
            return Namespaces::All;
        }
        let selected = self.namespaces.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| name.clone());
        let mut names: Vec<String> = selected.chain(term.namespaces.iter().cloned()).collect();
        names.sort();
        names.dedup();
        Namespaces::Named(names)
    }
}
