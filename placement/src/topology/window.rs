//! The statistics of one pair, as an agent keeps them: a window of recent probes. Never a mean, never an all-time minimum.

use super::{Kind, PairStat};
use crate::units::{Micros, Span, Timestamp};

/// Outcomes kept: at one probe every 10 s, the last 11 minutes. 64 x 4 B = 256 B a pair, 1 MB for 4,096 peers.
const SIZE: usize = 64;
/// Below this many answers a pair counts as unmeasured.
pub const MIN_SAMPLES: u16 = 5;
/// From this many on the p90 is one; with fewer it would be the second largest at best, so the maximum stands in.
const P90_SAMPLES: usize = 16;
/// The change detector: so many of the last [`RECENT`] answers outside the band of those before. In a steady series a sample is outside with
/// probability 0.2, so 6 of 8 are with probability 0.0012, and a false alarm costs no more than a maximum in place of a p90 for 8 samples.
const OUTSIDE: usize = 6;
const RECENT: usize = 8;
/// Losses in a row after which a pair is failing.
const FAILING: u8 = 3;
/// After so long without an answer the window starts anew: what was measured before is as old as what no longer counts (`maxAge`).
const GAP: Span = Span(15 * 60 * 1000);
/// Marks a lost probe.
const LOST: u32 = u32::MAX;

/// What a window says once it has [`MIN_SAMPLES`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub p50: Micros,
    /// What a bound is held against: the maximum of 5 to 15 answers, their p90 from 16.
    pub p90: Micros,
    /// Mean difference between consecutive answers.
    pub jitter: Micros,
    /// Lost probes per 1000.
    pub loss_permille: u16,
    pub samples: u16,
    /// When the last answer came.
    pub at: Timestamp,
}

impl Figures {
    pub fn stat(&self) -> PairStat {
        PairStat {
            p50: self.p50,
            p90: self.p90,
            loss_permille: self.loss_permille,
            samples: self.samples,
            at: self.at,
            kind: Kind::Measured,
        }
    }
}

/// The last probes of one pair, oldest first.
#[derive(Clone, Debug)]
pub struct Window {
    ring: [u32; SIZE],
    start: usize,
    len: usize,
    losses_in_a_row: u8,
    answered_at: Option<Timestamp>,
}

impl Default for Window {
    fn default() -> Window {
        Window { ring: [0; SIZE], start: 0, len: 0, losses_in_a_row: 0, answered_at: None }
    }
}

impl Window {
    /// A probe was answered at `now` after `rtt`.
    pub fn answered(&mut self, rtt: Micros, now: Timestamp) {
        if self.answered_at.is_some_and(|at| now.since(at) > GAP) {
            self.len = 0;
        }
        self.push(rtt.0.min(LOST - 1));
        self.losses_in_a_row = 0;
        self.answered_at = Some(now);
        if let Some(since) = self.change() {
            self.start = (self.start + since) % SIZE;
            self.len -= since;
        }
    }

    /// A probe got no answer.
    pub fn lost(&mut self, _now: Timestamp) {
        self.push(LOST);
        self.losses_in_a_row = self.losses_in_a_row.saturating_add(1);
    }

    /// Answers in the window.
    pub fn samples(&self) -> u16 {
        self.answers().count() as u16
    }

    /// Lost probes in the window.
    pub fn losses(&self) -> u16 {
        self.len as u16 - self.samples()
    }

    /// The last three probes or more went unanswered.
    pub fn failing(&self) -> bool {
        self.losses_in_a_row >= FAILING
    }

    /// `None` while fewer than [`MIN_SAMPLES`] answers are in the window: the pair is unmeasured.
    pub fn figures(&self) -> Option<Figures> {
        let mut sorted: Vec<u32> = self.answers().map(|(_, us)| us).collect();
        let at = self.answered_at.filter(|_| sorted.len() >= usize::from(MIN_SAMPLES))?;
        let steps = self.answers().zip(self.answers().skip(1)).map(|((_, a), (_, b))| u64::from(a.abs_diff(b)));
        let jitter = steps.sum::<u64>() / (sorted.len() as u64 - 1);
        sorted.sort_unstable();
        let p90 = if sorted.len() < P90_SAMPLES { sorted[sorted.len() - 1] } else { quantile(&sorted, 90) };
        Some(Figures {
            p50: Micros(quantile(&sorted, 50)),
            p90: Micros(p90),
            jitter: Micros(jitter as u32),
            loss_permille: ((self.len - sorted.len()) * 1000 / self.len) as u16,
            samples: sorted.len() as u16,
            at,
        })
    }

    fn push(&mut self, outcome: u32) {
        if self.len == SIZE {
            self.start = (self.start + 1) % SIZE;
            self.len -= 1;
        }
        self.ring[(self.start + self.len) % SIZE] = outcome;
        self.len += 1;
    }

    /// Answers with their place in the window, oldest first.
    fn answers(&self) -> impl DoubleEndedIterator<Item = (usize, u32)> + Clone + '_ {
        (0..self.len).map(|i| (i, self.ring[(self.start + i) % SIZE])).filter(|&(_, outcome)| outcome != LOST)
    }

    /// If 6 of the last 8 answers lie outside the p10 to p90 band of those before: the place of the first that does. The window starts
    /// anew there, not at the first of the 8: after a step down, two old samples among 8 would stand as the maximum for 18 more.
    fn change(&self) -> Option<usize> {
        let mut before: Vec<u32> = self.answers().rev().skip(RECENT).map(|(_, us)| us).collect();
        if before.len() < usize::from(MIN_SAMPLES) {
            return None;
        }
        before.sort_unstable();
        let band = quantile(&before, 10)..=quantile(&before, 90);
        let outside = self.answers().rev().take(RECENT).filter(|(_, us)| !band.contains(us));
        (outside.clone().count() >= OUTSIDE).then(|| outside.last().map(|(place, _)| place)).flatten()
    }
}

/// The nearest-rank percentile of sorted samples, of which there is at least one.
fn quantile(sorted: &[u32], percent: usize) -> u32 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

#[cfg(test)]
mod tests;
