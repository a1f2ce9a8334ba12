//! Services: types, ports, cluster addresses.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{default, items_mut};
use crate::apiserver::api::Api;
use crate::apiserver::status::FieldError;

/// First address of the service range, 10.96.0.0/16.
const FIRST: u32 = 0x0a60_0000;

/// Addresses in the range, without the network's own and the broadcast.
const SIZE: u32 = 65_534;

/// Ports that a Service of type NodePort or LoadBalancer opens on every node.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// Whether the Service opens ports on the nodes.
fn on_nodes(spec: &Value) -> bool {
    matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"))
}

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
    if on_nodes(spec) {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if spec["type"] == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// The same, and a cluster address and ports of the nodes where they are due.
pub fn defaults(api: &Api, service: &mut Value) {
    type_defaults(service);
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
    if on_nodes(spec) && spec["allocateLoadBalancerNodePorts"] != false {
        give_node_ports(api, spec);
    }
}

/// Keeps what was given out, and drops it where the type has no more use for it.
pub fn carry(old: &Value, new: &mut Value) {
    default(new, "spec", json!({}));
    let spec = &mut new["spec"];
    if spec["type"] != "ExternalName" {
        // Whoever changes the one address means the list of them, too.
        if spec["clusterIP"] != old["spec"]["clusterIP"] && spec["clusterIP"].is_string() && spec["clusterIPs"] == old["spec"]["clusterIPs"]
        {
            spec["clusterIPs"] = json!([spec["clusterIP"]]);
        }
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let value = old["spec"][key].clone();
            if !value.is_null() {
                default(spec, key, value);
            }
        }
    }
    let (had, has) = (on_nodes(&old["spec"]), on_nodes(spec));
    if had
        && !has
        && spec["externalTrafficPolicy"] == old["spec"]["externalTrafficPolicy"]
        && let Some(spec) = spec.as_object_mut()
    {
        spec.shift_remove("externalTrafficPolicy");
    }
    let given = old["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
    for port in items_mut(spec, "ports") {
        let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        let number = given.iter().find(same).map(|other| other["nodePort"].clone()).unwrap_or_default();
        if has && !number.is_null() {
            default(port, "nodePort", number);
        } else if had
            && !has
            && port["nodePort"] == number
            && let Some(port) = port.as_object_mut()
        {
            port.shift_remove("nodePort");
        }
    }
}

/// Which changes of addresses an update may not make.
pub fn immutable(old: &Value, new: &Value) -> Vec<FieldError> {
    let (before, after) = (&old["spec"], &new["spec"]);
    let stays = before["type"] != "ExternalName" && after["type"] != "ExternalName";
    let moved = stays && before["clusterIPs"][0].is_string() && before["clusterIPs"][0] != after["clusterIPs"][0];
    moved.then(|| FieldError::invalid("spec.clusterIPs[0]", &after["clusterIPs"], "may not change once set")).into_iter().collect()
}

/// Every Service's value at a place of its specification.
fn used<T>(api: &Api, of: impl Fn(&Value) -> Vec<T>) -> Vec<T> {
    let services = api.builtin("", "services");
    api.store.list(&services.storage, None).0.iter().flat_map(|object| of(&object.value()["spec"])).collect()
}

fn addresses(api: &Api) -> HashSet<String> {
    used(api, |spec| spec["clusterIP"].as_str().map(str::to_owned).into_iter().collect()).into_iter().collect()
}

fn give_node_ports(api: &Api, spec: &mut Value) {
    let ports_of = |spec: &Value| -> Vec<i64> {
        spec["ports"].as_array().into_iter().flatten().filter_map(|port| port["nodePort"].as_i64()).collect()
    };
    let mut taken: HashSet<i64> = used(api, ports_of).into_iter().chain(ports_of(spec)).collect();
    for port in items_mut(spec, "ports") {
        if port["nodePort"].as_i64().unwrap_or_default() == 0
            && let Some(free) = NODE_PORTS.into_iter().find(|number| !taken.contains(number))
        {
            taken.insert(free);
            port["nodePort"] = free.into();
        }
    }
}

fn free_address(api: &Api) -> String {
    let used = addresses(api);
    // Spread by the store's version, so that two concurrent creations do not start from the same place.
    let start = u32::try_from(api.store.resource_version() % u64::from(SIZE)).unwrap_or_default();
    (0..SIZE)
        .map(|step| Ipv4Addr::from(FIRST + 1 + (start.wrapping_mul(2_654_435) + step) % SIZE).to_string())
        .find(|address| !used.contains(address))
        .unwrap_or_default()
}

/// Why a new Service cannot have the address that it asks for.
pub fn refused_address(api: &Api, service: &Value) -> Option<FieldError> {
    let spec = &service["spec"];
    let asked = spec["clusterIP"].as_str().filter(|address| !matches!(*address, "" | "None") && spec["type"] != "ExternalName")?;
    let within = asked.parse::<Ipv4Addr>().is_ok_and(|address| (FIRST + 1..=FIRST + SIZE).contains(&u32::from(address)));
    let why = if !within {
        "the provided network does not match the current range"
    } else if addresses(api).contains(asked) {
        "provided IP is already allocated"
    } else {
        return None;
    };
    Some(FieldError::invalid("spec.clusterIPs", &spec["clusterIPs"], &format!("failed to allocate IP {asked}: {why}")))
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
        if port["targetPort"].as_i64().is_some_and(|n| !(1..=65535).contains(&n)) {
            let field = format!("spec.ports[{at}].targetPort");
            errors.push(FieldError::invalid(field, &port["targetPort"], "must be between 1 and 65535, inclusive"));
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
        check(json!({ "type": "ClusterIP", "ports": [{ "port": 80, "targetPort": 0 }] }), &["spec.ports[0].targetPort"]);
    }

    #[test]
    fn what_was_given_out_stays_until_the_type_changes() {
        let old = json!({ "spec": { "type": "NodePort", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "externalTrafficPolicy": "Cluster", "ports": [{ "port": 80, "protocol": "TCP", "nodePort": 30001 }] } });
        let mut same = json!({ "spec": { "type": "NodePort", "ports": [{ "port": 80, "protocol": "TCP" }] } });
        carry(&old, &mut same);
        assert_eq!((&same["spec"]["ports"][0]["nodePort"], &same["spec"]["clusterIPs"]), (&json!(30001), &json!(["10.96.0.1"])));
        let mut inward = old.clone();
        inward["spec"]["type"] = "ClusterIP".into();
        carry(&old, &mut inward);
        assert_eq!(inward["spec"]["ports"], json!([{ "port": 80, "protocol": "TCP" }]));
        assert!(inward["spec"].get("externalTrafficPolicy").is_none());
        let mut moved = old.clone();
        moved["spec"]["clusterIP"] = "10.96.0.2".into();
        carry(&old, &mut moved);
        assert_eq!(immutable(&old, &moved)[0].field, "spec.clusterIPs[0]");
    }
}
