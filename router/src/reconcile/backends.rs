//! The endpoints behind a load balancer: of a Service's EndpointSlices, or pods by their labels.

use super::{
    objects::{Key, Labels, PodRecord, ServiceRecord, SliceRecord, matches},
    state::State,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

/// An endpoint before it has a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `namespace/name` of the pod; of what is no pod the address.
    pub pod: String,
    /// Empty when it is not known: then its RTT isn't either.
    pub node: String,
    pub address: SocketAddr,
    pub ready: bool,
    pub device: Option<&'static str>,
}

/// The state with what has to be looked up often.
pub struct Index<'a> {
    pub state: &'a State,
    slices: HashMap<(&'a str, &'a str), Vec<&'a SliceRecord>>,
}

impl<'a> Index<'a> {
    pub fn new(state: &'a State) -> Index<'a> {
        let mut slices: HashMap<(&str, &str), Vec<&SliceRecord>> = HashMap::new();
        for ((namespace, _), slice) in &state.slices {
            slices.entry((namespace, &slice.service)).or_default().push(slice);
        }
        Index { state, slices }
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<&'a PodRecord> {
        self.state.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    fn pods_of(&self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a PodRecord)> {
        let from = (namespace.to_owned(), String::new());
        self.state.pods.range(from..).take_while(move |((of, _), _)| of == namespace)
    }

    /// Whether edge-scheduler binds pods of the Service.
    pub fn is_ours(&self, (namespace, name): &'a Key, service: &ServiceRecord) -> bool {
        if service.selector.is_empty() {
            return false;
        }
        let slices = self.slices.get(&(namespace.as_str(), name.as_str())).into_iter().flatten();
        let endpoints = slices.flat_map(|slice| &slice.endpoints).filter_map(|endpoint| endpoint.pod.as_deref());
        let mut known = endpoints.filter_map(|pod| self.pod(namespace, pod)).peekable();
        match known.peek() {
            Some(_) => known.any(|pod| pod.ours),
            None => self.pods_of(namespace).any(|(_, pod)| pod.ours && matches(&service.selector, &pod.labels)),
        }
    }

    /// Endpoints of a Service's port, by pod and address. The error says what is missing.
    pub fn of_service(&self, namespace: &str, name: &str, port: Option<&IntOrString>) -> Result<Vec<Found>, String> {
        let service = self.state.services.get(&(namespace.to_owned(), name.to_owned()));
        let service = service.ok_or_else(|| format!("Service {namespace}/{name} does not exist"))?;
        let port = service.port(port).ok_or_else(|| missing_port(namespace, name, service, port))?;
        let mut found = BTreeMap::new();
        for slice in self.slices.get(&(namespace, name)).into_iter().flatten() {
            let Some((_, number)) = slice.ports.iter().find(|(name, _)| *name == port.name) else { continue };
            for endpoint in &slice.endpoints {
                let address = SocketAddr::new(endpoint.address, *number);
                let pod = endpoint.pod.as_deref().and_then(|pod| self.pod(namespace, pod));
                let node = endpoint.node.clone().or_else(|| pod.and_then(|pod| pod.node.clone())).unwrap_or_default();
                let found_pod = match &endpoint.pod {
                    Some(pod) => format!("{namespace}/{pod}"),
                    None => format!("{namespace}/{}", endpoint.address),
                };
                let device = pod.map(|pod| pod.device);
                found.insert((found_pod.clone(), address), Found { pod: found_pod, node, address, ready: endpoint.ready, device });
            }
        }
        Ok(found.into_values().collect())
    }

    /// Pods with these labels, at a port by number or container port name.
    pub fn of_selector(&self, namespace: &'a str, selector: &Labels, port: Option<&IntOrString>) -> Vec<Found> {
        let pods = self.pods_of(namespace).filter(|(_, pod)| matches(selector, &pod.labels));
        let found = pods.filter_map(|((namespace, name), pod)| {
            let number = match port? {
                IntOrString::Int(number) => u16::try_from(*number).ok()?,
                IntOrString::String(wanted) => pod.ports.iter().find(|(name, _)| name == wanted)?.1,
            };
            Some(Found {
                pod: format!("{namespace}/{name}"),
                node: pod.node.clone().unwrap_or_default(),
                address: SocketAddr::new(pod.address?, number),
                ready: pod.ready,
                device: Some(pod.device),
            })
        });
        found.collect()
    }
}

fn missing_port(namespace: &str, name: &str, service: &ServiceRecord, wanted: Option<&IntOrString>) -> String {
    let wanted = match wanted {
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(name)) => format!("{name:?}"),
        None => return format!("Service {namespace}/{name} has no port"),
    };
    let ports: Vec<String> = service.ports.iter().map(|port| format!("{} {}", port.number, port.name).trim_end().to_owned()).collect();
    format!("Service {namespace}/{name} has no port {wanted}, it has: {}", ports.join(", "))
}
