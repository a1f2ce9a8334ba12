//! The topology in a page: what the service hears, and what the model makes of it (components, detours, sites, layers).

use super::board::Board;
use placement::cluster::{NodeIx, Snapshot};
use placement::constraint::Statistic;
use placement::topology::{self, Mesh, SiteRule, SummaryNode, sites};
use placement::units::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;

/// Detours listed, those that save most.
const DETOURS: usize = 10;

/// `GET /v1/summary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub at_ms: u64,
    pub generation: u64,
    pub warm: bool,
    /// Why the source of RTTs gives nothing at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Ready nodes whose agents have reported on their peers since the start, and all Ready nodes.
    pub heard: u32,
    pub expected: u32,
    pub topology: topology::Summary,
}

/// Takes a time that grows with the cube of the nodes (a tenth of a second at 490): not for a thread that serves others.
pub fn summary(board: &Board, cluster: &Snapshot, now: Timestamp) -> Summary {
    let nodes: Vec<SummaryNode<'_>> =
        cluster.nodes().map(|(ix, node)| SummaryNode { ix, name: &node.name, zone: zone(cluster, ix) }).collect();
    let (heard, expected) = board.heard();
    let max_age = cluster.settings().max_age;
    Summary {
        at_ms: now.0,
        generation: board.feed().generation(),
        warm: board.is_warm(),
        trouble: board.trouble(),
        heard,
        expected,
        topology: topology::Summary::new(cluster.rtt(), &nodes, SiteRule::default(), DETOURS, now, max_age),
    }
}

/// The site of every node without a zone label, found by nearness.
pub fn found_sites(cluster: &Snapshot, now: Timestamp) -> HashMap<String, String> {
    let (rule, max_age) = (SiteRule::default(), cluster.settings().max_age);
    let unlabelled: Vec<NodeIx> = cluster.nodes().map(|(ix, _)| ix).filter(|ix| zone(cluster, *ix).is_none_or(str::is_empty)).collect();
    // Who has nobody near is a site of its own. Only among the others is every pair looked at.
    let near = |ix: &NodeIx| cluster.rtt().row(*ix).within(rule.radius, Statistic::P90, now, max_age).any(|(peer, _)| peer != *ix);
    let (near, alone): (Vec<NodeIx>, Vec<NodeIx>) = unlabelled.into_iter().partition(near);
    let mesh = Mesh::new(cluster.rtt(), &near, Statistic::P90, now, max_age);
    let sites = sites::sites(&mesh, rule, |ix| cluster.name(ix), |_| None);
    let of_site = |site: topology::Site| {
        let name = site.name;
        site.nodes.into_iter().map(move |ix| (cluster.name(ix).to_owned(), name.clone()))
    };
    let of_its_own = |ix: NodeIx| (cluster.name(ix).to_owned(), sites::found_name(cluster.name(ix)));
    sites.into_iter().flat_map(of_site).chain(alone.into_iter().map(of_its_own)).collect()
}

fn zone(cluster: &Snapshot, ix: NodeIx) -> Option<&str> {
    cluster.node(ix)?.labels.get(api::labels::ZONE_LABEL).map(String::as_str)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { heard, expected, warm, trouble, topology, .. } = self;
        let state = if *warm { "warm" } else { "warming up" };
        writeln!(f, "{state}; agents heard: {heard} of {expected} ready nodes")?;
        if let Some(trouble) = trouble {
            writeln!(f, "the source of RTTs can't be used: {trouble}")?;
        }
        topology.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::cluster::{Cluster, Node};
    use placement::topology::PairStat;
    use placement::units::Micros;

    #[test]
    fn nodes_without_a_zone_get_the_site_of_who_is_near() {
        let mut cluster = Cluster::new(Default::default());
        for (name, zone) in [("a", None), ("b", None), ("far", None), ("nobody-measured", None), ("labelled", Some("east"))] {
            let labels = zone.map(|zone: &str| (api::labels::ZONE_LABEL.to_owned(), zone.to_owned()));
            cluster.apply_node(Node { name: name.into(), labels: labels.into_iter().collect(), ..Node::default() });
        }
        for (from, to, us) in [("a", "b", 400), ("a", "far", 9_000), ("b", "far", 9_000), ("a", "labelled", 300), ("b", "labelled", 300)] {
            cluster.report_rtt(from, to, PairStat::declared(Micros(us), Timestamp(1_000)));
        }
        let mut found: Vec<(String, String)> = found_sites(&cluster.snapshot(), Timestamp(2_000)).into_iter().collect();
        found.sort();
        let expected = [("a", "~a"), ("b", "~a"), ("far", "~far"), ("nobody-measured", "~nobody-measured")];
        assert_eq!(found, expected.map(|(node, site)| (node.to_owned(), site.to_owned())));
    }
}
