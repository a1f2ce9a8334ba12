//! Just enough of kube-controller-manager for the demo: Deployments and ReplicaSets, EndpointSlices, node lifecycle, PodDisruptionBudgets.
//!
//! Each controller is a pure function from what is to what should be done about it, as a list of [`Action`]s; [`Controllers`] keeps
//! one cache for all of them, calls those that a change concerns, and carries the actions out.

mod action;
mod cache;
mod deployment;
mod disruption;
mod endpoint_slice;
mod node_lifecycle;
mod replica_set;
mod runner;

pub use action::{Action, Kind};
pub use runner::{Controllers, Settings};
