//! Watch streams: one line of JSON per event, bookmarks, and an end that the client can resume from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::negotiate::Form;
use super::path::Query;
use super::render::Renderer;
use super::resource::{Resource, Shape};
use super::schema::Typed;
use super::selector::Selector;
use super::status::{ApiError, FieldError};
use super::store::{Change, ChangeKind, Object, Watch, frame};
use super::verbs::options::check_list_options;

/// How long a watch lives that asks for no time of its own: half an hour, and up to another half at random,
/// so that clients which came together do not come back together.
const LIFETIME_S: u64 = 1800;

/// Most frames that are put together before the connection gets to write.
const BATCH: usize = 256;

/// A watch on its way to one client.
struct Follower {
    api: Arc<Api>,
    watch: Watch,
    selector: Selector,
    renderer: Renderer,
    frames: VecDeque<Bytes>,
    bookmarks: Option<Interval>,
    end: std::pin::Pin<Box<Sleep>>,
    cut: CancellationToken,
    stop: CancellationToken,
    ended: bool,
}

/// What a watch request says beyond its selector.
struct Wish {
    from: Option<u64>,
    initial: bool,
    marks_initial_end: bool,
    bookmarks: bool,
    lifetime: Duration,
}

fn wish(query: &Query) -> Result<Wish, ApiError> {
    let send_initial = query.maybe_flag("sendInitialEvents");
    let from = match query.text("resourceVersion") {
        None => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| ApiError::unexplained(FieldError::not_a_version(text).to_string()))?),
    };
    check_list_options(query, true)?;
    let bookmarks = query.flag("allowWatchBookmarks");
    let spread = u64::try_from(uuid::Uuid::new_v4().as_u128() % u128::from(LIFETIME_S)).unwrap_or_default();
    let lifetime = query.number("timeoutSeconds").filter(|s| *s > 0).unwrap_or(LIFETIME_S + spread);
    Ok(Wish {
        from: from.filter(|rv| *rv > 0),
        // Without a version a watch begins with what is there, unless the client says that it wants no such thing.
        initial: send_initial.unwrap_or(from.unwrap_or_default() == 0),
        marks_initial_end: send_initial == Some(true) && bookmarks,
        bookmarks,
        lifetime: Duration::from_secs(lifetime),
    })
}

/// Opens a watch. A history that is gone is told in the stream, as the first and only event.
pub fn open(
    api: &Arc<Api>,
    resource: &Arc<Resource>,
    selector: Selector,
    query: &Query,
    form: Form,
) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<>, ApiError> {
    let wish = wish(query)?;
    let mut renderer = Renderer::new(resource.clone(), form).with_empty(empty(api, resource));
    let from = if wish.initial { None } else { Some(wish.from.unwrap_or_else(|| api.store.resource_version())) };
    let opened = api.store.watch(&resource.storage, from, selector.trigger());
    let mut watch = match opened {
        Ok(watch) => watch,
        Err(expired) => {
            let message = format!("too old resource version: {} ({})", from.unwrap_or_default(), expired.oldest);
            let error = ApiError::expired(message).to_value().to_string();
            let only = futures::stream::iter([Ok(frame("ERROR", error.as_bytes()))]);
            return Ok(futures::future::Either::Left(only));
        }
    };
    let mut frames = VecDeque::new();
    for object in std::mem::take(&mut watch.initial) {
        if selector.matches(&object) {
            frames.push_back(renderer.event("ADDED", &object));
        }
    }
    if wish.marks_initial_end {
        frames.push_back(renderer.bookmark(watch.rv, true));
    }
    for change in std::mem::take(&mut watch.backlog) {
        frames.extend(event(&mut renderer, &selector, &change));
    }
    let bookmarks = wish.bookmarks.then(|| {
        let mut ticks = tokio::time::interval_at(Instant::now() + api.bookmark_interval, api.bookmark_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let stream = Follower {
        api: api.clone(),
        watch,
        selector,
        renderer,
        frames,
        bookmarks,
        end: Box::pin(tokio::time::sleep(wish.lifetime)),
        cut: api.faults.watches(),
        stop: api.stop.clone(),
        ended: false,
    };
    let lines = futures::stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok(frame), stream))
    });
    Ok(futures::future::Either::Right(lines))
}

/// The event that a selector makes of a change: an object may enter or leave what is selected.
fn event(renderer: &mut Renderer, selector: &Selector, change: &Change) -> Option<Bytes> {
    let before = change.previous.as_ref().is_some_and(|previous| selector.matches(previous));
    let after = change.kind != ChangeKind::Deleted && selector.matches(&change.object);
    match (before, after) {
        (false, false) => None,
        (false, true) if change.kind == ChangeKind::Added => Some(renderer.change(change)),
        (false, true) => Some(renderer.event("ADDED", &change.object)),
        (true, true) => Some(renderer.change(change)),
        (true, false) if change.kind == ChangeKind::Deleted => Some(renderer.change(change)),
        (true, false) => {
            let left = change.previous.as_ref()?;
            Some(renderer.event_at("DELETED", left, change.object.rv))
        }
    }
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            let change = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = self.cut.cancelled() => return None,
                change = self.watch.changes.recv() => change,
                () = tick(&mut self.bookmarks) => {
                    self.bookmark();
                    continue;
                }
                () = &mut self.end => {
                    self.ended = true;
                    if self.bookmarks.is_some() {
                        self.bookmark();
                    }
                    continue;
                }
            };
            self.frames.extend(event(&mut self.renderer, &self.selector, &*change?));
            while self.frames.len() < BATCH
                && let Ok(change) = self.watch.changes.try_recv()
            {
                self.frames.extend(event(&mut self.renderer, &self.selector, &change));
            }
        }
    }

    /// Everything up to the version was sent when the queue is empty after the version was read.
    fn bookmark(&mut self) {
        let rv = self.api.store.resource_version();
        loop {
            match self.watch.changes.try_recv() {
                Ok(change) => self.frames.extend(event(&mut self.renderer, &self.selector, &change)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    return;
                }
            }
        }
        self.frames.push_back(self.renderer.bookmark(rv, false));
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// What an object of a built-in kind holds where nobody set anything.
fn empty(api: &Api, resource: &Resource) -> Value {
    let Shape::Builtin(builtin) = &resource.shape else { return Value::Null };
    let mut empty = Typed::root(&api.schemas, Some(api.schemas.root(builtin)), false).empty();
    // The one number that kube-apiserver's own type of these holds by value and the served type does not.
    if &*resource.group == "apps" && matches!(&*resource.plural, "deployments" | "replicasets" | "statefulsets") {
        empty["spec"]["replicas"] = 0.into();
    }
    empty
}

/// The object of a bookmark event.
pub fn bookmark_object(kind: &str, api_version: &str, rv: u64, initial_events_end: bool) -> Value {
    let mut metadata = json!({ "resourceVersion": rv.to_string() });
    if initial_events_end {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata })
}

/// An object as it was, under a later resourceVersion.
pub fn at_version(object: &Object, rv: u64) -> Value {
    let mut value = object.value();
    value["metadata"]["resourceVersion"] = rv.to_string().into();
    value
}
