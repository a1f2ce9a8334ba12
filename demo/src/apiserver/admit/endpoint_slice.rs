//! EndpointSlices: address type, addresses and ports.

use std::net::IpAddr;

use serde_json::Value;

use super::metadata::label_1123;
use super::{default, items_mut};
use crate::apiserver::status::FieldError;

/// Fills in what the API's types default.
pub fn defaults(slice: &mut Value) {
    for port in items_mut(slice, "ports") {
        default(port, "name", "");
        default(port, "protocol", "TCP");
    }
}

/// What is wrong with an EndpointSlice. `loopback`: such addresses are taken too.
pub fn validate(slice: &Value, loopback: bool) -> Vec<FieldError> {
    const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
    const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
    let mut errors = Vec::new();
    let kind = slice["addressType"].as_str().unwrap_or_default();
    if kind.is_empty() {
        errors.push(FieldError::required("addressType", ""));
    } else if !TYPES.contains(&kind) {
        errors.push(FieldError::unsupported("addressType", &slice["addressType"], &TYPES.map(str::to_owned)));
    }
    for (at, port) in slice["ports"].as_array().into_iter().flatten().enumerate() {
        let name = port["name"].as_str().unwrap_or_default();
        if let Some(why) = label_1123(name).filter(|_| !name.is_empty()) {
            errors.push(FieldError::invalid(format!("ports[{at}].name"), &port["name"], why));
        }
        if !PROTOCOLS.iter().any(|protocol| port["protocol"] == *protocol) {
            errors.push(FieldError::unsupported(format!("ports[{at}].protocol"), &port["protocol"], &PROTOCOLS.map(str::to_owned)));
        }
    }
    for (at, endpoint) in slice["endpoints"].as_array().into_iter().flatten().enumerate() {
        let addresses = endpoint["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            errors.push(FieldError::required(format!("endpoints[{at}].addresses"), "must contain at least 1 address"));
        }
        if !matches!(kind, "IPv4" | "IPv6") {
            continue;
        }
        for (of, address) in addresses.iter().enumerate() {
            if let Some(why) = address_error(address.as_str().unwrap_or_default(), kind, loopback) {
                errors.push(FieldError::invalid(format!("endpoints[{at}].addresses[{of}]"), address, &why));
            }
        }
    }
    errors
}

fn address_error(text: &str, kind: &str, loopback: bool) -> Option<String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned());
    };
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_ipv4() != (kind == "IPv4") {
        Some(format!("must be an {kind} address"))
    } else if address.is_unspecified() {
        Some(format!("may not be unspecified ({text})"))
    } else if address.is_loopback() && !loopback {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned())
    } else if link_local {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(slice: Value, expected: &[&str]) {
        let found: Vec<String> = validate(&slice, false).into_iter().map(|error| error.field).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn slices() {
        let of = |kind: &str, address: &str| json!({ "addressType": kind, "endpoints": [{ "addresses": [address] }] });
        check(of("IPv4", "10.1.2.3"), &[]);
        check(of("FQDN", "a.example.com"), &[]);
        for address in ["x", "127.0.0.1", "0.0.0.0", "169.254.0.1", "2001:db8::1"] {
            check(of("IPv4", address), &["endpoints[0].addresses[0]"]);
        }
        assert!(validate(&of("IPv4", "127.0.0.1"), true).is_empty());
        check(json!({ "endpoints": [{}] }), &["addressType", "endpoints[0].addresses"]);
        check(json!({ "addressType": "IPv4", "ports": [{ "name": "A", "protocol": "ICMP" }] }), &["ports[0].name", "ports[0].protocol"]);
    }
}
