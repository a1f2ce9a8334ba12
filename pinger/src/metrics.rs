//! Metrics, read from the row when scraped. Series are bounded: figures of the whole row always, one RTT gauge a peer for at most [`PEER_SERIES`] peers.

use crate::agent::Agent;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::{Arc, Weak};

/// Nearest peers by p50 that get a series of their own. 2,000 nodes would otherwise make 4 million series in a cluster.
const PEER_SERIES: usize = 64;

/// Holds the agent weakly: a registry may outlive it.
#[derive(Debug)]
pub struct RowCollector(Weak<Agent>);

impl RowCollector {
    pub fn new(agent: &Arc<Agent>) -> RowCollector {
        RowCollector(Arc::downgrade(agent))
    }
}

impl Collector for RowCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Some(agent) = self.0.upgrade() else { return Ok(()) };
        let mut views = agent.with_row(|row| row.views());
        let count = |keep: fn(&crate::row::PairView) -> bool| views.iter().filter(|v| keep(v)).count() as i64;
        let totals = [
            ("edge_pinger_peers", "Peers known", count(|_| true)),
            ("edge_pinger_peers_probed", "Peers that this agent probes", count(|v| v.probed)),
            ("edge_pinger_peers_measured", "Probed peers with enough samples to count", count(|v| v.probed && v.p50_us.is_some())),
            ("edge_pinger_peers_failing", "Probed peers whose last three probes or more went unanswered", count(|v| v.failing)),
            (
                "edge_pinger_peers_without_address",
                "Peers that cannot be probed, since their node has no InternalIP",
                count(|v| v.address.is_none()),
            ),
        ];
        for (name, help, value) in totals {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?)?;
        }
        views.retain(|v| v.p50_us.is_some());
        views.sort_by_key(|v| v.p50_us);
        views.truncate(PEER_SERIES);
        let mut family = encoder.encode_descriptor(
            "edge_pinger_rtt_seconds",
            "RTT to the nearest peers",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for view in &views {
            for (quantile, us) in [("0.5", view.p50_us), ("0.9", view.p90_us)] {
                let labels = [("peer", &*view.peer), ("quantile", quantile)];
                let gauge = ConstGauge::new(f64::from(us.unwrap_or(0)) / 1e6);
                gauge.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
