//! Graph views of the measured pairs: which nodes hang together, by what nodes, and where the direct path is not the shortest.

use super::{Kind, Mesh, PairStat};
use crate::cluster::NodeIx;
use crate::units::{Micros, Timestamp};
use petgraph::algo::articulation_points::articulation_points;
use petgraph::algo::astar;
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::Dfs;

/// The measured pairs as a graph; vertices stand in the order of the mesh.
pub fn graph(mesh: &Mesh) -> UnGraph<NodeIx, Micros, u32> {
    let mut graph = UnGraph::with_capacity(mesh.len(), 0);
    for &node in mesh.nodes() {
        graph.add_node(node);
    }
    for (a, b, rtt) in mesh.pairs() {
        graph.add_edge(NodeIndex::new(a), NodeIndex::new(b), rtt);
    }
    graph
}

/// Groups of nodes that measured pairs connect, the largest first. More than one: the network, or the measuring, is split.
pub fn components(graph: &UnGraph<NodeIx, Micros, u32>) -> Vec<Vec<NodeIx>> {
    let mut seen = fixedbitset::FixedBitSet::with_capacity(graph.node_count());
    let mut components = Vec::new();
    for start in graph.node_indices() {
        if seen.contains(start.index()) {
            continue;
        }
        let mut members = Vec::new();
        let mut search = Dfs::new(graph, start);
        while let Some(vertex) = search.next(graph) {
            seen.insert(vertex.index());
            members.push(graph[vertex]);
        }
        members.sort_unstable();
        components.push(members);
    }
    components.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    components
}

/// Nodes without which a component falls apart: all that is measured between its parts goes through them.
pub fn cut_nodes(graph: &UnGraph<NodeIx, Micros, u32>) -> Vec<NodeIx> {
    let mut nodes: Vec<NodeIx> = articulation_points(graph).into_iter().map(|vertex| graph[vertex]).collect();
    nodes.sort_unstable();
    nodes
}

/// A pair that is farther apart directly than by way of a third node. `bound` is what the detour takes: an upper bound of what the pair could
/// have if traffic went that way, never an estimate of its RTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour {
    pub a: NodeIx,
    pub b: NodeIx,
    pub direct: Micros,
    pub via: NodeIx,
    pub bound: Micros,
}

impl Detour {
    pub fn saving(&self) -> Micros {
        Micros(self.direct.0 - self.bound.0)
    }
}

/// The detours of one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detours {
    /// Measured pairs.
    pub pairs: usize,
    /// Those among them with a shorter detour.
    pub shorter: usize,
    /// The ones that save most, best first.
    pub best: Vec<Detour>,
}

/// Looks for a shorter detour of one hop for every measured pair, and keeps the `keep` that save most.
pub fn detours(mesh: &Mesh, keep: usize) -> Detours {
    let (mut pairs, mut all) = (0, Vec::new());
    for a in 0..mesh.len() {
        let from = mesh.row(a);
        // By rising distance from a: the search for a pair ends where the first hop alone is no shorter than the best so far.
        let mut hops: Vec<usize> = (0..mesh.len()).filter(|&hop| hop != a && mesh.get(a, hop).is_some()).collect();
        hops.sort_unstable_by_key(|&hop| (from[hop], hop));
        for b in a + 1..mesh.len() {
            let Some(direct) = mesh.get(a, b) else { continue };
            pairs += 1;
            let to = mesh.row(b);
            let (mut bound, mut via) = (direct.0, None);
            for &hop in &hops {
                if from[hop] >= bound {
                    break;
                }
                let detour = from[hop].saturating_add(to[hop]);
                if detour < bound && hop != b {
                    (bound, via) = (detour, Some(hop));
                }
            }
            if let Some(via) = via {
                let nodes = mesh.nodes();
                all.push(Detour { a: nodes[a], b: nodes[b], direct, via: nodes[via], bound: Micros(bound) });
            }
        }
    }
    let shorter = all.len();
    all.sort_by_key(|detour| (std::cmp::Reverse(detour.saving()), detour.a, detour.b));
    all.truncate(keep);
    Detours { pairs, shorter, best: all }
}

/// The shortest path over measured pairs between two positions of the mesh: the nodes on it with both ends, and what it takes as a
/// [`Kind::DetourBound`]. `None`: nothing measured connects them.
pub fn shortest_path(graph: &UnGraph<NodeIx, Micros, u32>, a: usize, b: usize) -> Option<(Vec<NodeIx>, PairStat)> {
    let cost = |edge: petgraph::graph::EdgeReference<'_, Micros, u32>| u64::from(edge.weight().0);
    let (us, path) = astar(graph, NodeIndex::new(a), |vertex| vertex.index() == b, cost, |_| 0)?;
    let rtt = Micros(u32::try_from(us).unwrap_or(u32::MAX));
    Some((
        path.into_iter().map(|vertex| graph[vertex]).collect(),
        PairStat { kind: Kind::DetourBound, ..PairStat::declared(rtt, Timestamp(0)) },
    ))
}

#[cfg(test)]
mod tests {
    use super::super::mesh::testing::mesh;
    use super::*;
    use proptest::prelude::*;

    fn n(nodes: &[u32]) -> Vec<NodeIx> {
        nodes.iter().copied().map(NodeIx).collect()
    }

    #[test]
    fn components_and_cut_nodes() {
        let graph = graph(&mesh(7, [(0, 1, 5), (1, 2, 5), (2, 3, 5), (1, 3, 5), (5, 6, 5)]));
        assert_eq!(components(&graph), [n(&[0, 1, 2, 3]), n(&[5, 6]), n(&[4])]);
        assert_eq!(cut_nodes(&graph), n(&[1]));
    }

    #[test]
    fn a_detour_is_named_with_its_saving_and_a_longer_path_is_found_too() {
        let mesh = mesh(4, [(0, 1, 100), (0, 2, 10), (2, 1, 20), (2, 3, 2), (3, 1, 3), (0, 3, 200)]);
        let found = detours(&mesh, 2);
        assert_eq!((found.pairs, found.shorter), (6, 3));
        let detour = |a, b, direct, via, bound| Detour {
            a: NodeIx(a),
            b: NodeIx(b),
            direct: Micros(direct),
            via: NodeIx(via),
            bound: Micros(bound),
        };
        assert_eq!(found.best, [detour(0, 3, 200, 2, 12), detour(0, 1, 100, 2, 30)]);
        let (path, stat) = shortest_path(&graph(&mesh), 0, 1).unwrap();
        assert_eq!((path, stat.p90, stat.kind.admits()), (n(&[0, 2, 3, 1]), Micros(15), false));
    }

    proptest! {
        #[test]
        fn detours_agree_with_trying_every_hop(figures in prop::collection::vec(prop::option::weighted(0.8, 0..50u32), 36)) {
            let pairs = (0..9u32).flat_map(|a| (a + 1..9).map(move |b| (a, b)));
            let mesh = mesh(9, pairs.zip(figures).filter_map(|((a, b), us)| Some((a, b, us?))));
            let found = detours(&mesh, 100);
            let mut expected = 0;
            for (a, b, direct) in mesh.pairs() {
                let hops = (0..9).filter(|&hop| hop != a && hop != b).filter_map(|hop| Some(mesh.get(a, hop)?.0 + mesh.get(hop, b)?.0));
                let best = hops.min().filter(|&best| best < direct.0);
                expected += usize::from(best.is_some());
                let got = found.best.iter().find(|d| (d.a, d.b) == (NodeIx(a as u32), NodeIx(b as u32)));
                prop_assert_eq!(got.map(|d| d.bound.0), best);
            }
            prop_assert_eq!(found.shorter, expected);
        }
    }
}
