//! Bytes both ways after an upgrade (WebSocket and the like).

use crate::table::InFlight;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio_util::sync::CancellationToken;

/// Copies until both sides are done, one breaks off, nothing moves for `idle`, or `stop`. Holds the in-flight count for as long.
pub async fn run(client: OnUpgrade, endpoint: OnUpgrade, in_flight: InFlight, idle: Duration, stop: CancellationToken) {
    let name = in_flight.endpoint().name();
    let both = async {
        let (client, endpoint) = tokio::try_join!(client, endpoint).map_err(io::Error::other)?;
        let clock = Arc::new(Clock { began: Instant::now(), last_ms: AtomicU64::new(0) });
        let mut client = Watched { inner: TokioIo::new(client), clock: Arc::clone(&clock) };
        let mut endpoint = TokioIo::new(endpoint);
        tokio::select! {
            copied = copy_bidirectional(&mut client, &mut endpoint) => copied.map(|_bytes| ()),
            () = clock.idle(idle) => Err(io::Error::new(io::ErrorKind::TimedOut, "idle")),
        }
    };
    let ended = tokio::select! {
        ended = both => ended,
        () = stop.cancelled() => Err(io::Error::other("the router shuts down")),
    };
    if let Err(error) = ended {
        tracing::debug!(endpoint = name, %error, "tunnel broken off");
    }
}

struct Clock {
    began: Instant,
    last_ms: AtomicU64,
}

impl Clock {
    fn touch(&self) {
        self.last_ms.store(self.began.elapsed().as_millis() as u64, Relaxed);
    }

    /// Completes when nothing has moved for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let deadline = self.began + Duration::from_millis(self.last_ms.load(Relaxed)) + limit;
            if deadline <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(deadline.into()).await;
        }
    }
}

/// The client's side: every byte passes here, whichever way it goes.
struct Watched {
    inner: TokioIo<Upgraded>,
    clock: Arc<Clock>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            self.clock.touch();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if written.is_ready() {
            self.clock.touch();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
