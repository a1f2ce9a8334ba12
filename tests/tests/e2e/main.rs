//! edge-scheduler, edge-pinger and edge-router as they are installed: their own accounts and rights, HTTPS, an API server between them.
//!
//! What is in `both` runs on the embedded API server and, with EDGE_E2E_BACKEND=real, on a real control plane; `faults` and `start` need what the
//! embedded one alone can do.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

mod backend;
mod both;
mod cluster;
mod faults;
mod start;
