//! Demand and load as routers report them: summed over routers, passed to the model by workload and to readers by pod.

use super::board::Board;
use super::feed::Feed;
use crate::state::{Shared, State};
use api::protocol::{DemandReport, DemandRow, LoadRow};
use placement::cluster::{Labels, Workload};
use placement::units::{Micros, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a router said counts until it says something else, or nothing for this long.
const SILENCE: Span = Span(60_000);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DemandError {
    #[error("{load_balancer} from site {site:?}: the rate {rate} is no number of requests per second, 0 or more")]
    Rate { load_balancer: String, site: String, rate: String },
    #[error("{load_balancer:?} is no load balancer: expected namespace/name")]
    Name { load_balancer: String },
}

struct Router {
    epoch: u64,
    sequence: u64,
    report: DemandReport,
    at: Timestamp,
}

/// Last reports by router, and what Services select.
#[derive(Default)]
pub struct DemandBoard {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    routers: HashMap<String, Router>,
    /// (namespace, name) -> selector.
    services: HashMap<(String, String), Labels>,
    /// Workloads that the model was told demand of.
    told: BTreeSet<(String, Workload)>,
}

impl DemandBoard {
    /// A Service and the pods it selects; `None` when it is gone or selects none.
    pub fn set_service(&self, namespace: &str, name: &str, selector: Option<Labels>) {
        let key = (namespace.to_owned(), name.to_owned());
        match selector.filter(|selector| !selector.is_empty()) {
            Some(selector) => drop(self.lock().services.insert(key, selector)),
            None => drop(self.lock().services.remove(&key)),
        }
    }

    /// Takes a router's report. One that is older than what is known is ignored.
    pub fn take(&self, report: DemandReport, shared: &Shared, board: &Board) -> Result<(), DemandError> {
        for row in &report.demand {
            if !(row.rate.is_finite() && row.rate >= 0.0) {
                let (load_balancer, site) = (row.load_balancer.clone(), row.site.clone());
                return Err(DemandError::Rate { load_balancer, site, rate: row.rate.to_string() });
            }
            if row.load_balancer.split_once('/').is_none() {
                return Err(DemandError::Name { load_balancer: row.load_balancer.clone() });
            }
        }
        let mut inner = self.lock();
        if inner.routers.get(&report.node).is_some_and(|known| (report.epoch, report.sequence) < (known.epoch, known.sequence)) {
            return Ok(());
        }
        let (epoch, sequence, at) = (report.epoch, report.sequence, crate::state::now());
        let node = report.node.clone();
        let before = inner.routers.insert(node.clone(), Router { epoch, sequence, report, at });
        // What a router no longer names is gone, and readers must hear of that too.
        let reports: Vec<&DemandReport> = before.iter().chain(inner.routers.get(&node)).map(|router| &router.report).collect();
        inner.announce(&reports, board.feed());
        inner.tell(&mut shared.lock());
        Ok(())
    }

    /// Drops routers that have been silent for long.
    pub fn expire(&self, shared: &Shared, board: &Board, now: Timestamp) {
        let mut inner = self.lock();
        let silent: Vec<Router> = inner.routers.extract_if(|_, router| now.since(router.at) > SILENCE).map(|(_, router)| router).collect();
        if !silent.is_empty() {
            let reports: Vec<&DemandReport> = silent.iter().map(|router| &router.report).collect();
            inner.announce(&reports, board.feed());
            inner.tell(&mut shared.lock());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells readers the sums of everything that these reports name.
    fn announce(&self, reports: &[&DemandReport], feed: &Feed) {
        let pods = reports.iter().flat_map(|report| &report.load).map(|row| row.pod.as_str()).collect();
        let asked = reports.iter().flat_map(|report| &report.demand).map(|row| (row.load_balancer.as_str(), row.site.as_str())).collect();
        feed.load(self.load_of(&pods));
        feed.demand(self.demand_of(&asked));
    }

    /// Demand on these load balancers from these sites over all routers; 0 where there is none any more.
    fn demand_of(&self, asked: &BTreeSet<(&str, &str)>) -> Vec<DemandRow> {
        let none = |&(load_balancer, site): &(&str, &str)| DemandRow {
            load_balancer: load_balancer.to_owned(),
            use_case: String::new(),
            site: site.to_owned(),
            rate: 0.0,
            service_us: None,
        };
        let mut sums: BTreeMap<(&str, &str), DemandRow> = asked.iter().map(|key| (*key, none(key))).collect();
        for row in self.routers.values().flat_map(|router| &router.report.demand) {
            if let Some(sum) = sums.get_mut(&(row.load_balancer.as_str(), row.site.as_str())) {
                sum.use_case.clone_from(&row.use_case);
                sum.rate += row.rate;
                sum.service_us = sum.service_us.max(row.service_us);
            }
        }
        sums.into_values().collect()
    }

    /// In-flight requests of these pods over all routers; 0 where there are none any more.
    fn load_of(&self, pods: &BTreeSet<&str>) -> Vec<LoadRow> {
        let mut sums: BTreeMap<&str, f64> = pods.iter().map(|pod| (*pod, 0.0)).collect();
        for row in self.routers.values().flat_map(|router| &router.report.load) {
            if let Some(sum) = sums.get_mut(row.pod.as_str()) {
                *sum += row.in_flight;
            }
        }
        sums.into_iter().map(|(pod, in_flight)| LoadRow { pod: pod.to_owned(), in_flight }).collect()
    }

    /// Passes the demand on each Service to the workloads that it selects.
    fn tell(&mut self, state: &mut State) {
        type Sites = BTreeMap<String, f64>;
        let mut asked: BTreeMap<(&str, &str), (Sites, u32)> = BTreeMap::new();
        for row in self.routers.values().flat_map(|router| &router.report.demand) {
            let Some(name) = row.load_balancer.split_once('/') else { continue };
            let (sites, service_us) = asked.entry(name).or_default();
            *sites.entry(row.site.clone()).or_default() += row.rate;
            *service_us = row.service_us.unwrap_or(0).max(*service_us);
        }
        let mut found: BTreeMap<(String, Workload), (Sites, u32)> = BTreeMap::new();
        if !asked.is_empty() {
            let cluster = state.cluster.snapshot();
            for view in cluster.pods() {
                let Some(owner) = &view.pod.owner else { continue };
                for ((namespace, service), demand) in &asked {
                    let Some(selector) = self.services.get(&((*namespace).to_owned(), (*service).to_owned())) else { continue };
                    let selected = view.pod.key.namespace == **namespace && selector.iter().all(|(k, v)| view.pod.labels.get(k) == Some(v));
                    if selected {
                        found.insert(((*namespace).to_owned(), owner.clone()), demand.clone());
                    }
                }
            }
        }
        for (namespace, owner) in std::mem::take(&mut self.told) {
            if !found.contains_key(&(namespace.clone(), owner.clone())) {
                state.cluster.set_demand(&namespace, &owner, None, Micros(0));
            }
        }
        for ((namespace, owner), (sites, service_us)) in found {
            state.cluster.set_demand(&namespace, &owner, Some(sites.into_iter().collect()), Micros(service_us));
            self.told.insert((namespace, owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::agents::tests::settings;
    use super::*;
    use placement::cluster::{Pod, PodKey, WorkloadKind};
    use std::sync::Arc;

    fn report(node: &str, sequence: u64, rate: f64, in_flight: f64) -> DemandReport {
        DemandReport {
            node: node.into(),
            epoch: 1,
            sequence,
            demand: vec![DemandRow {
                load_balancer: "default/api".into(),
                use_case: "api".into(),
                site: node.into(),
                rate,
                service_us: Some(9_000),
            }],
            load: vec![LoadRow { pod: "default/api-1".into(), in_flight }],
        }
    }

    #[test]
    fn demand_is_summed_and_reaches_the_workload_that_the_service_selects() {
        let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
        let board = Board::new(shared.clone(), settings(), Timestamp(0));
        let owner = Workload { kind: WorkloadKind::Deployment, name: "api".into() };
        let pod = Pod {
            key: PodKey::new("default", "api-1"),
            uid: "u".into(),
            labels: [("app".to_owned(), "api".to_owned())].into(),
            owner: Some(owner.clone()),
            ..Pod::default()
        };
        shared.lock().cluster.apply_pod(pod);
        let demand = DemandBoard::default();
        demand.set_service("default", "api", Some([("app".to_owned(), "api".to_owned())].into()));
        let rates = || {
            let cluster = shared.lock().cluster.snapshot();
            cluster.demand("default", &owner).map(|demand| demand.sites.iter().map(|site| site.1).collect::<Vec<_>>())
        };
        demand.take(report("edge-1", 2, 5.0, 1.0), &shared, &board).unwrap();
        demand.take(report("edge-2", 1, 7.0, 2.0), &shared, &board).unwrap();
        demand.take(report("edge-1", 1, 99.0, 9.0), &shared, &board).unwrap();
        assert_eq!(rates(), Some(vec![5.0, 7.0]), "an older report changes nothing");
        assert_eq!(demand.lock().load_of(&["default/api-1"].into())[0].in_flight, 3.0);
        let asked = demand.lock().demand_of(&[("default/api", "edge-1"), ("default/gone", "edge-1")].into());
        assert_eq!(asked.iter().map(|row| row.rate).collect::<Vec<_>>(), [5.0, 0.0]);
        let wrong = demand.take(report("edge-1", 3, -1.0, 0.0), &shared, &board);
        assert!(matches!(wrong, Err(DemandError::Rate { .. })), "{wrong:?}");
        demand.expire(&shared, &board, Timestamp(u64::MAX));
        assert_eq!(rates(), None);
    }
}
