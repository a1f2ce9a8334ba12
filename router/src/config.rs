//! What an operator can set.

use crate::proxy::{Clients, PoolSettings, ProxySettings, ServerSettings};
use chassis::{
    client::ClientConfig,
    config::{Duration, Problems, Size, Validate},
    lease::LeaseConfig,
    topology::TopologyConfig,
    watches::WatchConfig,
};
use ipnet::IpNet;
use placement::cluster::Price;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Name of the Node that this router runs on; in a pod `spec.nodeName` through the downward API.
    pub node_name: String,
    /// Address that clients connect to. Port 0 takes any free one.
    pub listen_address: SocketAddr,
    /// Address that connections to endpoints leave from. Absent: the kernel chooses.
    pub source_address: Option<IpAddr>,
    /// Address of the admin port (health, metrics, /v1/table).
    pub admin_address: SocketAddr,
    /// Threads that serve requests, each with a listener of its own. Absent: one for each core. 0: the program's shared runtime.
    pub workers: Option<u16>,
    /// Client connections served at once, over all workers; more wait.
    pub max_connections: u32,
    /// Networks whose clients enter by another node than this one; the longest prefix counts.
    pub client_sites: Vec<ClientSite>,
    /// Networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
    pub trust_forwarded_for: Vec<IpNet>,
    /// Names the endpoint that answered in the response header x-edge-endpoint.
    pub expose_endpoint: bool,
    /// Longest wait for the head of a request, unused connections included.
    pub header_timeout: Duration,
    /// Largest head of a request.
    pub max_header_size: Size,
    /// After shutdown, how long requests in flight may take.
    pub drain_timeout: Duration,
    /// An unused connection to an endpoint is closed after this.
    pub idle_connection_timeout: Duration,
    /// Unused connections kept per endpoint and worker.
    pub idle_connections_per_endpoint: u16,
    /// An RTT whose last sample is older than this admits no request where a bound holds.
    pub max_age: Duration,
    /// Domain of the cluster: hosts may be written <service>.<namespace>.svc.<domain>.
    pub cluster_domain: String,
    /// Node label that carries a price, for policy "optimized".
    pub price: Option<Price>,
    /// How often demand and load are reported to the topology service.
    pub report_interval: Duration,
    /// How often the status of load balancers is brought up to date, by one of the routers.
    pub status_interval: Duration,
    /// How the router that writes status is elected.
    pub leader_election: LeaseConfig,
    pub topology: TopologyConfig,
    pub watches: WatchConfig,
    pub client: ClientConfig,
}

/// Where the clients of a network enter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientSite {
    pub cidr: IpNet,
    /// Name of a Node.
    pub node: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node_name: String::new(),
            listen_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            source_address: None,
            admin_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9446)),
            workers: None,
            max_connections: 65_536,
            client_sites: Vec::new(),
            trust_forwarded_for: Vec::new(),
            expose_endpoint: true,
            header_timeout: Duration::from_secs(60),
            max_header_size: Size(32 << 10),
            drain_timeout: Duration::from_secs(20),
            idle_connection_timeout: Duration::from_secs(60),
            idle_connections_per_endpoint: 64,
            max_age: Duration::from_secs(15 * 60),
            cluster_domain: "cluster.local".to_owned(),
            price: None,
            report_interval: Duration::from_secs(1),
            status_interval: Duration::from_secs(5),
            // Every router is a candidate, and a status may be late: with these times a thousand of them ask a hundred times a second in all.
            leader_election: LeaseConfig {
                resource_name: api::labels::ROUTER_STATUS_LEASE.to_owned(),
                lease_duration: Duration::from_secs(45),
                renew_deadline: Duration::from_secs(30),
                retry_period: Duration::from_secs(10),
                ..LeaseConfig::default()
            },
            topology: TopologyConfig::default(),
            watches: WatchConfig::default(),
            client: ClientConfig::default(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.node_name.is_empty() {
            problems.wrong("nodeName", "\"\"", "the name of this router's Node (flag --node-name, variable EDGE_ROUTER_NODE_NAME)");
        }
        for (key, duration) in [
            ("headerTimeout", self.header_timeout),
            ("idleConnectionTimeout", self.idle_connection_timeout),
            ("maxAge", self.max_age),
            ("reportInterval", self.report_interval),
            ("statusInterval", self.status_interval),
        ] {
            if duration.is_zero() {
                problems.wrong(key, duration, "more than 0s");
            }
        }
        if !(8 << 10..=1 << 20).contains(&self.max_header_size.0) {
            problems.wrong("maxHeaderSize", self.max_header_size, "8Ki to 1Mi");
        }
        if self.max_connections == 0 {
            problems.wrong("maxConnections", 0, "1 or more");
        }
        if self.cluster_domain.is_empty() || self.cluster_domain.starts_with('.') {
            problems.wrong("clusterDomain", &self.cluster_domain, "a domain without a leading dot, such as cluster.local");
        }
        problems.within("leaderElection", |problems| self.leader_election.validate(problems));
        problems.within("topology", |problems| self.topology.validate(problems));
        problems.within("watches", |problems| self.watches.validate(problems));
        problems.within("client", |problems| self.client.validate(problems));
    }
}

impl Config {
    pub(crate) fn proxy(&self) -> ProxySettings {
        let networks: Vec<(IpNet, String)> = self.client_sites.iter().map(|site| (site.cidr, site.node.clone())).collect();
        ProxySettings {
            clients: Clients::new(&self.node_name, &networks, self.trust_forwarded_for.clone()),
            expose_endpoint: self.expose_endpoint,
            pool: PoolSettings {
                source: self.source_address,
                idle_timeout: *self.idle_connection_timeout,
                idle_per_endpoint: usize::from(self.idle_connections_per_endpoint),
            },
        }
    }

    pub(crate) fn server(&self) -> ServerSettings {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.map_or_else(cores, usize::from);
        ServerSettings {
            address: self.listen_address,
            workers,
            connections: (self.max_connections as usize).div_ceil(workers.max(1)),
            header_timeout: *self.header_timeout,
            header_bytes: usize::try_from(self.max_header_size.0).unwrap_or(usize::MAX),
            drain: *self.drain_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::config::Layers;

    fn check(file: &str, expected: Result<(), &str>) {
        let mut layers = Layers::new("EDGE_ROUTER");
        layers.file_text("router.yaml", file);
        match (layers.load::<Config>(), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{file}: {:?}, expected {expected:?}", got.map(drop)),
        }
    }

    #[test]
    fn the_file_is_checked_whole() {
        check("nodeName: edge-1\nclientSites: [{cidr: 10.1.0.0/16, node: edge-2}]\ntrustForwardedFor: [10.0.0.0/8]\nworkers: 0\n", Ok(()));
        check("nodeName: edge-1\nsourceAddress: 127.64.0.1\nprice: {label: cost, weightUs: 5}\n", Ok(()));
        check("", Err("nodeName"));
        check("nodeName: a\nlistenAdress: 0.0.0.0:80\n", Err("did you mean \"listenAddress\"?"));
        check("nodeName: a\nclientSites: [{cidr: 10.1.0.0/33, node: edge-2}]\n", Err("clientSites"));
        check("nodeName: a\nmaxHeaderSize: 1\n", Err("8Ki to 1Mi"));
        check("nodeName: a\nheaderTimeout: 0s\n", Err("headerTimeout"));
    }
}
