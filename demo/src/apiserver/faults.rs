//! Faults that a test asks for: cut watches, refused requests, lost history, a deaf listener.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::status::{ApiError, GroupResource};

/// Which failures to answer, as shares of requests between 0 and 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// 409 to updates and patches.
    pub conflict: f64,
    /// 429 to any request but a watch.
    pub too_many: f64,
    /// 500 to any request but a watch.
    pub internal: f64,
}

/// The handle that tests hold. Cheap to clone; every clone acts on the same server.
#[derive(Debug, Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rates: Mutex<(Rates, Xoshiro256StarStar)>,
    watches: Mutex<CancellationToken>,
    connections: Mutex<CancellationToken>,
    refusing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                rates: Mutex::new((Rates::default(), Xoshiro256StarStar::seed_from_u64(seed))),
                watches: Mutex::default(),
                connections: Mutex::default(),
                refusing: AtomicBool::new(false),
            }),
        }
    }

    /// Ends every open watch; clients resume or list again.
    pub fn cut_watches(&self) {
        std::mem::take(&mut *lock(&self.shared.watches)).cancel();
    }

    /// Drops every open connection without a word.
    pub fn cut_connections(&self) {
        std::mem::take(&mut *lock(&self.shared.connections)).cancel();
    }

    /// While set, new connections are dropped at once; open ones live on.
    pub fn refuse_connections(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::Relaxed);
    }

    /// Answers failures at these rates from now on, drawn from the server's seed.
    pub fn fail(&self, rates: Rates) {
        lock(&self.shared.rates).0 = rates;
    }

    pub(super) fn refusing(&self) -> bool {
        self.shared.refusing.load(Ordering::Relaxed)
    }

    /// Cancelled when the watches that start now are to be cut.
    pub(super) fn watches(&self) -> CancellationToken {
        lock(&self.shared.watches).clone()
    }

    /// Cancelled when the connections that start now are to be dropped.
    pub(super) fn connections(&self) -> CancellationToken {
        lock(&self.shared.connections).clone()
    }

    /// The failure this request gets, if the dice say so.
    pub(super) fn draw(&self, method: &Method, resource: GroupResource<'_>, name: &str) -> Result<(), ApiError> {
        let mut guard = lock(&self.shared.rates);
        let (rates, random) = &mut *guard;
        if *rates == Rates::default() {
            return Ok(());
        }
        let mut happens = |rate: f64| rate > 0.0 && (random.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < rate;
        if matches!(*method, Method::PUT | Method::PATCH) && happens(rates.conflict) {
            return Err(ApiError::modified(resource, name));
        }
        if happens(rates.too_many) {
            return Err(ApiError::too_many_requests("The server is too busy, please try again later", 1));
        }
        if happens(rates.internal) {
            return Err(ApiError::internal("a failure that was asked for"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(seed: u64, rates: Rates, method: &Method) -> Vec<u16> {
        let faults = Faults::new(seed);
        faults.fail(rates);
        let pods = GroupResource { group: "", resource: "pods" };
        (0..200).map(|_| faults.draw(method, pods, "x").map_or_else(|e| e.code, |()| 200)).collect()
    }

    #[test]
    fn failures_come_at_the_asked_rate_and_repeat_with_the_seed() {
        let rates = Rates { conflict: 0.5, too_many: 0.1, internal: 0.1 };
        let puts = codes(7, rates, &Method::PUT);
        let share = puts.iter().filter(|c| **c == 409).count();
        assert!((70..130).contains(&share), "{share} conflicts of 200");
        assert_eq!(puts, codes(7, rates, &Method::PUT));
        assert!(!codes(7, rates, &Method::GET).contains(&409));
        assert!(codes(7, Rates::default(), &Method::PUT).iter().all(|c| *c == 200));
    }

    #[test]
    fn cutting_watches_spares_those_that_start_later() {
        let faults = Faults::new(1);
        let before = faults.watches();
        faults.cut_watches();
        assert!(before.is_cancelled());
        assert!(!faults.watches().is_cancelled());
    }
}
