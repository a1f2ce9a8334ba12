//! What happened while pods were being tried: an event that comes between the snapshot and the verdict must not be lost.

use std::collections::{HashMap, VecDeque};

pub(super) struct InFlight<E> {
    /// By UID: the number of the first event after the pod was popped.
    pods: HashMap<String, u64>,
    events: VecDeque<E>,
    /// Number of the first event kept.
    first: u64,
}

impl<E> Default for InFlight<E> {
    fn default() -> InFlight<E> {
        InFlight { pods: HashMap::new(), events: VecDeque::new(), first: 0 }
    }
}

impl<E: Clone> InFlight<E> {
    pub(super) fn begin(&mut self, uid: &str) {
        self.pods.insert(uid.to_owned(), self.first + self.events.len() as u64);
    }

    /// How many are being tried.
    pub(super) fn pods(&self) -> usize {
        self.pods.len()
    }

    /// What is kept for them.
    pub(super) fn events(&self) -> impl Iterator<Item = &E> {
        self.events.iter()
    }

    /// Nothing is kept while nothing is being tried.
    pub(super) fn record(&mut self, event: &E) {
        if !self.pods.is_empty() {
            self.events.push_back(event.clone());
        }
    }

    /// Ends the attempt and returns the events since it began.
    pub(super) fn end(&mut self, uid: &str) -> Vec<E> {
        let Some(since) = self.pods.remove(uid) else { return Vec::new() };
        let seen = self.events.iter().skip((since - self.first) as usize).cloned().collect();
        let end = self.first + self.events.len() as u64;
        let keep_from = self.pods.values().min().copied().unwrap_or(end);
        self.events.drain(..(keep_from - self.first) as usize);
        self.first = keep_from;
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_sees_the_events_of_its_own_attempt_and_nothing_is_kept_after() {
        let mut log = InFlight::default();
        log.record(&0);
        log.begin("a");
        log.record(&1);
        log.begin("b");
        log.record(&2);
        assert_eq!(log.end("a"), [1, 2]);
        assert_eq!(log.events.len(), 1, "b still needs event 2");
        log.record(&3);
        assert_eq!(log.end("b"), [2, 3]);
        assert!(log.events.is_empty());
        assert_eq!(log.end("b"), [0i32; 0]);
    }
}
