//! What happened, by what the API server recorded: its audit log and its objects. Nothing here asks a scheduler.

mod audit;
mod lease;
mod pods;

pub use audit::{Binding, LeaseWrite, Log};
pub use lease::Terms;
pub use pods::{Matrix, Pods};

use jiff::Timestamp;
use std::collections::BTreeMap;

/// What must be empty, and what is only told.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<String>,
    pub figures: Figures,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub pods: usize,
    pub bound: usize,
    /// Of them before the fault.
    pub early: usize,
    /// Waiting for a reason that is true.
    pub waiting: usize,
    /// Requests to bind, however they were answered.
    pub attempts: usize,
    /// Pods on a node though no binding was recorded as done: its answer was lost, or the API server died before it wrote.
    pub unrecorded: usize,
    /// Times that the lease went to another.
    pub terms: usize,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, more: Figures) {
        self.pods += more.pods;
        self.bound += more.bound;
        self.early += more.early;
        self.waiting += more.waiting;
        self.attempts += more.attempts;
        self.unrecorded += more.unrecorded;
        self.terms += more.terms;
    }
}

/// Judges the pods that are there, and all that the log says since `since`.
pub fn judge(log: &Log, pods: &Pods, matrix: &Matrix, since: Timestamp) -> Verdict {
    let mut violations = Vec::new();
    let terms = Terms::of(&log.leases);
    violations.extend(terms.stolen());
    let attempts: Vec<&Binding> = log.bindings.iter().filter(|binding| binding.received >= since).collect();
    let mut done: BTreeMap<&str, Vec<&Binding>> = BTreeMap::new();
    for binding in &attempts {
        if !terms.led(&binding.by, binding.received) {
            violations.push(format!(
                "{} was sent a binding of {} at {} by {}, who did not lead",
                "the API server", binding.pod, binding.received, binding.by
            ));
        }
        if binding.is_done() {
            done.entry(&binding.uid).or_default().push(binding);
        }
    }
    for (uid, bindings) in &done {
        if let [first, second, ..] = bindings.as_slice() {
            violations.push(format!(
                "{} ({uid}) was bound twice: to {} by {}, to {} by {}",
                first.pod, first.node, first.by, second.node, second.by
            ));
        }
        let found = pods.node_of(uid);
        if let Some(binding) = bindings.first().filter(|binding| found.is_some_and(|node| node != Some(&*binding.node))) {
            violations.push(format!("{} was bound to {} but is on {found:?}", binding.pod, binding.node));
        }
    }
    violations.extend(pods.over_committed());
    violations.extend(pods.out_of_bounds(matrix));
    let (waiting, lost) = pods.waiting(matrix);
    violations.extend(lost);
    let bound: Vec<&str> = pods.bound().collect();
    let figures = Figures {
        pods: pods.len(),
        bound: bound.len(),
        early: 0,
        waiting,
        attempts: attempts.len(),
        unrecorded: bound.iter().filter(|uid| !done.contains_key(**uid)).count(),
        terms: terms.changes_since(since),
    };
    Verdict { violations, figures }
}
