//! edge-scheduler: binds pods of its `schedulerName` within their delay bounds, and serves the topology they are judged by.

pub mod config;
pub mod queue;
pub mod topology;
