//! Who asks, and by which node their requests enter.

use super::headers::{self, X_FORWARDED_FOR};
use http::HeaderMap;
use ipnet::IpNet;
use std::net::IpAddr;

/// Where clients of a network enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSite {
    pub cidr: IpNet,
    /// Index into [`Clients::sites`].
    pub site: usize,
}

/// What the router knows of its clients, from configuration.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Nodes by which clients enter; the router's own comes first.
    pub sites: Vec<String>,
    /// Longest prefix first.
    pub networks: Vec<ClientSite>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted: Vec<IpNet>,
}

/// The client of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The other end of the connection.
    pub peer: IpAddr,
    pub peer_trusted: bool,
    /// Who asks: the peer, or whom a trusted peer speaks for.
    pub address: IpAddr,
    /// Index into [`Clients::sites`].
    pub site: usize,
}

impl Clients {
    /// `own` is the router's node; `networks` maps a CIDR to the node that its clients enter by.
    pub fn new(own: &str, networks: &[(IpNet, String)], trusted: Vec<IpNet>) -> Clients {
        let mut sites = vec![own.to_owned()];
        let mut mapped: Vec<ClientSite> = Vec::new();
        for (cidr, node) in networks {
            let site = sites.iter().position(|known| known == node).unwrap_or_else(|| {
                sites.push(node.clone());
                sites.len() - 1
            });
            mapped.push(ClientSite { cidr: *cidr, site });
        }
        mapped.sort_by_key(|network| std::cmp::Reverse(network.cidr.prefix_len()));
        Clients { sites, networks: mapped, trusted }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Finds the client: of the chain in `X-Forwarded-For` the last hop that a trusted peer did not add itself.
    pub fn locate(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        let peer_trusted = self.trusts(peer);
        let mut address = peer;
        if peer_trusted {
            let hops: Vec<&str> = headers::tokens(headers, &X_FORWARDED_FOR).collect();
            for hop in hops.into_iter().rev() {
                let Ok(hop) = hop.parse::<IpAddr>() else { break };
                address = hop.to_canonical();
                if !self.trusts(address) {
                    break;
                }
            }
        }
        let site = self.networks.iter().find(|network| network.cidr.contains(&address)).map_or(0, |network| network.site);
        Client { peer, peer_trusted, address, site }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &str, address: &str, site: &str) {
        let networks = [("10.1.0.0/16".parse().unwrap(), "edge-1".to_owned()), ("10.1.2.0/24".parse().unwrap(), "edge-2".to_owned())];
        let clients = Clients::new("edge-0", &networks, vec!["192.168.0.0/16".parse().unwrap()]);
        let headers: HeaderMap = [(X_FORWARDED_FOR.clone(), forwarded.parse().unwrap())].into_iter().collect();
        let client = clients.locate(peer.parse().unwrap(), &headers);
        assert_eq!((client.address.to_string().as_str(), clients.sites[client.site].as_str()), (address, site), "{peer} {forwarded:?}");
    }

    #[test]
    fn the_longest_network_names_the_site() {
        check("10.1.2.3", "", "10.1.2.3", "edge-2");
        check("10.1.9.9", "", "10.1.9.9", "edge-1");
        check("10.2.0.1", "", "10.2.0.1", "edge-0");
        check("::ffff:10.1.9.9", "", "10.1.9.9", "edge-1");
    }

    #[test]
    fn only_a_trusted_peer_speaks_for_another() {
        check("10.2.0.1", "10.1.2.3", "10.2.0.1", "edge-0");
        check("192.168.0.1", "10.1.2.3", "10.1.2.3", "edge-2");
        check("192.168.0.1", "10.1.2.3, 10.1.9.9, 192.168.0.9", "10.1.9.9", "edge-1");
        check("192.168.0.1", "nonsense", "192.168.0.1", "edge-0");
    }
}
