//! Watches of Kubernetes objects that never give up: list, follow, resume after a dropped connection, list again after 410.

mod status;

pub use status::{WatchStatus, Watches};

use crate::{backoff::Backoff, config::Problems, program::chain, shutdown::Shutdown};
use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use kube::{
    Api, Resource,
    runtime::watcher::{self, Error, Event, InitialListStrategy},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What happened to the watched objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<K> {
    /// Added or modified.
    Apply(K),
    Delete(K),
    /// All there are, at the start and after each new list: what is not among them is gone.
    Reset(Vec<K>),
}

/// The section `watches` of a program's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Objects in one page of a list.
    pub page_size: u32,
    /// Asks for the initial objects as watch events, which costs the API server less memory. Falls back where it is refused.
    pub streaming_lists: bool,
}

impl Default for WatchConfig {
    /// client-go's page size.
    fn default() -> Self {
        Self { page_size: 500, streaming_lists: false }
    }
}

impl crate::config::Validate for WatchConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.page_size == 0 {
            problems.wrong("pageSize", self.page_size, "at least 1");
        }
    }
}

impl WatchConfig {
    /// The watcher's configuration, for everything; selectors are added to it by the caller.
    pub fn watcher(&self) -> watcher::Config {
        let config = watcher::Config::default().page_size(self.page_size);
        if self.streaming_lists { config.streaming_lists() } else { config }
    }
}

const FIRST_RETRY: Duration = Duration::from_millis(800);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// After this long without an error the next one starts from the shortest delay again (client-go's reset duration).
const CALM: Duration = Duration::from_secs(120);

/// Follows `api` until shutdown. Errors are logged, counted and retried with growing delays; they never end the stream.
///
/// Objects are passed on, never kept: only a list under way is held until it is complete.
pub fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
    name: &str,
    shutdown: &Shutdown,
) -> (Arc<WatchStatus>, impl Stream<Item = Change<K>> + Send + use<K>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    follow(api, config, name, false, std::convert::identity, shutdown)
}

/// As [`watch`]. `optional`: the API server need not serve the kind, which has no objects there until it does. Objects are handed out as `convert` makes them,
/// one by one as they come: a large list takes no more room than what is made of it.
fn follow<K, T>(
    api: Api<K>,
    config: watcher::Config,
    name: &str,
    optional: bool,
    convert: fn(K) -> T,
    shutdown: &Shutdown,
) -> (Arc<WatchStatus>, impl Stream<Item = Change<T>> + Send + use<K, T>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send + 'static,
{
    let status = Arc::new(WatchStatus::new(name));
    let follower = Follower {
        optional,
        convert,
        events: watcher::watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        listing: Vec::new(),
        handed_out: false,
        backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
        last_error: None,
        status: status.clone(),
        shutdown: shutdown.clone(),
    };
    (status, stream::unfold(follower, |mut follower| async { follower.next().await.map(|change| (change, follower)) }))
}

struct Follower<K, T> {
    /// The API server need not serve it.
    optional: bool,
    convert: fn(K) -> T,
    api: Api<K>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    /// The list under way.
    listing: Vec<T>,
    /// A whole list was handed out last. The watch is synced when the next change is asked for: only then has the caller taken the list in, and who waits
    /// for it must not act on half of it.
    handed_out: bool,
    backoff: Backoff,
    last_error: Option<Instant>,
    status: Arc<WatchStatus>,
    shutdown: Shutdown,
}

impl<K, T> Follower<K, T>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// The next change; `None` on shutdown.
    async fn next(&mut self) -> Option<Change<T>> {
        if std::mem::take(&mut self.handed_out) {
            self.status.saw_list();
        }
        loop {
            let event = self.shutdown.interrupt(self.events.next()).await??;
            let change = match event {
                Ok(Event::Init) => {
                    self.listing.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    self.listing.push((self.convert)(object));
                    continue;
                }
                Ok(Event::InitDone) => {
                    self.handed_out = true;
                    self.status.set_served(true);
                    Change::Reset(std::mem::take(&mut self.listing))
                }
                Ok(Event::Apply(object)) => Change::Apply((self.convert)(object)),
                Ok(Event::Delete(object)) => Change::Delete((self.convert)(object)),
                Err(error) if self.is_unserved(&error) => {
                    if !self.status.is_served() {
                        self.shutdown.sleep(LONGEST_RETRY).await.then_some(())?;
                        continue;
                    }
                    tracing::info!(watch = self.status.name(), "the API server does not serve this kind; looking again from time to time");
                    self.handed_out = true;
                    self.status.set_served(false);
                    Change::Reset(Vec::new())
                }
                Err(error) => {
                    self.failed(error).await?;
                    continue;
                }
            };
            self.backoff.reset();
            self.status.saw_event();
            return Some(change);
        }
    }

    /// Whether the API server does not know the kind, and has not known it before.
    fn is_unserved(&self, error: &Error) -> bool {
        let (Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status))) = error else {
            return false;
        };
        self.optional && status.code == 404 && !(self.status.synced() && self.status.is_served())
    }

    /// Reports an error and waits before the next try; `None` on shutdown.
    async fn failed(&mut self, error: Error) -> Option<()> {
        if self.last_error.is_some_and(|at| at.elapsed() > CALM) {
            self.backoff.reset();
        }
        self.last_error = Some(Instant::now());
        let text = chain(&error);
        let refused = match &error {
            Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
            _ => 0,
        };
        let forbidden = matches!(&error, Error::InitialListFailed(kube::Error::Api(status)) if status.code == 403) || refused == 403;
        self.status.saw_error(&text, forbidden);
        let streaming = self.config.initial_list_strategy == InitialListStrategy::StreamingList;
        if matches!(refused, 400 | 422) && streaming && !self.status.synced() {
            tracing::info!(watch = self.status.name(), "the API server has no streaming lists, listing in pages");
            self.config.initial_list_strategy = InitialListStrategy::ListWatch;
            self.start_over();
            return Some(());
        }
        if refused == 410 {
            // kube lists anew when 410 comes as an event; as the answer to the watch itself it would ask for the same version for ever.
            self.start_over();
        }
        let delay = self.backoff.delay();
        tracing::warn!(watch = self.status.name(), error = text, "watch failed; retrying in {:.1} s", delay.as_secs_f64());
        self.shutdown.sleep(delay).await.then_some(())
    }

    fn start_over(&mut self) {
        self.events = watcher::watcher(self.api.clone(), self.config.clone()).boxed();
    }
}

#[cfg(test)]
mod tests;
