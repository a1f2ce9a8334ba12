//! Addresses of the simulated nodes: node i has 127.(64 + i / 65025).x.y for itself and 127.(128 + …).x.y for all others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Hosts per second octet: x in 0..=254, y in 1..=255, so that no address ends in .0.
const HOSTS: usize = 255 * 255;
const PRIVATE: u8 = 64;
const PUBLIC: u8 = 128;
/// How many nodes have addresses: 64 second octets lie between the private and the public ones.
pub const MAX_NODES: usize = HOSTS * (PUBLIC - PRIVATE) as usize;

/// The address that what runs on the node binds and sends from.
pub fn private(node: usize) -> Ipv4Addr {
    numbered(PRIVATE, node)
}

/// The address that others reach the node at; the Node object's InternalIP.
pub fn public(node: usize) -> Ipv4Addr {
    numbered(PUBLIC, node)
}

/// The node whose private address this is.
pub fn node_of_private(address: IpAddr) -> Option<usize> {
    index(PRIVATE, address)
}

/// The node whose public address this is.
pub fn node_of_public(address: IpAddr) -> Option<usize> {
    index(PUBLIC, address)
}

fn numbered(base: u8, node: usize) -> Ipv4Addr {
    assert!(node < MAX_NODES, "node {node} has no address: {MAX_NODES} is the most that 127.0.0.0/8 is divided into");
    let host = node % HOSTS;
    // The asserts above and the division keep all three within a byte.
    Ipv4Addr::new(127, base + (node / HOSTS) as u8, (host / 255) as u8, (host % 255 + 1) as u8)
}

fn index(base: u8, address: IpAddr) -> Option<usize> {
    let IpAddr::V4(address) = address else {
        return None;
    };
    let [first, second, x, y] = address.octets();
    let block = second.checked_sub(base)?;
    (first == 127 && block < PUBLIC - PRIVATE && x < 255 && y > 0)
        .then(|| usize::from(block) * HOSTS + usize::from(x) * 255 + usize::from(y) - 1)
}

/// Whether this machine lets a program bind both addresses of `node`; Linux does for the whole of 127.0.0.0/8, others need an alias each.
pub fn probe(node: usize) -> io::Result<()> {
    for address in [private(node), public(node)] {
        UdpSocket::bind(SocketAddr::new(address.into(), 0)).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{address} cannot be bound ({error}); the simulated network needs all of 127.0.0.0/8 on the loopback interface"),
            )
        })?;
    }
    Ok(())
}

/// Lets this process open `files` files: raises the soft limit as far as the hard one, which needs no privilege.
pub fn raise_open_files(files: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < files) {
        let maximum = limit.maximum.unwrap_or(u64::MAX);
        return Err(io::Error::other(format!(
            "{files} open files are needed, but the hard limit is {maximum}; raise it with `ulimit -Hn`"
        )));
    }
    let raised = Rlimit { current: limit.maximum.or(Some(files)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(node: usize, expected_private: [u8; 4], expected_public: [u8; 4]) {
        assert_eq!(private(node).octets(), expected_private);
        assert_eq!(public(node).octets(), expected_public);
        assert_eq!(node_of_private(private(node).into()), Some(node));
        assert_eq!(node_of_public(public(node).into()), Some(node));
        assert_eq!(node_of_private(public(node).into()), None);
        assert_eq!(node_of_public(private(node).into()), None);
    }

    #[test]
    fn addresses_count_up_and_can_be_read_back() {
        check(0, [127, 64, 0, 1], [127, 128, 0, 1]);
        check(254, [127, 64, 0, 255], [127, 128, 0, 255]);
        check(255, [127, 64, 1, 1], [127, 128, 1, 1]);
        check(65024, [127, 64, 254, 255], [127, 128, 254, 255]);
        check(65025, [127, 65, 0, 1], [127, 129, 0, 1]);
    }

    #[test]
    fn foreign_addresses_belong_to_no_node() {
        for foreign in ["127.0.0.1", "10.64.0.1", "127.64.0.0", "127.64.255.1", "::1"] {
            let foreign = foreign.parse().unwrap();
            assert_eq!((node_of_private(foreign), node_of_public(foreign)), (None, None), "{foreign}");
        }
    }

    #[test]
    fn loopback_offers_the_addresses() {
        probe(0).unwrap();
        probe(489).unwrap();
    }
}
