//! EndpointSlices: which pods stand behind a Service, on which ports, and whether they serve.
//!
//! Pods of a simulated node share its address, so the kubelet may give them other ports than they name
//! ([`PORTS_ANNOTATION`]); a slice has one list of ports for all its endpoints, so pods with other ports go into other slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::labels::{SERVICE_NAME_LABEL, ZONE_LABEL};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use kube::core::{Expression, Selector, SelectorExt as _};
use serde_json::json;

use super::action::{Action, is_controlled_by};
use super::replica_set::{is_ready, phase};
use crate::kubelet::PORTS_ANNOTATION;

const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Endpoints per slice, as in Kubernetes.
const SLICE_SIZE: usize = 100;

/// Whether a Service selects a pod.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let Some(selector) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty()) else {
        return false;
    };
    let selector: Selector = selector.iter().map(|(key, value)| Expression::Equal(key.clone(), value.clone())).collect();
    selector.matches(pod.labels())
}

/// What to do for a Service, given pods and slices of its namespace; `node` finds a node.
pub(super) fn reconcile<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a Arc<Pod>>,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Vec<Action> {
    let mut existing: Vec<&EndpointSlice> = slices.map(Arc::as_ref).filter(|slice| is_controlled_by(*slice, service)).collect();
    let has_selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty());
    if !has_selector || service.metadata.deletion_timestamp.is_some() {
        // Slices of a Service without a selector are someone else's.
        return Vec::new();
    }
    let mut by_ports: BTreeMap<Ports, Vec<Endpoint>> = BTreeMap::new();
    for pod in pods.filter(|pod| selects(service, pod)) {
        let Some(endpoint) = endpoint(service, pod, &node) else { continue };
        by_ports.entry(ports(service, pod)).or_default().push(endpoint);
    }
    let mut actions = Vec::new();
    for (ports, endpoints) in by_ports {
        for chunk in endpoints.chunks(SLICE_SIZE) {
            let position = existing.iter().position(|slice| slice.ports.as_deref().unwrap_or_default() == ports.to_slice());
            let Some(position) = position else {
                actions.push(Action::create(&new_slice(service, &ports, chunk)));
                continue;
            };
            let slice = existing.remove(position);
            if slice.endpoints.as_deref().unwrap_or_default() != chunk {
                actions.push(Action::patch(slice, json!({"endpoints": chunk})));
            }
        }
    }
    actions.extend(existing.into_iter().map(Action::delete));
    actions
}

/// The ports of a slice, in the Service's order: name, number, protocol, application protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ports(Vec<(String, i32, String, Option<String>)>);

impl Ports {
    fn to_slice(&self) -> Vec<EndpointPort> {
        let port = |(name, number, protocol, app_protocol): &(String, i32, String, Option<String>)| EndpointPort {
            name: Some(name.clone()),
            port: Some(*number),
            protocol: Some(protocol.clone()),
            app_protocol: app_protocol.clone(),
        };
        self.0.iter().map(port).collect()
    }
}

/// The ports on which this pod serves those of the Service; ports that it does not name are left out.
fn ports(service: &Service, pod: &Pod) -> Ports {
    let assigned: BTreeMap<i32, i32> =
        pod.annotations().get(PORTS_ANNOTATION).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let resolved = |port: &ServicePort| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let number = match port.target_port.as_ref() {
            None => port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) => named_port(pod, name, &protocol)?,
        };
        let number = assigned.get(&number).copied().unwrap_or(number);
        Some((port.name.clone().unwrap_or_default(), number, protocol, port.app_protocol.clone()))
    };
    Ports(service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).filter_map(resolved).collect())
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol)?;
    Some(port.container_port)
}

/// The pod as an endpoint; `None` while it has no address, and once it has ended.
fn endpoint(service: &Service, pod: &Pod, node: &impl Fn(&str) -> Option<Arc<Node>>) -> Option<Endpoint> {
    if matches!(phase(pod), Some("Succeeded" | "Failed")) {
        return None;
    }
    let address = pod.status.as_ref()?.pod_ip.clone()?;
    let node_name = pod.spec.as_ref()?.node_name.clone();
    let zone = node_name.as_deref().and_then(node).and_then(|node| node.labels().get(ZONE_LABEL).cloned());
    let is_terminating = pod.metadata.deletion_timestamp.is_some();
    let publishes_all = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let is_serving = is_ready(pod) || publishes_all;
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(is_serving && (!is_terminating || publishes_all)),
            serving: Some(is_serving),
            terminating: Some(is_terminating),
        }),
        node_name,
        zone,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.namespace(),
            name: pod.metadata.name.clone(),
            uid: pod.uid(),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn new_slice(service: &Service, ports: &Ports, endpoints: &[Endpoint]) -> EndpointSlice {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: service.name_any(),
        uid: service.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", service.name_any())),
        namespace: service.namespace(),
        labels: Some([label(SERVICE_NAME_LABEL, &service.name_any()), label(MANAGED_BY_LABEL, MANAGER)].into()),
        owner_references: Some(vec![owner]),
        ..Default::default()
    };
    EndpointSlice { address_type: "IPv4".to_owned(), endpoints: Some(endpoints.to_vec()), metadata, ports: Some(ports.to_slice()) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::replica_set::tests::object;
    use super::*;

    fn service(spec: Value) -> Service {
        object(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "service"}, "spec": spec}))
    }

    fn web() -> Service {
        service(json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}))
    }

    fn pod(name: &str, annotations: Value, is_ready: bool, deleted: Option<&str>) -> Arc<Pod> {
        let ready = if is_ready { "True" } else { "False" };
        Arc::new(object(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"}, "annotations": annotations, "deletionTimestamp": deleted},
            "spec": {"nodeName": "edge-1", "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": "127.128.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        })))
    }

    fn edge_1(name: &str) -> Option<Arc<Node>> {
        (name == "edge-1").then(|| Arc::new(object(json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "ams"}}}))))
    }

    /// Applies the actions to the slices, and gives for every slice its ports and `pod/ready/serving/terminating` of its endpoints.
    fn step(service: &Service, pods: &[Arc<Pod>], slices: &mut Vec<Arc<EndpointSlice>>) -> Vec<(Vec<i32>, Vec<String>)> {
        for action in reconcile(service, pods.iter(), slices.clone().iter(), edge_1) {
            match action {
                Action::Create { mut object, .. } => {
                    object["metadata"]["name"] = json!(format!("slice-{}", slices.len()));
                    object["metadata"]["uid"] = object["metadata"]["name"].clone();
                    slices.push(Arc::new(serde_json::from_value(object).unwrap()));
                }
                Action::Patch { name, patch, .. } => {
                    let slice = slices.iter_mut().find(|slice| slice.name_any() == name).unwrap();
                    Arc::make_mut(slice).endpoints = Some(object(patch["endpoints"].clone()));
                }
                Action::Delete { name, .. } => slices.retain(|slice| slice.name_any() != name),
            }
        }
        assert_eq!(reconcile(service, pods.iter(), slices.iter(), edge_1), [], "a second pass changes something");
        let describe = |endpoint: &Endpoint| {
            let conditions = endpoint.conditions.as_ref().unwrap();
            let flags =
                [conditions.ready, conditions.serving, conditions.terminating].map(|flag| if flag == Some(true) { "1" } else { "0" });
            format!("{}/{}", endpoint.target_ref.as_ref().unwrap().name.as_ref().unwrap(), flags.concat())
        };
        let ports = |slice: &EndpointSlice| slice.ports.iter().flatten().filter_map(|port| port.port).collect();
        slices.iter().map(|slice| (ports(slice), slice.endpoints.iter().flatten().map(describe).collect())).collect()
    }

    #[test]
    fn endpoints_follow_the_pods() {
        let mut slices = Vec::new();
        let mut check = |pods: &[Arc<Pod>], expected: &[&str]| {
            let found = step(&web(), pods, &mut slices);
            let endpoints: Vec<&str> = found.iter().flat_map(|(_, endpoints)| endpoints).map(String::as_str).collect();
            assert_eq!(endpoints, expected);
        };
        check(&[pod("a", Value::Null, false, None)], &["a/000"]);
        check(&[pod("a", Value::Null, true, None), pod("b", Value::Null, true, None)], &["a/110", "b/110"]);
        check(&[pod("a", Value::Null, true, Some("2026-01-01T00:00:00Z"))], &["a/011"]);
        check(&[], &[]);
        assert_eq!(slices.len(), 0);
    }

    #[test]
    fn pods_that_got_other_ports_are_in_other_slices() {
        let moved = pod("b", json!({PORTS_ANNOTATION: "{\"8080\":20000}"}), true, None);
        let found = step(&web(), &[pod("a", Value::Null, true, None), moved], &mut Vec::new());
        assert_eq!(found, [(vec![8080], vec!["a/110".to_owned()]), (vec![20_000], vec!["b/110".to_owned()])]);
    }

    #[test]
    fn ports_resolve_by_name_number_or_the_services_own() {
        let check = |port: Value, expected: &[i32]| {
            let service = service(json!({"selector": {"app": "web"}, "ports": [port]}));
            let found = step(&service, &[pod("a", Value::Null, true, None)], &mut Vec::new());
            assert_eq!(found[0].0, expected);
        };
        check(json!({"port": 80, "targetPort": "http"}), &[8080]);
        check(json!({"port": 80, "targetPort": 9000}), &[9000]);
        check(json!({"port": 80}), &[80]);
        check(json!({"port": 80, "targetPort": "absent"}), &[]);
    }

    #[test]
    fn a_service_without_a_selector_is_left_alone() {
        let service = service(json!({"ports": [{"port": 80}]}));
        assert_eq!(step(&service, &[pod("a", Value::Null, true, None)], &mut Vec::new()), []);
    }

    #[test]
    fn an_endpoint_names_its_node_zone_and_pod() {
        let mut slices = Vec::new();
        step(&web(), &[pod("a", Value::Null, true, None)], &mut slices);
        let endpoint = &slices[0].endpoints.as_ref().unwrap()[0];
        assert_eq!(
            (endpoint.node_name.as_deref(), endpoint.zone.as_deref(), endpoint.addresses[0].as_str()),
            (Some("edge-1"), Some("ams"), "127.128.0.1")
        );
        assert_eq!((slices[0].labels()[SERVICE_NAME_LABEL].as_str(), slices[0].owner_references()[0].uid.as_str()), ("web", "service"));
    }

    #[test]
    fn many_endpoints_take_several_slices() {
        let pods: Vec<_> = (0..250).map(|index| pod(&format!("p{index:03}"), Value::Null, true, None)).collect();
        let found = step(&web(), &pods, &mut Vec::new());
        assert_eq!(found.iter().map(|(_, endpoints)| endpoints.len()).collect::<Vec<_>>(), [100, 100, 50]);
    }
}
