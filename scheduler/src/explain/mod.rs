//! Why a pod is where it is, or waits: the decision as data, as a table, and as an answer of the topology service.

mod ask;
mod decisions;
mod table;

pub use ask::{Ask, AskError, PodArg, Question, ask};
pub use decisions::Decisions;
pub use table::table;

use placement::plan::{Decision, Outcome, Reason, ScoreLine, Verdict};
use placement::units::Timestamp;
use serde::{Deserialize, Serialize};

const USER_AGENT: &str = concat!("edge-scheduler-explain/", env!("CARGO_PKG_VERSION"));

/// A decision for people and programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub decided_at_ms: u64,
    /// Judged anew for this answer, on the cluster as it is: the decision itself is not kept any more, or the pod was never tried.
    pub recomputed: bool,
    pub result: Judgement,
    /// Where it was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// As in the pod's event; of a placed pod with the figures that decided.
    pub message: String,
    /// Every node, by name. Empty when the pod was held before any was looked at.
    pub nodes: Vec<NodeLine>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Judgement {
    Scheduled,
    Unschedulable,
    Held,
}

/// One node's verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLine {
    pub node: String,
    pub fits: bool,
    /// Of a rejected node, with figures: `31.2 ms from edge-1, bound 25 ms`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Response time plus price in microseconds, of pods that are ranked by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_us: Option<f64>,
    /// Equal in cost to the best.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_band: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ScoreLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

impl Explanation {
    pub fn new(decision: &Decision, at: Timestamp, recomputed: bool) -> Explanation {
        let (result, node) = match &decision.outcome {
            Outcome::Place { node, .. } => (Judgement::Scheduled, Some(node.clone())),
            Outcome::Unschedulable => (Judgement::Unschedulable, None),
            Outcome::Held(_) => (Judgement::Held, None),
        };
        let nodes = decision.nodes.iter().map(|judged| {
            let node = judged.node.clone();
            match &judged.verdict {
                Verdict::Feasible { cost_us, in_band, scores, total } => NodeLine {
                    node,
                    fits: true,
                    reasons: Vec::new(),
                    cost_us: *cost_us,
                    in_band: *in_band,
                    scores: scores.clone(),
                    total: Some(*total),
                },
                Verdict::Rejected(reasons) => NodeLine {
                    node,
                    fits: false,
                    reasons: reasons.iter().map(Reason::detail).collect(),
                    cost_us: None,
                    in_band: false,
                    scores: Vec::new(),
                    total: None,
                },
            }
        });
        Explanation {
            namespace: decision.pod.namespace.clone(),
            pod: decision.pod.name.clone(),
            uid: decision.uid.clone(),
            decided_at_ms: at.0,
            recomputed,
            result,
            node,
            message: event_note(decision),
            nodes: nodes.collect(),
        }
    }
}

/// The note of the pod's event: kube-scheduler's sentence first; then, with live figures, why this node won or what came nearest.
pub fn event_note(decision: &Decision) -> String {
    note(decision, &decision.message())
}

/// As [`event_note`], of a decision's message that is at hand.
pub fn note(decision: &Decision, message: &str) -> String {
    match (&decision.outcome, nearest_miss(decision)) {
        (Outcome::Place { because, .. }, _) if !because.is_empty() => format!("{message}: {because}"),
        (Outcome::Unschedulable, Some((node, detail))) => format!("{message} Nearest is {node}: {detail}."),
        _ => message.to_owned(),
    }
}

/// Of the nodes that only a bound keeps out, the one with the least RTT.
fn nearest_miss(decision: &Decision) -> Option<(&str, String)> {
    let misses = decision.nodes.iter().filter_map(|judged| match &judged.verdict {
        Verdict::Rejected(reasons) => match reasons.as_slice() {
            [reason @ Reason::RttAbove { rtt, .. }] => Some((*rtt, judged.node.as_str(), reason)),
            _ => None,
        },
        Verdict::Feasible { .. } => None,
    });
    misses.min_by_key(|(rtt, node, _)| (*rtt, *node)).map(|(_, node, reason)| (node, reason.detail()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::cluster::PodKey;
    use placement::plan::{NodeVerdict, WakeOn};
    use placement::units::Micros;

    #[test]
    fn the_event_names_the_nearest_miss_and_the_message_does_not() {
        let far = |us| Reason::RttAbove { from: "edge-1".into(), via: None, rtt: Micros(us), bound: Micros(1_000) };
        let full = || Reason::Insufficient { resource: "cpu".into(), requested: 2, used: 0, allocatable: 1 };
        let verdict = |node: &str, reason| NodeVerdict { node: node.into(), verdict: Verdict::Rejected(vec![reason]) };
        let decision = Decision {
            pod: PodKey::new("default", "a"),
            uid: String::new(),
            generation: 0,
            outcome: Outcome::Unschedulable,
            nodes: vec![verdict("n1", far(9_000)), verdict("n2", far(4_200)), verdict("n3", full())],
            node_count: 3,
            wake: WakeOn::default(),
            preemption: None,
        };
        let message = "0/3 nodes are available: 1 Insufficient cpu, 2 RTT from edge-1 above 1 ms.";
        assert_eq!(decision.message(), message);
        assert_eq!(event_note(&decision), format!("{message} Nearest is n2: 4.2 ms from edge-1, bound 1 ms."));
    }
}
