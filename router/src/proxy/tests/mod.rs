//! The proxy between real clients and real endpoints on loopback.

mod failures;
mod forwarding;
mod streaming;

use super::*;
use crate::{
    table::{Backend, LoadBalancer, RoutingTable},
    testing,
};
use bytes::Bytes;
use chassis::shutdown::Shutdown;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpStream};

type Body = BoxBody<Bytes, hyper::Error>;

/// Bound of every wait: long enough for a loaded machine, and a test that hangs fails.
const LIMIT: Duration = Duration::from_secs(20);

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("within the limit")
}

/// Waits until `state` holds.
async fn until(what: &str, state: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !state() {
        assert!(tokio::time::Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An address that refuses connections.
async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An endpoint that answers through `handler`; HTTP/1.1 or HTTP/2, as it is spoken to.
async fn endpoint<F, A>(handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            let handler = handler.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _closed = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// An endpoint whose answer is a text.
async fn says(text: &'static str) -> SocketAddr {
    endpoint(move |_request| async move { Response::new(full(text)) }).await
}

struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    server: ServerSettings,
    backends: Vec<Backend>,
}

/// What a test sets that differs from the defaults.
struct Setup {
    workers: usize,
    drain: Duration,
    change: fn(&mut LoadBalancer),
}

impl Default for Setup {
    fn default() -> Self {
        Setup { workers: 0, drain: Duration::from_secs(5), change: |_| {} }
    }
}

impl Proxy {
    /// A router on node `edge-1` with the load balancer `demo/vision`, whose endpoints are 1 ms, 2 ms, … away.
    async fn start(endpoints: &[SocketAddr], setup: Setup) -> Proxy {
        let settings = ProxySettings {
            clients: Clients::new("edge-1", &[], Vec::new()),
            expose_endpoint: true,
            pool: PoolSettings { source: None, idle_timeout: Duration::from_secs(30), idle_per_endpoint: 32 },
        };
        let shared = Shared::new(settings);
        let backends: Vec<Backend> = (1..)
            .zip(endpoints)
            .map(|(index, address)| testing::backend(&format!("vision-{index}"), &format!("edge-{index}"), *address))
            .collect();
        let mut load_balancer = testing::load_balancer("demo/vision", backends.clone());
        (setup.change)(&mut load_balancer);
        let services = [("vision.demo".to_owned(), 0)].into_iter().collect();
        shared.table.store(Arc::new(RoutingTable::new(1, vec![Arc::new(load_balancer)], services, Vec::new(), "cluster.local")));
        let shutdown = Shutdown::new();
        let server = ServerSettings {
            address: ([127, 0, 0, 1], 0).into(),
            workers: setup.workers,
            connections: 1000,
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 << 10,
            drain: setup.drain,
        };
        let listening = start(Arc::clone(&shared), server.clone(), &shutdown).await.unwrap();
        Proxy { address: listening.address, shared, shutdown, server, backends }
    }

    fn in_flight(&self) -> u32 {
        self.backends.iter().map(|backend| backend.endpoint.in_flight()).sum()
    }

    async fn http1(&self) -> hyper::client::conn::http1::SendRequest<Body> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Body> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// One request on a connection of its own; status, headers and whole body.
    async fn send(&self, request: Request<Body>) -> (http::response::Parts, String) {
        let mut sender = self.http1().await;
        let (head, body) = within(sender.send_request(request)).await.unwrap().into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        (head, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self) -> (http::response::Parts, String) {
        self.send(get("/")).await
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "vision.demo").body(full("")).unwrap()
}

fn message(body: &str) -> (String, String) {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let field = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (field("reason"), field("message"))
}
