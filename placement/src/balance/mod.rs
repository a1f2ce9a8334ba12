//! Routing policies as pure pickers: from a client site, an immutable table of endpoints and live counts to one endpoint.
//!
//! [`feasibility`] comes first and is the same for every policy; a policy chooses among what it leaves, by the response time of
//! [`crate::score::response_time`]. One file per policy. Who counts what is in flight is the router's business: pickers read [`Counts`].

mod endpoints;
pub mod feasibility;
mod local;
mod pick;
mod policy;
mod site;
#[cfg(test)]
mod testing;

pub use endpoints::{ClassIx, Endpoint, EndpointIx, Endpoints};
pub use feasibility::Exclusion;
pub use local::Local;
pub use pick::{Counts, Pick, Request, pick};
pub use policy::{Objective, Policy, Spread};
pub use site::{PathRtt, SiteColumn};
