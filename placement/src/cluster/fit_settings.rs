//! How NodeResourcesFit judges and scores, as its arguments in kube-scheduler's configuration say.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FitStrategy {
    /// The emptier node is better.
    #[default]
    LeastAllocated,
    /// The fuller node is better.
    MostAllocated,
    /// Points of utilisation, rising, in percent, and the score there, 0 to 100; straight lines between them.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FitSettings {
    pub strategy: FitStrategy,
    /// Resources that are scored, with their weight in the mean.
    pub resources: Vec<(String, i64)>,
    /// Extended resources that nodes need not have room for: a scheduler extender knows of them.
    pub ignored: BTreeSet<String>,
    /// Likewise all of a domain: `example.com` for `example.com/gpu`.
    pub ignored_groups: BTreeSet<String>,
}

impl Default for FitSettings {
    fn default() -> FitSettings {
        let resources = vec![("cpu".to_owned(), 1), ("memory".to_owned(), 1)];
        FitSettings { strategy: FitStrategy::default(), resources, ignored: BTreeSet::new(), ignored_groups: BTreeSet::new() }
    }
}

impl FitSettings {
    /// Whether room for this extended resource is not looked at. Huge pages and attachable volumes have no domain and are never ignored.
    pub fn ignores(&self, name: &str) -> bool {
        name.split_once('/').is_some_and(|(domain, _)| self.ignored.contains(name) || self.ignored_groups.contains(domain))
    }

    /// LeastAllocated over CPU and memory alike, for which there is a shorter way.
    pub fn scores_by_default(&self) -> bool {
        let default = [("cpu", 1), ("memory", 1)];
        self.strategy == FitStrategy::LeastAllocated && self.resources.iter().map(|(name, weight)| (name.as_str(), *weight)).eq(default)
    }
}
