//! The replicas of the topology service, from the EndpointSlices of its Service.

use super::TopologyConfig;
use crate::shutdown::Shutdown;
use crate::watches::{self, Change};
use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::pin;
use tokio::sync::watch;

/// Follows the slices until shutdown.
pub fn follow(kube: &kube::Client, config: &TopologyConfig, shutdown: &Shutdown) -> watch::Receiver<BTreeSet<String>> {
    let slices: Api<EndpointSlice> = Api::namespaced(kube.clone(), &config.namespace);
    let selector = watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", config.service));
    let (_, changes) = watches::watch(slices, selector, "topology-endpointslices", shutdown);
    let (sender, receiver) = watch::channel(BTreeSet::new());
    shutdown.spawn(async move {
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut changes = pin!(changes);
        while let Some(change) = changes.next().await {
            match change {
                Change::Apply(slice) => drop(known.insert(slice.name_any(), addresses(&slice))),
                Change::Delete(slice) => drop(known.remove(&slice.name_any())),
                Change::Reset(slices) => known = slices.iter().map(|slice| (slice.name_any(), addresses(slice))).collect(),
            }
            let all: BTreeSet<String> = known.values().flatten().cloned().collect();
            sender.send_if_modified(|old| {
                let changed = *old != all;
                *old = all;
                changed
            });
        }
    });
    receiver
}

/// `https://address:port` of every endpoint that is not going away; a replica that is not the leader serves topology as well.
fn addresses(slice: &EndpointSlice) -> BTreeSet<String> {
    let port = slice.ports.iter().flatten().find(|port| port.name.as_deref().is_none_or(|name| name.is_empty() || name == "topology"));
    let Some(port) = port.and_then(|port| port.port) else { return BTreeSet::new() };
    let alive = slice.endpoints.iter().flatten().filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    let hosts = alive.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| match address.parse().ok()? {
        IpAddr::V4(v4) => Some(v4.to_string()),
        IpAddr::V6(v6) => Some(format!("[{v6}]")),
    });
    hosts.map(|host| format!("https://{host}:{port}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(slice: serde_json::Value, expected: &[&str]) {
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        assert_eq!(addresses(&slice).iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn ready_endpoints_of_the_topology_port_are_replicas() {
        let endpoint = |address: &str, ready: bool| json!({"addresses": [address], "conditions": {"ready": ready}});
        let ports = json!([{"name": "admin", "port": 1}, {"name": "topology", "port": 9443}]);
        let slice = |endpoints| json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": endpoints, "ports": ports});
        check(slice(json!([endpoint("10.0.0.1", true), endpoint("10.0.0.2", false)])), &["https://10.0.0.1:9443"]);
        check(slice(json!([endpoint("fd00::1", true)])), &["https://[fd00::1]:9443"]);
        check(json!({"metadata": {}, "addressType": "IPv4", "endpoints": [endpoint("10.0.0.1", true)], "ports": []}), &[]);
    }
}
