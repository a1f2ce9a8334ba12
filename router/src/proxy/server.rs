//! Listening: on the current runtime, or one thread, runtime and listener per core, sharing the port (SO_REUSEPORT).

use super::{Shared, Worker, body::ResponseBody, forward};
use chassis::{
    serve::{self, BindError},
    shutdown::Shutdown,
};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Bounds of the listener.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub address: SocketAddr,
    /// Threads, each with its own runtime and listener. 0: the runtime that starts the server does the work.
    pub workers: usize,
    /// Client connections that one worker serves at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Longest wait for the head of a request, idle keep-alive included.
    pub header_timeout: Duration,
    /// Largest head of a request, in bytes.
    pub header_bytes: usize,
    /// After shutdown, how long requests in flight may take.
    pub drain: Duration,
}

/// A running server.
pub struct Listening {
    /// The bound address.
    pub address: SocketAddr,
    /// Ends when every connection has.
    pub ended: tokio::task::JoinHandle<()>,
}

/// Unused connections to endpoints are looked through this often.
const SWEEP: Duration = Duration::from_secs(5);

/// Starts serving until `shutdown`, then drains: no new connections, `Connection: close` and GOAWAY on those there are.
pub async fn start(shared: Arc<Shared>, settings: ServerSettings, shutdown: &Shutdown) -> Result<Listening, BindError> {
    if settings.workers == 0 {
        let listener = serve::bind(settings.address).await?;
        let address = local_address(&listener, settings.address)?;
        let worker = Worker::new(shared, seed(0));
        let ended = shutdown.spawn(serve_worker(worker, listener, settings, shutdown.clone()));
        return Ok(Listening { address, ended });
    }
    // Sockets that share a port share it with another router's as well, silently; one that does not share finds out whether it is taken.
    let address = {
        let alone = serve::bind(settings.address).await?;
        local_address(&alone, settings.address)?
    };
    let mut listeners = Vec::new();
    for _ in 0..settings.workers {
        let listener = listen_shared(address)?;
        listeners.push(listener);
    }
    let mut threads = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let worker = Worker::new(Arc::clone(&shared), seed(index));
        let (settings, shutdown) = (settings.clone(), shutdown.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| BindError::Other { address, source })?;
        let thread = std::thread::Builder::new().name(format!("proxy-{index}")).spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve_worker(worker, listener, settings, shutdown).await,
                    Err(error) => tracing::error!(%error, index, "a worker cannot use its listener"),
                }
            });
        });
        threads.push(thread.map_err(|source| BindError::Other { address, source })?);
    }
    let ended = shutdown.spawn(async move {
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
        if let Err(error) = joined {
            tracing::error!(%error, "waiting for the workers failed");
        }
    });
    Ok(Listening { address, ended })
}

/// Pickers of several workers and routers must not move in step: each begins elsewhere.
fn seed(index: usize) -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 ^ index as u64
}

fn local_address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, BindError> {
    listener.local_addr().map_err(|source| BindError::Other { address, source })
}

fn listen_shared(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let open = || -> io::Result<std::net::TcpListener> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    };
    open().map_err(|source| BindError::of(address, source))
}

async fn serve_worker(worker: Arc<Worker>, listener: TcpListener, settings: ServerSettings, shutdown: Shutdown) {
    let mut connections = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let room = connections.len() < settings.connections;
        let accepted = tokio::select! {
            biased;
            () = shutdown.signalled() => break,
            _ = sweep.tick() => {
                worker.sweep();
                continue;
            }
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if room => accepted,
        };
        match accepted {
            Ok((stream, peer)) => drop(connections.spawn(serve_connection(Arc::clone(&worker), stream, peer, settings.clone()))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: give those in use time to close.
                shutdown.sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    worker.drain.cancel();
    worker.tunnels.close();
    let drained = async {
        while connections.join_next().await.is_some() {}
        worker.tunnels.wait().await;
    };
    if tokio::time::timeout(settings.drain, drained).await.is_err() {
        let (connections, tunnels) = (connections.len(), worker.tunnels.len());
        tracing::info!(connections, tunnels, limit = ?settings.drain, "cutting connections that did not end in time");
    }
    worker.stop.cancel();
    connections.shutdown().await;
    worker.tunnels.wait().await;
    worker.pool.close().await;
}

async fn serve_connection(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr, settings: ServerSettings) {
    let _open = Open::new(Arc::clone(&worker.shared));
    let drain = worker.drain.clone();
    let opened = async {
        stream.set_nodelay(true)?;
        Protocol::of(&stream).await
    };
    // A client that says nothing at all has as long as one that begins.
    let opened = tokio::select! {
        opened = tokio::time::timeout(settings.header_timeout, opened) => opened,
        () = drain.cancelled() => return,
    };
    let ended = match opened {
        Err(_elapsed) => return,
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(Protocol::Http1)) => serve_http1(worker, stream, peer, &settings, drain).await.map_err(|error| error.to_string()),
        Ok(Ok(Protocol::Http2)) => serve_http2(worker, stream, peer, &settings, drain).await.map_err(|error| error.to_string()),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "client connection broken off");
    }
}

fn service(
    worker: Arc<Worker>,
    peer: SocketAddr,
) -> impl Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send> {
    service_fn(move |request| {
        let answer = forward::forward(Arc::clone(&worker), request, peer);
        async move { Ok(answer.await) }
    })
}

async fn serve_http1(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    settings: &ServerSettings,
    drain: CancellationToken,
) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(settings.header_timeout);
    // The buffer holds the head at least; 8 KiB is hyper's own lower bound.
    builder.max_buf_size(settings.header_bytes.max(8192)).max_header_size(settings.header_bytes);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service(worker, peer)).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn serve_http2(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    settings: &ServerSettings,
    drain: CancellationToken,
) -> hyper::Result<()> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(settings.header_timeout).adaptive_window(true);
    builder.max_header_list_size(u32::try_from(settings.header_bytes).unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service(worker, peer)));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// What a client speaks, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Looks at the first bytes without taking them. HTTP/2 with prior knowledge begins with a preface that no HTTP/1 request does.
    async fn of(stream: &TcpStream) -> io::Result<Protocol> {
        const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut first = [0; PREFACE.len()];
        loop {
            let seen = stream.peek(&mut first).await?;
            match (&first[..seen], PREFACE.starts_with(&first[..seen])) {
                ([], _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (_, false) => return Ok(Protocol::Http1),
                (first, true) if first.len() == PREFACE.len() => return Ok(Protocol::Http2),
                // Part of it: bytes that were looked at wake nobody again, so the rest is looked for.
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// Counts an open client connection.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Open {
        shared.connections.fetch_add(1, Relaxed);
        Open(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
