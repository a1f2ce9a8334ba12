//! Preemption: which pods of lower priority would have to go so that a pod that fits nowhere fits on one node. By kube-scheduler's rules
//! (1.37, plugin DefaultPreemption): on each node as few as possible and the least important, budgets of disruption broken only where there is no other
//! way; then the node whose victims matter least. Delay bounds hold: a node out of bounds is never a candidate.

use super::decision::histogram;
use super::planner::resolve;
use super::rank::Query;
use super::trial::Trial;
use super::{Decision, Outcome, Planner, Verdict, VerdictCode, Warmth};
use crate::cluster::{NodeIx, Plugin, Pod, PodKey, Point, Snapshot, name_hash};
use crate::constraint::pods_behind;
use crate::units::Timestamp;
use fixedbitset::FixedBitSet;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How a pod that fits nowhere may come to its room.
#[derive(Clone, Debug, PartialEq)]
pub enum Preemption {
    Evict(Eviction),
    /// Not now; `message` says why. `nominated`: the room that the pod was promised is still on its way.
    No {
        message: String,
        nominated: bool,
    },
}

/// Who has to go for a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    pub node: String,
    /// The most important first. Some may be terminating already.
    pub victims: Vec<Arc<Pod>>,
    /// Victims that a budget of disruption protects.
    pub violations: usize,
    /// Pods of lower priority that were promised room on the node, and lose it.
    pub outranked: Vec<Arc<Pod>>,
}

impl Preemption {
    /// As kube-scheduler's PostFilter says it.
    pub fn message(&self) -> String {
        match self {
            Preemption::Evict(Eviction { node, victims, .. }) => {
                format!("preemption: found a potential placement for pod on node {node}, preempting {} victims", victims.len())
            }
            Preemption::No { message, .. } => format!("preemption: {message}"),
        }
    }
}

/// One node with its victims.
struct Candidate {
    ix: NodeIx,
    victims: Vec<Arc<Pod>>,
    violations: usize,
}

const HELPLESS: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Pods that the pod's bounds refer to. They are never evicted for it.
pub fn referred<'a>(snapshot: &'a Snapshot, pod: &'a Pod) -> BTreeSet<&'a PodKey> {
    pod.delays.iter().flat_map(|bound| pods_behind(&bound.from, &pod.key.namespace, snapshot)).map(|(key, _)| key).collect()
}

impl Planner {
    /// `decision`: the pod fits no node, with every node's verdict, made on this snapshot. `None`: the pod's profile does not preempt.
    pub fn preempt(&mut self, snapshot: &Snapshot, pod: &Pod, decision: &Decision, now: Timestamp) -> Option<Preemption> {
        let preempts = snapshot.profile(pod).plugins.has(Point::PostFilter, Plugin::DefaultPreemption);
        preempts.then(|| {
            self.stopwatch.enter(Point::PostFilter);
            self.stopwatch.ask(Plugin::DefaultPreemption);
            let preemption = self.make_room(snapshot, pod, decision, now);
            self.stopwatch.stop();
            preemption
        })
    }

    fn make_room(&mut self, snapshot: &Snapshot, pod: &Pod, decision: &Decision, now: Timestamp) -> Preemption {
        if pod.never_preempts {
            return Preemption::No { message: "not eligible due to preemptionPolicy=Never.".into(), nominated: true };
        }
        let helped = self.helped_nodes(snapshot, decision);
        if waits_for_its_room(snapshot, pod, decision) {
            return Preemption::No { message: "not eligible due to a terminating pod on the nominated node.".into(), nominated: true };
        }
        let bounds = resolve(snapshot, pod, Warmth::Warm, &[]).unwrap_or_default();
        let query = Query::new(&mut self.columns, snapshot, pod, bounds.as_deref(), now);
        let mut trial = Trial::new(&query);
        let standing = Standing::new(snapshot, &helped);
        let referred = referred(snapshot, pod);
        let (mut candidates, mut statuses) = (Vec::new(), Vec::new());
        let enough = snapshot.profile(pod).preemption.candidates(helped.len());
        // Another start for another pod, so that not always the same nodes pay; the same for the same pod.
        let start = if helped.is_empty() { 0 } else { name_hash(&pod.uid) as usize % helped.len() };
        for ix in helped[start..].iter().chain(&helped[..start]).copied() {
            let lesser = standing.on(ix).filter(|other| other.priority < pod.priority && !other.grouped && !referred.contains(&other.key));
            let lesser: Vec<&Arc<Pod>> = lesser.collect();
            match self.victims(&mut trial, ix, &lesser) {
                Ok(candidate) => candidates.push(candidate),
                Err(reasons) => statuses.extend(reasons),
            }
            if candidates.len() >= enough && candidates.iter().any(|candidate| candidate.violations == 0) {
                break;
            }
        }
        match candidates.into_iter().min_by_key(|candidate| weight(snapshot, candidate)) {
            Some(Candidate { ix, victims, violations }) => {
                let outranked = outranked(snapshot, pod, ix);
                Preemption::Evict(Eviction { node: snapshot.name(ix).to_owned(), victims, violations, outranked })
            }
            None => {
                let others = snapshot.node_count() - helped.len();
                statuses.extend(std::iter::repeat_n(HELPLESS.to_owned(), others));
                Preemption::No { message: histogram(snapshot.node_count(), statuses.into_iter()), nominated: false }
            }
        }
    }

    /// The fewest and least important of `lesser` that have to leave the node, or why their leaving would not help. All are there again afterwards.
    fn victims(&mut self, trial: &mut Trial<'_, '_>, ix: NodeIx, lesser: &[&Arc<Pod>]) -> Result<Candidate, Vec<String>> {
        if lesser.is_empty() {
            return Err(vec![NO_VICTIMS.to_owned()]);
        }
        lesser.iter().for_each(|victim| trial.put(victim, ix, false));
        let reasons = trial.reasons(&mut self.columns, ix);
        if !reasons.is_empty() {
            lesser.iter().for_each(|victim| trial.put(victim, ix, true));
            return Err(reasons.iter().map(ToString::to_string).collect());
        }
        let mut lesser = lesser.to_vec();
        lesser.sort_by(|a, b| by_importance(a, b));
        let (protected, free) = by_budget(trial.snapshot(), lesser);
        let mut victims = Vec::new();
        let mut violations = 0;
        let both = !protected.is_empty() && !free.is_empty();
        for (victim, violates) in protected.into_iter().map(|victim| (victim, 1)).chain(free.into_iter().map(|victim| (victim, 0))) {
            trial.put(victim, ix, true);
            if !trial.reasons(&mut self.columns, ix).is_empty() {
                trial.put(victim, ix, false);
                violations += violates;
                victims.push(Arc::clone(victim));
            }
        }
        victims.iter().for_each(|victim| trial.put(victim, ix, true));
        if both {
            victims.sort_by(|a, b| by_importance(a, b));
        }
        // All were spared: it fits now, and the next attempt will find that.
        if victims.is_empty() { Err(vec![HELPLESS.to_owned()]) } else { Ok(Candidate { ix, victims, violations }) }
    }

    /// Nodes that were rejected for nothing but what pods take from them, by name.
    fn helped_nodes(&mut self, snapshot: &Snapshot, decision: &Decision) -> Vec<NodeIx> {
        if decision.outcome != Outcome::Unschedulable {
            return Vec::new();
        }
        self.columns.sync(snapshot);
        let by_name = self.columns.by_name(snapshot);
        let helps = |verdict: &Verdict| match verdict {
            Verdict::Rejected(reasons) => reasons.iter().all(|reason| reason.code() == VerdictCode::Unschedulable),
            Verdict::Feasible { .. } => false,
        };
        debug_assert_eq!(by_name.len(), decision.nodes.len(), "decided on this snapshot");
        let helped = by_name.iter().zip(&decision.nodes).filter(|(_, judged)| helps(&judged.verdict));
        helped.map(|(ix, _)| *ix).collect()
    }
}

/// The pods on some nodes, as one list per node.
struct Standing<'a> {
    /// By node: the last entry of its list.
    last: Vec<Option<u32>>,
    /// A pod with the entry before it on its node.
    pods: Vec<(&'a Arc<Pod>, Option<u32>)>,
}

impl<'a> Standing<'a> {
    fn new(snapshot: &'a Snapshot, nodes: &[NodeIx]) -> Standing<'a> {
        let mut asked = FixedBitSet::with_capacity(snapshot.index_len());
        nodes.iter().for_each(|ix| asked.insert(ix.at()));
        let mut standing = Standing { last: vec![None; snapshot.index_len()], pods: Vec::new() };
        for view in snapshot.pods() {
            if let Some(ix) = view.node.filter(|ix| asked.contains(ix.at())) {
                let before = standing.last[ix.at()].replace(standing.pods.len() as u32);
                standing.pods.push((view.pod, before));
            }
        }
        standing
    }

    fn on(&self, ix: NodeIx) -> impl Iterator<Item = &'a Arc<Pod>> {
        let entry = |at: Option<u32>| at.map(|at| self.pods[at as usize]);
        std::iter::successors(entry(self.last[ix.at()]), move |(_, before)| entry(*before)).map(|(pod, _)| pod)
    }
}

/// Whether others were evicted for the pod and still terminate on its node. A node that eviction can't help on any more is given up.
fn waits_for_its_room(snapshot: &Snapshot, pod: &Pod, decision: &Decision) -> bool {
    let Some(nominated) = pod.nominated_node.as_deref() else { return false };
    let given_up = decision.nodes.iter().find(|judged| judged.node == nominated).is_some_and(|judged| match &judged.verdict {
        Verdict::Rejected(reasons) => reasons.iter().any(|reason| reason.code() == VerdictCode::Unresolvable),
        Verdict::Feasible { .. } => false,
    });
    let Some(ix) = snapshot.node_index(nominated).filter(|_| !given_up) else { return false };
    snapshot.pods().any(|view| view.node == Some(ix) && view.pod.preempted && view.pod.priority < pod.priority)
}

/// Pods of lower priority that are nominated to the node.
fn outranked(snapshot: &Snapshot, pod: &Pod, ix: NodeIx) -> Vec<Arc<Pod>> {
    snapshot.nominated_to(ix).filter(|other| other.priority < pod.priority && other.key != pod.key).cloned().collect()
}

/// The more important first: higher priority, then longer running. Of equals, the lower name.
fn by_importance(a: &Pod, b: &Pod) -> Ordering {
    let name = |pod: &Pod| pod.key.to_string();
    let rank = |pod: &Pod| (Reverse(pod.priority), started(pod));
    rank(a).cmp(&rank(b)).then_with(|| name(a).cmp(&name(b)))
}

/// One that has not started has run for the shortest time.
fn started(pod: &Pod) -> Timestamp {
    pod.started.unwrap_or(Timestamp(u64::MAX))
}

/// Those whose eviction a budget does not allow, and the others, each in the order given. A budget allows as many as it says.
fn by_budget<'a>(snapshot: &Snapshot, pods: Vec<&'a Arc<Pod>>) -> (Vec<&'a Arc<Pod>>, Vec<&'a Arc<Pod>>) {
    let mut budgets: Vec<_> = snapshot.budgets().map(|budget| (budget, budget.allowed)).collect();
    pods.into_iter().partition(|pod| {
        budgets.iter_mut().filter(|(budget, _)| budget.protects(pod)).any(|(_, allowed)| {
            *allowed -= 1;
            *allowed < 0
        })
    })
}

/// What evicting costs, compared in this order: budgets broken, the highest priority of a victim, the sum of priorities, the number of victims, and how
/// long the most important ones have run. Of equals, the node of the lower name.
fn weight(snapshot: &Snapshot, candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Timestamp>, String) {
    let highest = candidate.victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
    // Never negative, so that fewer victims of negative priority do not lose against more of them.
    let sum = candidate.victims.iter().map(|victim| i64::from(victim.priority) + i64::from(i32::MAX) + 1).sum();
    let longest = candidate.victims.iter().filter(|victim| victim.priority == highest).map(|victim| started(victim)).min();
    let longest = Reverse(longest.unwrap_or(Timestamp(0)));
    (candidate.violations, highest, sum, candidate.victims.len(), longest, snapshot.name(candidate.ix).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, node, pod};
    use super::*;
    use crate::cluster::{Cluster, Settings};

    /// Node `n` is full with `low`.
    #[test]
    fn nobody_is_evicted_who_is_one_of_a_group_or_whom_the_pod_refers_to() {
        let evicted = |low: Pod, urgent: Pod| {
            let mut cluster = Cluster::new(Settings::default());
            cluster.apply_node(node("n", 1000, &[]));
            cluster.apply_pod(Pod { node_name: Some("n".into()), ..low });
            let urgent = Pod { priority: 1, ..urgent };
            cluster.apply_pod(urgent.clone());
            let (snapshot, mut planner) = (cluster.snapshot(), Planner::new());
            let decision = planner.place(&snapshot, &urgent, NOW, Warmth::Warm);
            match planner.preempt(&snapshot, &urgent, &decision, NOW) {
                Some(Preemption::Evict(eviction)) => eviction.victims.iter().map(|victim| victim.key.name.clone()).collect(),
                other => vec![format!("{other:?}")],
            }
        };
        let none = "1 No preemption victims found for incoming pod";
        assert_eq!(evicted(pod("low", 1000, &[]), pod("urgent", 1000, &[])), ["low"]);
        let grouped = Pod { grouped: true, ..pod("low", 1000, &[]) };
        assert!(evicted(grouped, pod("urgent", 1000, &[]))[0].contains(none));
        assert!(evicted(pod("low", 1000, &[]), pod("urgent", 1000, &[("low", "5")]))[0].contains(none));
    }
}
