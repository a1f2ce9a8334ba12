//! Devices, their classes and claims for them (`resource.k8s.io/v1`), and selectors of devices in CEL.
//!
//! CEL is evaluated here and not in the model, which links no clock, as its interpreter does.

mod allocation;
mod cel;
mod claim;
mod slice;

pub use allocation::allocation_result;
pub use claim::{claim, device_class, pod_claims};
pub use slice::{resource_slice, taint_rule};

use k8s_openapi::api::resource::v1::{DeviceSelector, DeviceTaint, DeviceToleration};
use placement::devices;

/// In their order; one that is of no known kind is an expression that fails.
fn selectors(selectors: Option<&Vec<DeviceSelector>>) -> Vec<devices::Selector> {
    selectors.into_iter().flatten().map(|selector| cel::selector(selector.cel.as_ref().map_or("", |cel| &cel.expression))).collect()
}

fn taint(taint: &DeviceTaint) -> devices::DeviceTaint {
    devices::DeviceTaint { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default(), effect: taint.effect.clone() }
}

/// `None`: it has an operator that tolerates nothing.
fn toleration(toleration: &DeviceToleration) -> Option<devices::DeviceToleration> {
    let value = match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => Some(toleration.value.clone().unwrap_or_default()),
        "Exists" => None,
        _ => return None,
    };
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    Some(devices::DeviceToleration {
        key: text(&toleration.key),
        value,
        effect: text(&toleration.effect),
        seconds: toleration.toleration_seconds,
    })
}
