//! Services: types, ports, cluster addresses.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{default, items_mut};
use crate::apiserver::api::Api;
use crate::apiserver::status::FieldError;

/// First address of the service range, 10.96.0.0/16.
const FIRST: u32 = 0x0a60_0000;

/// Addresses in the range, without the network's own and the broadcast.
const SIZE: u32 = 65_534;

/// Fills in what the API's types default.
pub fn type_defaults(service: &mut Value) {
    default(service, "spec", json!({}));
    let spec = &mut service["spec"];
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    for port in items_mut(spec, "ports") {
        default(port, "protocol", "TCP");
        let number = port["port"].clone();
        default(port, "targetPort", number);
    }
    if spec["type"] != "ExternalName" {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
}

/// The same, and a cluster address where one is due.
pub fn defaults(api: &Api, service: &mut Value) {
    type_defaults(service);
    default(service, "status", json!({ "loadBalancer": {} }));
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", "SingleStack");
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        spec["clusterIP"] = free_address(api).into();
    }
    let address = spec["clusterIP"].clone();
    default(spec, "clusterIPs", json!([address]));
}

/// Keeps the addresses that were given out.
pub fn carry(old: &Value, new: &mut Value) {
    default(new, "spec", json!({}));
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let value = old["spec"][key].clone();
        if !value.is_null() && new["spec"]["type"] != "ExternalName" {
            default(&mut new["spec"], key, value);
        }
    }
}

fn free_address(api: &Api) -> String {
    let services = api.builtin("", "services");
    let (all, rv) = api.store.list(&services.storage, None);
    let used: std::collections::HashSet<String> =
        all.iter().filter_map(|o| o.value()["spec"]["clusterIP"].as_str().map(str::to_owned)).collect();
    // Spread by the store's version, so that two concurrent creations do not start from the same place.
    let start = u32::try_from(rv % u64::from(SIZE)).unwrap_or_default();
    (0..SIZE)
        .map(|step| Ipv4Addr::from(FIRST + 1 + (start.wrapping_mul(2_654_435) + step) % SIZE).to_string())
        .find(|address| !used.contains(address))
        .unwrap_or_default()
}

/// What is wrong with a Service.
pub fn validate(service: &Value) -> Vec<FieldError> {
    let spec = &service["spec"];
    let mut errors = Vec::new();
    let headless = spec["clusterIP"] == "None" || spec["type"] == "ExternalName";
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && !headless {
        errors.push(FieldError::required("spec.ports", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        if !port["port"].as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
            errors.push(FieldError::invalid(format!("spec.ports[{at}].port"), &port["port"], "must be between 1 and 65535, inclusive"));
        }
        if ports.len() > 1 && port["name"].as_str().is_none_or(str::is_empty) {
            errors.push(FieldError::required(format!("spec.ports[{at}].name"), ""));
        }
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !types.iter().any(|t| spec["type"] == *t) {
        errors.push(FieldError::unsupported("spec.type", &spec["type"], &types.map(str::to_owned)));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value, expected: &[&str]) {
        let found: Vec<String> = validate(&json!({ "spec": spec })).iter().map(|e| e.field.clone()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn services() {
        check(json!({ "type": "ClusterIP", "ports": [{ "port": 80 }] }), &[]);
        check(json!({ "type": "ClusterIP" }), &["spec.ports"]);
        check(json!({ "type": "ClusterIP", "clusterIP": "None" }), &[]);
        check(
            json!({ "type": "Odd", "ports": [{ "port": 0, "name": "a" }, { "port": 1 }] }),
            &["spec.ports[0].port", "spec.ports[1].name", "spec.type"],
        );
    }
}
