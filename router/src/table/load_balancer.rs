//! One load balancer of the table: its backends as columns, and what each client site may use of them.

use super::{Arrivals, Endpoint, Learned, Stats};
use http::{HeaderMap, HeaderName};
use placement::units::{Fps, Micros};
use std::{
    fmt,
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

/// How one of the feasible endpoints is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `spread_percent`: `None` for all.
    Balance {
        spread_percent: Option<u16>,
        spread_min: Micros,
    },
    RoundRobin,
}

/// Why an endpoint takes no request. In this order the figures of a refusal are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exclusion {
    Rtt,
    Unmeasured,
    NotReady,
    DeviceClass,
    NodePool,
    /// It refused connections a moment ago.
    Out,
    Full,
}

impl Exclusion {
    pub const ALL: [Exclusion; 7] = [
        Exclusion::Rtt,
        Exclusion::Unmeasured,
        Exclusion::NotReady,
        Exclusion::DeviceClass,
        Exclusion::NodePool,
        Exclusion::Out,
        Exclusion::Full,
    ];
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exclusion::Rtt => "excluded by RTT",
            Exclusion::Unmeasured => "not measured",
            Exclusion::NotReady => "not ready",
            Exclusion::DeviceClass => "on another device class",
            Exclusion::NodePool => "outside the node pool",
            Exclusion::Out => "refusing connections",
            Exclusion::Full => "full",
        })
    }
}

/// One endpoint in the role it has for one load balancer.
#[derive(Clone, Debug)]
pub struct Backend {
    pub endpoint: Arc<Endpoint>,
    /// Device class that it computes on, when known.
    pub device: Option<Arc<str>>,
    /// Requests it serves at once without queueing.
    pub slots: u32,
    /// Requests per second it can take; `None`: not limited.
    pub fps: Option<Fps>,
    /// Service time as declared; zero when it is not.
    pub declared: Micros,
    pub learned: Arc<Learned>,
    /// Whatever the site: why it takes none.
    pub excluded: Option<Exclusion>,
}

impl Backend {
    /// Service time: as learned, before that as declared.
    pub fn service(&self) -> Micros {
        self.learned.get().unwrap_or(self.declared)
    }
}

/// RTT between a client site and an endpoint's node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRtt {
    /// What ranks.
    pub p50: Micros,
    /// What a bound is held against.
    pub p90: Micros,
}

/// A load balancer as clients of one site see it. Columns run parallel to [`LoadBalancer::backends`].
#[derive(Debug)]
pub struct SiteView {
    /// Node by which the clients enter.
    pub site: Arc<str>,
    /// RTT for ranking; of a pair that isn't measured the worst of the others, so that it comes last.
    pub rtt: Vec<Micros>,
    /// Why the endpoint takes no request from here, live figures aside.
    pub excluded: Vec<Option<Exclusion>>,
    pub arrivals: Arc<Arrivals>,
}

impl SiteView {
    pub fn arrived(&self) {
        self.arrivals.fetch_add(1, Relaxed);
    }

    /// Endpoints that a bound on the RTT keeps from this site.
    pub fn excluded_by_rtt(&self) -> usize {
        self.excluded.iter().filter(|excluded| matches!(excluded, Some(Exclusion::Rtt | Exclusion::Unmeasured))).count()
    }
}

#[derive(Debug)]
pub struct LoadBalancer {
    /// `namespace/name` of the EdgeLoadBalancer, or of the Service of an implicit one.
    pub name: String,
    pub use_case: String,
    /// Why it can't be served at all, such as a protocol that isn't supported.
    pub refused: Option<String>,
    pub transport: Transport,
    pub policy: Policy,
    pub affinity: Affinity,
    /// Largest RTT between client site and endpoint.
    pub max_rtt: Option<Micros>,
    /// Percent of an endpoint's slots or fps from which it gets nothing new while another is below.
    pub watermark: u8,
    pub timeouts: LoadBalancerTimeouts,
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
