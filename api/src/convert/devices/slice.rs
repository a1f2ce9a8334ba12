//! `v1.ResourceSlice` and `v1.DeviceTaintRule` to the model.

use super::taint;
use crate::convert::{Unreadable, affinity::terms};
use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{self, DeviceAttribute};
use placement::devices::{Attribute, Device, Reach, ResourceSlice, TaintRule};

/// A slice; what of its devices is not implemented stands with the device, which is then given to nobody.
pub fn resource_slice(slice: &v1::ResourceSlice) -> ResourceSlice {
    let spec = &slice.spec;
    let name = slice.metadata.name.clone().unwrap_or_default();
    let reach = match spec.per_device_node_selection {
        Some(true) if spec.node_name.is_none() && spec.node_selector.is_none() && spec.all_nodes != Some(true) => Reach::PerDevice,
        _ => reach(spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_ref()),
    };
    let skips = spec.skip_node_operations.as_ref().is_some_and(|operations| !operations.is_empty());
    let device = |device: &v1::Device| {
        let mut device = self::device(device);
        if skips {
            device.unsupported.get_or_insert_with(|| "its slice sets skipNodeOperations, which is not supported yet".into());
        }
        device
    };
    let counters = spec.devices.iter().flatten().flat_map(|device| device.consumes_counters.iter().flatten());
    let mut read = ResourceSlice::new(name, &spec.driver, &spec.pool.name);
    (read.generation, read.slice_count) = (spec.pool.generation, spec.pool.resource_slice_count);
    read.reach = reach;
    read.devices = spec.devices.iter().flatten().map(device).collect();
    read.ignored = counters.into_iter().any(|counter| counter.compatibility_groups.as_ref().is_some_and(|groups| !groups.is_empty()));
    read
}

fn reach(node: Option<&str>, all: Option<bool>, selector: Option<&NodeSelector>) -> Reach {
    match (node.filter(|node| !node.is_empty()), all, selector) {
        (Some(node), _, _) => Reach::Node(node.to_owned()),
        (None, Some(true), _) => Reach::All,
        // What can't be read of it is a requirement less, and a term without any matches nothing.
        (None, _, Some(selector)) => Reach::Selected(terms(&selector.node_selector_terms, "", &mut Unreadable::default())),
        (None, _, None) => Reach::Unknown,
    }
}

fn device(device: &v1::Device) -> Device {
    let mut unsupported = unsupported(device).map(|field| format!("it sets {field}, which is not supported yet"));
    let mut attributes = std::collections::BTreeMap::new();
    for (name, value) in device.attributes.iter().flatten() {
        match attribute(value) {
            Some(value) => drop(attributes.insert(name.clone(), value)),
            None => {
                unsupported
                    .get_or_insert_with(|| format!("its attribute {name} is a list or of no known type, which is not supported yet"));
            }
        }
    }
    Device {
        name: device.name.clone(),
        attributes,
        capacity: device.capacity.iter().flatten().map(|(name, capacity)| (name.clone(), capacity.value.0.clone())).collect(),
        taints: device.taints.iter().flatten().map(taint).collect(),
        reach: reach(device.node_name.as_deref(), device.all_nodes, device.node_selector.as_ref()),
        shared: device.allow_multiple_allocations == Some(true),
        binds_to_node: device.binds_to_node == Some(true),
        unsupported,
    }
}

/// The first field that is not implemented and set.
fn unsupported(device: &v1::Device) -> Option<&'static str> {
    let any = |list: Option<usize>| list.is_some_and(|len| len > 0);
    let fields = [
        ("consumesCounters", any(device.consumes_counters.as_ref().map(Vec::len))),
        ("allowMultipleAllocations", device.allow_multiple_allocations == Some(true)),
        ("bindingConditions", any(device.binding_conditions.as_ref().map(Vec::len))),
        ("nodeAllocatableResources", any(device.node_allocatable_resources.as_ref().map(|resources| resources.len()))),
    ];
    fields.into_iter().find(|(_, set)| *set).map(|(field, _)| field)
}

fn attribute(value: &DeviceAttribute) -> Option<Attribute> {
    let of_bool = || value.bool.map(Attribute::Bool);
    let of_int = || value.int.map(Attribute::Int);
    let of_string = || value.string.clone().map(Attribute::String);
    let of_version = || value.version.clone().map(Attribute::Version);
    of_int().or_else(of_bool).or_else(of_string).or_else(of_version)
}

/// A taint that an administrator puts on devices.
pub fn taint_rule(rule: &v1::DeviceTaintRule) -> TaintRule {
    let selector = rule.spec.device_selector.as_ref();
    TaintRule {
        name: rule.metadata.name.clone().unwrap_or_default(),
        driver: selector.and_then(|selector| selector.driver.clone()),
        pool: selector.and_then(|selector| selector.pool.clone()),
        device: selector.and_then(|selector| selector.device.clone()),
        taint: taint(&rule.spec.taint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(spec: Value) -> ResourceSlice {
        resource_slice(&serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap())
    }

    #[test]
    fn a_slice_reaches_what_it_says() {
        let check = |more: Value, expected: Reach| {
            let mut spec = json!({"driver": "gpu.test", "pool": {"name": "p", "generation": 3, "resourceSliceCount": 2}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let slice = read(spec);
            assert_eq!((slice.generation, slice.slice_count, slice.reach), (3, 2, expected));
        };
        check(json!({"nodeName": "n1"}), Reach::Node("n1".into()));
        check(json!({"allNodes": true}), Reach::All);
        check(json!({"perDeviceNodeSelection": true}), Reach::PerDevice);
        check(json!({}), Reach::Unknown);
    }

    #[test]
    fn what_is_not_implemented_stands_with_its_device() {
        let check = |device: Value, expected: Option<&str>| {
            let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
            let slice = read(json!({"driver": "gpu.test", "pool": pool, "allNodes": true, "devices": [device]}));
            assert_eq!(slice.devices[0].unsupported.as_deref(), expected);
        };
        let sets = |field: &str| format!("it sets {field}, which is not supported yet");
        check(json!({"name": "d", "attributes": {"a": {"int": 1}, "b": {"version": "1.0.0"}}, "capacity": {"m": {"value": "1Gi"}}}), None);
        check(json!({"name": "d", "consumesCounters": [{"counterSet": "c", "counters": {}}]}), Some(&sets("consumesCounters")));
        check(json!({"name": "d", "allowMultipleAllocations": true}), Some(&sets("allowMultipleAllocations")));
        check(json!({"name": "d", "bindingConditions": ["Ready"]}), Some(&sets("bindingConditions")));
        let list = "its attribute a is a list or of no known type, which is not supported yet";
        check(json!({"name": "d", "attributes": {"a": {"ints": [1]}}}), Some(list));
    }
}
