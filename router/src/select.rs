//! From a load balancer and a client site to one endpoint: what is feasible now, then the policy's pick.

use crate::{
    proxy::Worker,
    table::{Backend, Endpoint, Exclusion, LoadBalancer, SiteView},
};
use placement::{score::response_time::response_time_us, units::Micros};
use std::sync::{Arc, Mutex};

/// State of the pickers, one per worker.
pub struct LocalState {
    _local: Mutex<u64>,
}

impl LocalState {
    pub fn new(seed: u64) -> LocalState {
        LocalState { _local: Mutex::new(seed) }
    }
}

/// The endpoint chosen, and what its request is measured against.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Index into the load balancer's backends.
    pub index: usize,
    pub endpoint: Arc<Endpoint>,
    pub slots: u32,
}

/// Why an endpoint takes no request right now, live figures included.
fn exclusion(backend: &Backend, site: &SiteView, index: usize, now_ms: u64) -> Option<Exclusion> {
    site.excluded[index].or_else(|| backend.endpoint.is_out(now_ms).then_some(Exclusion::Out))
}

/// Picks an endpoint for a request from `site`; `tried` are those that took no connection. The error says why none is feasible.
pub fn select(
    worker: &Worker,
    load_balancer: &LoadBalancer,
    site: &SiteView,
    _affinity: Option<u64>,
    tried: &[usize],
) -> Result<Selected, String> {
    if let Some(refused) = &load_balancer.refused {
        return Err(format!("{} is not served: {refused}", load_balancer.name));
    }
    let now_ms = worker.shared.now_ms();
    let feasible = load_balancer.backends.iter().enumerate();
    let feasible = feasible.filter(|(index, backend)| !tried.contains(index) && exclusion(backend, site, *index, now_ms).is_none());
    let best = feasible.min_by(|(a, x), (b, y)| {
        let cost =
            |index: usize, backend: &Backend| response_time_us(site.rtt[index], backend.service(), backend.endpoint.load(), backend.slots);
        cost(*a, x).total_cmp(&cost(*b, y))
    });
    match best {
        Some((index, backend)) => Ok(Selected { index, endpoint: Arc::clone(&backend.endpoint), slots: backend.slots }),
        None => Err(explain(load_balancer, site, now_ms)),
    }
}

/// Whether an endpoint is left to try.
pub fn any_left(worker: &Worker, load_balancer: &LoadBalancer, site: &SiteView, tried: &[usize]) -> bool {
    let now_ms = worker.shared.now_ms();
    let mut backends = load_balancer.backends.iter().enumerate();
    backends.any(|(index, backend)| !tried.contains(&index) && exclusion(backend, site, index, now_ms).is_none())
}

/// `no endpoint of demo/vision within 20 ms of edge-3: 2 of 3 excluded by RTT, 1 full`.
fn explain(load_balancer: &LoadBalancer, site: &SiteView, now_ms: u64) -> String {
    let within = load_balancer.max_rtt.map(|bound: Micros| format!(" within {bound} of {}", site.site)).unwrap_or_default();
    let total = load_balancer.backends.len();
    if total == 0 {
        return format!("no endpoint of {}{within}: it has none", load_balancer.name);
    }
    let reasons: Vec<Option<Exclusion>> =
        load_balancer.backends.iter().enumerate().map(|(index, backend)| exclusion(backend, site, index, now_ms)).collect();
    let mut figures = Vec::new();
    for reason in Exclusion::ALL {
        let count = reasons.iter().filter(|excluded| **excluded == Some(reason)).count();
        match count {
            0 => {}
            count if figures.is_empty() => figures.push(format!("{count} of {total} {reason}")),
            count => figures.push(format!("{count} {reason}")),
        }
    }
    format!("no endpoint of {}{within}: {}", load_balancer.name, figures.join(", "))
}
