//! edge-scheduler: binds pods of its `schedulerName` within their delay bounds, and serves the topology they are judged by.

pub mod bind;
pub mod config;
pub mod explain;
pub mod intake;
pub mod queue;
pub mod state;
pub mod topology;

#[cfg(test)]
use chassis::mock_api;
