//! What this router is asked for and has in flight, told to every replica of the topology service.

use crate::proxy::Shared;
use api::protocol::{DemandReport, DemandRow, LoadRow};
use chassis::{
    backoff::Backoff,
    program::chain,
    shutdown::Shutdown,
    topology::{Replica, Service},
};
use serde::de::IgnoredAny;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// In-flight requests by pod as last reported.
#[derive(Debug, Default)]
pub struct Reported {
    last: Mutex<HashMap<Arc<str>, f64>>,
}

impl Reported {
    pub fn last(&self) -> HashMap<Arc<str>, f64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, load: HashMap<Arc<str>, f64>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }
}

/// Turns counters into rates: one report holds everything there is to say, and replaces the one before.
pub struct Meter {
    node: String,
    epoch: u64,
    sequence: u64,
    /// Requests so far, by load balancer and site.
    before: HashMap<(String, Arc<str>), u64>,
    /// When a pod last had a request in flight: readers are told for a while that it has none any more.
    busy: HashMap<Arc<str>, Instant>,
    at: Instant,
}

/// Longer than a replica that was not reached needs to be reached again.
const LINGER: Duration = Duration::from_secs(30);

impl Meter {
    /// `epoch`: start of this router in ms since 1970; a restart begins a new one.
    pub fn new(node: &str, epoch: u64, now: Instant) -> Meter {
        Meter { node: node.to_owned(), epoch, sequence: 0, before: HashMap::new(), busy: HashMap::new(), at: now }
    }

    /// Rates since the last call, and what is in flight now.
    pub fn read(&mut self, shared: &Shared, now: Instant) -> (DemandReport, HashMap<Arc<str>, f64>) {
        let table = shared.table.load();
        let seconds = now.saturating_duration_since(self.at).as_secs_f64().max(1e-3);
        let mut arrived = HashMap::new();
        let mut demand = Vec::new();
        let mut load: HashMap<Arc<str>, f64> = HashMap::new();
        for load_balancer in &table.load_balancers {
            let service_us = load_balancer.stats.service_times().iter().map(|(_, service)| service.0).min();
            for (site, total) in load_balancer.stats.arrived() {
                if total == 0 {
                    continue;
                }
                let key = (load_balancer.name.clone(), site);
                let before = self.before.get(&key).copied().unwrap_or(0);
                demand.push(DemandRow {
                    load_balancer: load_balancer.name.clone(),
                    use_case: load_balancer.use_case.clone(),
                    site: key.1.to_string(),
                    rate: total.saturating_sub(before) as f64 / seconds,
                    service_us,
                });
                arrived.insert(key, total);
            }
            for backend in &load_balancer.backends {
                // Load balancers may share endpoints: each counts once.
                let in_flight = f64::from(backend.endpoint.in_flight());
                let known = load.entry(Arc::clone(&backend.endpoint.key.pod)).or_insert(0.0);
                *known = known.max(in_flight);
            }
        }
        self.busy.extend(load.iter().filter(|(_, in_flight)| **in_flight > 0.0).map(|(pod, _)| (Arc::clone(pod), now)));
        self.busy.retain(|_, last| now.saturating_duration_since(*last) < LINGER);
        load.retain(|pod, _| self.busy.contains_key(pod));
        for pod in self.busy.keys() {
            // Gone from the table with requests that still run, or just gone: either way nobody need avoid it.
            load.entry(Arc::clone(pod)).or_insert(0.0);
        }
        (self.before, self.at) = (arrived, now);
        self.sequence += 1;
        let mut rows: Vec<LoadRow> = load.iter().map(|(pod, in_flight)| LoadRow { pod: pod.to_string(), in_flight: *in_flight }).collect();
        rows.sort_by(|a, b| a.pod.cmp(&b.pod));
        let report = DemandReport { node: self.node.clone(), epoch: self.epoch, sequence: self.sequence, demand, load: rows };
        (report, load)
    }
}

/// Reads the meter every `interval` and tells every replica, as replicas come and go, until shutdown.
pub async fn report(
    mut meter: Meter,
    shared: Arc<Shared>,
    reported: Arc<Reported>,
    service: Arc<Service>,
    interval: Duration,
    shutdown: Shutdown,
) {
    let mut replicas = service.replicas.clone();
    let (sender, reports) = watch::channel(None);
    let mut links: BTreeMap<String, Shutdown> = BTreeMap::new();
    while shutdown.sleep(interval).await {
        let (report, load) = meter.read(&shared, Instant::now());
        reported.set(load);
        sender.send_replace(Some(Arc::new(report)));
        let wanted = replicas.borrow_and_update().clone();
        links.retain(|base, link| {
            let keep = wanted.contains(base);
            if !keep {
                link.trigger();
            }
            keep
        });
        for base in wanted {
            links.entry(base).or_insert_with_key(|base| {
                let link = shutdown.child();
                shutdown.spawn(tell(service.replica(base), reports.clone(), link.clone()));
                link
            });
        }
    }
}

/// Tells one replica the newest report; what it missed meanwhile is old.
async fn tell(replica: Replica, mut reports: watch::Receiver<Option<Arc<DemandReport>>>, shutdown: Shutdown) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
    let mut failing = false;
    while let Some(Ok(())) = shutdown.interrupt(reports.changed()).await {
        let Some(report) = reports.borrow_and_update().clone() else { continue };
        let Some(answer) = shutdown.interrupt(replica.post::<IgnoredAny>("/v1/demand", &*report)).await else { return };
        match answer {
            Ok(_) => {
                backoff.reset();
                if std::mem::take(&mut failing) {
                    tracing::info!(replica = replica.base(), "demand is reported again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(replica = replica.base(), error = %chain(&error), "demand cannot be reported; trying again");
                }
                shutdown.sleep(backoff.delay()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn counters_become_rates_and_idle_pods_are_named_for_a_while() {
        let backend = testing::backend("a", "edge-3", ([10, 0, 0, 1], 80).into());
        let endpoint = Arc::clone(&backend.endpoint);
        let load_balancer = Arc::new(testing::load_balancer("demo/vision", vec![backend]));
        let shared = testing::shared(Arc::clone(&load_balancer));
        let start = Instant::now();
        let mut meter = Meter::new("edge-1", 7, start);
        let mut check = |at_s: u64, rates: &[f64], loads: &[f64]| {
            let (report, _) = meter.read(&shared, start + Duration::from_secs(at_s));
            assert_eq!(report.demand.iter().map(|row| row.rate).collect::<Vec<_>>(), rates, "at {at_s} s");
            assert_eq!(report.load.iter().map(|row| row.in_flight).collect::<Vec<_>>(), loads, "at {at_s} s");
        };
        check(1, &[], &[]);
        (0..6).for_each(|_| load_balancer.sites[0].arrived());
        let in_flight = endpoint.enter(0);
        check(3, &[3.0], &[1.0]);
        drop(in_flight);
        check(4, &[0.0], &[0.0]);
        check(40, &[0.0], &[]);
    }
}
