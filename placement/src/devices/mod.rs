//! Devices that pods claim (`resource.k8s.io/v1`, dynamic resource allocation): what drivers offer, what claims ask for, and which device goes to which
//! claim. The rules are kube-scheduler 1.37's (its plugin DynamicResources with the allocator of its default features).
//!
//! CEL stays outside: a [`Selector`] asks whoever compiled it, and a slice remembers the answers for its devices.

mod allocate;
mod claim;
mod constraint;
mod device;
mod inventory;
mod pool;
mod selector;
#[cfg(test)]
pub(crate) mod testing;

pub use allocate::{AllocateError, Allocator};
pub use claim::{
    AllocatedConfig, AllocatedDevice, Allocation, Amount, Claim, ClaimConfig, ClaimName, Constraint, DeviceClass, PodClaim, Request,
    Variant,
};
pub use device::{Attribute, Device, DeviceTaint, DeviceToleration, Reach, ResourceSlice, TaintRule, device_id};
pub(crate) use inventory::ClaimChange;
pub use inventory::Inventory;
pub use selector::{DeviceProgram, Selector};
