//! Ports that pods take on their node.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A port on an address of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    pub ip: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

/// Stands for every address. `::` does not: kube-scheduler takes it for an address as any other.
pub const EVERY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl HostPort {
    /// Whether two pods of one node can't have these both.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let one = self.protocol == other.protocol && self.port == other.port;
        one && (self.ip == other.ip || self.ip == EVERY_ADDRESS || other.ip == EVERY_ADDRESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ipv4_address_is_every_address() {
        let check = |a: (&str, Protocol, u16), b: (&str, Protocol, u16), conflicts| {
            let port = |(ip, protocol, port): (&str, Protocol, u16)| HostPort { ip: ip.parse().unwrap(), protocol, port };
            assert_eq!(port(a).conflicts(&port(b)), conflicts, "{a:?} {b:?}");
        };
        use Protocol::{Tcp, Udp};
        check(("0.0.0.0", Tcp, 80), ("10.0.0.1", Tcp, 80), true);
        check(("10.0.0.1", Tcp, 80), ("0.0.0.0", Tcp, 80), true);
        check(("10.0.0.1", Tcp, 80), ("10.0.0.2", Tcp, 80), false);
        check(("10.0.0.1", Tcp, 80), ("10.0.0.1", Udp, 80), false);
        check(("10.0.0.1", Tcp, 80), ("10.0.0.1", Tcp, 81), false);
        check(("::", Tcp, 80), ("fd00::1", Tcp, 80), false);
        check(("0.0.0.0", Tcp, 80), ("::", Tcp, 80), true);
    }
}
