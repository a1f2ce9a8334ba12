//! What the data plane reads: an immutable table from host and path to load balancer to endpoints.
//!
//! A table is built whole by [`crate::reconcile`] and swapped in; endpoints and counters are shared from one to the next.

mod dump;
mod endpoint;
mod learned;
mod load_balancer;
mod routes;
mod stats;

pub use endpoint::{Endpoint, EndpointKey, InFlight};
pub use learned::Learned;
pub use load_balancer::{Affinity, Backend, LoadBalancer, LoadBalancerTimeouts, SiteView, Transport};
pub use routes::{RouteRule, RoutingTable};
pub use stats::{Arrivals, LATENCY_BUCKETS_S, Stats};
