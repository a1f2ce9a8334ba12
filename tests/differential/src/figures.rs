//! How much of each plugin's interesting region the cases reach.

use crate::case::{Answer, Preemption};
use crate::generate::Feature;
use std::collections::BTreeMap;
use std::fmt;

/// Percentage of the cases in which each covered filter rejects some nodes but not all, each covered score differs between nodes, and each of [`PREEMPTS`].
pub const WANTED_PERCENT: f64 = 4.0;
/// Below so many cases the shares say nothing.
pub const ENOUGH: usize = 500;

/// Something of interest of a search for victims, and whether it is so.
type Preempts = (&'static str, fn(&Preemption) -> bool);

const PREEMPTS: [Preempts; 3] = [
    ("has candidates", |found| !found.candidates.is_empty()),
    ("has several candidates", |found| found.candidates.len() > 1),
    ("has candidates with budgets violated", |found| found.candidates.values().any(|candidate| candidate.pdb_violations > 0)),
];

#[derive(Debug, Default)]
pub struct Figures {
    cases: usize,
    preempts: BTreeMap<&'static str, usize>,
    rejects_some: BTreeMap<&'static str, usize>,
    score_differs: BTreeMap<&'static str, usize>,
}

impl Figures {
    pub fn new(features: &[Feature]) -> Figures {
        let zero = |names: Vec<&'static str>| names.into_iter().map(|name| (name, 0)).collect();
        Figures {
            cases: 0,
            preempts: zero(if features.contains(&Feature::Full) { PREEMPTS.map(|(what, _)| what).to_vec() } else { Vec::new() }),
            rejects_some: zero(features.iter().flat_map(|feature| feature.filters()).copied().collect()),
            score_differs: zero(features.iter().flat_map(|feature| feature.scores()).copied().collect()),
        }
    }

    pub fn add(&mut self, answer: &Answer) {
        self.cases += 1;
        for (plugin, count) in &mut self.rejects_some {
            *count += usize::from(answer.rejects_some(plugin));
        }
        for (plugin, count) in &mut self.score_differs {
            *count += usize::from(answer.score_differs(plugin));
        }
        for (what, is_so) in PREEMPTS {
            if let Some(count) = self.preempts.get_mut(what) {
                *count += usize::from(answer.preemption.as_ref().is_some_and(is_so));
            }
        }
    }

    fn percent(&self, count: usize) -> f64 {
        100.0 * count as f64 / self.cases.max(1) as f64
    }

    /// What is reached too seldom; empty where there are too few cases to tell.
    pub fn too_seldom(&self) -> Vec<String> {
        let below = |what: &str, counts: &BTreeMap<&'static str, usize>| -> Vec<String> {
            let seldom = counts.iter().filter(|(_, count)| self.percent(**count) < WANTED_PERCENT);
            seldom.map(|(plugin, count)| format!("{plugin} {what} in {:.1} % of the cases", self.percent(*count))).collect()
        };
        if self.cases < ENOUGH {
            return Vec::new();
        }
        let preempts = below("of DefaultPreemption", &self.preempts);
        [below("rejects some nodes", &self.rejects_some), below("scores differ", &self.score_differs), preempts].concat()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (plugin, count) in &self.rejects_some {
            writeln!(f, "{plugin:<32} rejects some nodes in {:>5.1} % of the cases", self.percent(*count))?;
        }
        for (plugin, count) in &self.score_differs {
            writeln!(f, "{plugin:<32} scores differ in      {:>5.1} % of the cases", self.percent(*count))?;
        }
        for (what, count) in &self.preempts {
            writeln!(f, "{:<32} {what} in {:.1} % of the cases", "DefaultPreemption", self.percent(*count))?;
        }
        Ok(())
    }
}
