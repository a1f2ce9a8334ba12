//! Tables for tests.

use crate::table::{Affinity, Backend, Endpoint, EndpointKey, LoadBalancer, LoadBalancerTimeouts, Policy, SiteView, Stats, Transport};
use placement::units::Micros;
use std::{net::SocketAddr, sync::Arc};

/// An endpoint of pod `demo/<pod>` on node `node`.
pub fn backend(pod: &str, node: &str, address: SocketAddr) -> Backend {
    let key = EndpointKey { pod: format!("demo/{pod}").into(), node: node.into(), address };
    Backend {
        endpoint: Endpoint::new(key),
        device: None,
        slots: 1,
        fps: None,
        declared: Micros(1000),
        learned: Arc::default(),
        excluded: None,
    }
}

/// A load balancer with one client site, `edge-1`, that is 1 ms from the first backend, 2 ms from the second and so on.
pub fn load_balancer(name: &str, backends: Vec<Backend>) -> LoadBalancer {
    let stats = Arc::<Stats>::default();
    let site: Arc<str> = "edge-1".into();
    let view = SiteView {
        rtt: (1..=backends.len() as u32).map(|ms| Micros(ms * 1000)).collect(),
        excluded: backends.iter().map(|backend| backend.excluded).collect(),
        arrivals: stats.arrivals(&site),
        site,
    };
    LoadBalancer {
        name: name.to_owned(),
        use_case: name.to_owned(),
        refused: None,
        transport: Transport::Http1,
        policy: Policy::Balance { spread_percent: Some(20), spread_min: Micros(2000) },
        affinity: Affinity::None,
        max_rtt: None,
        watermark: 100,
        timeouts: LoadBalancerTimeouts::default(),
        backends,
        sites: vec![view],
        stats,
    }
}
