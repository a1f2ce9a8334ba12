//! Listening: on the current runtime, or one thread, runtime and listener per core, sharing the port (SO_REUSEPORT).

use super::{Shared, Worker, forward};
use chassis::{
    serve::{self, BindError},
    shutdown::Shutdown,
};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Bounds of the listener.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub address: SocketAddr,
    /// Threads, each with its own runtime and listener. 0: the runtime that starts the server does the work.
    pub workers: usize,
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
    let mut address = settings.address;
    let mut listeners = Vec::new();
    for _ in 0..settings.workers {
        let listener = listen_shared(address)?;
        // Port 0 takes any free port; the others join the first.
        address = listener.local_addr().map_err(|source| BindError::Other { address, source })?;
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
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.signalled() => break,
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                worker.pool.sweep();
                continue;
            }
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let watcher = graceful.watcher();
                connections.spawn(serve_connection(Arc::clone(&worker), stream, peer, settings.clone(), watcher));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: give those in use time to close.
                shutdown.sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    worker.tunnels.close();
    let drained = async {
        graceful.shutdown().await;
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

async fn serve_connection(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    settings: ServerSettings,
    watcher: hyper_util::server::graceful::Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "the client is gone already");
        return;
    }
    let _open = Open::new(Arc::clone(&worker.shared));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        // hyper's buffer holds the head at least; 8 KiB is its own lower bound.
        .max_buf_size(settings.header_bytes.max(8192))
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(settings.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(settings.header_timeout)
        .adaptive_window(true);
    let service = service_fn(move |request| {
        let answer = forward::forward(Arc::clone(&worker), request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(%peer, %error, "client connection broken off");
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
