//! One load balancer of the table: its backends as columns, and what each client site may use of them.

use super::{Arrivals, Endpoint, Learned, Stats};
use http::{HeaderMap, HeaderName};
use placement::{
    balance::{ClassIx, Endpoints, Exclusion, Policy, SiteColumn},
    units::Micros,
};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// How requests travel to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Http1,
    /// HTTP/2 without TLS, with prior knowledge (gRPC).
    H2c,
}

#[derive(Clone, Debug)]
pub struct LoadBalancerTimeouts {
    pub connect: Duration,
    /// From the last part of the request to the head of the response.
    pub response: Duration,
    /// Without a byte, before a body or tunnel is given up.
    pub idle: Duration,
}

impl Default for LoadBalancerTimeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(1), response: Duration::from_secs(30), idle: Duration::from_secs(60) }
    }
}

/// What keeps the requests of one client with one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    #[default]
    None,
    Client,
    Header(HeaderName),
}

impl Affinity {
    /// A number that is the same for all requests that belong together. `None`: the request goes anywhere.
    pub fn key(&self, client: IpAddr, headers: &HeaderMap) -> Option<u64> {
        // The hasher's keys are fixed, so that every router keeps a client with the same endpoint.
        let mut hasher = DefaultHasher::new();
        match self {
            Affinity::None => return None,
            Affinity::Client => client.hash(&mut hasher),
            Affinity::Header(name) => headers.get(name)?.as_bytes().hash(&mut hasher),
        }
        Some(hasher.finish())
    }
}

/// The live side of one endpoint in the role it has for one load balancer.
#[derive(Clone, Debug)]
pub struct Backend {
    pub endpoint: Arc<Endpoint>,
    /// Service time as declared; zero when it is not.
    pub declared: Micros,
    pub learned: Arc<Learned>,
}

impl Backend {
    /// Service time: as learned, before that as declared.
    pub fn service(&self) -> Micros {
        self.learned.get().unwrap_or(self.declared)
    }
}

/// A load balancer as clients of one site see it.
#[derive(Debug)]
pub struct SiteView {
    /// Node by which the clients enter.
    pub site: Arc<str>,
    pub column: SiteColumn,
    pub arrivals: Arc<Arrivals>,
}

impl SiteView {
    pub fn arrived(&self) {
        self.arrivals.fetch_add(1, Relaxed);
    }

    /// Endpoints that the bound on the RTT keeps from this site.
    pub fn excluded_by_rtt(&self) -> usize {
        let by_rtt = |excluded: &&Option<Exclusion>| matches!(excluded, Some(Exclusion::RttAbove { .. } | Exclusion::RttUnmeasured { .. }));
        self.column.excluded.iter().filter(by_rtt).count()
    }
}

#[derive(Debug)]
pub struct LoadBalancer {
    /// Stays the same from one table to the next.
    pub id: u64,
    /// `namespace/name` of the EdgeLoadBalancer, or of the Service of an implicit one.
    pub name: String,
    pub use_case: String,
    /// Why it can't be served at all.
    pub refused: Option<String>,
    pub transport: Transport,
    pub policy: Policy,
    pub affinity: Affinity,
    /// Largest RTT between client site and endpoint.
    pub max_rtt: Option<Micros>,
    /// Percent of an endpoint's slots or fps from which it gets nothing new while another is below.
    pub watermark: u8,
    /// Device classes by priority; `None`: any.
    pub classes: Option<Vec<ClassIx>>,
    pub timeouts: LoadBalancerTimeouts,
    /// Columns; `backends` and the sites' columns run parallel to them.
    pub endpoints: Endpoints,
    pub backends: Vec<Backend>,
    /// One for each of the router's client sites, in their order.
    pub sites: Vec<SiteView>,
    pub stats: Arc<Stats>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_tells_clients_apart() {
        let key = |affinity: &Affinity, client: &str, session: Option<&str>| {
            let headers = session.map(|value| ("x-session".parse::<HeaderName>().unwrap(), value.parse().unwrap())).into_iter().collect();
            affinity.key(client.parse().unwrap(), &headers)
        };
        let header = Affinity::Header(HeaderName::from_static("x-session"));
        assert_eq!(key(&Affinity::None, "10.0.0.1", None), None);
        assert_eq!(key(&Affinity::Client, "10.0.0.1", None), key(&Affinity::Client, "10.0.0.1", Some("a")));
        assert_ne!(key(&Affinity::Client, "10.0.0.1", None), key(&Affinity::Client, "10.0.0.2", None));
        assert_eq!(key(&header, "10.0.0.1", Some("a")), key(&header, "10.0.0.2", Some("a")));
        assert_eq!(key(&header, "10.0.0.1", None), None, "without the header a request belongs to nobody");
    }
}
