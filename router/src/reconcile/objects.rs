//! What routing needs of Kubernetes' objects, and nothing else: a router holds every pod of its cluster.

use api::labels;
use k8s_openapi::{
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{collections::BTreeMap, net::IpAddr};

/// Namespace and name.
pub type Key = (String, String);

pub type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRecord {
    pub annotations: Labels,
    /// Empty: its endpoints are somebody else's business, and so is their balancing.
    pub selector: Labels,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty when the Service has one port without a name.
    pub name: String,
    pub number: i32,
    pub app_protocol: Option<String>,
}

impl ServiceRecord {
    pub fn of(service: &Service) -> ServiceRecord {
        let spec = service.spec.as_ref();
        let ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
        ServiceRecord {
            annotations: service.metadata.annotations.clone().unwrap_or_default(),
            selector: spec.and_then(|spec| spec.selector.clone()).unwrap_or_default(),
            ports: ports
                .map(|port| ServicePort {
                    name: port.name.clone().unwrap_or_default(),
                    number: port.port,
                    app_protocol: port.app_protocol.clone(),
                })
                .collect(),
        }
    }

    /// The port asked for by name or number; the first when none is.
    pub fn port(&self, wanted: Option<&IntOrString>) -> Option<&ServicePort> {
        self.ports.iter().find(|port| match wanted {
            None => true,
            Some(IntOrString::Int(number)) => port.number == *number,
            Some(IntOrString::String(name)) => port.name == *name,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceRecord {
    /// Name of the Service, in the slice's namespace.
    pub service: String,
    pub endpoints: Vec<SliceEndpoint>,
    /// Port numbers by name.
    pub ports: Vec<(String, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub address: IpAddr,
    pub node: Option<String>,
    /// Name of the pod, when the endpoint is one.
    pub pod: Option<String>,
    pub ready: bool,
}

impl SliceRecord {
    pub fn of(slice: &EndpointSlice) -> SliceRecord {
        let service = slice.metadata.labels.as_ref().and_then(|all| all.get(labels::SERVICE_NAME_LABEL)).cloned();
        let endpoints = slice.endpoints.iter().flatten().filter_map(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
            Some(SliceEndpoint {
                // Further addresses are the same endpoint; slices of names (FQDN) have no address to send to.
                address: endpoint.addresses.first()?.parse().ok()?,
                node: endpoint.node_name.clone(),
                pod: target.and_then(|target| target.name.clone()),
                // An unknown state counts as ready, as the API says.
                ready: conditions.and_then(|conditions| conditions.ready).unwrap_or(true),
            })
        });
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            (port.protocol.as_deref().unwrap_or("TCP") == "TCP").then(|| (port.name.clone().unwrap_or_default(), number))
        });
        SliceRecord { service: service.unwrap_or_default(), endpoints: endpoints.collect(), ports: ports.collect() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRecord {
    pub labels: Labels,
    /// Bound by edge-scheduler.
    pub ours: bool,
    pub node: Option<String>,
    pub address: Option<IpAddr>,
    pub ready: bool,
    /// Numbers of named container ports.
    pub ports: Vec<(String, u16)>,
    /// Device class that its containers ask for.
    pub device: &'static str,
}

impl PodRecord {
    /// `None`: the pod has ended, or is on its way out, and takes no requests any more.
    pub fn of(pod: &Pod) -> Option<PodRecord> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref());
        let ended = matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
        if ended || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
        let resources = spec.containers.iter().filter_map(|container| container.resources.as_ref());
        let names = resources.flat_map(|resources| resources.limits.iter().chain(&resources.requests)).flat_map(BTreeMap::keys);
        Some(PodRecord {
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            ours: spec.scheduler_name.as_deref() == Some(labels::SCHEDULER_NAME),
            node: spec.node_name.clone(),
            address: status.and_then(|status| status.pod_ip.as_deref()).and_then(|address| address.parse().ok()),
            ready: conditions.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            ports: ports.filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?))).collect(),
            device: device_class(names.map(String::as_str)),
        })
    }
}

/// The device class behind extended resource names (`nvidia.com/gpu`, `amd.com/gpu`, `gpu.intel.com/i915`, `example.com/npu`); `cpu` without one.
fn device_class<'a>(resources: impl Iterator<Item = &'a str>) -> &'static str {
    const CLASSES: [&str; 5] = ["gpu", "npu", "tpu", "vpu", "fpga"];
    let mut found = "cpu";
    for (domain, name) in resources.filter_map(|resource| resource.split_once('/')) {
        // MIG slices (`nvidia.com/mig-1g.5gb`) are GPUs too.
        let class = CLASSES.into_iter().find(|class| name.contains(class) || domain.split('.').any(|label| label == *class));
        if let Some(class) = class.or(name.starts_with("mig-").then_some("gpu")) {
            found = class;
        }
    }
    found
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRecord {
    pub labels: Labels,
}

impl NodeRecord {
    pub fn of(node: &Node) -> NodeRecord {
        NodeRecord { labels: node.metadata.labels.clone().unwrap_or_default() }
    }
}

/// Whether `labels` has everything that `wanted` asks for.
pub fn matches(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_slice_keeps_pods_with_their_node_and_tcp_ports() {
        let slice = serde_json::from_value(json!({
            "metadata": {"name": "vision-x", "labels": {"kubernetes.io/service-name": "vision"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "edge-1", "targetRef": {"kind": "Pod", "name": "a"}, "conditions": {"ready": false}},
                {"addresses": ["10.0.0.2"], "targetRef": {"kind": "Node", "name": "b"}},
                {"addresses": ["name.example.com"]},
            ],
            "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        }))
        .unwrap();
        let record = SliceRecord::of(&slice);
        assert_eq!((record.service.as_str(), record.ports.as_slice()), ("vision", [("http".to_owned(), 8080)].as_slice()));
        let endpoint = |address: &str, node: Option<&str>, pod: Option<&str>, ready| SliceEndpoint {
            address: address.parse().unwrap(),
            node: node.map(str::to_owned),
            pod: pod.map(str::to_owned),
            ready,
        };
        assert_eq!(record.endpoints, [endpoint("10.0.0.1", Some("edge-1"), Some("a"), false), endpoint("10.0.0.2", None, None, true)]);
    }

    fn check_device(resources: &[&str], expected: &str) {
        assert_eq!(device_class(resources.iter().copied()), expected, "{resources:?}");
    }

    #[test]
    fn device_classes_by_resource_name() {
        check_device(&["cpu", "memory"], "cpu");
        check_device(&["cpu", "nvidia.com/gpu"], "gpu");
        check_device(&["nvidia.com/mig-1g.5gb"], "gpu");
        check_device(&["gpu.intel.com/i915"], "gpu");
        check_device(&["example.com/npu", "hugepages-2Mi"], "npu");
    }

    #[test]
    fn a_pod_that_ends_is_gone() {
        let pod = |phase: &str, deleting: bool| {
            let deletion = deleting.then_some("2026-01-01T00:00:00Z");
            PodRecord::of(
                &serde_json::from_value(json!({
                    "metadata": {"name": "a", "deletionTimestamp": deletion},
                    "spec": {"schedulerName": "edge-scheduler", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}]},
                    "status": {"phase": phase, "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
                }))
                .unwrap(),
            )
        };
        let record = pod("Running", false).unwrap();
        assert!(record.ours && record.ready);
        assert_eq!(record.ports, [("http".to_owned(), 80)]);
        assert_eq!((pod("Succeeded", false), pod("Running", true)), (None, None));
    }
}
