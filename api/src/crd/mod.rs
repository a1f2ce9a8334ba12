//! The custom resources, and how their definitions are finished for the API server.

// Printer columns repeat keys like `type_`, each in a list of its own.
#![allow(clippy::duplicated_attributes)]

mod backup_reservation;
mod definition;
mod duration;
mod edge_load_balancer;
mod node_network;
mod rules;

pub use backup_reservation::{
    BackupReservation, BackupReservationSpec, BackupReservationStatus, FailureDomain, ReservationPhase, ReservedFor,
};
pub use definition::definitions;
pub use duration::{Duration, DurationError};
pub use edge_load_balancer::{
    Affinity, AffinityType, Backend, DemandStatus, DevicePerformance, EdgeLoadBalancer, EdgeLoadBalancerSpec, EdgeLoadBalancerStatus,
    EndpointStatus, Objective, Performance, PolicyType, Protocol, Route, Serving, Sla, Spread, Timeouts,
};
pub use node_network::{DeviceSummary, LayerSummary, Neighbour, NodeNetwork, NodeNetworkSpec, NodeNetworkStatus};
pub use rules::SpecError;

/// Most endpoints that a load balancer's status lists; their count is not bounded.
pub const STATUS_ENDPOINTS: usize = 64;
/// Most client sites that a load balancer's status lists.
pub const STATUS_SITES: usize = 256;
/// Most neighbours that a NodeNetwork lists, so that the object stays under 2 kB.
pub const STATUS_NEIGHBOURS: usize = 8;
