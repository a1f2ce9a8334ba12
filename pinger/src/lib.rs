//! edge-pinger: measures RTT to the other nodes and this node's devices, and reports both to the topology service.

pub mod agent;
mod config;
pub mod device;
mod goldpinger;
mod link;
mod method;
mod metrics;
pub mod once;
pub mod pacing;
pub mod prober;
mod program;
pub mod row;
mod running;

pub use config::Config;
pub use program::{Args, Pinger};
pub use running::{Error, Running, run, start};
