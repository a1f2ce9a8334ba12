//! VolumeZone: a node with zone or region labels has those of the pod's bound volumes (kube-scheduler 1.37, plugin VolumeZone; unresolvable). A volume's
//! label may name several zones, `a__b`; its beta labels are met by a node's labels of either form.

use super::pod_claims::PodClaim;
use crate::cluster::{Node, PersistentVolume, Snapshot};
use crate::plan::Reason;

/// With the form that replaced it.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

pub struct Zones<'a> {
    topologies: Vec<Topology<'a>>,
}

struct Topology<'a> {
    volume: &'a str,
    key: &'static str,
    replaced_by: &'static str,
    values: Vec<&'a str>,
}

impl<'a> Zones<'a> {
    /// `None`: no volume of the pod says where it is.
    pub fn new(snapshot: &'a Snapshot, claims: &[PodClaim<'a>]) -> Option<Zones<'a>> {
        let named = claims.iter().filter(|of| !of.ephemeral).filter_map(|of| of.claim.volume.as_deref());
        let volumes = named.filter_map(|name| snapshot.stored::<PersistentVolume>("", name));
        let topologies: Vec<Topology<'a>> = volumes.flat_map(|volume| topologies(volume)).collect();
        (!topologies.is_empty()).then_some(Zones { topologies })
    }

    pub fn check(&self, node: &Node) -> Option<Reason> {
        // In a cluster of one zone nodes need no labels.
        if !LABELS.iter().any(|(key, _)| node.labels.contains_key(*key)) {
            return None;
        }
        let elsewhere = |topology: &&Topology<'_>| {
            let value = node.labels.get(topology.key).or_else(|| node.labels.get(topology.replaced_by));
            value.is_none_or(|value| !topology.values.contains(&value.as_str()))
        };
        self.topologies.iter().find(elsewhere).map(|topology| Reason::VolumeZone { volume: topology.volume.to_owned() })
    }
}

fn topologies(volume: &PersistentVolume) -> impl Iterator<Item = Topology<'_>> {
    LABELS.iter().filter_map(|&(key, replaced_by)| {
        let values: Vec<&str> = volume.labels.get(key)?.split("__").map(str::trim).collect();
        // A label that is not a list of names is no label.
        (!values.contains(&"")).then_some(Topology { volume: &volume.name, key, replaced_by, values })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of_volume: &[(&str, &str)], of_node: &[(&str, &str)], fits: bool) {
        let labels = |of: &[(&str, &str)]| of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let volume = PersistentVolume { labels: labels(of_volume), ..PersistentVolume::default() };
        let node = Node { labels: labels(of_node), ..Node::default() };
        let zones = Zones { topologies: topologies(&volume).collect() };
        assert_eq!(zones.check(&node).is_none(), fits, "{of_volume:?} on {of_node:?}");
    }

    #[test]
    fn a_node_with_zones_has_the_volumes() {
        let [(beta, zone), _, _, (region, _)] = LABELS;
        check(&[(zone, "a")], &[(zone, "a")], true);
        check(&[(zone, "a")], &[(zone, "b")], false);
        check(&[(zone, "a__b")], &[(zone, "b")], true);
        check(&[(zone, "a__")], &[(zone, "b")], true);
        check(&[(zone, "a")], &[], true);
        check(&[(zone, "a")], &[(region, "r")], false);
        check(&[(beta, "a")], &[(zone, "a")], true);
        check(&[(zone, "a")], &[(beta, "a")], false);
        check(&[(zone, "a"), (region, "r")], &[(zone, "a"), (region, "s")], false);
    }
}
