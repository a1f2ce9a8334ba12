//! Listening ports: binding with errors that name the address, and serving axum routers, plain or with TLS, until shutdown.

use crate::shutdown::Shutdown;
use axum::{Router, extract::ConnectInfo};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}: the port is in use by another process (choose another, or port 0 for any)")]
    InUse { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: this machine has no such address")]
    NoSuchAddress { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: no permission (ports below 1024 need CAP_NET_BIND_SERVICE)")]
    NotPermitted { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}")]
    Other { address: SocketAddr, source: io::Error },
}

/// Opens a TCP port. Port 0 takes any free one: see `local_addr`.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError::of(address, source))
}

impl BindError {
    /// Why `address` could not be opened; for sockets that are opened with options of their own.
    pub fn of(address: SocketAddr, source: io::Error) -> BindError {
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address, source },
            io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress { address, source },
            io::ErrorKind::PermissionDenied => BindError::NotPermitted { address, source },
            _ => BindError::Other { address, source },
        }
    }
}

/// Bounds of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections served at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Longest wait for a TLS handshake, and for a request's headers on an HTTP/1.1 connection.
    pub handshake: Duration,
    /// After shutdown, how long requests in flight may take before their connection is cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, handshake: Duration::from_secs(10), drain: Duration::from_secs(5) }
    }
}

/// Serves HTTP/1.1 and HTTP/2 (prior knowledge) until shutdown, then drains. Handlers find the peer's address as
/// [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    accept(listener, None, router, limits, shutdown).await;
}

/// As [`serve`], over TLS; ALPN chooses the protocol.
pub async fn serve_tls(listener: TcpListener, tls: Arc<rustls::ServerConfig>, router: Router, limits: Limits, shutdown: Shutdown) {
    accept(listener, Some(TlsAcceptor::from(tls)), router, limits, shutdown).await;
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, limits: Limits, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        let Some((slot, accepted)) = shutdown.interrupt(next).await else {
            break;
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: give those in use time to close.
                shutdown.sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let watcher = graceful.watcher();
        let (tls, router, handshake) = (tls.clone(), router.clone(), limits.handshake);
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = connection(stream, peer, tls, router, handshake, watcher).await {
                tracing::debug!(%peer, error, "connection failed");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::debug!(open = connections.len(), "cutting connections that did not end in time");
    }
    connections.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    handshake: Duration,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), String> {
    // Answers are small; waiting to fill a segment would only delay them.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    match tls {
        None => http(stream, peer, router, handshake, watcher).await,
        Some(tls) => {
            let stream = tokio::time::timeout(handshake, tls.accept(stream))
                .await
                .map_err(|_elapsed| format!("no TLS handshake within {handshake:?}"))?
                .map_err(|error| format!("TLS handshake: {error}"))?;
            http(stream, peer, router, handshake, watcher).await
        }
    }
}

async fn http<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    header_limit: Duration,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(header_limit);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30)).keep_alive_timeout(Duration::from_secs(20));
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
    watcher.watch(connection).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = bind(LOOPBACK).await.expect("any free port");
        let address = first.local_addr().unwrap();
        let error = bind(address).await.expect_err("taken").to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: the port is in use")), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let error = bind(SocketAddr::from(([192, 0, 2, 1], 0))).await.expect_err("not ours").to_string();
        assert!(error.starts_with("cannot listen on 192.0.2.1:0: this machine has no such address"), "{error}");
    }

    /// Sends a request and reads the whole answer.
    async fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn drains_then_cuts() {
        let started = Arc::new(tokio::sync::Semaphore::new(0));
        let release = Arc::new(tokio::sync::Notify::new());
        let (signal, wait) = (started.clone(), release.clone());
        let router = Router::new()
            .route("/peer", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }))
            .route("/slow", {
                let signal = signal.clone();
                get(async move || {
                    signal.add_permits(1);
                    wait.notified().await;
                    "finished"
                })
            })
            .route(
                "/endless",
                get(async move || {
                    signal.add_permits(1);
                    std::future::pending::<()>().await;
                }),
            );
        let listener = bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let limits = Limits { drain: Duration::from_millis(300), ..Limits::default() };
        let server = shutdown.spawn(serve(listener, router, limits, shutdown.clone()));

        assert!(request(address, "/peer").await.ends_with("127.0.0.1"));
        let slow = tokio::spawn(request(address, "/slow"));
        let endless = tokio::spawn(request(address, "/endless"));
        let _both = tokio::time::timeout(Duration::from_secs(5), started.acquire_many(2)).await.expect("both handlers run").unwrap();
        shutdown.trigger();
        release.notify_one();
        assert!(slow.await.unwrap().ends_with("finished"), "a request in flight is answered");
        tokio::time::timeout(Duration::from_secs(5), server).await.expect("what never ends is cut").unwrap();
        assert_eq!(endless.await.unwrap(), "");
        assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    }
}
