//! How much of each plugin's interesting region the cases reach.

use crate::case::Answer;
use crate::generate::Feature;
use std::collections::BTreeMap;
use std::fmt;

/// Percentage of the cases in which each covered filter rejects some nodes but not all, and each covered score differs between nodes.
pub const WANTED_PERCENT: f64 = 4.0;
/// Below so many cases the shares say nothing.
pub const ENOUGH: usize = 500;

#[derive(Debug, Default)]
pub struct Figures {
    cases: usize,
    rejects_some: BTreeMap<&'static str, usize>,
    score_differs: BTreeMap<&'static str, usize>,
}

impl Figures {
    pub fn new(features: &[Feature]) -> Figures {
        let zero = |names: Vec<&'static str>| names.into_iter().map(|name| (name, 0)).collect();
        Figures {
            cases: 0,
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
        [below("rejects some nodes", &self.rejects_some), below("scores differ", &self.score_differs)].concat()
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
        Ok(())
    }
}
