//! Pods that others were evicted for, and that wait for the room: it is theirs against pods of no higher priority. As in kube-scheduler a node must take
//! a pod both beside those nominated to it and without them, since they may yet go elsewhere.

use super::rank::Query;
use super::{Planner, Reason};
use crate::cluster::{NodeIx, Pod, Snapshot, WhatIf};
use crate::constraint::ResolvedBound;
use crate::filter;
use crate::units::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A state in which nominated pods come to their node and leave it again, one node after the other: what was copied for one serves the next.
#[derive(Default)]
pub(super) struct Beside(Option<WhatIf>);

impl Planner {
    /// Why nodes can't take the pod beside those nominated to them; only nodes that can't.
    pub(super) fn beside_nominated(
        &mut self,
        snapshot: &Snapshot,
        pod: &Pod,
        bounds: Option<&[ResolvedBound<'_>]>,
        now: Timestamp,
    ) -> BTreeMap<NodeIx, Vec<Reason>> {
        let (mut rejected, mut beside) = (BTreeMap::new(), Beside::default());
        for (ix, nominated) in snapshot.nominations() {
            let reasons = self.beside(&mut beside, snapshot, pod, bounds, ix, nominated, now);
            if !reasons.is_empty() {
                rejected.insert(ix, reasons);
            }
        }
        rejected
    }

    /// Why one node can't take the pod beside those of `nominated` that it must leave room for. `beside` is of this snapshot.
    #[allow(clippy::too_many_arguments)] // Those of `reasons`, and who is there.
    pub(super) fn beside<'p>(
        &mut self,
        beside: &mut Beside,
        snapshot: &Snapshot,
        pod: &Pod,
        bounds: Option<&[ResolvedBound<'_>]>,
        ix: NodeIx,
        nominated: impl Iterator<Item = &'p Arc<Pod>>,
        now: Timestamp,
    ) -> Vec<Reason> {
        let others: Vec<&Arc<Pod>> = nominated.filter(|other| other.priority >= pod.priority && other.key != pod.key).collect();
        if others.is_empty() {
            return Vec::new();
        }
        let what_if = beside.0.get_or_insert_with(|| snapshot.what_if());
        others.iter().for_each(|other| what_if.put(&other.key, Some(ix)));
        let reasons = self.reasons(what_if.view(), pod, bounds, ix, now);
        others.iter().for_each(|other| what_if.put(&other.key, None));
        reasons
    }

    /// Why one node can't take the pod in this state; empty where it can.
    pub(super) fn reasons(
        &mut self,
        snapshot: &Snapshot,
        pod: &Pod,
        bounds: Option<&[ResolvedBound<'_>]>,
        ix: NodeIx,
        now: Timestamp,
    ) -> Vec<Reason> {
        let query = Query::new(&mut self.columns, snapshot, pod, bounds, now);
        filter::check(&query.subject(), ix)
    }
}
