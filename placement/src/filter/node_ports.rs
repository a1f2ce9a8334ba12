//! NodePorts: no pod on the node has a host port that conflicts with one of the pod's (kube-scheduler 1.37, plugin NodePorts; unschedulable).
//!
//! Ports in use are counted, where kube-scheduler keeps a set and forgets a port as soon as one of its pods goes.

use crate::cluster::{CHUNK, HostPort, LoadChunk, NodeIx, Pod, PortUse, Snapshot};
use crate::plan::Reason;
use fixedbitset::FixedBitSet;

pub fn check(snapshot: &Snapshot, pod: &Pod, ix: NodeIx) -> Option<Reason> {
    let slot = ix.at() % CHUNK;
    taken(&snapshot.load()[ix.at() / CHUNK], &pod.host_ports).any(|used| usize::from(used.slot) == slot).then_some(Reason::NodePorts)
}

/// Takes out of the mask the nodes on which a port is taken.
pub fn restrict(snapshot: &Snapshot, ports: &[HostPort], mask: &mut FixedBitSet) {
    for (number, chunk) in snapshot.load().iter().enumerate() {
        for used in taken(chunk, ports) {
            mask.set(number * CHUNK + usize::from(used.slot), false);
        }
    }
}

fn taken<'a>(chunk: &'a LoadChunk, ports: &'a [HostPort]) -> impl Iterator<Item = &'a PortUse> {
    chunk.ports.iter().filter(|used| ports.iter().any(|port| port.conflicts(&used.port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, EVERY_ADDRESS, Node, PodKey, Protocol, Settings};

    fn pod(name: &str, node: Option<&str>, ports: &[u16]) -> Pod {
        let port = |&port: &u16| HostPort { ip: EVERY_ADDRESS, protocol: Protocol::Tcp, port };
        Pod { key: PodKey::new("d", name), node_name: node.map(Into::into), host_ports: ports.iter().map(port).collect(), ..Pod::default() }
    }

    /// Nodes that take a pod with these ports, by both forms.
    fn check(cluster: &Cluster, ports: &[u16], fits: &[&str]) {
        let (view, asked) = (cluster.view(), pod("asked", None, ports));
        let mut mask = FixedBitSet::with_capacity(view.index_len());
        view.nodes().for_each(|(ix, _)| mask.insert(ix.at()));
        restrict(view, &asked.host_ports, &mut mask);
        let by_mask: Vec<&str> = view.nodes_by_name().into_iter().filter(|ix| mask.contains(ix.at())).map(|ix| view.name(ix)).collect();
        let by_check: Vec<&str> =
            view.nodes_by_name().into_iter().filter(|&ix| super::check(view, &asked, ix).is_none()).map(|ix| view.name(ix)).collect();
        assert_eq!((by_mask, by_check), (fits.to_vec(), fits.to_vec()), "{ports:?}");
    }

    #[test]
    fn a_port_is_free_when_the_last_pod_with_it_is_gone() {
        let mut cluster = Cluster::new(Settings::default());
        for name in ["a", "b"] {
            cluster.apply_node(Node { name: name.into(), ..Node::default() });
        }
        check(&cluster, &[80], &["a", "b"]);
        cluster.apply_pod(pod("first", Some("a"), &[80, 443]));
        cluster.apply_pod(pod("second", Some("a"), &[80]));
        check(&cluster, &[80], &["b"]);
        check(&cluster, &[81, 443], &["b"]);
        check(&cluster, &[], &["a", "b"]);
        cluster.delete_pod(&PodKey::new("d", "first"));
        check(&cluster, &[80], &["b"]);
        check(&cluster, &[443], &["a", "b"]);
        cluster.delete_pod(&PodKey::new("d", "second"));
        check(&cluster, &[80], &["a", "b"]);
    }
}
