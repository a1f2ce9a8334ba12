//! Slices and selectors for tests.

use super::{Device, DeviceProgram, Reach, ResourceSlice, Selector};
use std::sync::Arc;

pub(crate) fn device(name: &str) -> Device {
    Device {
        name: name.into(),
        attributes: Default::default(),
        capacity: Default::default(),
        taints: Vec::new(),
        reach: Reach::Unknown,
        shared: false,
        binds_to_node: false,
        unsupported: None,
    }
}

/// Devices of a node's own pool.
pub(crate) fn slice(pool: &str, node: &str, devices: &[&str]) -> ResourceSlice {
    let devices = devices.iter().map(|name| device(name)).collect();
    ResourceSlice { reach: Reach::Node(node.into()), devices, ..ResourceSlice::new(format!("{node}-{pool}"), "gpu.test", pool) }
}

struct Named(String);

impl DeviceProgram for Named {
    fn matches(&self, _driver: &str, device: &Device) -> Result<bool, String> {
        if self.0 == "error" { Err("no such key".into()) } else { Ok(device.name.starts_with(&self.0)) }
    }
}

/// Means devices whose name begins so.
pub(crate) fn named(prefix: &str) -> Selector {
    Selector::new(prefix, Arc::new(Named(prefix.into())))
}
