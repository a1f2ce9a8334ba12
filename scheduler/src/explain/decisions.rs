//! The last decision of each pod, as far as memory allows.

use placement::cluster::PodKey;
use placement::plan::Decision;
use placement::units::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Verdicts kept over all decisions. One takes about 200 bytes: 3 MB. 1,000 pods' decisions on 14 nodes, 30 pods' on 490; what is older is judged anew when
/// somebody asks.
const VERDICTS: usize = 15_000;

struct Kept {
    number: u64,
    decision: Arc<Decision>,
    at: Timestamp,
}

/// Bounded; the oldest decisions go first.
#[derive(Default)]
pub struct Decisions {
    by_pod: HashMap<PodKey, Kept>,
    by_age: BTreeMap<u64, PodKey>,
    next: u64,
    weight: usize,
}

impl Decisions {
    /// Keeps the decision in place of the pod's last one.
    pub fn keep(&mut self, decision: Arc<Decision>, at: Timestamp) {
        self.keep_within(decision, at, VERDICTS);
    }

    fn keep_within(&mut self, decision: Arc<Decision>, at: Timestamp, limit: usize) {
        self.forget(&decision.pod);
        let (number, key) = (self.next, decision.pod.clone());
        self.next += 1;
        self.weight += weight(&decision);
        self.by_age.insert(number, key.clone());
        self.by_pod.insert(key, Kept { number, decision, at });
        while self.weight > limit {
            let Some(oldest) = self.by_age.first_key_value().map(|(_, key)| key.clone()) else { return };
            self.forget(&oldest);
        }
    }

    pub fn get(&self, pod: &PodKey) -> Option<(Arc<Decision>, Timestamp)> {
        self.by_pod.get(pod).map(|kept| (kept.decision.clone(), kept.at))
    }

    pub fn forget(&mut self, pod: &PodKey) {
        if let Some(kept) = self.by_pod.remove(pod) {
            self.weight -= weight(&kept.decision);
            self.by_age.remove(&kept.number);
        }
    }
}

/// A decision without verdicts takes room too.
fn weight(decision: &Decision) -> usize {
    decision.nodes.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::plan::{Hold, NodeVerdict, Outcome, Verdict};

    fn decision(name: &str, nodes: usize) -> Arc<Decision> {
        let judged = |i| NodeVerdict { node: format!("n{i}"), verdict: Verdict::Rejected(Vec::new()) };
        Arc::new(Decision {
            pod: PodKey::new("default", name),
            uid: String::new(),
            generation: 0,
            outcome: Outcome::Held(Hold::NoNodes),
            nodes: (0..nodes).map(judged).collect(),
            node_count: 0,
            wake: Default::default(),
            preemption: None,
        })
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_verdicts() {
        let mut decisions = Decisions::default();
        for (name, nodes) in [("a", 3), ("b", 3), ("a", 4), ("c", 3)] {
            decisions.keep_within(decision(name, nodes), Timestamp(0), 10);
        }
        let kept = |name: &str| decisions.get(&PodKey::new("default", name)).map(|(decision, _)| decision.nodes.len());
        assert_eq!((kept("a"), kept("b"), kept("c")), (Some(4), None, Some(3)));
        for name in ["a", "b", "c"] {
            decisions.forget(&PodKey::new("default", name));
        }
        assert_eq!((decisions.weight, decisions.by_age.len()), (0, 0));
    }
}
