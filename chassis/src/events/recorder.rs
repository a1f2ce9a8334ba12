//! Takes occurrences from anywhere and writes events in tasks of its own.

use super::{
    EventType, cut_note,
    series::{FINISH, Key, Patch, SeriesIndex, Verdict},
};
use crate::{backoff::Backoff, client::protobuf, metrics, program::chain, shutdown::Shutdown};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Resource as _,
    api::{ObjectMeta, PatchParams, PostParams, Request},
};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, MissedTickBehavior},
};

/// Bounds of a [`Recorder`].
#[derive(Clone, Debug)]
pub struct RecorderConfig {
    /// Occurrences waiting to be written; more are dropped and counted.
    pub queue: usize,
    /// Calls to the API server a second, at most; 0: no limit but the client's.
    pub qps: u32,
    /// Calls that may be under way at once. What is told about one object is written in its order.
    pub writers: usize,
}

impl Default for RecorderConfig {
    /// A burst of 4,096 events is written within 82 s.
    fn default() -> Self {
        Self { queue: 4096, qps: 50, writers: 1 }
    }
}

/// Publishes events of one program. Clones share its queue.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// Each writes of its share of the objects.
    writers: Arc<[mpsc::UnboundedSender<Occurrence>]>,
    /// What may still wait.
    room: Arc<Semaphore>,
    status: Arc<RecorderStatus>,
    controller: Arc<str>,
}

/// Counts for metrics.
#[derive(Debug, Default)]
pub struct RecorderStatus {
    dropped: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
}

impl RecorderStatus {
    /// Occurrences dropped because the queue was full, or because we were shut down.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Events made and series written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Writes that the API server refused, or that were given up.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Collector for Recorder {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut counter = |name, help, value| metrics::counters(&mut encoder, name, help, [(metrics::NO_LABELS, value)]);
        counter("events_dropped", "Occurrences dropped because the queue of events was full", self.status.dropped())?;
        counter("events_written", "Events made and series written", self.status.written())?;
        counter("events_failed", "Events that could not be written", self.status.failed())
    }
}

#[derive(Debug)]
struct Occurrence {
    key: Key,
    controller: Arc<str>,
    note: String,
    at: Timestamp,
    seen: Instant,
    _room: OwnedSemaphorePermit,
}

impl Recorder {
    /// Starts the writing tasks. `controller` is the program (`edge-scheduler`), `instance` this process of it (`edge-scheduler-host_uuid`).
    pub fn start(client: kube::Client, controller: &str, instance: &str, config: &RecorderConfig, shutdown: &Shutdown) -> Self {
        let status = Arc::new(RecorderStatus::default());
        let writers = config.writers.max(1);
        let start = |_| {
            let (sender, queue) = mpsc::unbounded_channel();
            let pace = (config.qps > 0).then(|| {
                let mut pace = tokio::time::interval(Duration::from_secs(1) * writers as u32 / config.qps);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                pace
            });
            let writer = Writer {
                client: client.clone(),
                // The API server refuses a longer one.
                instance: instance[..instance.floor_char_boundary(LONGEST_INSTANCE)].to_owned(),
                pace,
                series: SeriesIndex::default(),
                status: status.clone(),
            };
            shutdown.spawn(writer.run(queue, shutdown.clone()));
            sender
        };
        let writers = (0..writers).map(start).collect();
        Self { writers, room: Arc::new(Semaphore::new(config.queue)), status, controller: controller.into() }
    }

    /// The same queue, for events in the name of another controller.
    pub fn reporting_as(&self, controller: &str) -> Self {
        Self { controller: controller.into(), ..self.clone() }
    }

    /// Queues an event about `regarding` and returns at once. `reason` and `action` are words in upper camel case (`FailedScheduling`,
    /// `Scheduling`); the note is for people and cut at 1024 bytes.
    pub fn publish(&self, regarding: ObjectReference, kind: EventType, reason: &str, action: &str, note: impl Into<String>) {
        let key = Key { regarding, kind, reason: reason.to_owned(), action: action.to_owned() };
        let taken = self.room.clone().try_acquire_owned().is_ok_and(|room| {
            let writer = self.writer_of(&key.regarding);
            let (controller, note) = (self.controller.clone(), cut_note(note.into()));
            writer.send(Occurrence { key, controller, note, at: Timestamp::now(), seen: Instant::now(), _room: room }).is_ok()
        });
        if !taken && self.status.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("events are dropped: the API server takes them more slowly than they come (see events_dropped_total)");
        }
    }

    fn writer_of(&self, object: &ObjectReference) -> &mpsc::UnboundedSender<Occurrence> {
        let mut hasher = DefaultHasher::new();
        (&object.uid, &object.namespace, &object.name).hash(&mut hasher);
        &self.writers[(hasher.finish() % self.writers.len() as u64) as usize]
    }

    pub fn status(&self) -> &RecorderStatus {
        &self.status
    }
}

const LONGEST_INSTANCE: usize = 128;
/// How long the queue may still be written after shutdown.
const DRAIN: Duration = Duration::from_secs(3);
/// Tries for one write; about 3 s, for an API server that restarts its connections, not for one that is down.
const TRIES: u32 = 3;

struct Writer {
    client: kube::Client,
    instance: String,
    pace: Option<tokio::time::Interval>,
    series: SeriesIndex,
    status: Arc<RecorderStatus>,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Occurrence>, shutdown: Shutdown) {
        let mut sweep = tokio::time::interval(FINISH / 6);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.signalled() => break,
                occurrence = queue.recv() => match occurrence {
                    // Not interrupted by a shutdown: the write under way is worth the moment.
                    Some(occurrence) => self.record(occurrence).await,
                    None => break,
                },
                _ = sweep.tick() => self.finish(false).await,
            }
        }
        queue.close();
        let rest = async {
            while let Some(occurrence) = queue.recv().await {
                self.record(occurrence).await;
            }
            self.finish(true).await;
        };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            self.status.dropped.fetch_add(queue.len() as u64, Ordering::Relaxed);
        }
    }

    async fn record(&mut self, occurrence: Occurrence) {
        let Occurrence { key, note, at, seen, .. } = &occurrence;
        match self.series.observe(key, note, *seen) {
            Verdict::Count => {}
            Verdict::Create => self.create(&occurrence).await,
            Verdict::Patch(patch) => {
                if self.patch(&patch, *at).await == Written::Gone {
                    self.series.forget(key);
                    self.create(&occurrence).await;
                }
            }
        }
    }

    async fn create(&mut self, Occurrence { key, controller, note, at, seen, .. }: &Occurrence) {
        let namespace = key.regarding.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default").to_owned();
        let name = event_name(key.regarding.name.as_deref().unwrap_or_default(), *at);
        let event = Event {
            metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.clone()), ..Default::default() },
            event_time: Some(MicroTime(*at)),
            type_: Some(key.kind.as_str().to_owned()),
            reason: Some(key.reason.clone()),
            action: Some(key.action.clone()),
            note: Some(note.clone()),
            regarding: Some(key.regarding.clone()),
            reporting_controller: Some(controller.to_string()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        };
        let written = self.write(&namespace, &Call::Create(Box::new(event))).await;
        if written == Written::Yes {
            self.series.created(key, &namespace, &name, note, *seen);
        }
    }

    async fn patch(&mut self, patch: &Patch, at: Timestamp) -> Written {
        let series = EventSeries { count: patch.count, last_observed_time: MicroTime(at) };
        let call = Call::Patch { name: patch.name.clone(), body: serde_json::json!({ "series": series }) };
        self.write(&patch.namespace, &call).await
    }

    /// Writes the counts of series that are over.
    async fn finish(&mut self, everything: bool) {
        for patch in self.series.finish(Instant::now(), everything) {
            let at = Timestamp::now() - patch.last_observed.elapsed();
            self.patch(&patch, at).await;
        }
    }

    async fn write(&mut self, namespace: &str, call: &Call) -> Written {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(2));
        for attempt in 1..=TRIES {
            if let Some(pace) = &mut self.pace {
                pace.tick().await;
            }
            let error = match call.send(&self.client, namespace).await {
                Ok(()) => {
                    self.status.written.fetch_add(1, Ordering::Relaxed);
                    return Written::Yes;
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Written::Gone,
                // Ours from a try whose answer was lost.
                Err(kube::Error::Api(status)) if status.code == 409 && attempt > 1 => return Written::Yes,
                Err(error) => error,
            };
            let hopeless = matches!(&error, kube::Error::Api(status) if status.code < 500 && status.code != 429);
            if hopeless || attempt == TRIES {
                tracing::warn!(error = chain(&error), "cannot write an event");
                break;
            }
            tokio::time::sleep(backoff.delay()).await;
        }
        self.status.failed.fetch_add(1, Ordering::Relaxed);
        Written::No
    }
}

enum Call {
    Create(Box<Event>),
    /// A merge patch of the event called so.
    Patch {
        name: String,
        body: serde_json::Value,
    },
}

impl Call {
    /// The answer is not looked into: it is what was sent.
    async fn send(&self, client: &kube::Client, namespace: &str) -> kube::Result<()> {
        let events = Request::new(Event::url_path(&(), Some(namespace)));
        let request = match self {
            Self::Create(event) => protobuf::request(&**event, |body| events.create(&PostParams::default(), body)),
            Self::Patch { name, body } => events.patch(name, &PatchParams::default(), &kube::api::Patch::Merge(body)),
        };
        client.request_text(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Yes,
    No,
    /// The object, or its namespace, is not there.
    Gone,
}

/// `pod.17f3a…`: the object's name and the time in nanoseconds, as client-go names events; cut to what a name may have.
fn event_name(object: &str, at: Timestamp) -> String {
    const LONGEST_NAME: usize = 253;
    let suffix = format!(".{:x}", at.as_nanosecond());
    let object = &object[..object.floor_char_boundary(LONGEST_NAME - suffix.len())];
    format!("{}{suffix}", object.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests;
