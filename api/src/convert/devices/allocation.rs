//! The model's allocation as the API server stores it.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult, DeviceToleration,
};
use placement::cluster::Requirement;
use placement::devices::{AllocatedConfig, AllocatedDevice, Allocation};

/// For `status.allocation` of a ResourceClaim.
pub fn allocation_result(allocation: &Allocation) -> AllocationResult {
    AllocationResult {
        devices: Some(DeviceAllocationResult { results: list(&allocation.devices, device), config: list(&allocation.configs, config) }),
        node_selector: allocation.nodes.as_ref().map(|terms| NodeSelector {
            node_selector_terms: terms
                .iter()
                .map(|term| NodeSelectorTerm {
                    match_expressions: list(&term.match_expressions, requirement),
                    match_fields: list(&term.match_fields, requirement),
                })
                .collect(),
        }),
        ..AllocationResult::default()
    }
}

/// An empty list is left out.
fn list<A, B>(of: &[A], each: fn(&A) -> B) -> Option<Vec<B>> {
    (!of.is_empty()).then(|| of.iter().map(each).collect())
}

fn device(device: &AllocatedDevice) -> DeviceRequestAllocationResult {
    let toleration = |of: &placement::devices::DeviceToleration| {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        DeviceToleration {
            key: text(&of.key),
            effect: text(&of.effect),
            operator: Some(if of.value.is_some() { "Equal" } else { "Exists" }.to_owned()),
            value: of.value.clone().filter(|value| !value.is_empty()),
            toleration_seconds: of.seconds,
        }
    };
    DeviceRequestAllocationResult {
        request: device.request.clone(),
        driver: device.driver.clone(),
        pool: device.pool.clone(),
        device: device.device.clone(),
        admin_access: device.admin_access.then_some(true),
        tolerations: (!device.tolerations.is_empty()).then(|| device.tolerations.iter().map(toleration).collect()),
        ..DeviceRequestAllocationResult::default()
    }
}

fn config(config: &AllocatedConfig) -> DeviceAllocationConfiguration {
    DeviceAllocationConfiguration {
        source: if config.of_class { "FromClass" } else { "FromClaim" }.to_owned(),
        requests: list(&config.requests, String::clone),
        opaque: serde_json::from_value(config.opaque.clone()).ok(),
    }
}

fn requirement(requirement: &Requirement) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: requirement.key.clone(),
        operator: format!("{:?}", requirement.operator),
        values: list(&requirement.values, String::clone),
    }
}
