//! From a load balancer and a client site to one endpoint: live counts to the model's pickers, and its refusal in words.

use crate::{
    proxy::Worker,
    table::{Endpoint, LoadBalancer, SiteView},
};
use placement::{
    balance::{Counts, EndpointIx, Exclusion, Local, Pick, Request, feasibility, pick},
    units::Micros,
};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

/// State of the pickers, one for each worker.
pub struct Pickers {
    seed: u64,
    /// By the load balancer's id.
    locals: Mutex<HashMap<u64, Local>>,
}

impl Pickers {
    /// Workers and routers have different seeds, so that they do not move in step.
    pub fn new(seed: u64) -> Pickers {
        Pickers { seed, locals: Mutex::default() }
    }

    fn with<T>(&self, id: u64, pick: impl FnOnce(&mut Local) -> T) -> T {
        // A picker's state is whole after any panic: at worst a cursor that has not moved.
        let mut locals = self.locals.lock().unwrap_or_else(PoisonError::into_inner);
        pick(locals.entry(id).or_insert_with(|| Local::new(self.seed ^ id)))
    }

    /// Forgets load balancers that are gone.
    pub fn retain(&self, ids: impl Fn(u64) -> bool) {
        self.locals.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| ids(*id));
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

/// Live figures of a load balancer's endpoints for one request.
struct Live<'a> {
    load_balancer: &'a LoadBalancer,
    /// Endpoints that took no connection for this request.
    tried: &'a [usize],
    now_ms: u64,
}

impl Counts for Live<'_> {
    fn in_flight(&self, endpoint: usize) -> f64 {
        self.load_balancer.backends[endpoint].endpoint.load()
    }

    fn service(&self, endpoint: usize) -> Micros {
        self.load_balancer.backends[endpoint].service()
    }

    fn fps_left(&self, endpoint: usize) -> Option<f64> {
        let fps = self.load_balancer.endpoints.fps[endpoint]?;
        Some(f64::from(fps.0) - self.load_balancer.backends[endpoint].endpoint.rate(self.now_ms))
    }

    fn out(&self, endpoint: usize) -> bool {
        self.tried.contains(&endpoint) || self.load_balancer.backends[endpoint].endpoint.is_out(self.now_ms)
    }
}

/// Picks an endpoint for a request from `site`; `tried` are those that took no connection. The error says why none is feasible.
pub fn select(
    worker: &Worker,
    load_balancer: &LoadBalancer,
    site: &SiteView,
    affinity: Option<u64>,
    tried: &[usize],
) -> Result<Selected, String> {
    if let Some(refused) = &load_balancer.refused {
        return Err(format!("{} is not served: {refused}", load_balancer.name));
    }
    let live = Live { load_balancer, tried, now_ms: worker.shared.now_ms() };
    let request = Request { site: &site.column, classes: load_balancer.classes.as_deref(), watermark: load_balancer.watermark };
    let picked = match affinity.and_then(|key| sticky(load_balancer, &request, &live, key)) {
        Some(at) => Pick::Endpoint(EndpointIx(at as u32)),
        None => worker.pickers.with(load_balancer.id, |local| pick(load_balancer.policy, &load_balancer.endpoints, &request, &live, local)),
    };
    match picked {
        Pick::Endpoint(ix) => {
            let index = ix.at();
            let endpoint = Arc::clone(&load_balancer.backends[index].endpoint);
            Ok(Selected { index, endpoint, slots: load_balancer.endpoints.slots[index].max(1) })
        }
        Pick::Infeasible(reasons) => Err(explain(load_balancer, site, &reasons)),
    }
}

/// The endpoint that a client stays with: of those feasible and below the watermark the highest by rendezvous hash, so that an
/// endpoint that goes takes only its own clients with it. `None` when every endpoint is above the watermark: then the policy decides.
fn sticky(load_balancer: &LoadBalancer, request: &Request<'_>, live: &Live<'_>, key: u64) -> Option<usize> {
    let endpoints = &load_balancer.endpoints;
    let feasible = (0..endpoints.len()).filter(|at| feasibility::exclusion(endpoints, request, live, *at).is_none());
    let free = feasible.filter(|at| !feasibility::above_watermark(endpoints, request, live, *at));
    free.max_by_key(|at| {
        let mut hasher = DefaultHasher::new();
        (key, &load_balancer.backends[*at].endpoint.key).hash(&mut hasher);
        hasher.finish()
    })
}

/// Whether an endpoint is left to try.
pub fn any_left(worker: &Worker, load_balancer: &LoadBalancer, site: &SiteView, tried: &[usize]) -> bool {
    let live = Live { load_balancer, tried, now_ms: worker.shared.now_ms() };
    let request = Request { site: &site.column, classes: load_balancer.classes.as_deref(), watermark: load_balancer.watermark };
    (0..load_balancer.endpoints.len()).any(|at| feasibility::exclusion(&load_balancer.endpoints, &request, &live, at).is_none())
}

/// `no endpoint of demo/vision within 20 ms of edge-3: 2 of 3 excluded by RTT, 1 full`.
fn explain(load_balancer: &LoadBalancer, site: &SiteView, reasons: &[Exclusion]) -> String {
    let within = load_balancer.max_rtt.map(|bound| format!(" within {bound} of {}", site.site)).unwrap_or_default();
    let total = reasons.len();
    if total == 0 {
        return format!("no endpoint of {}{within}: it has none", load_balancer.name);
    }
    let mut figures: Vec<(String, usize)> = Vec::new();
    for reason in reasons {
        let text = match reason {
            Exclusion::RttAbove { .. } => "excluded by RTT".to_owned(),
            Exclusion::RttUnmeasured { .. } => "not measured".to_owned(),
            other => other.to_string(),
        };
        match figures.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => figures.push((text, 1)),
        }
    }
    figures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let figures = figures.iter().enumerate().map(|(index, (text, count))| match index {
        0 => format!("{count} of {total} {text}"),
        _ => format!("{count} {text}"),
    });
    format!("no endpoint of {}{within}: {}", load_balancer.name, figures.collect::<Vec<_>>().join(", "))
}
