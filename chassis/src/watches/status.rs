//! The state of watches, for readiness and metrics.

use super::{Change, LONGEST_RETRY, follow};
use crate::{admin::Admin, metrics, shutdown::Shutdown};
use futures::{StreamExt as _, stream::BoxStream};
use kube::{Api, Resource, runtime::watcher};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use serde::de::DeserializeOwned;
use std::{
    fmt::{self, Debug},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The state of one watch, read by metrics and readiness.
#[derive(Debug, Default)]
pub struct WatchStatus {
    name: String,
    events: AtomicU64,
    errors: AtomicU64,
    /// Complete lists received; the first one makes the watch synced.
    lists: AtomicU64,
    unserved: AtomicBool,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    event: Option<Instant>,
    error: Option<(Instant, String)>,
    /// The API server does not let us list or watch, by its own words.
    refused: Option<(Instant, String)>,
}

impl WatchStatus {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether all objects have been seen once. Stays true while the API server is away: what we know is kept.
    pub fn synced(&self) -> bool {
        self.lists.load(Ordering::Relaxed) > 0
    }

    /// Whether the API server knows the kind, as far as was seen.
    pub fn is_served(&self) -> bool {
        !self.unserved.load(Ordering::Relaxed)
    }

    pub(super) fn set_served(&self, served: bool) {
        self.unserved.store(!served, Ordering::Relaxed);
    }

    /// Lists made again after the first one.
    pub fn restarts(&self) -> u64 {
        self.lists.load(Ordering::Relaxed).saturating_sub(1)
    }

    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Time since the last change or list.
    pub fn last_event_age(&self) -> Option<Duration> {
        self.recent().event.map(|at| at.elapsed())
    }

    /// Ready once synced, but not while a right is missing to follow what was seen; else says why not.
    pub fn ready(&self) -> Result<(), String> {
        let recent = self.recent();
        let told = |(at, error): &(Instant, String)| format!("{error}, {:.0} s ago", at.elapsed().as_secs_f64());
        if !self.synced() {
            return Err(recent.error.as_ref().map_or("not synced".to_owned(), |error| format!("not synced; {}", told(error))));
        }
        // A watch that was granted says so by an event alone, which may be long in coming; one that is refused still would have said so again.
        match recent.refused.as_ref().filter(|(at, _)| at.elapsed() < 2 * LONGEST_RETRY) {
            Some(refused) => Err(format!("not followed; {}", told(refused))),
            None => Ok(()),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn saw_list(&self) {
        self.lists.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn saw_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let mut recent = self.recent();
        recent.event = Some(Instant::now());
        recent.refused = None;
    }

    pub(super) fn saw_error(&self, text: &str, refused: bool) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let error = (Instant::now(), text.to_owned());
        let mut recent = self.recent();
        if refused {
            recent.refused = Some(error.clone());
        }
        recent.error = Some(error);
    }
}

/// All watches of a program. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    statuses: Arc<Mutex<Vec<Arc<WatchStatus>>>>,
}

impl Watches {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a watch known to metrics and readiness as `name` (the resource: `pods`). See [`watch`](super::watch).
    pub fn watch<K>(&self, api: Api<K>, config: watcher::Config, name: &str, shutdown: &Shutdown) -> BoxStream<'static, Change<K>>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.watch_as(api, config, name, std::convert::identity, shutdown)
    }

    /// As [`watch`](Self::watch), of objects as `convert` makes them, one by one as they come: a large list takes no more room than what is made of it.
    pub fn watch_as<K, T>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        name: &str,
        convert: fn(K) -> T,
        shutdown: &Shutdown,
    ) -> BoxStream<'static, Change<T>>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        T: Send + 'static,
    {
        let (status, changes) = follow(api, config, name, false, convert, shutdown);
        self.list().push(status);
        changes.boxed()
    }

    /// As [`watch`](Self::watch), of a kind that an API server need not serve: it has no objects there, and the status says so.
    pub fn watch_if_served<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        name: &str,
        shutdown: &Shutdown,
    ) -> (Arc<WatchStatus>, BoxStream<'static, Change<K>>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (status, changes) = follow(api, config, name, true, std::convert::identity, shutdown);
        self.list().push(status.clone());
        (status, changes.boxed())
    }

    /// Whether every watch has seen all its objects; names those that have not.
    pub fn ready(&self) -> Result<(), String> {
        let waiting: Vec<String> =
            self.list().iter().filter_map(|status| status.ready().err().map(|why| format!("{}: {why}", status.name))).collect();
        if waiting.is_empty() { Ok(()) } else { Err(waiting.join("; ")) }
    }

    /// Shows the watches at the admin port: the readiness check `watches` and the metrics `watch_…`.
    pub fn attach(&self, admin: &Admin) {
        let watches = self.clone();
        admin.ready_check("watches", move || watches.ready());
        let watches = self.clone();
        admin.register(|registry| registry.register_collector(Box::new(watches)));
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<WatchStatus>>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Watches {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let statuses = self.list().clone();
        fn label(status: &WatchStatus) -> [(&'static str, &str); 1] {
            [("watch", &status.name)]
        }
        let synced = statuses.iter().map(|status| (label(status), f64::from(u8::from(status.synced()))));
        metrics::gauges(&mut encoder, "watch_synced", "Whether all objects have been seen", synced)?;
        let ages = statuses.iter().filter_map(|status| Some((label(status), status.last_event_age()?.as_secs_f64())));
        metrics::gauges(&mut encoder, "watch_last_event_age_seconds", "Time since the last change or list", ages)?;
        let events = statuses.iter().map(|status| (label(status), status.events.load(Ordering::Relaxed)));
        metrics::counters(&mut encoder, "watch_events", "Changes and lists received", events)?;
        let restarts = statuses.iter().map(|status| (label(status), status.restarts()));
        metrics::counters(&mut encoder, "watch_restarts", "Lists made again after the first one", restarts)?;
        let errors = statuses.iter().map(|status| (label(status), status.errors()));
        metrics::counters(&mut encoder, "watch_errors", "Failed lists and watches", errors)
    }
}
