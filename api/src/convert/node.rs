//! `v1.Node` to the model.

use super::requests::set;
use super::taint::taint;
use super::{ConvertError, images};
use k8s_openapi::api::core::v1;
use placement::cluster::{Node, Resources};
use placement::units::Quantity;

/// A node as the model sees it. One without an InternalIP is kept, with no address: it takes pods by declared delays, but can't be probed.
///
/// # Errors
/// An amount in `status.allocatable` that is not a quantity.
pub fn node(node: &v1::Node) -> Result<Node, ConvertError> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let status = node.status.as_ref();
    let spec = node.spec.as_ref();
    let mut allocatable = Resources::default();
    for (resource, quantity) in status.iter().flat_map(|status| status.allocatable.iter().flatten()) {
        let amount = Quantity::parse(&quantity.0).map_err(|source| ConvertError {
            object: format!("node {name}"),
            field: format!("status.allocatable.{resource}"),
            source,
        })?;
        set(&mut allocatable, resource, amount);
    }
    let ready = |condition: &v1::NodeCondition| condition.type_ == "Ready" && condition.status == "True";
    Ok(Node {
        uid: node.metadata.uid.clone().unwrap_or_default(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        taints: spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter_map(taint).collect(),
        unschedulable: spec.is_some_and(|spec| spec.unschedulable == Some(true)),
        ready: status.iter().flat_map(|status| status.conditions.iter().flatten()).any(ready),
        allocatable,
        images: status.map(images::of_node).unwrap_or_default(),
        declared_features: status.and_then(|status| status.declared_features.clone()).unwrap_or_default(),
        addresses: status
            .iter()
            .flat_map(|status| status.addresses.iter().flatten())
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::cluster::{Taint, TaintEffect};
    use placement::units::{Bytes, MilliCpu};
    use serde_json::{Value, json};

    fn of(value: Value) -> Result<Node, ConvertError> {
        node(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn what_placing_needs_is_kept() {
        let node = of(json!({
            "metadata": {"name": "edge-1", "uid": "u", "labels": {"kubernetes.io/role": "cloud"}},
            "spec": {"unschedulable": true, "taints": [
                {"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "c", "effect": "NoExecute"}, {"key": "d", "effect": "Unheard"}]},
            "status": {
                "allocatable": {"cpu": "3920m", "memory": "6Gi", "pods": "110", "ephemeral-storage": "1e9", "nvidia.com/gpu": "2"},
                "conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "edge-1"}, {"type": "InternalIP", "address": "10.0.0.1"},
                    {"type": "ExternalIP", "address": "1.2.3.4"}, {"type": "InternalIP", "address": "fd00::1"}],
            },
        }))
        .unwrap();
        assert_eq!((node.name.as_str(), node.uid.as_str(), node.unschedulable, node.ready), ("edge-1", "u", true, true));
        let taint = |key: &str, value: &str, effect| Taint { key: key.into(), value: value.into(), effect };
        assert_eq!(node.taints, [taint("a", "b", TaintEffect::NoSchedule), taint("c", "", TaintEffect::NoExecute)]);
        assert_eq!((node.allocatable.cpu, node.allocatable.memory), (MilliCpu(3920), Bytes(6 << 30)));
        assert_eq!((node.allocatable.pods, node.allocatable.extended["nvidia.com/gpu"]), (110, 2));
        assert_eq!(node.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    }

    #[test]
    fn a_node_without_address_or_status_is_kept() {
        let node = of(json!({"metadata": {"name": "bare"}})).unwrap();
        assert!(node.addresses.is_empty() && !node.ready);
    }

    #[test]
    fn an_unreadable_amount_names_the_node_and_the_field() {
        let error = of(json!({"metadata": {"name": "edge-1"}, "status": {"allocatable": {"cpu": "4 cores"}}})).unwrap_err();
        assert_eq!(error.to_string(), "node edge-1: status.allocatable.cpu is not a quantity");
        assert_eq!(error.source.text, "4 cores");
    }
}
