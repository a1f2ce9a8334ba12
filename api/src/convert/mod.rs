//! From Kubernetes' objects to the model, keeping what the model needs and nothing else. Strings are parsed here, once.

mod affinity;
mod controller;
mod csi_migration;
mod delay;
mod devices;
mod disruption;
mod features;
mod images;
mod label_selector;
mod node;
mod pod;
mod pod_affinity;
mod pod_volumes;
mod ports;
mod requests;
mod spread;
mod storage;
mod taint;

pub(crate) use affinity::added_affinity;
pub use controller::{replica_set_selector, replication_controller_selector, stateful_set_selector};
pub use devices::{allocation_result, claim, device_class, resource_slice, taint_rule};
pub use disruption::disruption_budget;
pub use node::node;
pub use pod::pod;
pub use storage::{
    csi_driver, csi_node, csi_storage_capacity, persistent_volume, persistent_volume_claim, storage_class, volume_attachment,
};

use placement::cluster::Refusal;
use placement::units::QuantityError;

/// An object that the model can't take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field} is not a quantity")]
pub struct ConvertError {
    /// `node edge-1`.
    pub object: String,
    /// `status.allocatable.cpu`.
    pub field: String,
    #[source]
    pub source: QuantityError,
}

/// What of a pod could not be read while converting it. It keeps the pod Pending, with the field's name.
#[derive(Debug, Default)]
struct Unreadable {
    refusals: Vec<Refusal>,
}

impl Unreadable {
    fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.refusals.push(Refusal { field: field.into(), why: why.into() });
    }
}
