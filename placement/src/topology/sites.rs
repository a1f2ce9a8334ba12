//! Sites: nodes so near each other that they are taken for one place. Failure domains, client sites of demand, and what prunes a search.

use super::{Layers, Mesh};
use crate::cluster::NodeIx;
use crate::units::Micros;
use linfa::traits::Transformer;
use linfa::{Float, ParamGuard};
use linfa_clustering::Dbscan;
use linfa_nn::{CommonNearestNeighbour, distance::Distance};
use ndarray::{Array2, ArrayView, Dimension};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What makes a site where no label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteRule {
    /// Nodes within this of each other belong together. Inside a data centre RTTs are some 0.1 ms; between the zones of a
    /// cloud region 0.3 to 2.2 ms.
    pub radius: Micros,
    /// No two nodes of a site are farther apart than this; a group that is wider is split.
    pub diameter: Micros,
}

impl Default for SiteRule {
    fn default() -> SiteRule {
        SiteRule { radius: Micros(1_000), diameter: Micros(2_500) }
    }
}

/// Nodes of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The label's value; of a site that was found `~` (which no label value contains) and its first node by name.
    pub name: String,
    /// From the label `topology.kubernetes.io/zone`, whatever is measured.
    pub labelled: bool,
    /// By rising index.
    pub nodes: Vec<NodeIx>,
    /// The largest RTT inside; `None` when a pair is unmeasured, which only a labelled site can have.
    pub diameter: Option<Micros>,
}

/// The sites of a mesh, by name. A labelled node belongs to its label's site; the others are grouped by DBSCAN and the diameter guard.
pub fn sites<'a>(mesh: &Mesh, rule: SiteRule, name: impl Fn(NodeIx) -> &'a str, label: impl Fn(NodeIx) -> Option<&'a str>) -> Vec<Site> {
    let mut labelled: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, &node) in mesh.nodes().iter().enumerate() {
        match label(node).filter(|label| !label.is_empty()) {
            Some(label) => labelled.entry(label).or_default().push(at),
            None => found.push(at),
        }
    }
    let site = |name: String, labelled: bool, positions: Vec<usize>| {
        let mut nodes: Vec<NodeIx> = positions.iter().map(|&at| mesh.nodes()[at]).collect();
        nodes.sort_unstable();
        Site { name, labelled, nodes, diameter: mesh.diameter(&positions) }
    };
    let mut sites: Vec<Site> = labelled.into_iter().map(|(label, positions)| site(label.to_owned(), true, positions)).collect();
    let unlabelled = mesh.part(&found);
    for group in dense_groups(&unlabelled, rule.radius).into_iter().flat_map(|group| guard(&unlabelled, group, rule.diameter)) {
        let first = group.iter().map(|&at| name(unlabelled.nodes()[at])).min().unwrap_or_default();
        sites.push(site(found_name(first), false, group.iter().map(|&at| found[at]).collect()));
    }
    sites.sort_by(|a, b| a.name.cmp(&b.name));
    sites
}

/// The name of a site without a label, after its first node: no label value contains `~`.
pub fn found_name(first: &str) -> String {
    format!("~{first}")
}

/// Splits a group that breaks the diameter, or has an unmeasured pair, along the layers at that diameter.
fn guard(mesh: &Mesh, group: Vec<usize>, diameter: Micros) -> Vec<Vec<usize>> {
    if mesh.diameter(&group).is_some_and(|widest| widest <= diameter) {
        return vec![group];
    }
    let parts = Layers::new(&mesh.part(&group)).cut_positions(diameter);
    parts.into_iter().map(|part| part.into_iter().map(|at| group[at]).collect()).collect()
}

/// DBSCAN over the RTTs themselves: the observations are positions, and the metric looks them up. Coordinates fitted to the matrix would
/// do for a tree search, and would lose what the network is known for: triangles that don't close.
fn dense_groups(mesh: &Mesh, radius: Micros) -> Vec<Vec<usize>> {
    let alone = |at: usize| vec![at];
    // linfa's neighbourhood is open; RTTs are whole, so half a microsecond closes it.
    let tolerance = f64::from(radius.0) + 0.5;
    let positions = Array2::from_shape_fn((mesh.len(), 1), |(at, _)| at as f64);
    let Ok(params) = Dbscan::params_with(2, Lookup(mesh), CommonNearestNeighbour::LinearSearch).tolerance(tolerance).check() else {
        // Two points and a positive tolerance are always valid; were they not, every node would be a site.
        return (0..mesh.len()).map(alone).collect();
    };
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut singles = Vec::new();
    for (at, group) in params.transform(&positions).into_iter().enumerate() {
        match group {
            Some(group) => groups.entry(group).or_default().push(at),
            None => singles.push(alone(at)),
        }
    }
    groups.into_values().chain(singles).collect()
}

/// The distance of two positions is their RTT; unmeasured is infinitely far.
#[derive(Clone)]
struct Lookup<'a>(&'a Mesh);

impl<F: Float> Distance<F> for Lookup<'_> {
    fn distance<D: Dimension>(&self, a: ArrayView<F, D>, b: ArrayView<F, D>) -> F {
        let position = |point: ArrayView<F, D>| point.first().and_then(|at| at.to_usize()).unwrap_or(usize::MAX);
        let (a, b) = (position(a), position(b));
        if a.max(b) >= self.0.len() {
            return F::infinity();
        }
        self.0.get(a, b).map_or_else(F::infinity, |rtt| F::cast(rtt.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::mesh::testing::{full, mesh};
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 14] = ["m", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "a", "n"];

    /// Sites as `name: positions`.
    fn check(mesh: &Mesh, labels: &[Option<&str>], expected: &[&str]) {
        let label = |node: NodeIx| labels.get(node.at()).copied().flatten();
        let found = sites(mesh, SiteRule::default(), |node| NAMES[node.at()], label);
        let found: Vec<String> =
            found.iter().map(|s| format!("{}: {:?}", s.name, s.nodes.iter().map(|n| n.0).collect::<Vec<_>>())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn near_nodes_are_a_site_named_after_its_first_node() {
        let two_places = mesh(5, [(0, 1, 900), (2, 3, 1_000), (0, 2, 9_000), (0, 3, 9_000), (1, 2, 9_000), (1, 3, 9_000)]);
        check(&two_places, &[], &["~b: [0, 1]", "~c: [2, 3]", "~e: [4]"]);
        check(&mesh(0, []), &[], &[]);
        check(&mesh(1, []), &[], &["~m: [0]"]);
        check(&mesh(2, [(0, 1, 1_001)]), &[], &["~b: [1]", "~m: [0]"]);
    }

    #[test]
    fn a_chain_that_is_too_wide_is_split() {
        let hop = |a: u32, b: u32| (a, b, 900 * (b - a));
        let chain = mesh(5, (0..5).flat_map(|a| (a + 1..5).map(move |b| hop(a, b))));
        let found = sites(&chain, SiteRule::default(), |node| NAMES[node.at()], |_| None);
        assert!(found.len() > 1 && found.iter().all(|site| site.diameter.unwrap() <= Micros(2_500)), "{found:?}");
    }

    #[test]
    fn an_unmeasured_pair_splits_a_found_site() {
        check(&mesh(3, [(0, 1, 100), (1, 2, 100)]), &[], &["~b: [0, 1]", "~c: [2]"]);
    }

    #[test]
    fn labels_win_over_what_is_measured() {
        let near = full(4, &[100]);
        check(&near, &[Some("east"), Some("west"), None, None], &["east: [0]", "west: [1]", "~c: [2, 3]"]);
        check(&mesh(2, []), &[Some("east"), Some("east")], &["east: [0, 1]"]);
        check(&near, &[Some(""), None, None, None], &["~b: [0, 1, 2, 3]"]);
    }

    proptest! {
        #[test]
        fn every_node_has_one_site_and_no_found_site_is_wider_than_the_guard(n in 1..14u32, figures in prop::collection::vec(1..4_000u32, 91),
                                                                            labels in prop::collection::vec(prop::option::weighted(0.2, 0..3usize), 14)) {
            let mesh = full(n, &figures);
            let label = |node: NodeIx| labels[node.at()].map(|label| ["x", "y", "z"][label]);
            let found = sites(&mesh, SiteRule::default(), |node| NAMES[node.at()], label);
            let mut all: Vec<u32> = found.iter().flat_map(|site| site.nodes.iter().map(|node| node.0)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            for site in &found {
                prop_assert!(site.labelled || site.diameter.unwrap() <= Micros(2_500));
                prop_assert!(site.nodes.iter().all(|&node| label(node) == site.labelled.then_some(site.name.as_str())));
            }
        }
    }
}
