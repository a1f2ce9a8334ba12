//! One pod in the queue, and where it is.

use super::{Settings, Wake};
use placement::cluster::{Pod, PodKey};
use placement::units::Timestamp;
use std::cmp::Reverse;
use std::sync::Arc;

/// kube-scheduler's PrioritySort: higher priority first, then who came to active first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ActiveKey {
    priority: Reverse<i32>,
    since: Timestamp,
    /// Among equals, the order of arrival.
    sequence: u64,
    pub(super) key: PodKey,
}

impl ActiveKey {
    pub(super) fn new(pod: &Pod, since: Timestamp, sequence: u64) -> ActiveKey {
        ActiveKey { priority: Reverse(pod.priority), since, sequence, key: pod.key.clone() }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Active(ActiveKey),
    Backoff { until: Timestamp },
    Unschedulable { since: Timestamp },
    Gated,
    InFlight,
}

pub(super) struct Entry<E> {
    pub(super) pod: Arc<Pod>,
    pub(super) place: Place,
    pub(super) attempts: u32,
    pub(super) first_tried: Timestamp,
    pub(super) last_failed: Timestamp,
    /// The last attempt ended with an error of the API, not with a verdict.
    pub(super) after_error: bool,
    /// The pod changed while it was being tried, so that the verdict may be out of date.
    pub(super) changed_in_flight: bool,
    /// Nothing but the time that it waited took it up again.
    pub(super) after_timeout: bool,
    /// It is not tried while others are evicted for it.
    pub(super) held: bool,
    /// What would have woken it meanwhile.
    pub(super) woken: Option<&'static str>,
    /// Plugins that rejected it at its last attempt, until the next begins.
    pub(super) rejected_by: Vec<&'static str>,
    /// Of an unschedulable pod.
    pub(super) wake: Option<Box<dyn Wake<E>>>,
}

impl<E> Entry<E> {
    pub(super) fn new(pod: Arc<Pod>, now: Timestamp) -> Entry<E> {
        Entry {
            pod,
            place: Place::InFlight,
            attempts: 0,
            first_tried: now,
            last_failed: now,
            after_error: false,
            changed_in_flight: false,
            after_timeout: false,
            held: false,
            woken: None,
            rejected_by: Vec::new(),
            wake: None,
        }
    }

    /// End of the wait after the last attempt: initial * 2^(attempts - 1), at most the maximum.
    pub(super) fn backoff_end(&self, settings: &Settings) -> Timestamp {
        let wait = match self.attempts {
            0 => 0,
            // 2^20 initial waits exceed any maximum; the shift stays in range.
            n => (settings.initial_backoff.0 << (n - 1).min(20)).min(settings.max_backoff.0),
        };
        Timestamp(self.last_failed.0 + wait)
    }
}
