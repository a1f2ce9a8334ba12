//! What becomes of each request: drawn from a seed, at rates that a test changes while the proxy runs.

use edge_demo::random::Random;
use http::Method;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shares of requests, between 0 and 1. Watches are cut by [`super::FaultProxy::cut_watches`] alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// 409 to what writes; the API server never sees the request.
    pub conflict: f64,
    /// 429 with Retry-After; never seen either.
    pub too_many: f64,
    /// 500; never seen.
    pub internal: f64,
    /// 503; never seen.
    pub unavailable: f64,
    /// Reaches the API server late.
    pub slow: f64,
    /// Done at once, answered late: a client that gives up does not know.
    pub answered_late: f64,
    /// Done, and answered 504.
    pub timed_out: f64,
    /// Done, and the connection closed instead of an answer.
    pub dropped: f64,
}

impl Rates {
    /// A bad day: each kind at this share.
    pub fn all(share: f64) -> Rates {
        Rates {
            conflict: share,
            too_many: share,
            internal: share,
            unavailable: share,
            slow: share,
            answered_late: share,
            timed_out: share,
            dropped: share,
        }
    }
}

/// How long "late" is, at most.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// Below what a lease leaves between the deadline for acting and its end: elections assume that messages are not older than that.
    pub request: Duration,
    pub answer: Duration,
}

impl Default for Delays {
    fn default() -> Delays {
        Delays { request: Duration::from_millis(800), answer: Duration::from_secs(4) }
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passed,
    /// Answered with this status instead of the API server.
    Refused(u16),
    Slow(Duration),
    AnsweredLate(Duration),
    /// Done, then answered with this status.
    AnsweredWith(u16),
    Dropped,
}

impl Fate {
    /// Name in the report.
    fn name(self) -> String {
        match self {
            Fate::Passed => "passed".to_owned(),
            Fate::Refused(status) => format!("refused {status}"),
            Fate::Slow(_) => "slow".to_owned(),
            Fate::AnsweredLate(_) => "answered late".to_owned(),
            Fate::AnsweredWith(status) => format!("done, answered {status}"),
            Fate::Dropped => "done, dropped".to_owned(),
        }
    }
}

/// Draws fates. Clones draw from the same seed and rates.
#[derive(Clone, Debug)]
pub struct Plan(Arc<Mutex<Dice>>);

#[derive(Debug)]
struct Dice {
    random: Random,
    rates: Rates,
    delays: Delays,
    drawn: BTreeMap<String, u64>,
}

impl Plan {
    /// Everything passes until [`Self::set`].
    pub fn new(seed: u64) -> Plan {
        let dice = Dice { random: Random::new(seed), rates: Rates::default(), delays: Delays::default(), drawn: BTreeMap::new() };
        Plan(Arc::new(Mutex::new(dice)))
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on.
    pub fn set(&self, rates: Rates, delays: Delays) {
        let mut dice = self.dice();
        (dice.rates, dice.delays) = (rates, delays);
    }

    /// How often each fate was drawn so far, those that passed among them.
    pub fn drawn(&self) -> BTreeMap<String, u64> {
        self.dice().drawn.clone()
    }

    pub(super) fn draw(&self, method: &Method, watch: bool) -> Fate {
        let mut dice = self.dice();
        let fate = if watch { Fate::Passed } else { dice.roll(method) };
        *dice.drawn.entry(fate.name()).or_default() += 1;
        fate
    }
}

impl Dice {
    fn roll(&mut self, method: &Method) -> Fate {
        let (rates, delays) = (self.rates, self.delays);
        // Two draws whatever comes of them, so that a rate changes nothing but how often its fate is met.
        let (mut at, late) = (self.random.share(), self.random.share());
        let writes = !matches!(*method, Method::GET | Method::HEAD);
        let fates = [
            (if writes { rates.conflict } else { 0.0 }, Fate::Refused(409)),
            (rates.too_many, Fate::Refused(429)),
            (rates.internal, Fate::Refused(500)),
            (rates.unavailable, Fate::Refused(503)),
            (rates.slow, Fate::Slow(delays.request.mul_f64(late))),
            (rates.answered_late, Fate::AnsweredLate(delays.answer.mul_f64(late))),
            (rates.timed_out, Fate::AnsweredWith(504)),
            (rates.dropped, Fate::Dropped),
        ];
        for (rate, fate) in fates {
            if at < rate {
                return fate;
            }
            at -= rate;
        }
        Fate::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64, rates: Rates, method: &Method) -> Vec<Fate> {
        let plan = Plan::new(seed);
        plan.set(rates, Delays::default());
        (0..2000).map(|_| plan.draw(method, false)).collect()
    }

    #[test]
    fn a_seed_repeats_and_every_fate_comes_at_its_rate() {
        let rates = Rates::all(0.1);
        let first = fates(7, rates, &Method::POST);
        assert_eq!(first, fates(7, rates, &Method::POST));
        assert_ne!(first, fates(8, rates, &Method::POST));
        let mut counts = BTreeMap::new();
        first.iter().for_each(|fate| *counts.entry(fate.name()).or_insert(0) += 1);
        assert_eq!(counts.len(), 9, "{counts:?}");
        assert!(counts.values().all(|count| (150..=480).contains(count)), "{counts:?}");
        assert!(fates(7, Rates::default(), &Method::POST).iter().all(|fate| *fate == Fate::Passed));
    }

    #[test]
    fn what_only_reads_has_no_conflicts_and_a_watch_passes() {
        let conflicts = Rates { conflict: 1.0, ..Rates::default() };
        assert!(fates(1, conflicts, &Method::GET).iter().all(|fate| *fate == Fate::Passed));
        assert!(fates(1, conflicts, &Method::PUT).iter().all(|fate| *fate == Fate::Refused(409)));
        let plan = Plan::new(1);
        plan.set(Rates::all(0.125), Delays::default());
        assert!((0..100).all(|_| plan.draw(&Method::GET, true) == Fate::Passed));
        assert_eq!(plan.drawn(), BTreeMap::from([("passed".to_owned(), 100)]));
    }
}
