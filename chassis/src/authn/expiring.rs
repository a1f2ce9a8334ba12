//! Answers remembered for a while, in bounded number.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Entries kept at most: an agent and a router on each of 2,000 nodes, twice over.
const ENTRIES: usize = 8192;

/// Clones share the entries.
#[derive(Clone, Debug)]
pub(super) struct Expiring<K, V> {
    entries: Arc<Mutex<HashMap<K, (Instant, V)>>>,
}

impl<K: Eq + Hash, V: Clone> Expiring<K, V> {
    pub(super) fn new() -> Self {
        Self { entries: Arc::default() }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(expires, _)| Instant::now() < *expires).map(|(_, value)| value.clone())
    }

    pub(super) fn insert(&self, key: K, value: V, keep: Duration) {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES {
            entries.retain(|_, (expires, _)| now < *expires);
        }
        if entries.len() >= ENTRIES {
            // More callers than we are made for: start over rather than grow. It costs reviews, nothing else.
            entries.clear();
        }
        entries.insert(key, (now + keep, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn forgets_in_time_and_never_grows_without_bound() {
        let cache = Expiring::new();
        cache.insert(0, "a", Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(cache.get(&0), Some("a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.get(&0), None);
        for key in 0..3 * ENTRIES {
            cache.insert(key, "b", Duration::from_secs(10));
        }
        assert!(cache.entries.lock().unwrap().len() <= ENTRIES);
        assert_eq!(cache.get(&(3 * ENTRIES - 1)), Some("b"));
    }
}
