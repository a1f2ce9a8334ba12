//! Whether an EdgeLoadBalancer's spec can be served as written. What is not implemented is refused by name, never passed over.

use api::crd::{EdgeLoadBalancer, Objective, PolicyType, Protocol};

/// The `Accepted` condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub accepted: bool,
    /// CamelCase, for programs.
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    pub fn accepted(message: impl Into<String>) -> Verdict {
        Verdict { accepted: true, reason: "Accepted", message: message.into() }
    }

    pub fn refused(reason: &'static str, message: impl Into<String>) -> Verdict {
        Verdict { accepted: false, reason, message: message.into() }
    }
}

/// Judges the spec alone. `priced`: nodes have prices.
pub fn judge(load_balancer: &EdgeLoadBalancer, priced: bool) -> Verdict {
    let wrong = load_balancer.check();
    if !wrong.is_empty() {
        let text: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        return Verdict::refused("Invalid", text.join("; "));
    }
    let spec = &load_balancer.spec;
    let protocol = match spec.protocol {
        Protocol::Http | Protocol::Grpc => None,
        Protocol::Tcp => Some("tcp"),
        Protocol::Udp => Some("udp"),
    };
    if let Some(protocol) = protocol {
        return Verdict::refused("UnsupportedProtocol", format!("protocol {protocol} is not supported yet: use http or grpc"));
    }
    if spec.policy == PolicyType::Optimized && spec.objective.unwrap_or_default() != Objective::Performance && !priced {
        let why = "the routers know no prices: set price.label in their configuration, or use objective performance";
        return Verdict::refused("NoPrices", why);
    }
    Verdict::accepted("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, reason: &str, part: &str) {
        let object =
            json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": "EdgeLoadBalancer", "metadata": {"name": "a"}, "spec": spec});
        let verdict = judge(&serde_json::from_value(object).unwrap(), false);
        assert_eq!(verdict.reason, reason, "{verdict:?}");
        assert!(verdict.message.contains(part), "{verdict:?}");
        assert_eq!(verdict.accepted, reason == "Accepted");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        check(json!({"backend": {"service": "vision"}}), "Accepted", "");
        check(json!({"backend": {"service": "vision"}, "protocol": "grpc", "policy": "round-robin"}), "Accepted", "");
        check(json!({"backend": {"service": "vision"}, "protocol": "udp"}), "UnsupportedProtocol", "protocol udp is not supported yet");
        let optimized = |objective: &str| json!({"backend": {"service": "vision"}, "policy": "optimized", "objective": objective});
        check(optimized("performance"), "Accepted", "");
        check(optimized("cost"), "NoPrices", "the routers know no prices");
        check(json!({"backend": {}}), "Invalid", "spec.backend: give either service or selector");
    }
}
