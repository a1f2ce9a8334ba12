//! Tables for tests.

use crate::proxy::{Clients, PoolSettings, ProxySettings, Shared};
use crate::table::{
    Affinity, Backend, Endpoint, EndpointKey, LoadBalancer, LoadBalancerTimeouts, RoutingTable, SiteView, Stats, Transport,
};
use placement::{
    balance::{self, Endpoints, PathRtt, Policy, SiteColumn},
    units::Micros,
};
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

/// An endpoint of pod `demo/<pod>` on node `node`.
pub fn backend(pod: &str, node: &str, address: SocketAddr) -> Backend {
    let key = EndpointKey { pod: format!("demo/{pod}").into(), node: node.into(), address };
    Backend { endpoint: Endpoint::new(key), declared: Micros(1000), learned: Arc::default() }
}

/// What a proxy on edge-1 shares, with this load balancer in its table of generation 7.
pub fn shared(load_balancer: Arc<LoadBalancer>) -> Arc<Shared> {
    let shared = Shared::new(ProxySettings {
        clients: Clients::new("edge-1", &[], Vec::new()),
        expose_endpoint: true,
        pool: PoolSettings { source: None, idle_timeout: Duration::from_secs(1), idle_per_endpoint: 1 },
    });
    shared.table.store(Arc::new(RoutingTable::new(7, vec![load_balancer], HashMap::new(), Vec::new(), "cluster.local")));
    shared
}

/// A load balancer with one client site, `edge-1`, that is 1 ms from the first backend, 2 ms from the second and so on.
pub fn load_balancer(name: &str, backends: Vec<Backend>) -> LoadBalancer {
    let stats = Arc::<Stats>::default();
    let site: Arc<str> = "edge-1".into();
    let endpoints: Endpoints = backends.iter().map(|_| balance::Endpoint { slots: 8, ..Default::default() }).collect();
    let path = |at: usize| Some(Micros((at as u32 + 1) * 1000)).map(|rtt| PathRtt { p50: rtt, p90: rtt });
    let column = SiteColumn::new(&endpoints, path, |_| None);
    let view = SiteView { column, arrivals: stats.arrivals(&site), site };
    LoadBalancer {
        id: 1,
        name: name.to_owned(),
        use_case: name.to_owned(),
        refused: None,
        transport: Transport::Http1,
        policy: Policy::Optimized(balance::Objective::Performance),
        affinity: Affinity::None,
        max_rtt: None,
        watermark: 100,
        classes: None,
        timeouts: LoadBalancerTimeouts::default(),
        endpoints,
        backends,
        sites: vec![view],
        stats,
    }
}
