//! The table as JSON, for people who look for why a request went where it went.

use super::RoutingTable;
use serde_json::{Value, json};

impl RoutingTable {
    /// Everything that a pick depends on, live figures as of now. RTTs in microseconds, `nowMs` on the router's clock.
    pub fn dump(&self, now_ms: u64) -> Value {
        let load_balancers = self.load_balancers.iter().map(|lb| {
            let backends = lb.backends.iter().enumerate().map(|(at, backend)| {
                let endpoint = &backend.endpoint;
                let sites = lb.sites.iter().map(|view| {
                    let excluded = view.column.excluded[at].map(|excluded| excluded.to_string());
                    (view.site.to_string(), json!({ "rttUs": view.column.rtt[at], "excluded": excluded }))
                });
                json!({
                    "pod": &*endpoint.key.pod, "node": &*endpoint.key.node, "address": endpoint.key.address.to_string(),
                    "device": lb.endpoints.class_name(at), "slots": lb.endpoints.slots[at], "fps": lb.endpoints.fps[at], "serviceUs": backend.service(),
                    "inFlight": endpoint.in_flight(), "load": endpoint.load(), "rate": endpoint.rate(now_ms), "picks": endpoint.picks(), "out": endpoint.is_out(now_ms),
                    "sites": sites.collect::<serde_json::Map<String, Value>>(),
                })
            });
            json!({
                "name": lb.name, "useCase": lb.use_case, "refused": lb.refused, "transport": format!("{:?}", lb.transport), "policy": format!("{:?}", lb.policy),
                "maxRttUs": lb.max_rtt, "watermark": lb.watermark, "endpoints": backends.collect::<Vec<_>>(),
            })
        });
        let load_balancers: Vec<Value> = load_balancers.collect();
        json!({ "generation": self.generation, "hosts": self.hosts(), "loadBalancers": load_balancers })
    }
}
