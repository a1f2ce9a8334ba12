//! The topology at a glance, with names: what the topology service answers and the command line prints.

use super::{Layers, Mesh, RttStore, SiteRule, sites, views};
use crate::cluster::NodeIx;
use crate::constraint::Statistic;
use crate::units::{Micros, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Cuts at which the layers are counted.
const LAYERS_US: [u32; 6] = [1_000, 5_000, 10_000, 25_000, 50_000, 100_000];
/// What the printed form lists: detours and nodes, and sites.
const LISTED: usize = 5;
const LISTED_SITES: usize = 12;

/// A node to summarise.
#[derive(Clone, Copy, Debug)]
pub struct SummaryNode<'a> {
    pub ix: NodeIx,
    pub name: &'a str,
    /// Its label `topology.kubernetes.io/zone`.
    pub zone: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DetourLine {
    pub from: String,
    pub to: String,
    pub direct_us: Micros,
    pub via: String,
    /// What the way over `via` takes: an upper bound of a detour, no estimate of the RTT.
    pub detour_us: Micros,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteLine {
    pub name: String,
    pub labelled: bool,
    pub nodes: Vec<String>,
    /// The largest RTT inside; absent when a pair is unmeasured.
    pub diameter_us: Option<Micros>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerLine {
    /// No two nodes of a group are farther apart than this.
    pub within_us: Micros,
    pub groups: usize,
    /// Nodes in the largest group.
    pub largest: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub nodes: usize,
    /// Unordered pairs of those nodes, and how many of them have a valid measurement.
    pub pairs: usize,
    pub measured: usize,
    /// Nodes that measured pairs connect, the largest group first.
    pub components: Vec<Vec<String>>,
    /// Nodes without which a component falls apart.
    pub cut_nodes: Vec<String>,
    /// Measured pairs with a shorter detour of one hop.
    pub pairs_with_detour: usize,
    /// The detours that save most, best first.
    pub detours: Vec<DetourLine>,
    pub sites: Vec<SiteLine>,
    pub layers: Vec<LayerLine>,
}

impl Summary {
    /// Over the pairs that may admit at `now`, by their p90. `detours`: how many to list.
    pub fn new(rtts: &RttStore, nodes: &[SummaryNode<'_>], rule: SiteRule, detours: usize, now: Timestamp, max_age: Span) -> Summary {
        let known: BTreeMap<NodeIx, &SummaryNode<'_>> = nodes.iter().map(|node| (node.ix, node)).collect();
        let name = |ix: NodeIx| known.get(&ix).map_or("", |node| node.name);
        let zone = |ix: NodeIx| known.get(&ix).and_then(|node| node.zone);
        // By name, so that the summary does not depend on the order in which nodes came.
        let sorted = |nodes: Vec<NodeIx>| {
            let mut names: Vec<String> = nodes.into_iter().map(|ix| name(ix).to_owned()).collect();
            names.sort();
            names
        };
        let indexes: Vec<NodeIx> = known.keys().copied().collect();
        let mesh = Mesh::new(rtts, &indexes, Statistic::P90, now, max_age);
        let graph = views::graph(&mesh);
        let found = views::detours(&mesh, detours);
        let dendrogram = Layers::new(&mesh);
        let layer = |within_us: Micros| {
            let groups = dendrogram.cut_positions(within_us);
            LayerLine { within_us, groups: groups.len(), largest: groups.iter().map(Vec::len).max().unwrap_or(0) }
        };
        Summary {
            nodes: mesh.len(),
            pairs: mesh.len() * mesh.len().saturating_sub(1) / 2,
            measured: found.pairs,
            components: views::components(&graph).into_iter().map(sorted).collect(),
            cut_nodes: sorted(views::cut_nodes(&graph)),
            pairs_with_detour: found.shorter,
            detours: found
                .best
                .iter()
                .map(|detour| DetourLine {
                    from: name(detour.a).to_owned(),
                    to: name(detour.b).to_owned(),
                    direct_us: detour.direct,
                    via: name(detour.via).to_owned(),
                    detour_us: detour.bound,
                })
                .collect(),
            sites: sites::sites(&mesh, rule, name, zone)
                .into_iter()
                .map(|site| SiteLine { name: site.name, labelled: site.labelled, nodes: sorted(site.nodes), diameter_us: site.diameter })
                .collect(),
            layers: LAYERS_US.map(|us| layer(Micros(us))).to_vec(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: usize| if self.measured == 0 { 0.0 } else { part as f64 * 100.0 / self.measured as f64 };
        writeln!(f, "nodes: {}, pairs measured: {} of {}", self.nodes, self.measured, self.pairs)?;
        match self.components.as_slice() {
            [] | [_] => {}
            [_, cut_off @ ..] => {
                writeln!(f, "not connected by any measured pair: {}", cut_off.iter().map(|c| listed(c)).collect::<Vec<_>>().join("; "))?;
            }
        }
        if !self.cut_nodes.is_empty() {
            writeln!(f, "all measured between parts of the network goes through: {}", listed(&self.cut_nodes))?;
        }
        writeln!(f, "pairs with a shorter detour: {} ({:.0} %)", self.pairs_with_detour, share(self.pairs_with_detour))?;
        for detour in self.detours.iter().take(LISTED) {
            let DetourLine { from, to, direct_us, via, detour_us } = detour;
            writeln!(f, "  {from} to {to}: {direct_us}, via {via} {detour_us}")?;
        }
        let alone = self.sites.iter().filter(|site| !site.labelled && site.nodes.len() == 1).count();
        writeln!(f, "sites: {}, of them {alone} of a single node", self.sites.len())?;
        let mut sites: Vec<&SiteLine> = self.sites.iter().filter(|site| site.labelled || site.nodes.len() > 1).collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.nodes.len()));
        for site in sites.iter().take(LISTED_SITES) {
            let width = site.diameter_us.map_or("not measured throughout".to_owned(), |widest| format!("{widest} across"));
            writeln!(f, "  {}: {} ({width})", site.name, listed(&site.nodes))?;
        }
        if let Some(more @ 1..) = sites.len().checked_sub(LISTED_SITES) {
            writeln!(f, "  and {more} more")?;
        }
        for layer in &self.layers {
            writeln!(f, "within {} of each other: {} groups, the largest of {}", layer.within_us, layer.groups, layer.largest)?;
        }
        Ok(())
    }
}

fn listed(names: &[String]) -> String {
    match names.len().checked_sub(LISTED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..LISTED].join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::PairStat;
    use crate::topology::matrix::Matrix;
    use std::path::Path;

    fn summary(matrix: &Matrix, zones: &[Option<&str>]) -> Summary {
        let mut rtts = RttStore::new(Span(1));
        for a in 0..matrix.len() {
            for b in a + 1..matrix.len() {
                rtts.set(NodeIx(a as u32), NodeIx(b as u32), PairStat::declared(Micros(matrix.rtt_us(a, b)), Timestamp(0)));
            }
        }
        let names: Vec<String> = (0..matrix.len()).map(|at| format!("n{at}")).collect();
        let node = |(at, name)| SummaryNode { ix: NodeIx(at as u32), name, zone: zones.get(at).copied().flatten() };
        let nodes: Vec<_> = names.iter().map(String::as_str).enumerate().map(node).collect();
        Summary::new(&rtts, &nodes, SiteRule::default(), 3, Timestamp(0), Span(1))
    }

    #[test]
    fn a_small_topology_prints_what_matters() {
        let matrix = Matrix::parse("0 0.5 40 9\n0.5 0 12 9\n40 12 0 9\n9 9 9 0").unwrap();
        let summary = summary(&matrix, &[None, None, Some("cloud-1")]);
        let expected = "\
nodes: 4, pairs measured: 6 of 6
pairs with a shorter detour: 1 (17 %)
  n0 to n2: 40 ms, via n1 12.5 ms
sites: 3, of them 1 of a single node
  ~n0: n0, n1 (0.5 ms across)
  cloud-1: n2 (0 ms across)
within 1 ms of each other: 3 groups, the largest of 2
within 5 ms of each other: 3 groups, the largest of 2
within 10 ms of each other: 2 groups, the largest of 3
within 25 ms of each other: 2 groups, the largest of 3
within 50 ms of each other: 1 groups, the largest of 4
within 100 ms of each other: 1 groups, the largest of 4
";
        assert_eq!(summary.to_string(), expected);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!((&json["pairsWithDetour"], &json["detours"][0]["directUs"]), (&1.into(), &40_000.into()));
        assert_eq!(serde_json::from_value::<Summary>(json).unwrap(), summary);
    }

    #[test]
    fn planetlab_has_a_shorter_detour_for_79_percent_of_its_pairs() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/netlatency/PlanetLabData_9.tsv");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("SKIPPED planetlab_has_a_shorter_detour_for_79_percent_of_its_pairs: {} is not there", path.display());
            return;
        };
        let summary = summary(&Matrix::parse(&text).unwrap(), &[]);
        println!("{summary}");
        assert_eq!((summary.nodes, summary.pairs, summary.measured, summary.components.len()), (490, 119_805, 119_805, 1));
        let share = summary.pairs_with_detour as f64 / summary.measured as f64;
        assert!((0.785..0.795).contains(&share), "{share}");
        let widest = summary.sites.iter().filter_map(|site| site.diameter_us).max();
        assert!(widest <= Some(SiteRule::default().diameter), "{widest:?}");
        assert!(summary.sites.len() < 490, "neighbours below 1 ms are sites");
    }
}
