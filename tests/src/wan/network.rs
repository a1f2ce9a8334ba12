//! Namespaces joined by the delay switch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use edge_demo::wan::Links;
use edge_demo::wan::tun::{Port, PortError, TunCounts, TunSwitch, TunSwitchError};

use super::namespace::{Namespace, NamespaceError};

/// The device's name in every namespace.
const DEVICE: &str = "wan0";

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NetworkError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Switch(#[from] TunSwitchError),
}

/// Node i's IPv4 address, of 10.99.0.0/16.
pub fn address_v4(node: usize) -> Ipv4Addr {
    let [high, low] = number(node).to_be_bytes();
    Ipv4Addr::new(10, 99, high, low)
}

/// Node i's IPv6 address, of fd99::/64.
pub fn address_v6(node: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, number(node))
}

fn number(node: usize) -> u16 {
    u16::try_from(node + 1).expect("fewer than 65535 nodes")
}

/// One namespace a node and the switch between them; dropping it removes everything.
pub struct Network {
    // Dropped first: the devices go before the namespaces that they are in.
    switch: TunSwitch,
    namespaces: Vec<Namespace>,
}

impl Network {
    /// As many namespaces as `links` has nodes, each with an IPv4 and an IPv6 address on one TUN device. `label` tells this network from others of
    /// the process, `seed` is that of jitter and loss.
    pub fn start(label: &str, links: Arc<Links>, seed: u64) -> Result<Network, NetworkError> {
        let mut namespaces = Vec::with_capacity(links.len());
        let mut ports = Vec::with_capacity(links.len());
        for node in 0..links.len() {
            let namespace = Namespace::create(&format!("{label}-{node}"))?;
            let (v4, v6) = (address_v4(node), address_v6(node));
            ports.push(namespace.run(|| Port::open(DEVICE, vec![IpAddr::V4(v4), IpAddr::V6(v6)]))??);
            // No duplicate address detection: nothing on the wire would answer it, and the address could not be used for a second.
            namespace.configure(&format!("addr add {v4}/16 dev {DEVICE}\naddr add {v6}/64 dev {DEVICE} nodad\nlink set {DEVICE} up\n"))?;
            namespaces.push(namespace);
        }
        let switch = TunSwitch::start(links, ports, seed)?;
        Ok(Network { switch, namespaces })
    }

    /// The delays, to look at and to change.
    pub fn links(&self) -> &Links {
        self.switch.links()
    }

    /// What has passed.
    pub fn counts(&self) -> &TunCounts {
        self.switch.counts()
    }

    /// Packets that have come out of this direction of a link.
    pub fn delivered(&self, from: usize, to: usize) -> u64 {
        self.switch.delivered(from, to)
    }

    /// A node's namespace. Panics where there is no such node.
    pub fn node(&self, node: usize) -> &Namespace {
        &self.namespaces[node]
    }
}
