//! Metrics, read from the table and its counters when they are scraped. Series go with their load balancer, and are bounded by what is configured.

use crate::{
    proxy::Shared,
    table::{LATENCY_BUCKETS_S, LoadBalancer},
    topology::FollowStatus,
};
use chassis::metrics::{counters, gauges};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Most series by endpoint's node; what is more stands under the node "other".
const MAX_NODE_SERIES: usize = 2_000;

pub struct RouterCollector {
    pub shared: Arc<Shared>,
    pub following: Arc<FollowStatus>,
}

impl fmt::Debug for RouterCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterCollector").finish_non_exhaustive()
    }
}

const NO_LABELS: [(&str, &str); 0] = [];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Collector for RouterCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let table = self.shared.table.load_full();
        let all: Vec<&Arc<LoadBalancer>> = table.load_balancers.iter().collect();
        let encoder = &mut encoder;
        let requests = all.iter().flat_map(|lb| {
            let counts = lb.stats.classes();
            CLASSES
                .iter()
                .zip(counts)
                .filter(|(_, n)| *n > 0)
                .map(|(class, n)| ([("load_balancer", lb.name.as_str()), ("code", *class)], n))
        });
        counters(encoder, "edge_router_requests", "Requests answered", requests)?;
        let infeasible = all.iter().map(|lb| ([("load_balancer", lb.name.as_str())], lb.stats.infeasible_total()));
        counters(encoder, "edge_router_infeasible", "Requests that no endpoint could take", infeasible)?;
        let unrouted = [(NO_LABELS, self.shared.unrouted.load(Relaxed))];
        counters(encoder, "edge_router_unrouted", "Requests that matched no load balancer", unrouted)?;
        let (picks, in_flight) = by_node(&all);
        let label = |(lb, node): &(&str, &str)| [("load_balancer", lb.to_string()), ("node", node.to_string())];
        counters(encoder, "edge_router_picks", "Requests sent to endpoints", picks.iter().map(|(key, n)| (label(key), *n)))?;
        gauges(encoder, "edge_router_in_flight", "Requests in flight", in_flight.iter().map(|(key, n)| (label(key), *n)))?;
        let service = all.iter().flat_map(|lb| {
            let times = lb.stats.service_times().into_iter();
            times.map(|(class, time)| ([("load_balancer", lb.name.clone()), ("device", class.to_string())], f64::from(time.0) / 1e6))
        });
        gauges(encoder, "edge_router_service_seconds", "Service time learned from requests that found a free slot", service)?;
        latency(encoder, &all)?;
        let one = |value: f64| [(NO_LABELS, value)];
        gauges(encoder, "edge_router_connections", "Client connections open", one(self.shared.connections.load(Relaxed) as f64))?;
        gauges(encoder, "edge_router_table_generation", "Tables made since the start", one(table.generation as f64))?;
        let connected = f64::from(u8::from(self.following.connected()));
        gauges(encoder, "edge_router_topology_connected", "Whether the topology is followed now", one(connected))?;
        let silence = self.following.silence().map(|age| (NO_LABELS, age.as_secs_f64()));
        gauges(encoder, "edge_router_topology_age_seconds", "Time since the topology was heard of", silence)?;
        let reconnects = [(NO_LABELS, self.following.reconnects())];
        counters(encoder, "edge_router_topology_reconnects", "Times the topology stream was lost", reconnects)
    }
}

type ByNode<'a, T> = BTreeMap<(&'a str, &'a str), T>;

/// Picks and requests in flight by load balancer and endpoint's node.
fn by_node<'a>(load_balancers: &[&'a Arc<LoadBalancer>]) -> (ByNode<'a, u64>, ByNode<'a, f64>) {
    let (mut picks, mut in_flight) = (BTreeMap::new(), BTreeMap::new());
    // Load balancers may share endpoints, whose counts are one: they stand with the first.
    let mut seen = BTreeSet::new();
    for load_balancer in load_balancers {
        for backend in &load_balancer.backends {
            let endpoint = &backend.endpoint;
            if !seen.insert(&endpoint.key) {
                continue;
            }
            let node = if picks.len() < MAX_NODE_SERIES { &*endpoint.key.node } else { "other" };
            let key = (load_balancer.name.as_str(), node);
            *picks.entry(key).or_insert(0) += endpoint.picks();
            *in_flight.entry(key).or_insert(0.0) += f64::from(endpoint.in_flight());
        }
    }
    (picks, in_flight)
}

fn latency(encoder: &mut DescriptorEncoder<'_>, load_balancers: &[&Arc<LoadBalancer>]) -> Result<(), fmt::Error> {
    let name = "edge_router_response_seconds";
    let mut family = encoder.encode_descriptor(name, "Time to the head of the response", None, MetricType::Histogram)?;
    for load_balancer in load_balancers {
        let (sum, counts) = load_balancer.stats.latency();
        let bounds = LATENCY_BUCKETS_S.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let labels = [("load_balancer", load_balancer.name.as_str())];
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use std::time::Duration;

    #[test]
    fn counters_show_as_series() {
        let backend = testing::backend("a", "edge-3", ([10, 0, 0, 1], 80).into());
        let _in_flight = backend.endpoint.enter(0);
        let load_balancer = testing::load_balancer("demo/vision", vec![backend]);
        load_balancer.stats.answered(http::StatusCode::OK, Duration::from_millis(3));
        load_balancer.stats.infeasible();
        let shared = testing::shared(Arc::new(load_balancer));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(RouterCollector { shared, following: Arc::default() }));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"edge_router_requests_total{load_balancer="demo/vision",code="2xx"} 1"#,
            r#"edge_router_infeasible_total{load_balancer="demo/vision"} 1"#,
            r#"edge_router_picks_total{load_balancer="demo/vision",node="edge-3"} 1"#,
            r#"edge_router_in_flight{load_balancer="demo/vision",node="edge-3"} 1.0"#,
            r#"edge_router_response_seconds_bucket{le="0.0025",load_balancer="demo/vision"} 0"#,
            r#"edge_router_response_seconds_bucket{le="0.005",load_balancer="demo/vision"} 1"#,
            r#"edge_router_response_seconds_bucket{le="+Inf",load_balancer="demo/vision"} 1"#,
            r#"edge_router_response_seconds_count{load_balancer="demo/vision"} 1"#,
            "edge_router_table_generation{} 7.0",
            "edge_router_topology_connected{} 0.0",
        ] {
            assert!(text.lines().any(|got| got == line), "{line}\n{text}");
        }
    }
}
