//! The topology service: rows from agents or files in; peers, snapshots and a stream of changes out.

pub mod agents;
pub mod authority;
pub mod board;
pub mod demand;
pub mod feed;
pub mod node_networks;
pub mod probe_plan;
pub mod service;
pub mod source;
pub mod summary;
pub mod validation;
