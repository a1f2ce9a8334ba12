//! What the three programs have in common: configuration, shutdown, the Kubernetes client, watches, leader election, TLS,
//! authentication, events and the admin port.
//!
//! Nothing here is global to the process except what [`program::main`] sets up, so that several programs can run in one.

pub mod admin;
pub mod authn;
pub mod backoff;
pub mod client;
pub mod config;
pub mod events;
pub mod http_error;
pub mod lease;
pub mod metrics;
pub mod program;
pub mod serve;
pub mod shutdown;
pub mod tls;
pub mod topology;
pub mod watches;

#[cfg(any(test, feature = "mock-api"))]
pub mod mock_api;
