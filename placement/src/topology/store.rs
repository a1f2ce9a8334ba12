//! The RTT store: what is known of every pair of nodes, by index.
//!
//! Every pair stands in the rows of both its nodes, so that "who is within X of this node" walks one row. 16 bytes a cell:
//! 490 nodes take 490 x 2 chunks x 4 kB = 4 MB, 2,000 nodes 64 MB, 4,096 nodes 268 MB. Above 4,096 nodes the mesh is sampled and
//! rows are sparse: 20 bytes a measured pair and row.

use super::row::{Cell, Row, RowData};
use super::{Kind, PairStat};
use crate::cluster::NodeIx;
use crate::constraint::Statistic;
use crate::units::{Micros, Span, Timestamp};
use std::sync::Arc;

/// Number of nodes up to which rows are dense.
const DENSE_NODES: u32 = 4096;

/// A pair before and after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairChange {
    pub before: Option<PairStat>,
    pub after: Option<PairStat>,
}

impl PairChange {
    /// Whether the event moved the pair across a bound, in either direction; an unmeasured pair is outside every bound.
    pub fn crosses(&self, bound: Micros, statistic: Statistic) -> bool {
        let inside = |stat: &Option<PairStat>| stat.is_some_and(|s| s.kind.admits() && s.figure(statistic) <= bound);
        inside(&self.before) != inside(&self.after)
    }
}

/// All pairs. A clone is a snapshot: it costs one reference count, and what changes afterwards is copied chunk by chunk.
#[derive(Clone, Debug)]
pub struct RttStore {
    rows: Arc<Vec<Option<Arc<RowData>>>>,
    dense: bool,
    dense_nodes: u32,
    max_age: Span,
}

impl RttStore {
    /// `max_age`: how much older than the other direction of its pair a direction may be before it no longer counts.
    pub fn new(max_age: Span) -> RttStore {
        RttStore::with_dense_nodes(max_age, DENSE_NODES)
    }

    /// As [`new`](RttStore::new), with sparse rows from `dense_nodes` nodes on.
    pub fn with_dense_nodes(max_age: Span, dense_nodes: u32) -> RttStore {
        RttStore { rows: Arc::default(), dense: true, dense_nodes, max_age }
    }

    /// Takes in what `a` reports of its pair with `b`. Both directions are kept and the larger figures count. A node to itself stays 0.
    pub fn set(&mut self, a: NodeIx, b: NodeIx, stat: PairStat) -> PairChange {
        self.report(a, b, Some(Cell::of(stat)))
    }

    /// Takes back what `a` reported of its pair with `b`; the other end's report stays.
    pub fn remove(&mut self, a: NodeIx, b: NodeIx) -> PairChange {
        self.report(a, b, None)
    }

    /// Forgets every pair of a node, in both directions. Returns the other ends with what was known.
    pub fn remove_row(&mut self, a: NodeIx) -> Vec<(NodeIx, PairStat)> {
        let gone: Vec<_> = self.row(a).iter().collect();
        for &(b, _) in &gone {
            self.write(a, b, None, None);
        }
        gone
    }

    /// The larger direction of the pair; `None` when unmeasured. A node to itself is 0 and always fresh.
    /// Whether it admits depends on its age and kind: [`PairStat::admissible`].
    pub fn get(&self, a: NodeIx, b: NodeIx) -> Option<PairStat> {
        self.row(a).get(b)
    }

    pub fn row(&self, a: NodeIx) -> Row<'_> {
        Row { ix: a, data: self.data(a) }
    }

    /// What `a` itself reported of the pair.
    pub fn reported(&self, a: NodeIx, b: NodeIx) -> Option<PairStat> {
        self.reported_cell(a, b)?.stat()
    }

    /// The peers that `a` itself reported, by rising index.
    pub fn peers_reported_by(&self, a: NodeIx) -> impl Iterator<Item = NodeIx> + '_ {
        self.data(a).into_iter().flat_map(RowData::iter).filter(|(_, cell)| cell.tag.by_own()).map(|(b, _)| b)
    }

    /// Every unordered pair that is known, of whatever kind and age, by rising indices.
    pub fn pairs(&self) -> impl Iterator<Item = (NodeIx, NodeIx, PairStat)> + '_ {
        let nodes = (0..self.rows.len() as u32).map(NodeIx);
        nodes.flat_map(|a| self.row(a).iter().filter(move |&(b, _)| a < b).map(move |(b, stat)| (a, b, stat)))
    }

    fn report(&mut self, a: NodeIx, b: NodeIx, report: Option<Cell>) -> PairChange {
        let before = self.get(a, b);
        if a == b {
            return PairChange { before, after: before };
        }
        let other = self.reported_cell(b, a);
        self.write(a, b, report, other);
        PairChange { before, after: self.get(a, b) }
    }

    fn reported_cell(&self, a: NodeIx, b: NodeIx) -> Option<Cell> {
        let row = self.data(a)?;
        let cell = row.get(b)?;
        match (cell.tag.by_own(), cell.tag.by_other()) {
            (true, true) => row.own(b),
            (true, false) => Some(cell),
            _ => None,
        }
    }

    fn write(&mut self, a: NodeIx, b: NodeIx, ab: Option<Cell>, ba: Option<Cell>) {
        let pair = match (ab, ba) {
            (Some(ab), Some(ba)) => Some(larger(ab, ba, self.max_age)),
            (one, other) => one.or(other),
        };
        for (own, peer, by_own, by_peer) in [(a, b, ab, ba), (b, a, ba, ab)] {
            let row = self.data_mut(own);
            match pair {
                Some(cell) => row.put(peer, Cell { tag: cell.tag.reported(by_own.is_some(), by_peer.is_some()), ..cell }),
                None => row.remove(peer),
            }
            row.put_own(peer, by_own.filter(|_| by_peer.is_some()));
        }
    }

    fn data(&self, a: NodeIx) -> Option<&RowData> {
        self.rows.get(a.at())?.as_deref()
    }

    fn data_mut(&mut self, a: NodeIx) -> &mut RowData {
        if self.dense && a.0 >= self.dense_nodes {
            self.dense = false;
            self.rows = Arc::new(self.rows.iter().map(|row| row.as_ref().map(|row| Arc::new(row.to_sparse()))).collect());
        }
        let rows = Arc::make_mut(&mut self.rows);
        if rows.len() <= a.at() {
            rows.resize(a.at() + 1, None);
        }
        let dense = self.dense;
        Arc::make_mut(rows[a.at()].get_or_insert_with(|| Arc::new(RowData::new(a, dense))))
    }
}

/// Of two directions the larger figures. A direction that does not admit, or is stale beside the other, does not mask the other.
fn larger(x: Cell, y: Cell, max_age: Span) -> Cell {
    match (x.tag.kind().admits(), y.tag.kind().admits()) {
        (true, false) => return x,
        (false, true) => return y,
        _ if x.at.saturating_add(max_age.0) < y.at => return y,
        _ if y.at.saturating_add(max_age.0) < x.at => return x,
        _ => {}
    }
    let worse = if x.p90 >= y.p90 { x } else { y };
    let loss_permille = x.tag.loss_permille().max(y.tag.loss_permille());
    Cell {
        p50: x.p50.max(y.p50),
        p90: worse.p90,
        tag: super::row::Tag::new(loss_permille, worse.tag.kind()),
        samples: x.samples.min(y.samples),
        at: x.at.max(y.at),
    }
}

impl PairStat {
    /// The figure that a bound with this statistic is held against.
    pub fn figure(&self, statistic: Statistic) -> Micros {
        match statistic {
            Statistic::P50 => self.p50,
            Statistic::P90 => self.p90,
        }
    }

    /// The figure, if it may admit a pod or a request: of an admissible kind and not older than `max_age`.
    pub fn admissible(&self, statistic: Statistic, now: Timestamp, max_age: Span) -> Option<Micros> {
        (self.kind.admits() && now.since(self.at) <= max_age).then(|| self.figure(statistic))
    }

    /// A figure that somebody wrote down: p50 and p90 are the same and nothing was lost.
    pub fn declared(rtt: Micros, at: Timestamp) -> PairStat {
        PairStat { p50: rtt, p90: rtt, loss_permille: 0, samples: 0, at, kind: Kind::Declared }
    }
}

#[cfg(test)]
mod tests;
