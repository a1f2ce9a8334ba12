//! One request to one endpoint: feasibility, then the policy.

use super::feasibility::{self, Exclusion};
use super::{ClassIx, EndpointIx, Endpoints, Local, Policy, SiteColumn};
use crate::score::response_time::response_time_us;
use crate::units::Micros;

/// Live figures of the endpoints, by their index. The router counts them; a simulation makes them up.
pub trait Counts {
    /// Requests in flight on the endpoint, from this router and as last heard from the others.
    fn in_flight(&self, endpoint: usize) -> f64;

    /// Time to serve one request without queueing there.
    fn service(&self, endpoint: usize) -> Micros;

    /// Requests per second that this router may still send there; `None`: no limit.
    fn fps_left(&self, _endpoint: usize) -> Option<f64> {
        None
    }

    /// It refused connections a moment ago, or this request has been there.
    fn out(&self, _endpoint: usize) -> bool {
        false
    }
}

/// A request as the policies see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where its client enters.
    pub site: &'a SiteColumn,
    /// Device classes by priority ([`Endpoints::priority`]); a later one serves only when none of the earlier can. `None`: any.
    pub classes: Option<&'a [ClassIx]>,
    /// Percent of an endpoint's slots or fps from which it gets nothing new while another is below.
    pub watermark: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Pick {
    Endpoint(EndpointIx),
    /// None can take it; the reason of each, by index.
    Infeasible(Vec<Exclusion>),
}

/// Candidates of one request with what a policy may ask about them.
pub(super) struct Choice<'a, C> {
    pub endpoints: &'a Endpoints,
    pub request: &'a Request<'a>,
    pub counts: &'a C,
}

impl<C: Counts> Choice<'_, C> {
    /// T of the shared scoring function, in microseconds.
    pub fn response_time_us(&self, at: usize) -> f64 {
        response_time_us(self.request.site.rtt[at], self.counts.service(at), self.counts.in_flight(at), self.endpoints.slots[at])
    }

    /// Slots without a request; below 0 when requests queue.
    pub fn free_slots(&self, at: usize) -> f64 {
        f64::from(self.endpoints.slots[at].max(1)) - self.counts.in_flight(at)
    }
}

/// Picks an endpoint. Takes no time of its own and allocates nothing once `local` has served a request, unless none is feasible.
pub fn pick<C: Counts>(policy: Policy, endpoints: &Endpoints, request: &Request<'_>, counts: &C, local: &mut Local) -> Pick {
    let mut candidates = std::mem::take(&mut local.candidates);
    feasibility::candidates(endpoints, request, counts, &mut candidates);
    let choice = Choice { endpoints, request, counts };
    let picked = policy.choose(&choice, &mut candidates, local);
    local.candidates = candidates;
    match picked {
        Some(at) => Pick::Endpoint(EndpointIx(at as u32)),
        None => Pick::Infeasible((0..endpoints.len()).filter_map(|at| feasibility::exclusion(endpoints, request, counts, at)).collect()),
    }
}

#[cfg(test)]
mod tests;
