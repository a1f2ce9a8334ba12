//! Delay layers: groups of nodes that are all within X of each other.
//!
//! A cut through a complete-linkage dendrogram: two groups merge at the largest RTT between their members, so no pair in a group exceeds the cut.
//! "Within X of *this* node" is another question and no cluster answers it: that is [`super::Row::within`].

use super::Mesh;
use crate::cluster::NodeIx;
use crate::units::Micros;
use kodama::{Method, linkage};
use petgraph::unionfind::UnionFind;

/// Stands for an unmeasured pair: above every RTT, so that such a pair shares no group at any cut. Finite, as kodama requires.
const UNMEASURED: f64 = 1e15;

/// The dendrogram of a mesh: made once, cut at any X.
#[derive(Clone, Debug)]
pub struct Layers {
    nodes: Vec<NodeIx>,
    /// Positions of a member of either group, and the RTT in us at which they merge.
    merges: Vec<(usize, usize, f64)>,
}

impl Layers {
    pub fn new(mesh: &Mesh) -> Layers {
        let n = mesh.len();
        // f64, not f32: above 2^24 us f32 would round, and a rounded merge could admit.
        let mut condensed: Vec<f64> =
            (0..n).flat_map(|a| (a + 1..n).map(move |b| mesh.get(a, b).map_or(UNMEASURED, |rtt| f64::from(rtt.0)))).collect();
        let dendrogram = linkage(&mut condensed, n, Method::Complete);
        // Clusters from n on are merges; any member can stand for one.
        let mut member: Vec<usize> = (0..n).collect();
        let mut merges = Vec::with_capacity(n);
        for step in dendrogram.steps() {
            let (a, b) = (member[step.cluster1], member[step.cluster2]);
            merges.push((a, b, step.dissimilarity));
            member.push(a);
        }
        Layers { nodes: mesh.nodes().to_vec(), merges }
    }

    /// The groups at a cut, as positions in the mesh, in the order of their first members; nodes on their own among them.
    pub fn cut_positions(&self, within: Micros) -> Vec<Vec<usize>> {
        let mut union = UnionFind::<usize>::new(self.nodes.len());
        for &(a, b, rtt) in &self.merges {
            if rtt <= f64::from(within.0) {
                union.union(a, b);
            }
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut group_of = vec![usize::MAX; self.nodes.len()];
        for (at, root) in union.into_labeling().into_iter().enumerate() {
            if group_of[root] == usize::MAX {
                group_of[root] = groups.len();
                groups.push(Vec::new());
            }
            groups[group_of[root]].push(at);
        }
        groups
    }

    /// The groups at a cut: no two members of one are farther apart than `within`, nor unmeasured.
    pub fn cut(&self, within: Micros) -> Vec<Vec<NodeIx>> {
        let nodes = |group: Vec<usize>| group.into_iter().map(|at| self.nodes[at]).collect();
        self.cut_positions(within).into_iter().map(nodes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::mesh::testing::{full, mesh};
    use super::*;
    use proptest::prelude::*;

    fn check(mesh: &Mesh, within: u32, expected: &[&[usize]]) {
        assert_eq!(Layers::new(mesh).cut_positions(Micros(within)), expected, "within {within} us");
    }

    #[test]
    fn a_chain_is_not_one_layer() {
        // 0 - 1 - 2 - 3 at 10 us each, ends farther apart: single linkage would join all at 10.
        let chain = full(4, &[10, 20, 30, 10, 20, 10]);
        check(&chain, 9, &[&[0], &[1], &[2], &[3]]);
        check(&chain, 10, &[&[0, 1], &[2, 3]]);
        check(&chain, 30, &[&[0, 1, 2, 3]]);
    }

    #[test]
    fn an_unmeasured_pair_never_shares_a_layer() {
        check(&mesh(3, [(0, 1, 5), (1, 2, 5)]), u32::MAX, &[&[0, 1], &[2]]);
        check(&mesh(1, []), 5, &[&[0]]);
        check(&mesh(0, []), 5, &[]);
    }

    proptest! {
        #[test]
        fn no_pair_in_a_layer_exceeds_the_cut_and_layers_nest(n in 2..14u32, figures in prop::collection::vec(1..60_000_000u32, 91), cut in 1..70_000_000u32) {
            let mesh = full(n, &figures);
            let layers = Layers::new(&mesh);
            let groups = layers.cut_positions(Micros(cut));
            let mut all: Vec<usize> = groups.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n as usize).collect::<Vec<_>>());
            for group in &groups {
                prop_assert!(mesh.diameter(group).unwrap() <= Micros(cut));
            }
            let finer = layers.cut_positions(Micros(cut / 2));
            prop_assert!(finer.iter().all(|small| groups.iter().any(|group| small.iter().all(|at| group.contains(at)))));
        }
    }
}
