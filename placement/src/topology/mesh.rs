//! The admissible RTTs among some nodes as one matrix: what the views, layers and sites are computed from.

use super::RttStore;
use crate::cluster::NodeIx;
use crate::constraint::Statistic;
use crate::units::{Micros, Span, Timestamp};

const UNMEASURED: u32 = u32::MAX;

/// Symmetric, 0 on the diagonal. 4 bytes a cell: 490 nodes take 1 MB, 4,096 nodes 67 MB.
#[derive(Clone, Debug)]
pub struct Mesh {
    nodes: Vec<NodeIx>,
    rtt_us: Vec<u32>,
}

impl Mesh {
    /// Pairs that are estimated, or older than `max_age`, count as unmeasured. Positions follow the order of `nodes`.
    pub fn new(rtts: &RttStore, nodes: &[NodeIx], statistic: Statistic, now: Timestamp, max_age: Span) -> Mesh {
        let columns = nodes.iter().map(|node| node.at() + 1).max().unwrap_or(0);
        let mut place = vec![usize::MAX; columns];
        for (at, node) in nodes.iter().enumerate() {
            place[node.at()] = at;
        }
        let n = nodes.len();
        let mut rtt_us = vec![UNMEASURED; n * n];
        for (from, &node) in nodes.iter().enumerate() {
            for (peer, rtt) in rtts.row(node).within(Micros::MAX, statistic, now, max_age) {
                if let Some(&to) = place.get(peer.at()).filter(|&&to| to != usize::MAX) {
                    rtt_us[from * n + to] = rtt.0.min(UNMEASURED - 1);
                }
            }
        }
        Mesh { nodes: nodes.to_vec(), rtt_us }
    }

    /// The same of some of the nodes, by their positions.
    pub fn part(&self, positions: &[usize]) -> Mesh {
        let rtt_us = positions.iter().flat_map(|&a| positions.iter().map(move |&b| self.row(a)[b])).collect();
        Mesh { nodes: positions.iter().map(|&at| self.nodes[at]).collect(), rtt_us }
    }

    pub fn nodes(&self) -> &[NodeIx] {
        &self.nodes
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Between two positions; `None` when unmeasured.
    pub fn get(&self, a: usize, b: usize) -> Option<Micros> {
        Some(self.row(a)[b]).filter(|&us| us != UNMEASURED).map(Micros)
    }

    /// Microseconds by position; `u32::MAX` where unmeasured.
    pub(super) fn row(&self, a: usize) -> &[u32] {
        &self.rtt_us[a * self.len()..(a + 1) * self.len()]
    }

    /// Unordered measured pairs by position, without the diagonal.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize, Micros)> + '_ {
        (0..self.len()).flat_map(move |a| (a + 1..self.len()).filter_map(move |b| Some((a, b, self.get(a, b)?))))
    }

    /// The largest RTT between two of the positions; `None` when a pair is unmeasured.
    pub fn diameter(&self, positions: &[usize]) -> Option<Micros> {
        let mut pairs = positions.iter().enumerate().flat_map(|(i, &a)| positions[..i].iter().map(move |&b| self.get(a, b)));
        pairs.try_fold(Micros(0), |widest, rtt| Some(widest.max(rtt?)))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::topology::PairStat;

    /// A mesh of nodes 0..n out of pairs in us; the others are unmeasured.
    pub fn mesh(n: u32, pairs: impl IntoIterator<Item = (u32, u32, u32)>) -> Mesh {
        let mut rtts = RttStore::new(Span(1));
        for (a, b, us) in pairs {
            rtts.set(NodeIx(a), NodeIx(b), PairStat::declared(Micros(us), Timestamp(0)));
        }
        Mesh::new(&rtts, &(0..n).map(NodeIx).collect::<Vec<_>>(), Statistic::P90, Timestamp(0), Span(1))
    }

    /// Every pair of n nodes, in the order (0,1), (0,2), …, from a list of figures that is repeated as needed.
    pub fn full(n: u32, figures: &[u32]) -> Mesh {
        let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
        mesh(n, pairs.zip(figures.iter().cycle()).map(|((a, b), &us)| (a, b, us)))
    }
}
