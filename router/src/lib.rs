//! edge-router: steers requests to the placed pods with the scoring function that placed them, and reports what is asked for.
//!
//! [`proxy`] is the data plane and reads one immutable [`table`]; [`reconcile`] makes the table out of Kubernetes' objects and the
//! [`topology`]; [`select`] is where a request picks its endpoint, through `placement::balance`; [`demand`] tells what is asked for.

mod config;
pub mod demand;
mod metrics;
mod program;
pub mod proxy;
pub mod reconcile;
mod running;
pub mod select;
pub mod table;
#[cfg(test)]
mod testing;
pub mod topology;

pub use config::{ClientSite, Config};
pub use program::{Args, EdgeRouter};
pub use running::{Error, Running, run, start};
