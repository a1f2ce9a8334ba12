//! Requests against the load balancers' bounds, by the true RTT.

use crate::record::{Record, Request, Step};
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
    let mut endpoints: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for request in record.steps.iter().filter_map(request) {
        result.served += usize::from(request.status == 200);
        sites.entry(&request.load_balancer).or_default().insert(&request.from);
        if let Some(max) = request.max_rtt_us {
            bounds.insert(&request.load_balancer, max);
        }
        let Some(node) = &request.endpoint_node else { continue };
        endpoints.entry(&request.load_balancer).or_default().insert(node);
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
        let nodes = endpoints.get(load_balancer).into_iter().flatten();
        for node in nodes {
            let excluded = |site: &&&str| record.world.true_rtt_us(site, node).is_none_or(|rtt| rtt > max);
            result.pairs_excluded += sites[load_balancer].iter().filter(excluded).count();
        }
    }
    result
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
