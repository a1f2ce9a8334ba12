//! Following the snapshot stream of one replica; another when it fails. What was heard last stays in use meanwhile.

use api::protocol::StreamEvent;
use chassis::{backoff::Backoff, program::chain, shutdown::Shutdown, tls::CallError, topology::Service};
use futures::StreamExt as _;
use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// How following goes, for readiness and metrics.
#[derive(Debug, Default)]
pub struct FollowStatus {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The replica that is followed now.
    replica: Option<String>,
    heard: Option<Instant>,
    error: Option<String>,
    reconnects: u64,
}

impl FollowStatus {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once a snapshot has been heard; it stays ready on the last one.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.inner();
        match (&inner.heard, &inner.error) {
            (Some(_), _) => Ok(()),
            (None, Some(error)) => Err(format!("no snapshot yet; {error}")),
            (None, None) => Err("no snapshot yet".to_owned()),
        }
    }

    /// Whether a replica is followed now.
    pub fn connected(&self) -> bool {
        self.inner().replica.is_some()
    }

    /// Time since the last event, and why nothing comes, when nothing does.
    pub fn stale(&self) -> Option<(Option<Duration>, String)> {
        let inner = self.inner();
        let why = inner.error.clone().unwrap_or_else(|| "no replica of the topology service is known".to_owned());
        inner.replica.is_none().then(|| (inner.heard.map(|heard| heard.elapsed()), why))
    }

    pub fn silence(&self) -> Option<Duration> {
        self.inner().heard.map(|heard| heard.elapsed())
    }

    pub fn reconnects(&self) -> u64 {
        self.inner().reconnects
    }

    fn heard(&self, replica: &str) {
        let mut inner = self.inner();
        if inner.replica.is_none() {
            inner.replica = Some(replica.to_owned());
        }
        (inner.heard, inner.error) = (Some(Instant::now()), None);
    }

    fn lost(&self, error: String) {
        let mut inner = self.inner();
        (inner.replica, inner.error) = (None, Some(error));
        inner.reconnects += 1;
    }
}

/// Sends every event of the stream that is about one of the `sites` to `events` until shutdown.
pub async fn follow(
    service: &Service,
    sites: &[String],
    mut replicas: watch::Receiver<BTreeSet<String>>,
    events: mpsc::Sender<StreamEvent>,
    status: &FollowStatus,
    shutdown: &Shutdown,
) {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));
    // Routers spread over the replicas; each failure moves on to the next one.
    let path = format!("/v1/stream?sites={}", sites.join(","));
    let mut turn = uuid::Uuid::new_v4().as_fields().0 as usize;
    while !shutdown.is_signalled() {
        let known: Vec<String> = replicas.borrow_and_update().iter().cloned().collect();
        let Some(base) = known.get(turn % known.len().max(1)) else {
            let Some(Ok(())) = shutdown.interrupt(replicas.changed()).await else { return };
            continue;
        };
        let Some(outcome) = shutdown.interrupt(stream(service, base, &path, &events, status, &mut backoff)).await else { return };
        let error = match outcome {
            Ok(()) => "the stream ended".to_owned(),
            Err(error) => chain(&error),
        };
        turn = turn.wrapping_add(1);
        let delay = backoff.delay();
        tracing::warn!(replica = base, error, "topology stream lost, routing on what is known; again in {:.1} s", delay.as_secs_f64());
        status.lost(error);
        shutdown.sleep(delay).await;
    }
}

async fn stream(
    service: &Service,
    base: &str,
    path: &str,
    events: &mpsc::Sender<StreamEvent>,
    status: &FollowStatus,
    backoff: &mut Backoff,
) -> Result<(), CallError> {
    let lines = service.replica(base).lines::<StreamEvent>(path).await?;
    let mut lines = pin!(lines);
    let mut first = true;
    while let Some(event) = lines.next().await {
        let event = event?;
        if std::mem::take(&mut first) {
            tracing::info!(replica = base, "following the topology");
            backoff.reset();
        }
        status.heard(base);
        if events.send(event).await.is_err() {
            break;
        }
    }
    Ok(())
}
