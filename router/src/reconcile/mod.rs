//! From Kubernetes' objects and the topology to the routing table.

mod backends;
mod build;
mod objects;
mod registry;
mod state;
mod verdict;

pub use build::{Built, Inputs, build};
pub use registry::Registry;
pub use state::{Event, State};
pub use verdict::Verdict;
