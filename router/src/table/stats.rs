//! Counters of one load balancer. They outlast the tables, and are read when metrics are scraped or demand is reported.

use super::Learned;
use http::StatusCode;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Upper bounds of the latency histogram in seconds: from a loopback hop to a slow inference.
pub const LATENCY_BUCKETS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Requests that came in from one client site.
pub type Arrivals = AtomicU64;

#[derive(Debug, Default)]
pub struct Stats {
    /// Answers by the first digit of their status, 1xx to 5xx.
    classes: [AtomicU64; 5],
    infeasible: AtomicU64,
    /// Time to the head of the response; the last bucket has no bound.
    latency: [AtomicU64; LATENCY_BUCKETS_S.len() + 1],
    latency_us: AtomicU64,
    /// By client site.
    arrivals: Mutex<BTreeMap<Arc<str>, Arc<Arrivals>>>,
    /// By device class; the empty one stands for endpoints whose class is unknown.
    learned: Mutex<BTreeMap<Arc<str>, Arc<Learned>>>,
}

impl Stats {
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.classes[class].fetch_add(1, Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS_S.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BUCKETS_S.len());
        self.latency[bucket].fetch_add(1, Relaxed);
        self.latency_us.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// No endpoint could take a request.
    pub fn infeasible(&self) {
        self.infeasible.fetch_add(1, Relaxed);
    }

    /// The counter of a client site; for when a table is built.
    pub fn arrivals(&self, site: &Arc<str>) -> Arc<Arrivals> {
        Arc::clone(self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).entry(Arc::clone(site)).or_default())
    }

    /// What is learned of a device class; for when a table is built.
    pub fn learned(&self, class: &str) -> Arc<Learned> {
        Arc::clone(self.learned.lock().unwrap_or_else(PoisonError::into_inner).entry(class.into()).or_default())
    }

    /// Requests since the start by client site.
    pub fn arrived(&self) -> Vec<(Arc<str>, u64)> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().map(|(site, count)| (Arc::clone(site), count.load(Relaxed))).collect()
    }

    /// Learned service times by device class.
    pub fn service_times(&self) -> Vec<(Arc<str>, placement::units::Micros)> {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.iter().filter_map(|(class, learned)| Some((Arc::clone(class), learned.get()?))).collect()
    }

    /// Answers with statuses 1xx to 5xx.
    pub fn classes(&self) -> [u64; 5] {
        std::array::from_fn(|class| self.classes[class].load(Relaxed))
    }

    pub fn infeasible_total(&self) -> u64 {
        self.infeasible.load(Relaxed)
    }

    /// Sum of the latencies in seconds, and the number in each bucket (the last: above every bound).
    pub fn latency(&self) -> (f64, [u64; LATENCY_BUCKETS_S.len() + 1]) {
        (self.latency_us.load(Relaxed) as f64 / 1e6, std::array::from_fn(|bucket| self.latency[bucket].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_class_and_latency() {
        let stats = Stats::default();
        stats.answered(StatusCode::OK, Duration::from_millis(1));
        stats.answered(StatusCode::NOT_FOUND, Duration::from_millis(3));
        stats.answered(StatusCode::BAD_GATEWAY, Duration::from_secs(60));
        assert_eq!(stats.classes(), [0, 1, 0, 1, 1]);
        let (sum_s, buckets) = stats.latency();
        assert_eq!((sum_s, buckets[0], buckets[2], buckets[LATENCY_BUCKETS_S.len()]), (60.004, 1, 1, 1));
    }

    #[test]
    fn a_site_keeps_its_counter() {
        let stats = Stats::default();
        stats.arrivals(&"edge-1".into()).fetch_add(3, Relaxed);
        stats.arrivals(&"edge-1".into()).fetch_add(1, Relaxed);
        assert_eq!(stats.arrived(), [("edge-1".into(), 4)]);
    }
}
