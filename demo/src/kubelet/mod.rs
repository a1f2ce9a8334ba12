//! Simulated kubelets: one runner plays them all, with one watch of the bound pods instead of one per node.
//!
//! It registers the nodes and renews their leases ([`node_object`]), admits bound pods or refuses what does not fit ([`admission`]),
//! takes them to Running ([`pod_status`]), serves HTTP for those that have a port ([`serving`]), and can be failed and healed node by node.

mod admission;
mod assignments;
mod node_object;
mod pod_life;
mod pod_status;
mod runner;
mod serving;

pub use admission::{Rejection, Room};
pub use runner::{KubeletError, Kubelets, Settings};

/// Pod annotation: milliseconds that one request takes to serve; also the container's variable `DEMO_SERVICE_MS`.
pub const SERVICE_MS_ANNOTATION: &str = "demo.edge-scheduler.io/service-ms";
/// Pod annotation: requests served at once, others queue; also the container's variable `DEMO_SLOTS`.
pub const SLOTS_ANNOTATION: &str = "demo.edge-scheduler.io/slots";
/// Pod annotation, written by the kubelet: the node's ports that container ports got, as JSON `{"8080": 20001}`. Pods of a node share its
/// address, so a port goes to the first that asks for it.
pub const PORTS_ANNOTATION: &str = "demo.edge-scheduler.io/ports";
/// Node label: the city.
pub const CITY_LABEL: &str = "demo.edge-scheduler.io/city";
