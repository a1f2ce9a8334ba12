//! The decision in words: a verdict for every node.

use super::planner::{Resolved, resolve};
use super::rank::{Query, Scorer};
use super::trial::Trial;
use super::{Decision, Hold, NodeVerdict, NodeWait, Outcome, Planner, PodWait, Verdict, VolumeWait, WakeOn, Warmth};
use crate::cluster::{NodeIx, Pod, PodKey, Point, Snapshot};
use crate::constraint::{BoundVerdict, DelayBound, ResolvedBound};
use crate::filter::{self, Subject};
use crate::units::Timestamp;

pub(super) fn held(snapshot: &Snapshot, pod: &Pod, hold: Hold) -> Decision {
    let mut wake = WakeOn::new(&pod.key, snapshot.settings().max_age).hold(&hold, &pod.delays);
    wake.volumes = VolumeWait::on_hold(pod, &hold);
    wake.claims_of(pod);
    Decision {
        pod: pod.key.clone(),
        uid: pod.uid.clone(),
        generation: snapshot.generation(),
        outcome: Outcome::Held(hold),
        nodes: Vec::new(),
        node_count: snapshot.node_count(),
        wake,
        preemption: None,
    }
}

impl Planner {
    pub(super) fn judge(&mut self, snapshot: &Snapshot, pod: &Pod, now: Timestamp, warm: Warmth) -> Decision {
        match self.prefilter(snapshot, pod, warm, &[]) {
            Ok(bounds) => self.explain(snapshot, pod, &bounds, now),
            Err(hold) => held(snapshot, pod, hold),
        }
    }

    /// The decision for a pending pod, in the same words as [`place`](Planner::place). Where a node is found there are no verdicts, at a hundredth of the
    /// price in a large cluster; where none fits, every node has one.
    pub fn decide(&mut self, snapshot: &Snapshot, pod: &Pod, now: Timestamp, warm: Warmth) -> Decision {
        let bounds = match self.prefilter(snapshot, pod, warm, &[]) {
            Ok(bounds) => bounds,
            Err(hold) => return held(snapshot, pod, hold),
        };
        let query = Query::new(&mut self.columns, snapshot, pod, bounds.as_deref(), now);
        let Some(ix) = self.best(&query) else { return self.explain(snapshot, pod, &bounds, now) };
        let subject = query.subject();
        let candidates = &self.scratch.candidates;
        let score = || (Scorer::new(&self.columns, &query, candidates).total(ix.at()), candidates.len());
        Decision {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            generation: snapshot.generation(),
            outcome: Outcome::Place { node: snapshot.name(ix).to_owned(), because: because(&subject, ix, score) },
            nodes: Vec::new(),
            node_count: snapshot.node_count(),
            wake: WakeOn::new(&pod.key, snapshot.settings().max_age),
            preemption: None,
        }
    }

    pub(super) fn explain(&mut self, snapshot: &Snapshot, pod: &Pod, bounds: &Resolved<'_>, now: Timestamp) -> Decision {
        let query = Query::new(&mut self.columns, snapshot, pod, bounds.as_deref(), now);
        let best = self.best(&query);
        // Why each node was rejected is for the filters to say.
        if best.is_none() {
            self.stopwatch.enter(Point::Filter);
        }
        let taken = Trial::new(&query).beside_nominated(&mut self.columns, |_| true);
        let by_name = self.columns.by_name(snapshot);
        let scorer = Scorer::new(&self.columns, &query, &self.scratch.candidates);
        let limit = self.scratch.limit(&query);
        let subject = query.subject();
        let verdict = |ix: NodeIx| match self.scratch.candidates.binary_search(&ix.0) {
            Err(_) if taken.contains_key(&ix) => Verdict::Rejected(taken[&ix].clone()),
            Err(_) => {
                let mut reasons = filter::check(&subject, ix);
                // They are kept for whoever asks.
                reasons.shrink_to_fit();
                debug_assert!(!reasons.is_empty(), "columns reject {} for a reason that no check knows", snapshot.name(ix));
                Verdict::Rejected(reasons)
            }
            Ok(at) => {
                let cost_us = self.scratch.costs.get(at).copied();
                let scores = scorer.score_lines(ix.at());
                Verdict::Feasible { cost_us, in_band: cost_us.is_none_or(|cost| cost <= limit), total: scorer.total(ix.at()), scores }
            }
        };
        let nodes: Vec<NodeVerdict> =
            by_name.iter().map(|&ix| NodeVerdict { node: snapshot.name(ix).to_owned(), verdict: verdict(ix) }).collect();
        self.stopwatch.stop();
        let outcome = match best {
            Some(ix) => Outcome::Place {
                node: snapshot.name(ix).to_owned(),
                because: because(&subject, ix, || (scorer.total(ix.at()), self.scratch.candidates.len())),
            },
            None => Outcome::Unschedulable,
        };
        let mut decision = Decision {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            generation: snapshot.generation(),
            outcome,
            nodes,
            node_count: snapshot.node_count(),
            wake: WakeOn::new(&pod.key, snapshot.settings().max_age),
            preemption: None,
        };
        if best.is_none() {
            decision.wake = wake_on(&decision, snapshot, pod, bounds);
            decision.wake.pods = PodWait::new(snapshot, pod, decision.reasons());
            decision.wake.volumes = VolumeWait::new(pod, decision.reasons());
        }
        decision
    }
}

fn wake_on(decision: &Decision, snapshot: &Snapshot, pod: &Pod, bounds: &Resolved<'_>) -> WakeOn {
    let mut wake = decision.wake.clone();
    decision.reasons().for_each(|reason| wake.reason(reason));
    wake.node = Some(NodeWait::new(snapshot, pod, decision.reasons()));
    let resolved = bounds.as_deref().unwrap_or_default();
    let behind = |bound: &DelayBound| {
        let targets = resolved.iter().filter(|resolved| resolved.bound == bound).flat_map(|resolved| &resolved.targets);
        targets.map(|&target| Some(snapshot.name(target).to_owned())).collect()
    };
    wake.claims_of(pod);
    // A node that was rejected for something else may be out of a bound as well: bounds count always.
    wake.bounds(if bounds.is_some() { &pod.delays } else { &[] }, behind);
    wake
}

/// Why this node: the figures of its bounds, or its score among so many nodes that fit.
fn because(subject: &Subject<'_>, ix: NodeIx, score: impl FnOnce() -> (i64, usize)) -> String {
    let figures = figures(subject, ix);
    if !figures.is_empty() {
        return figures;
    }
    let (total, feasible) = score();
    let cloud = subject.snapshot.slot(ix).is_some_and(|slot| slot.cloud) && filter::cloud_role::applies(subject.snapshot, subject.pod);
    let rule = if cloud { "no delay bound, so a cloud node; " } else { "" };
    format!("{rule}score {total}, best of {feasible}")
}

/// `3.1 ms from edge-1, bound 25 ms`, for every bound.
fn figures(subject: &Subject<'_>, ix: NodeIx) -> String {
    let Subject { snapshot, bounds, now, .. } = *subject;
    let figure = |resolved: &ResolvedBound<'_>| {
        let (from, max) = (&resolved.bound.from, resolved.bound.max);
        match resolved.judge(snapshot.rtt(), ix, now, snapshot.settings().max_age) {
            BoundVerdict::Met(Some((rtt, target))) if resolved.via => {
                format!("{rtt} from {from} (on {}), bound {max}", snapshot.name(target))
            }
            BoundVerdict::Met(Some((rtt, _))) => format!("{rtt} from {from}, bound {max}"),
            _ => format!("RTT from {from} not measured, which the bound allows"),
        }
    };
    bounds.unwrap_or_default().iter().map(figure).collect::<Vec<_>>().join("; ")
}

/// The figures of a member of a group, in the state where all are placed.
pub(super) fn figures_of_member(after: &Snapshot, pod: &Pod, ix: NodeIx, now: Timestamp) -> String {
    let bounds = resolve(after, pod, Warmth::Warm, &[]).ok().flatten();
    figures(
        &Subject { snapshot: after, pod, bounds: bounds.as_deref(), now, among_pods: Default::default(), volumes: None, claims: None },
        ix,
    )
}

/// Every member of a group that has no placement.
pub(super) fn unplaceable(snapshot: &Snapshot, pod: &Pod, members: &[PodKey]) -> Decision {
    let mut decision = held(snapshot, pod, Hold::GroupUnplaceable { members: members.iter().map(ToString::to_string).collect() });
    decision.wake.pods = PodWait::on(snapshot, pod, true, true);
    decision.wake.volumes = VolumeWait::on_anything(pod);
    decision
}
