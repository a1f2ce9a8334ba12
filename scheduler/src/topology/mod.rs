//! The topology service: rows from agents or files in; peers, snapshots and a stream of changes out.

pub mod agents;
pub mod board;
pub mod feed;
pub mod probe_plan;
pub mod source;
pub mod validation;
