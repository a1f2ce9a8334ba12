//! From Kubernetes' objects and the topology to the routing table.

mod backends;
mod build;
mod controller;
mod objects;
mod registry;
mod state;
mod status;
mod verdict;

pub use build::{Built, Inputs, build};
pub use controller::{Controller, Judged, Published, watch_all};
pub use objects::Key;
pub use registry::Registry;
pub use state::{Event, State};
pub use status::{Rates, Writer, write_statuses};
pub use verdict::Verdict;
