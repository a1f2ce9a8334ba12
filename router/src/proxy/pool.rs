//! Connections to endpoints, kept for the next request. One pool per worker, so that a connection stays on the worker's core.

use super::{
    body::{OnEnd, RequestBody},
    connect::{ConnectError, connect},
};
use crate::table::Transport;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Outgoing connections are bound to it.
    pub source: Option<IpAddr>,
    /// An unused connection is closed after this.
    pub idle_timeout: Duration,
    /// Unused HTTP/1.1 connections kept per endpoint.
    pub idle_per_endpoint: usize,
}

/// A shared HTTP/2 connection; the lock is held while it is made, so that a burst makes one.
type Shared = Arc<tokio::sync::Mutex<Option<http2::SendRequest<RequestBody>>>>;

#[derive(Default)]
struct Idle {
    http1: HashMap<SocketAddr, Vec<(http1::SendRequest<RequestBody>, Instant)>>,
    http2: HashMap<SocketAddr, Shared>,
}

pub struct Pool {
    settings: PoolSettings,
    idle: Mutex<Idle>,
    connections: TaskTracker,
    stop: CancellationToken,
}

/// A connection for one request.
pub enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    H2c(http2::SendRequest<RequestBody>),
}

impl Sender {
    /// Sends the request; an error returns it when no byte of it was written.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::H2c(sender) => sender.try_send_request(request).await,
        }
    }
}

/// A connection taken from the pool.
pub struct Lease {
    pub sender: Sender,
    /// It has served a request before, and the endpoint may have closed it meanwhile.
    pub reused: bool,
}

impl Pool {
    pub fn new(settings: PoolSettings) -> Arc<Pool> {
        Arc::new(Pool { settings, idle: Mutex::default(), connections: TaskTracker::new(), stop: CancellationToken::new() })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // A panic while the lock is held leaves whole values behind: the map is only pushed to and popped from.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `address`: an unused one, newest first since it is least likely to have been closed, or a new one. `fresh` asks for a new one.
    pub async fn checkout(
        self: &Arc<Self>,
        address: SocketAddr,
        transport: Transport,
        fresh: bool,
        connect_timeout: Duration,
    ) -> Result<Lease, ConnectError> {
        match transport {
            Transport::Http1 => {
                if let Some(sender) = (!fresh).then(|| self.reusable(address)).flatten() {
                    return Ok(Lease { sender: Sender::Http1(sender), reused: true });
                }
                Ok(Lease { sender: Sender::Http1(self.open_http1(address, connect_timeout).await?), reused: false })
            }
            Transport::H2c => {
                let shared = Arc::clone(self.idle().http2.entry(address).or_default());
                let mut shared = shared.lock().await;
                if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed() && !fresh) {
                    return Ok(Lease { sender: Sender::H2c(sender.clone()), reused: true });
                }
                let sender = self.open_http2(address, connect_timeout).await?;
                *shared = Some(sender.clone());
                Ok(Lease { sender: Sender::H2c(sender), reused: false })
            }
        }
    }

    fn reusable(&self, address: SocketAddr) -> Option<http1::SendRequest<RequestBody>> {
        let mut idle = self.idle();
        let senders = idle.http1.get_mut(&address)?;
        while let Some((sender, since)) = senders.pop() {
            if sender.is_ready() && since.elapsed() < self.settings.idle_timeout {
                return Some(sender);
            }
        }
        None
    }

    async fn open_http1(&self, address: SocketAddr, limit: Duration) -> Result<http1::SendRequest<RequestBody>, ConnectError> {
        let stream = connect(address, self.settings.source, limit).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        self.drive(connection.with_upgrades());
        Ok(sender)
    }

    async fn open_http2(&self, address: SocketAddr, limit: Duration) -> Result<http2::SendRequest<RequestBody>, ConnectError> {
        let stream = connect(address, self.settings.source, limit).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).adaptive_window(true);
        // A dead peer behind a quiet path is noticed by ping, since no request may be waiting for it.
        builder.keep_alive_interval(self.settings.idle_timeout / 2).keep_alive_timeout(limit);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        self.drive(connection);
        Ok(sender)
    }

    /// Runs a connection until it ends or the pool is closed.
    fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let stop = self.stop.clone();
        self.connections.spawn(async move {
            tokio::select! {
                // Its error reaches whoever waits on the request; without a request the connection was idle and nobody cares.
                _ended = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn put_back(self: &Arc<Self>, address: SocketAddr, mut sender: http1::SendRequest<RequestBody>) {
        if sender.is_ready() {
            self.store(address, sender);
        } else if !sender.is_closed() {
            // The response is complete but the connection has not noticed yet, or is still sending the request.
            let pool = Arc::clone(self);
            self.connections.spawn(async move {
                let ready = tokio::select! {
                    ready = sender.ready() => ready.is_ok(),
                    () = pool.stop.cancelled() => false,
                };
                if ready {
                    pool.store(address, sender);
                }
            });
        }
    }

    fn store(&self, address: SocketAddr, sender: http1::SendRequest<RequestBody>) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut idle = self.idle();
        let senders = idle.http1.entry(address).or_default();
        if senders.len() < self.settings.idle_per_endpoint {
            senders.push((sender, Instant::now()));
        }
    }

    /// Closes connections that were unused for too long, and forgets endpoints without any.
    pub fn sweep(&self) {
        let mut idle = self.idle();
        idle.http1.retain(|_, senders| {
            senders.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < self.settings.idle_timeout);
            !senders.is_empty()
        });
        idle.http2.retain(|_, shared| {
            // Locked: a connection is being made.
            shared.try_lock().map_or(true, |sender| sender.as_ref().is_some_and(|sender| !sender.is_closed()))
        });
    }

    /// Ends every connection, in use or not, and waits for them.
    pub async fn close(&self) {
        self.stop.cancel();
        *self.idle() = Idle::default();
        self.connections.close();
        self.connections.wait().await;
    }
}

fn broken(error: hyper::Error) -> ConnectError {
    ConnectError::Failed(io::Error::other(error))
}

/// Puts an HTTP/1.1 connection back when the response has come through whole; a broken one is dropped, and with it closed.
pub struct PutBack {
    pub pool: Arc<Pool>,
    pub address: SocketAddr,
    pub sender: Sender,
}

impl OnEnd for PutBack {
    fn ended(self: Box<Self>) {
        if let Sender::Http1(sender) = self.sender {
            self.pool.put_back(self.address, sender);
        }
    }
}
