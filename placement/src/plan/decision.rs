//! The outcome for one pod, with a verdict for every node.

use super::{Hold, Reason, WakeOn};
use crate::cluster::{ClusterEvent, PodKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};

/// One score of one node: plugin name, what the plugin gave, what that is among the nodes that fit (0 to 100), and weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreLine {
    pub name: String,
    #[serde(default)]
    pub raw: i64,
    pub score: i64,
    pub weight: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    /// `cost_us` when the pod is ranked by response time: T plus price, in microseconds. `in_band`: equal to the best within the band.
    Feasible { cost_us: Option<f64>, in_band: bool, scores: Vec<ScoreLine>, total: i64 },
    /// Reasons of the first rejecting filter.
    Rejected(Vec<Reason>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeVerdict {
    pub node: String,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// `because` says in a few words with figures why this node won: `3.1 ms from edge-1, bound 25 ms`.
    Place { node: String, because: String },
    /// No node fits.
    Unschedulable,
    /// Held back before any node was looked at.
    Held(Hold),
}

/// What was decided for a pod on one snapshot, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub pod: PodKey,
    pub uid: String,
    /// Generation of the snapshot that was judged.
    pub generation: u64,
    pub outcome: Outcome,
    /// In the order of node names. Empty when held.
    pub nodes: Vec<NodeVerdict>,
    /// Node objects in the snapshot.
    pub node_count: usize,
    /// What may help a pod that was not placed.
    pub wake: WakeOn,
    /// How preemption went, where it was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemption: Option<String>,
}

impl Decision {
    pub fn placed(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Place { node, .. } => Some(node),
            Outcome::Unschedulable | Outcome::Held(_) => None,
        }
    }

    /// Whether the event may help this pod. False for one that was placed.
    pub fn wakes(&self, event: &ClusterEvent) -> bool {
        self.placed().is_none() && self.wake.wakes(event)
    }

    /// kube-scheduler's message: `0/5 nodes are available: 2 RTT from edge-1 above 25 ms, 3 Insufficient cpu.` Held pods give the hold's text.
    pub fn message(&self) -> String {
        match &self.outcome {
            Outcome::Place { node, .. } => format!("Successfully assigned {} to {node}", self.pod),
            Outcome::Held(hold @ Hold::NoNodes) => hold.to_string(),
            Outcome::Held(hold) => format!("0/{} nodes are available: {hold}.", self.node_count),
            Outcome::Unschedulable => {
                let why = histogram(self.node_count, self.reasons());
                self.preemption.as_ref().map_or(why.clone(), |preemption| format!("{why} {preemption}"))
            }
        }
    }

    /// Filters that rejected the pod, by name.
    pub fn rejected_by(&self) -> BTreeSet<&'static str> {
        match &self.outcome {
            Outcome::Place { .. } => BTreeSet::new(),
            Outcome::Held(hold) => hold.plugins().into_iter().collect(),
            Outcome::Unschedulable => self.reasons().flat_map(Reason::plugins).collect(),
        }
    }

    /// Every reason of every rejected node.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.nodes.iter().flat_map(|n| match &n.verdict {
            Verdict::Rejected(reasons) => reasons.as_slice(),
            Verdict::Feasible { .. } => &[],
        })
    }
}

/// `0/N nodes are available: c1 reason1, c2 reason2.`, sorted as strings, as kube-scheduler's FitError prints it.
pub(super) fn histogram(nodes: usize, reasons: impl Iterator<Item = impl Display>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // Thousands of nodes have few reasons between them.
    let mut text = String::new();
    for reason in reasons {
        text.clear();
        // A string takes all that is written.
        let _ = write!(text, "{reason}");
        match counts.get_mut(&text) {
            Some(count) => *count += 1,
            None => drop(counts.insert(text.clone(), 1)),
        }
    }
    let mut parts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    match parts.is_empty() {
        true => format!("0/{nodes} nodes are available."),
        false => format!("0/{nodes} nodes are available: {}.", parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Micros;

    fn rejected(node: &str, reasons: Vec<Reason>) -> NodeVerdict {
        NodeVerdict { node: node.into(), verdict: Verdict::Rejected(reasons) }
    }

    #[test]
    fn reasons_are_counted_and_sorted_as_kube_scheduler_sorts_them() {
        let cpu = || Reason::Insufficient { resource: "cpu".into(), requested: 2000, used: 0, allocatable: 1000 };
        let far = |rtt| Reason::RttAbove { from: "edge-1".into(), via: None, rtt: Micros(rtt), bound: Micros(25_000) };
        let decision = Decision {
            pod: PodKey::new("default", "a"),
            uid: "u".into(),
            generation: 1,
            outcome: Outcome::Unschedulable,
            nodes: vec![
                rejected("n1", vec![far(31_200)]),
                rejected("n2", vec![cpu()]),
                rejected("n3", vec![far(40_000)]),
                rejected("n4", vec![cpu()]),
                rejected("n5", vec![cpu()]),
            ],
            node_count: 5,
            wake: WakeOn::default(),
            preemption: None,
        };
        assert_eq!(decision.message(), "0/5 nodes are available: 2 RTT from edge-1 above 25 ms, 3 Insufficient cpu.");
        assert_eq!(far(31_200).detail(), "31.2 ms from edge-1, bound 25 ms");
        assert_eq!(decision.rejected_by().into_iter().collect::<Vec<_>>(), ["DelayBound", "NodeResourcesFit"]);
        let held = |hold| Decision { outcome: Outcome::Held(hold), ..decision.clone() }.rejected_by().into_iter().collect::<Vec<_>>();
        assert_eq!(held(Hold::NamesConflict), ["NodeAffinity", "NodeName"]);
        assert_eq!(held(Hold::ReferenceNotPlaced { from: "a".into() }), ["DelayBound"]);
        assert!(held(Hold::NoNodes).is_empty());
    }
}
