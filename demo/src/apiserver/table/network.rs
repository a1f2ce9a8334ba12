//! Tables of Services and what stands behind them.

use serde_json::Value;

use super::cells::{age, joined, labels, name, text_or};

/// Columns of Services.
pub const SERVICE: &[&str] = &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "!Selector"];

/// How many items of a list are printed before `+ N more...`.
const SHOWN: usize = 3;

/// Cells of one Service.
pub fn service(object: &Value) -> Vec<Value> {
    let spec = &object["spec"];
    let list = |value: &Value, key: &str| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v[key].as_str().map(str::to_owned)).collect()
    };
    let balancers = list(&object["status"]["loadBalancer"]["ingress"], "ip");
    let external: Vec<String> =
        spec["externalIPs"].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    let external = match spec["type"].as_str() {
        Some("ExternalName") => text_or(&spec["externalName"], "<none>"),
        Some("LoadBalancer") if balancers.is_empty() && external.is_empty() => "<pending>".into(),
        _ => joined([external, balancers].concat()),
    };
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        match port["nodePort"].as_i64() {
            Some(node) if node > 0 => format!("{}:{node}/{protocol}", port["port"]),
            _ => format!("{}/{protocol}", port["port"]),
        }
    });
    vec![
        name(object),
        text_or(&spec["type"], "ClusterIP"),
        text_or(&spec["clusterIP"], "<none>"),
        external,
        joined(ports.collect()),
        age(object),
        labels(&spec["selector"]),
    ]
}

fn shortened(all: Vec<String>) -> Value {
    if all.is_empty() {
        return "<unset>".into();
    }
    let more = all.len().saturating_sub(SHOWN);
    let shown = all[..all.len() - more].join(",");
    if more > 0 { format!("{shown} + {more} more...").into() } else { shown.into() }
}

/// Cells of one Endpoints object.
pub fn endpoints(object: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for subset in object["subsets"].as_array().into_iter().flatten() {
        for address in subset["addresses"].as_array().into_iter().flatten() {
            for port in subset["ports"].as_array().into_iter().flatten() {
                found.push(format!("{}:{}", address["ip"].as_str().unwrap_or_default(), port["port"]));
            }
        }
    }
    let cell = if found.is_empty() { "<none>".into() } else { shortened(found) };
    vec![name(object), cell, age(object)]
}

/// Columns of EndpointSlices.
pub const ENDPOINT_SLICE: &[&str] = &["Name", "AddressType", "Ports", "Endpoints", "Age"];

/// Cells of one EndpointSlice.
pub fn endpoint_slice(object: &Value) -> Vec<Value> {
    let port =
        |port: &Value| port["port"].as_i64().map_or_else(|| port["name"].as_str().unwrap_or("*").to_owned(), |number| number.to_string());
    let ports = object["ports"].as_array().into_iter().flatten().map(port).collect();
    let addresses = object["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![name(object), text_or(&object["addressType"], ""), shortened(ports), shortened(addresses), age(object)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows() {
        let cells = service(&json!({ "metadata": { "name": "s" }, "spec": { "type": "NodePort",
            "clusterIP": "10.96.0.9", "ports": [{ "port": 80, "nodePort": 30001 }, { "port": 53, "protocol": "UDP" }],
            "selector": { "app": "x" } } }));
        assert_eq!(cells[1..5], ["NodePort", "10.96.0.9", "<none>", "80:30001/TCP,53/UDP"]);
        assert_eq!(cells.len(), SERVICE.len());
        let slice = json!({ "addressType": "IPv4", "ports": [{ "port": 80 }], "endpoints": [
            { "addresses": ["a"] }, { "addresses": ["b"] }, { "addresses": ["c"] }, { "addresses": ["d"] }] });
        assert_eq!(endpoint_slice(&slice)[1..4], ["IPv4", "80", "a,b,c + 1 more..."]);
    }
}
