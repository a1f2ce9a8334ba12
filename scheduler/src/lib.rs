//! edge-scheduler: binds pods of its `schedulerName` within their delay bounds, and serves the topology they are judged by.
//!
//! ```text
//!  API server ──watches──► intake ──► state (cluster + queue) ◄── topology board ◄── agents' reports, or files
//!                                        │        ▲                     │
//!                                        ▼        │ forget, retry       └──► peers, snapshot, stream
//!                                      cycle ──► bind ──► POST pods/binding
//!                                        └──────► tell ──► events, condition PodScheduled
//!                              bounds (pods that run) ──┘
//!                                      evict ──► DELETE pods of lower priority, for one that fits nowhere
//!
//!  kube-scheduler ──HTTP──► extender ──► state, topology board (reads alone)
//! ```

pub mod bind;
pub mod bounds;
mod catch_up;
pub mod config;
pub mod cycle;
pub mod evict;
pub mod explain;
pub mod extender;
mod http_body;
pub mod intake;
pub mod metrics;
pub mod program;
pub mod queue;
pub mod running;
pub mod state;
pub mod tell;
pub mod topology;

pub use config::Config;
pub use program::{Args, Scheduler};
pub use running::{Error, Running, run, start};

#[cfg(test)]
use chassis::mock_api;
