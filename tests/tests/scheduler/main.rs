//! edge-scheduler against the embedded API server, over HTTPS, under its own account with RBAC enforced.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_input;
mod cluster;
mod faults;
mod leadership;
mod placing;
mod topology;
