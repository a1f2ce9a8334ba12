//! Requests against the load balancers' bounds, by the true RTT.

use crate::record::{Change, Record, Request, Step, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Requests {
    pub served: usize,
    pub outside: usize,
    /// Pairs of a client site and an endpoint's node whose true RTT is above the bound of their load balancer.
    pub pairs_excluded: usize,
    pub findings: Vec<String>,
}

pub fn judge(record: &Record) -> Requests {
    let mut result = Requests::default();
    let mut bounds: BTreeMap<&str, f64> = BTreeMap::new();
    let mut sites: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for request in record.steps.iter().filter_map(request) {
        result.served += usize::from(request.status == 200);
        sites.entry(&request.load_balancer).or_default().insert(&request.from);
        if let Some(max) = request.max_rtt_us {
            bounds.insert(&request.load_balancer, max);
        }
        let Some(node) = &request.endpoint_node else { continue };
        let rtt = record.world.true_rtt_us(&request.from, node);
        if let Some(max) = request.max_rtt_us
            && rtt.is_none_or(|rtt| rtt > max)
        {
            result.outside += 1;
            result.findings.push(format!(
                "a request of {} from {} went to {} on {node}: true RTT {rtt:?} us, bound {max} us",
                request.load_balancer,
                request.from,
                request.endpoint_pod.as_deref().unwrap_or("?")
            ));
        }
    }
    for (load_balancer, max) in bounds {
        for node in endpoints(record, load_balancer) {
            let excluded = |site: &&&str| record.world.true_rtt_us(site, node).is_none_or(|rtt| rtt > max);
            result.pairs_excluded += sites[load_balancer].iter().filter(excluded).count();
        }
    }
    result
}

/// Nodes of the pods behind a load balancer, one for each bound pod that its Service selects.
fn endpoints<'a>(record: &'a Record, load_balancer: &str) -> Vec<&'a str> {
    let object = |kind: &str, name: &str| {
        record.steps.iter().find_map(|step| match step {
            Step::Object(Change { object, deleted: false }) if object["kind"] == kind => {
                let key = format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"));
                (key == name).then_some(object)
            }
            _ => None,
        })
    };
    let namespace = load_balancer.split('/').next().unwrap_or_default();
    // Without an object the load balancer is the implicit one of the Service of its name.
    let service = object("EdgeLoadBalancer", load_balancer).map(|elb| format!("{namespace}/{}", text(elb, "/spec/backend/service")));
    let Some(service) = object("Service", &service.unwrap_or_else(|| load_balancer.to_owned())) else { return Vec::new() };
    let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object) else { return Vec::new() };
    let selected = |pod: &Value| {
        let labels = pod.pointer("/metadata/labels");
        text(pod, "/metadata/namespace") == namespace && selector.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    };
    record.bindings().filter(|b| record.pods.get(&b.uid).is_some_and(selected)).map(|b| b.node.as_str()).collect()
}

fn request(step: &Step) -> Option<&Request> {
    match step {
        Step::Request(request) => Some(request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(requests: &[(&str, &str)], outside: usize, excluded: usize) {
        let mut lines = vec![json!({"event":"world","nodes":[{"name":"a"},{"name":"b"}],"trueRttUs":[[0,9000],[9000,0]]}).to_string()];
        let service = json!({"kind":"Service","metadata":{"namespace":"d","name":"video"},"spec":{"selector":{"app":"video"}}});
        let elb = json!({"kind":"EdgeLoadBalancer","metadata":{"namespace":"d","name":"lb"},"spec":{"backend":{"service":"video"}}});
        let pod = |uid: &str| json!({"kind":"Pod","metadata":{"namespace":"d","uid":uid,"labels":{"app":"video"}}});
        for object in [service, elb, pod("1"), pod("2")] {
            lines.push(json!({"event":"object","verb":"ADDED","object":object}).to_string());
        }
        for (uid, node) in [("1", "a"), ("2", "b")] {
            lines.push(json!({"event":"binding","pod":"d/p","uid":uid,"node":node}).to_string());
        }
        for (from, node) in requests {
            let line = json!({"event":"request","from":from,"loadBalancer":"d/lb","maxRttUs":5000,"status":200,"endpointPod":"d/p","endpointNode":node});
            lines.push(line.to_string());
        }
        let result = judge(&Record::read(lines.join("\n").as_bytes()).unwrap());
        assert_eq!((result.outside, result.pairs_excluded, result.served), (outside, excluded, requests.len()));
    }

    #[test]
    fn a_request_beyond_the_bound_is_found() {
        check(&[("a", "a"), ("b", "b")], 0, 2);
        check(&[("a", "b")], 1, 1);
    }
}
