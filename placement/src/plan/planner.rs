//! The planner: from a pod and a snapshot to a node, or to the reason why not.

use super::columns::Columns;
use super::rank::{Query, Scratch};
use super::trial::Trial;
use super::{Choice, Decision, Hold, Stopwatch, Warmth};
use crate::cluster::{NodeIx, Pod, PodKey, Point, Snapshot};
use crate::constraint::{self, Referrer, ResolvedBound, mutual_groups};
use crate::filter::{Volumes, dynamic_resources::Claims, named};
use crate::units::Timestamp;
use smallvec::SmallVec;

/// Keeps between decisions what can be kept: bitsets per toleration list and selector, and buffers. Use one planner for one cluster; another cluster's
/// snapshot, or an older one, is answered as well and costs a new start.
#[derive(Debug, Default)]
pub struct Planner {
    pub(super) columns: Columns,
    pub(super) scratch: Scratch,
    /// What the attempt at hand spends its time with.
    pub stopwatch: Stopwatch,
}

/// Bounds with their nodes; `None` where bounds are not looked at.
pub(super) type Resolved<'a> = Option<SmallVec<[ResolvedBound<'a>; 2]>>;

impl Planner {
    pub fn new() -> Planner {
        Planner::default()
    }

    /// One whose attempts are timed.
    pub fn timed(stopwatch: Stopwatch) -> Planner {
        Planner { stopwatch, ..Planner::default() }
    }

    /// The node for a pending pod, without words. The same answer as [`place`](Planner::place), at a hundredth of its price in a large cluster: ask
    /// this first, and for the table when nothing fits or somebody wants to know.
    pub fn choose(&mut self, snapshot: &Snapshot, pod: &Pod, now: Timestamp, warm: Warmth) -> Choice {
        let bounds = match self.prefilter(snapshot, pod, warm, &[]) {
            Ok(bounds) => bounds,
            Err(hold) => return Choice::Held(hold),
        };
        let query = Query::new(&mut self.columns, snapshot, pod, bounds.as_deref(), now);
        match self.best(&query) {
            Some(node) => Choice::Place(node),
            None => Choice::Unschedulable,
        }
    }

    /// [`resolve`], timed; where the pod is not held the stage goes on until nodes are filtered.
    pub(super) fn prefilter<'a>(
        &mut self,
        snapshot: &'a Snapshot,
        pod: &'a Pod,
        warm: Warmth,
        group: &[PodKey],
    ) -> Result<Resolved<'a>, Hold> {
        self.stopwatch.enter(Point::PreFilter);
        let bounds = resolve(snapshot, pod, warm, group);
        if bounds.is_err() {
            self.stopwatch.stop();
        }
        bounds
    }

    /// The node that the pod was promised, if it still fits there, else the best.
    pub(super) fn best(&mut self, query: &Query<'_>) -> Option<NodeIx> {
        self.stopwatch.enter(Point::Filter);
        self.scratch.filter(&self.columns, query, &mut self.stopwatch);
        self.stopwatch.enter(Point::Filter);
        self.honour_nominations(query);
        let best = self.best_of_candidates(query);
        self.stopwatch.stop();
        best
    }

    fn best_of_candidates(&mut self, query: &Query<'_>) -> Option<NodeIx> {
        if self.scratch.candidates.is_empty() {
            self.scratch.costs.clear();
            return None;
        }
        self.stopwatch.enter(Point::Score);
        self.scratch.rank(&self.columns, query, &mut self.stopwatch);
        let promised = query.pod.nominated_node.as_deref().and_then(|name| query.snapshot.node_index(name));
        if let Some(promised) = promised.filter(|ix| self.scratch.candidates.binary_search(&ix.0).is_ok()) {
            return Some(promised);
        }
        let at = self.scratch.best(&self.columns, query, &mut self.stopwatch)?;
        Some(NodeIx(self.scratch.candidates[at]))
    }

    /// Leaves nodes to the pods that were promised them.
    fn honour_nominations(&mut self, query: &Query<'_>) {
        let candidates = &mut self.scratch.candidates;
        if !candidates.is_empty() {
            let taken = Trial::new(query).beside_nominated(&mut self.columns, |ix| candidates.binary_search(&ix.0).is_ok());
            candidates.retain(|node| !taken.contains_key(&NodeIx(*node)));
        }
    }

    /// The decision for a pod with a verdict for every node. A pod that already stands on a node is judged as if it did not.
    pub fn place(&mut self, snapshot: &Snapshot, pod: &Pod, now: Timestamp, warm: Warmth) -> Decision {
        let stands = snapshot.pod(&pod.key).is_some_and(|view| view.pod.uid == pod.uid && view.node.is_some());
        if !stands {
            return self.judge(snapshot, pod, now, warm);
        }
        let pending = Pod { node_name: None, ..pod.clone() };
        self.judge(&snapshot.without(&pod.key), &pending, now, warm)
    }

    /// Pending pods that refer to each other and have to be placed together by [`place_group`](Planner::place_group).
    pub fn groups<'p>(snapshot: &Snapshot, pending: impl IntoIterator<Item = &'p Pod>) -> Vec<Vec<PodKey>> {
        mutual_groups(pending, snapshot)
    }
}

/// What holds the pod whatever the nodes say, else its bounds with their nodes. `group`: pods that are placed together with it.
pub(super) fn resolve<'a>(snapshot: &'a Snapshot, pod: &'a Pod, warm: Warmth, group: &[PodKey]) -> Result<Resolved<'a>, Hold> {
    if !pod.scheduling_gates.is_empty() {
        return Err(Hold::SchedulingGates(pod.scheduling_gates.clone()));
    }
    if !pod.refusals.is_empty() {
        return Err(Hold::Refused(pod.refusals.clone()));
    }
    if !pod.delay_errors.is_empty() {
        return Err(Hold::DelayInvalid(pod.delay_errors.clone()));
    }
    if snapshot.node_count() == 0 {
        return Err(Hold::NoNodes);
    }
    named::named(pod, snapshot.profile(pod))?;
    Volumes::new(snapshot, pod).map_err(Hold::Volumes)?;
    Claims::new(snapshot, pod)?;
    bounds(snapshot, pod, warm, group)
}

/// The bounds with their nodes.
pub(super) fn bounds<'a>(snapshot: &'a Snapshot, pod: &'a Pod, warm: Warmth, group: &[PodKey]) -> Result<Resolved<'a>, Hold> {
    if !snapshot.settings().delay_filter {
        return Ok(None);
    }
    if let (Warmth::Warming { heard, expected }, false) = (warm, pod.delays.is_empty()) {
        return Err(Hold::TopologyWarmingUp { heard, expected });
    }
    let referrer = Referrer { pod: &pod.key, owner: pod.owner.as_ref(), group };
    constraint::resolve(&pod.delays, &pod.key.namespace, referrer, snapshot).map(Some)
}
