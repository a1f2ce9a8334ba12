//! Watches of Kubernetes objects that never give up: list, follow, resume after a dropped connection, list again after 410.

use crate::{admin::Admin, backoff::Backoff, config::Problems, metrics, program::chain, shutdown::Shutdown};
use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use kube::{
    Api, Resource,
    runtime::watcher::{self, Error, Event, InitialListStrategy},
};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt::{self, Debug},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
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

/// The state of one watch, read by metrics and readiness.
#[derive(Debug, Default)]
pub struct WatchStatus {
    name: String,
    events: AtomicU64,
    errors: AtomicU64,
    /// Complete lists received; the first one makes the watch synced.
    lists: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    event: Option<Instant>,
    error: Option<(Instant, String)>,
}

impl WatchStatus {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether all objects have been seen once. Stays true while the API server is away: what we know is kept.
    pub fn synced(&self) -> bool {
        self.lists.load(Ordering::Relaxed) > 0
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

    /// Ready once synced; before, says why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.synced() {
            return Ok(());
        }
        Err(match &self.recent().error {
            Some((at, error)) => format!("not synced; {error}, {:.0} s ago", at.elapsed().as_secs_f64()),
            None => "not synced".to_owned(),
        })
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.recent().event = Some(Instant::now());
    }

    fn saw_error(&self, text: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.recent().error = Some((Instant::now(), text.to_owned()));
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

    /// Starts a watch known to metrics and readiness as `name` (the resource: `pods`). See [`watch`].
    pub fn watch<K>(&self, api: Api<K>, config: watcher::Config, name: &str, shutdown: &Shutdown) -> BoxStream<'static, Change<K>>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (status, changes) = watch(api, config, name, shutdown);
        self.list().push(status);
        changes.boxed()
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
    let status = Arc::new(WatchStatus { name: name.to_owned(), ..WatchStatus::default() });
    let follower = Follower {
        events: watcher::watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        listing: Vec::new(),
        backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
        last_error: None,
        status: status.clone(),
        shutdown: shutdown.clone(),
    };
    (status, stream::unfold(follower, |mut follower| async { follower.next().await.map(|change| (change, follower)) }))
}

struct Follower<K> {
    api: Api<K>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    /// The list under way.
    listing: Vec<K>,
    backoff: Backoff,
    last_error: Option<Instant>,
    status: Arc<WatchStatus>,
    shutdown: Shutdown,
}

impl<K> Follower<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// The next change; `None` on shutdown.
    async fn next(&mut self) -> Option<Change<K>> {
        loop {
            let event = self.shutdown.interrupt(self.events.next()).await??;
            let change = match event {
                Ok(Event::Init) => {
                    self.listing.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    self.listing.push(object);
                    continue;
                }
                Ok(Event::InitDone) => {
                    self.status.lists.fetch_add(1, Ordering::Relaxed);
                    Change::Reset(std::mem::take(&mut self.listing))
                }
                Ok(Event::Apply(object)) => Change::Apply(object),
                Ok(Event::Delete(object)) => Change::Delete(object),
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

    /// Reports an error and waits before the next try; `None` on shutdown.
    async fn failed(&mut self, error: Error) -> Option<()> {
        if self.last_error.is_some_and(|at| at.elapsed() > CALM) {
            self.backoff.reset();
        }
        self.last_error = Some(Instant::now());
        let text = chain(&error);
        self.status.saw_error(&text);
        let refused = match &error {
            Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
            _ => 0,
        };
        let streaming = self.config.initial_list_strategy == InitialListStrategy::StreamingList;
        if matches!(refused, 400 | 422) && streaming && !self.status.synced() {
            tracing::info!(watch = self.status.name, "the API server has no streaming lists, listing in pages");
            self.config.initial_list_strategy = InitialListStrategy::ListWatch;
            self.start_over();
            return Some(());
        }
        if refused == 410 {
            // kube lists anew when 410 comes as an event; as the answer to the watch itself it would ask for the same version for ever.
            self.start_over();
        }
        let delay = self.backoff.delay();
        tracing::warn!(watch = self.status.name, error = text, "watch failed; retrying in {:.1} s", delay.as_secs_f64());
        self.shutdown.sleep(delay).await.then_some(())
    }

    fn start_over(&mut self) {
        self.events = watcher::watcher(self.api.clone(), self.config.clone()).boxed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock_api::{self, failure, json_response};
    use bytes::Bytes;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use serde_json::{Value, json};
    use std::collections::VecDeque;

    #[derive(Clone)]
    enum Answer {
        List(&'static str, &'static [&'static str]),
        /// The resource version that must be asked for, and the events: `+a` added, `-a` deleted, `!410` an error.
        Watch(&'static str, &'static [&'static str]),
        Status(u16),
        Dropped,
    }

    fn object(name: &str, version: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version}})
    }

    fn event(text: &str) -> Value {
        match text.split_at(1) {
            ("+", name) => json!({"type": "ADDED", "object": object(name, "5")}),
            ("-", name) => json!({"type": "DELETED", "object": object(name, "6")}),
            ("b", _) => json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata":
                {"resourceVersion": "8", "annotations": {"k8s.io/initial-events-end": "true"}}}}),
            (_, code) => json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": code.parse::<u16>().unwrap(),
                "reason": "Expired", "message": "too old"}}),
        }
    }

    fn names(change: Change<ConfigMap>) -> String {
        match change {
            Change::Apply(object) => format!("+{}", object.name_any()),
            Change::Delete(object) => format!("-{}", object.name_any()),
            Change::Reset(objects) => format!("={}", objects.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(",")),
        }
    }

    /// Plays the answers, then silence; the changes must be those expected.
    async fn check(config: watcher::Config, answers: &[Answer], expected: &[&str]) -> Arc<WatchStatus> {
        let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        let left = answers.clone();
        let client = mock_api::client(move |request| {
            let answer = answers.lock().unwrap().pop_front();
            let query = request.uri().query().unwrap_or_default().to_owned();
            async move {
                match answer {
                    Some(Answer::List(version, names)) => {
                        assert!(!query.contains("watch=true"), "{query}");
                        let items: Vec<Value> = names.iter().map(|name| object(name, "1")).collect();
                        Ok(json_response(
                            200,
                            &json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
                        ))
                    }
                    Some(Answer::Watch(version, events)) => {
                        assert!(query.contains("watch=true") && query.contains(&format!("resourceVersion={version}")), "{query}");
                        let lines: String = events.iter().map(|text| format!("{}\n", event(text))).collect();
                        Ok(http::Response::new(Bytes::from(lines)))
                    }
                    Some(Answer::Status(code)) => Ok(failure(code, "Whatever", "refused")),
                    Some(Answer::Dropped) => Err("connection reset".to_owned()),
                    None => std::future::pending().await,
                }
            }
        });
        let shutdown = Shutdown::new();
        let (status, changes) = watch(Api::<ConfigMap>::all(client), config, "configmaps", &shutdown);
        let mut changes = std::pin::pin!(changes.map(names));
        for change in expected {
            let got = tokio::time::timeout(Duration::from_secs(100), changes.next()).await.expect("in time");
            assert_eq!(got.as_deref(), Some(*change));
        }
        // Drains what is scripted after the last change, to see that it brings none.
        let silence = tokio::time::timeout(Duration::from_secs(100), changes.next()).await;
        assert!(silence.is_err(), "unexpected {silence:?}");
        assert!(left.lock().unwrap().is_empty(), "not every answer was asked for");
        shutdown.trigger();
        assert_eq!(changes.next().await, None, "a shutdown ends the stream");
        status
    }

    #[tokio::test(start_paused = true)]
    async fn resumes_where_a_connection_dropped() {
        use Answer::*;
        let answers = [List("4", &["a", "b"]), Watch("4", &["+c"]), Dropped, Dropped, Watch("5", &["-a"])];
        let status = check(watcher::Config::default(), &answers, &["=a,b", "+c", "-a"]).await;
        assert_eq!((status.restarts(), status.errors(), status.synced()), (0, 2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn lists_again_after_410_in_the_stream_or_as_the_answer() {
        use Answer::*;
        let answers = [List("4", &["a"]), Watch("4", &["!410"]), List("9", &["b"]), Watch("9", &[]), Status(410), List("12", &[])];
        let status = check(watcher::Config::default(), &answers, &["=a", "=b", "="]).await;
        assert_eq!((status.restarts(), status.errors()), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_listing_until_it_works() {
        use Answer::*;
        let answers = [Dropped, Status(500), Status(403), List("4", &["a"])];
        let status = check(watcher::Config::default(), &answers, &["=a"]).await;
        assert_eq!(status.errors(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn streaming_lists_fall_back_where_they_are_refused() {
        use Answer::*;
        let config = WatchConfig { streaming_lists: true, ..Default::default() }.watcher();
        check(config.clone(), &[Watch("0", &["+a", "+b", "b", "+c"]), Watch("5", &[])], &["=a,b", "+c"]).await;
        check(config, &[Status(422), List("4", &["a"]), Watch("4", &["+b"])], &["=a", "+b"]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_and_metrics_tell_the_state() {
        let client = mock_api::client(|_request| async { Err("connection refused".to_owned()) });
        let (watches, admin, shutdown) = (Watches::new(), Admin::new(), Shutdown::new());
        watches.attach(&admin);
        assert_eq!(watches.ready(), Ok(()));
        let mut changes = watches.watch(Api::<ConfigMap>::all(client), watcher::Config::default(), "configmaps", &shutdown);
        assert_eq!(watches.ready(), Err("configmaps: not synced".to_owned()));
        assert!(tokio::time::timeout(Duration::from_secs(1), changes.next()).await.is_err());
        let why = watches.ready().expect_err("still not synced");
        assert!(
            why.contains("configmaps: not synced; failed to perform initial object list") && why.contains("connection refused"),
            "{why}"
        );

        let mut text = String::new();
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(watches));
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("watch_synced{watch=\"configmaps\"} 0.0\n"), "{text}");
        assert!(text.contains("watch_errors_total{watch=\"configmaps\"} 2\n"), "{text}");
    }
}
