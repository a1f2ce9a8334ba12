//! The status of EdgeLoadBalancers, written by one router at a time.
//!
//! By a leader under a Lease, and not by each router for a share of the objects: who is alive is then the API server's word, one writer
//! is certain, and it works where routers run outside the cluster's DaemonSet.

use super::{Judged, Published, objects::Key, verdict::Verdict};
use crate::{proxy::Shared, table::LoadBalancer, topology::FollowStatus};
use api::crd::{DemandStatus, EdgeLoadBalancer, EdgeLoadBalancerStatus, EndpointStatus, STATUS_ENDPOINTS, STATUS_SITES};
use chassis::{lease::Leadership, program::chain, shutdown::Shutdown};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Requests per second by client site, over all routers that are heard of.
pub type Rates = BTreeMap<String, f64>;

/// What a status is made of.
pub struct Facts<'a> {
    pub judged: &'a Judged,
    pub load_balancer: &'a LoadBalancer,
    pub rates: &'a Rates,
    /// Why the topology in use is old, when it is.
    pub stale: Option<String>,
    /// The router's clock, in ms.
    pub now_ms: u64,
    pub wall: Timestamp,
}

/// The status as it should be. Conditions that have not changed keep their time.
pub fn status(facts: &Facts<'_>) -> EdgeLoadBalancerStatus {
    let Facts { judged, load_balancer, rates, .. } = facts;
    let mut endpoints: Vec<EndpointStatus> =
        (0..load_balancer.backends.len()).map(|at| endpoint(load_balancer, at, facts.now_ms)).collect();
    endpoints.sort_by(|a, b| (&a.pod, a.port).cmp(&(&b.pod, b.port)));
    // The list is a map by pod: of a pod with two addresses the first one stands for it.
    endpoints.dedup_by(|a, b| a.pod == b.pod);
    let (ready, total) = (endpoints.iter().filter(|endpoint| endpoint.ready).count(), endpoints.len());
    let ready_verdict = match (judged.verdict.accepted, ready, total) {
        (false, ..) => Verdict::refused("NotAccepted", "the spec is not accepted"),
        (true, 0, 0) => Verdict::refused("NoEndpoints", "no pod backs it"),
        (true, 0, total) => Verdict::refused("NoReadyEndpoint", format!("0 of {total} endpoints take requests")),
        (true, ready, total) => Verdict::accepted(format!("{ready} of {total} endpoints take requests")),
    };
    let topology = match &facts.stale {
        None => Verdict { accepted: true, reason: "Following", message: "RTTs are followed as they change".into() },
        Some(why) => Verdict::refused("Stale", format!("routing on the last known RTTs: {why}")),
    };
    endpoints.truncate(STATUS_ENDPOINTS);
    let demand = rates.iter().map(|(site, rate)| DemandStatus { site: site.clone(), rate: rounded(*rate) });
    EdgeLoadBalancerStatus {
        observed_generation: judged.generation,
        ready: Some(format!("{ready}/{total}")),
        rate: Some(rounded(rates.values().sum())),
        endpoints,
        demand: demand.take(STATUS_SITES).collect(),
        conditions: [("Accepted", &judged.verdict), ("Ready", &ready_verdict), ("TopologyCurrent", &topology)]
            .map(|(kind, verdict)| condition(kind, verdict, judged, facts.wall))
            .into(),
    }
}

fn endpoint(load_balancer: &LoadBalancer, at: usize, now_ms: u64) -> EndpointStatus {
    let (endpoint, columns) = (&load_balancer.backends[at].endpoint, &load_balancer.endpoints);
    let reason = match columns.barred[at] {
        Some(excluded) => Some(excluded.to_string()),
        None => endpoint.is_out(now_ms).then(|| placement::balance::Exclusion::Out.to_string()),
    };
    EndpointStatus {
        pod: endpoint.key.pod.split_once('/').map_or(&*endpoint.key.pod, |(_, name)| name).to_owned(),
        node: Some(endpoint.key.node.to_string()).filter(|node| !node.is_empty()),
        address: endpoint.key.address.ip().to_string(),
        port: endpoint.key.address.port(),
        ready: reason.is_none(),
        device: columns.class_name(at).map(str::to_owned),
        slots: Some(columns.slots[at]),
        in_flight: Some(rounded(endpoint.load())),
        reason,
    }
}

/// Three digits are enough to read, and keep the status from changing for nothing.
fn rounded(figure: f64) -> f64 {
    if figure == 0.0 {
        return 0.0;
    }
    let scale = 10f64.powi(2 - figure.abs().log10().floor() as i32);
    (figure * scale).round() / scale
}

fn condition(kind: &str, verdict: &Verdict, judged: &Judged, wall: Timestamp) -> Condition {
    let status = if verdict.accepted { "True" } else { "False" };
    let known = judged.status.iter().flat_map(|status| &status.conditions).find(|known| known.type_ == kind && known.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.to_owned(),
        message: verdict.message.clone(),
        observed_generation: judged.generation,
        last_transition_time: known.map_or(Time(wall), |known| known.last_transition_time.clone()),
    }
}

/// Whether a reader would miss something; figures that move a little are not worth a write.
pub fn differs(known: &EdgeLoadBalancerStatus, wanted: &EdgeLoadBalancerStatus) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 0.1 * a.abs().max(b.abs()) + 0.05;
    let plain = |status: &EdgeLoadBalancerStatus| {
        let mut plain = status.clone();
        (plain.rate, plain.demand) = (None, Vec::new());
        plain.endpoints.iter_mut().for_each(|endpoint| endpoint.in_flight = None);
        plain
    };
    let figures = |status: &EdgeLoadBalancerStatus| {
        let rates = status.demand.iter().map(|demand| demand.rate);
        let loads = status.endpoints.iter().map(|endpoint| endpoint.in_flight.unwrap_or(0.0));
        rates.chain(loads).chain(status.rate).collect::<Vec<f64>>()
    };
    let (a, b) = (figures(known), figures(wanted));
    plain(known) != plain(wanted) || a.len() != b.len() || a.iter().zip(&b).any(|(a, b)| !near(*a, *b))
}

/// What the writer looks at.
pub struct Writer {
    pub client: kube::Client,
    pub shared: Arc<Shared>,
    pub published: watch::Receiver<Published>,
    pub rates: watch::Receiver<Arc<HashMap<String, Rates>>>,
    pub following: Arc<FollowStatus>,
    pub leadership: Leadership,
    pub interval: Duration,
}

/// Brings every status up to date each interval while we lead, until shutdown.
pub async fn write_statuses(writer: Writer, shutdown: Shutdown) {
    let mut written: BTreeMap<Key, EdgeLoadBalancerStatus> = BTreeMap::new();
    let mut failing = false;
    while shutdown.sleep(writer.interval).await {
        if !writer.leadership.is_leader() {
            written.clear();
            continue;
        }
        let Some(outcome) = shutdown.interrupt(writer.round(&mut written)).await else { return };
        match &outcome {
            Ok(()) if failing => tracing::info!("status of load balancers is written again"),
            Err(error) if !failing => tracing::warn!(error = %chain(error), "status of load balancers cannot be written; trying again"),
            _ => {}
        }
        failing = outcome.is_err();
    }
}

impl Writer {
    async fn round(&self, written: &mut BTreeMap<Key, EdgeLoadBalancerStatus>) -> Result<(), kube::Error> {
        let published = self.published.borrow().clone();
        let rates = Arc::clone(&self.rates.borrow());
        let stale = self.following.stale().map(|(_, why)| why);
        written.retain(|key, _| published.judged.contains_key(key));
        for (key, judged) in published.judged.iter() {
            let Some(load_balancer) = published.table.load_balancers.get(judged.index) else { continue };
            let known = written.get(key).or(judged.status.as_ref());
            let judged = Judged { status: known.cloned(), ..judged.clone() };
            let none = Rates::new();
            let rates = rates.get(&load_balancer.name).unwrap_or(&none);
            let (stale, now_ms, wall) = (stale.clone(), self.shared.now_ms(), Timestamp::now());
            let wanted = status(&Facts { judged: &judged, load_balancer, rates, stale, now_ms, wall });
            if judged.status.as_ref().is_some_and(|known| !differs(known, &wanted)) {
                continue;
            }
            let (namespace, name) = key;
            let api: Api<EdgeLoadBalancer> = Api::namespaced(self.client.clone(), namespace);
            let patch = serde_json::json!({ "status": wanted });
            match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => drop(written.insert(key.clone(), wanted)),
                // Deleted meanwhile: the watch will say so.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use placement::balance::Exclusion;

    fn facts(judged: &Judged, change: impl Fn(&mut LoadBalancer), stale: Option<String>) -> EdgeLoadBalancerStatus {
        let address = |n: u8| ([10, 0, 0, n], 8080).into();
        let backends = vec![testing::backend("a", "edge-1", address(1)), testing::backend("b", "edge-2", address(2))];
        let mut load_balancer = testing::load_balancer("demo/vision", backends);
        change(&mut load_balancer);
        let rates = [("edge-1".to_owned(), 12.345), ("edge-2".to_owned(), 0.5)].into();
        status(&Facts {
            judged,
            load_balancer: &load_balancer,
            rates: &rates,
            stale,
            now_ms: 0,
            wall: Timestamp::from_second(100).unwrap(),
        })
    }

    fn judged(status: Option<EdgeLoadBalancerStatus>) -> Judged {
        Judged { verdict: Verdict::accepted(""), index: 0, generation: Some(3), status }
    }

    fn conditions(status: &EdgeLoadBalancerStatus) -> Vec<(&str, &str, &str)> {
        status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect()
    }

    #[test]
    fn says_what_serves_and_what_is_asked_for() {
        let status = facts(&judged(None), |lb| lb.endpoints.barred[1] = Some(Exclusion::NotReady), None);
        assert_eq!((status.ready.as_deref(), status.rate, status.observed_generation), (Some("1/2"), Some(12.8), Some(3)));
        let reasons: Vec<_> = status.endpoints.iter().map(|e| (e.pod.as_str(), e.ready, e.reason.as_deref())).collect();
        assert_eq!(reasons, [("a", true, None), ("b", false, Some("not ready"))]);
        let expected = [("Accepted", "True", "Accepted"), ("Ready", "True", "Accepted"), ("TopologyCurrent", "True", "Following")];
        assert_eq!(conditions(&status), expected);
    }

    #[test]
    fn says_what_is_wrong() {
        let refused = Judged { verdict: Verdict::refused("UnsupportedProtocol", "protocol tcp"), ..judged(None) };
        let status = facts(&refused, |_| {}, Some("connection refused".into()));
        let expected =
            [("Accepted", "False", "UnsupportedProtocol"), ("Ready", "False", "NotAccepted"), ("TopologyCurrent", "False", "Stale")];
        assert_eq!(conditions(&status), expected);
        assert_eq!(status.conditions[2].message, "routing on the last known RTTs: connection refused");
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let mut known = facts(&judged(None), |_| {}, None);
        known.conditions.iter_mut().for_each(|c| c.last_transition_time = Time(Timestamp::from_second(7).unwrap()));
        let status = facts(&judged(Some(known)), |lb| lb.endpoints.barred = vec![Some(Exclusion::NotReady); 2], None);
        let times: Vec<i64> = status.conditions.iter().map(|c| c.last_transition_time.0.as_second()).collect();
        assert_eq!(times, [7, 100, 7]);
    }

    #[test]
    fn small_moves_are_not_written() {
        let known = facts(&judged(None), |_| {}, None);
        let check = |change: fn(&mut EdgeLoadBalancerStatus), expected: bool| {
            let mut wanted = known.clone();
            change(&mut wanted);
            assert_eq!(differs(&known, &wanted), expected);
        };
        check(|_| {}, false);
        check(|status| status.rate = Some(12.9), false);
        check(|status| status.rate = Some(20.0), true);
        check(|status| status.endpoints[0].in_flight = Some(1.0), true);
        check(|status| status.endpoints[0].ready = false, true);
        check(|status| status.demand.clear(), true);
        assert_eq!([0.0, 0.012345, 12.345, 98_765.0].map(rounded), [0.0, 0.0123, 12.3, 98_800.0]);
    }
}
