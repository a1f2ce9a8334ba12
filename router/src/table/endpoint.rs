//! One endpoint as the data plane sees it: where it is, and live figures that outlast rebuilds of the table.

use http::HeaderValue;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// First time out of an endpoint that refused a connection; doubles with every further refusal.
const EJECT_FIRST_MS: u64 = 250;
/// Longest time out: an endpoint that came back is found within this.
const EJECT_MAX_MS: u64 = 15_000;

/// What identifies an endpoint from one table to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// `namespace/name` of the pod, or of the EndpointSlice's target that is no pod.
    pub pod: Arc<str>,
    pub node: Arc<str>,
    pub address: SocketAddr,
}

/// An endpoint with its live figures. Tables share it, so that counts survive a rebuild.
#[derive(Debug)]
pub struct Endpoint {
    pub key: EndpointKey,
    /// `<namespace>/<pod>@<node>`, as the answer names it.
    pub label: HeaderValue,
    /// Requests that this router has in flight there.
    in_flight: AtomicU32,
    /// Requests that other routers have in flight there, in thousandths.
    remote_milli: AtomicU64,
    /// Requests sent there since the endpoint is known.
    picks: AtomicU64,
    /// Requests sent there in this second and the one before; see [`RateWindow`].
    rate: RateWindow,
    refusals: AtomicU32,
    /// Moment on the router's clock until which the endpoint is out, in ms.
    out_until_ms: AtomicU64,
}

impl Endpoint {
    pub fn new(key: EndpointKey) -> Arc<Endpoint> {
        let label = HeaderValue::try_from(format!("{}@{}", key.pod, key.node)).unwrap_or(HeaderValue::from_static("unprintable"));
        Arc::new(Endpoint {
            key,
            label,
            in_flight: AtomicU32::new(0),
            remote_milli: AtomicU64::new(0),
            picks: AtomicU64::new(0),
            rate: RateWindow::default(),
            refusals: AtomicU32::new(0),
            out_until_ms: AtomicU64::new(0),
        })
    }

    /// `<namespace>/<pod>@<node>`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.key.pod, self.key.node)
    }

    /// Requests in flight here and, as last heard, from other routers.
    pub fn load(&self) -> f64 {
        f64::from(self.in_flight()) + self.remote_milli.load(Relaxed) as f64 / 1000.0
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub fn picks(&self) -> u64 {
        self.picks.load(Relaxed)
    }

    /// Takes in what other routers have in flight.
    pub fn set_remote(&self, in_flight: f64) {
        self.remote_milli.store((in_flight.clamp(0.0, 1e9) * 1000.0) as u64, Relaxed);
    }

    /// Counts a request in; dropping the guard counts it out, however the request ends.
    pub fn enter(self: &Arc<Self>, now_ms: u64) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.picks.fetch_add(1, Relaxed);
        self.rate.count(now_ms);
        InFlight { endpoint: Arc::clone(self) }
    }

    /// Requests that this router sent there in the last second.
    pub fn rate(&self, now_ms: u64) -> f64 {
        self.rate.per_second(now_ms)
    }

    pub fn is_out(&self, now_ms: u64) -> bool {
        now_ms < self.out_until_ms.load(Relaxed)
    }

    /// The endpoint did not take a connection: it is out for a while that doubles, up to [`EJECT_MAX_MS`]. Returns for how long.
    pub fn refused(&self, now_ms: u64) -> Duration {
        let refusals = self.refusals.fetch_add(1, Relaxed);
        let out_ms = EJECT_FIRST_MS.saturating_mul(1 << refusals.min(10)).min(EJECT_MAX_MS);
        self.out_until_ms.store(now_ms + out_ms, Relaxed);
        Duration::from_millis(out_ms)
    }

    /// The endpoint took a connection.
    pub fn accepted(&self) {
        // A plain load first: writing would bounce the cache line between workers for every connection.
        if self.refusals.load(Relaxed) != 0 {
            self.refusals.store(0, Relaxed);
            self.out_until_ms.store(0, Relaxed);
        }
    }
}

/// Requests of the last second out of two counters, this second's and the last one's, in one word: second (24 bits), before (20), now (20).
#[derive(Debug, Default)]
struct RateWindow(AtomicU64);

impl RateWindow {
    const COUNT_BITS: u32 = 20;
    const COUNT_MAX: u64 = (1 << Self::COUNT_BITS) - 1;

    /// The second in its 24 bits, which come round after 194 days.
    fn second(now_ms: u64) -> u64 {
        (now_ms / 1000) & 0xff_ffff
    }

    /// `(before, now)` as of `second`.
    fn rolled(word: u64, second: u64) -> (u64, u64) {
        let (before, now) = ((word >> Self::COUNT_BITS) & Self::COUNT_MAX, word & Self::COUNT_MAX);
        match second.wrapping_sub(word >> (2 * Self::COUNT_BITS)) {
            0 => (before, now),
            1 => (now, 0),
            _ => (0, 0),
        }
    }

    fn count(&self, now_ms: u64) {
        let second = Self::second(now_ms);
        let counted = |word: u64| {
            let (before, now) = Self::rolled(word, second);
            Some((second << (2 * Self::COUNT_BITS)) | (before << Self::COUNT_BITS) | (now + 1).min(Self::COUNT_MAX))
        };
        // Always `Some`, so it cannot fail.
        let _counted = self.0.fetch_update(Relaxed, Relaxed, counted);
    }

    /// What is left of the last second counts by the part of it that is less than a second ago.
    fn per_second(&self, now_ms: u64) -> f64 {
        let (before, now) = Self::rolled(self.0.load(Relaxed), Self::second(now_ms));
        now as f64 + before as f64 * (1000 - now_ms % 1000) as f64 / 1000.0
    }
}

/// One request in flight on an endpoint; gives the count back when dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
}

impl InFlight {
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        Endpoint::new(EndpointKey { pod: "demo/vision-1".into(), node: "edge-3".into(), address: ([127, 0, 0, 1], 80).into() })
    }

    #[test]
    fn a_dropped_guard_gives_the_count_back() {
        let endpoint = endpoint();
        let (first, second) = (endpoint.enter(0), endpoint.enter(0));
        endpoint.set_remote(0.5);
        assert_eq!((endpoint.in_flight(), endpoint.load()), (2, 2.5));
        drop(first);
        drop(second);
        assert_eq!((endpoint.in_flight(), endpoint.picks()), (0, 2));
        assert_eq!(endpoint.label, "demo/vision-1@edge-3");
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let endpoint = endpoint();
        let check = |now_ms: u64, expected: f64| assert_eq!(endpoint.rate(now_ms), expected, "at {now_ms} ms");
        (0..10).for_each(|_| drop(endpoint.enter(1_500)));
        check(1_900, 10.0);
        check(2_000, 10.0);
        check(2_500, 5.0);
        endpoint.enter(2_500);
        check(2_500, 6.0);
        check(3_750, 0.25);
        check(9_000, 0.0);
    }

    #[test]
    fn refusals_keep_it_out_for_longer_each_time_until_it_accepts() {
        let endpoint = endpoint();
        let outs: Vec<u128> = (0..8).map(|_| endpoint.refused(1000).as_millis()).collect();
        assert_eq!(outs, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        assert!(endpoint.is_out(15_999) && !endpoint.is_out(16_000));
        endpoint.accepted();
        assert!(!endpoint.is_out(1000));
        assert_eq!(endpoint.refused(1000).as_millis(), 250);
    }
}
