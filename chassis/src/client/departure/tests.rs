//! Against a server that takes connections, and counts the requests that came whole.

use super::*;
use crate::{
    client::{ClientConfig, connect_departing_with},
    serve::{Limits, serve},
    shutdown::Shutdown,
};
use axum::{Json, Router, routing::post};
use kube::Client;
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(20);

struct Server {
    client: Client,
    seen: Arc<AtomicU32>,
    shutdown: Shutdown,
}

impl Server {
    async fn start(config: &ClientConfig) -> Server {
        let seen = Arc::new(AtomicU32::new(0));
        let count = seen.clone();
        let bound = move |_body: Json<Value>| async move {
            count.fetch_add(1, Ordering::Relaxed);
            // The first answer asks for a retry, which nobody must make unasked.
            (
                axum::http::StatusCode::SERVICE_UNAVAILABLE,
                Json(json!({"kind": "Status", "status": "Failure", "code": 503, "message": "later"})),
            )
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let found = kube::Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        let shutdown = Shutdown::new();
        let routes = Router::new().route("/bind", post(bound));
        shutdown.spawn(serve(listener, routes, Limits::default(), shutdown.clone()));
        Server { client: connect_departing_with(&found, config).unwrap(), seen, shutdown }
    }

    /// The answer's status code, 0 where there was none.
    async fn send(&self, departure: &Departure) -> u16 {
        let mut request = Request::post("/bind").header("content-type", "application/json").body(b"{}".to_vec()).unwrap();
        departure.attach(&mut request);
        match tokio::time::timeout(LIMIT, self.client.request::<Value>(request)).await.expect("in time") {
            Ok(answer) => panic!("{answer}"),
            Err(kube::Error::Api(status)) => status.code,
            Err(_) => 0,
        }
    }
}

#[tokio::test]
async fn a_request_leaves_once_and_only_through_an_open_gate() {
    let server = Server::start(&ClientConfig::default()).await;
    let open = Arc::new(AtomicBool::new(false));
    // Open, shut on a connection that is there already, and open again on a new one.
    for (is_open, status, seen) in [(true, 503, 1), (false, 0, 1), (true, 503, 2)] {
        open.store(is_open, Ordering::Relaxed);
        let gate = open.clone();
        let departure = Departure::new(move || gate.load(Ordering::Relaxed));
        assert_eq!(server.send(&departure).await, status, "open: {is_open}");
        assert_eq!((departure.has_left(), server.seen.load(Ordering::Relaxed)), (is_open, seen), "open: {is_open}");
    }
    server.shutdown.trigger();
}

#[tokio::test]
async fn the_gate_is_asked_when_the_rate_limit_lets_the_request_go() {
    let server = Server::start(&ClientConfig { qps: 2.0, burst: 1, ..ClientConfig::default() }).await;
    assert_eq!(server.send(&Departure::new(|| true)).await, 503);
    let open = Arc::new(AtomicBool::new(true));
    let gate = open.clone();
    let departure = Departure::new(move || gate.load(Ordering::Relaxed));
    let mut sent = std::pin::pin!(server.send(&departure));
    // Under way, held back by the limit: a check at this point would have passed.
    assert!(futures::poll!(&mut sent).is_pending());
    open.store(false, Ordering::Relaxed);
    assert_eq!(sent.await, 0);
    assert_eq!(server.seen.load(Ordering::Relaxed), 1);
    server.shutdown.trigger();
}

#[tokio::test]
async fn what_has_left_can_not_be_called_off_and_what_was_called_off_does_not_leave() {
    let server = Server::start(&ClientConfig::default()).await;
    let departure = Departure::new(|| true);
    assert!(departure.call_off() && departure.call_off());
    assert_eq!(server.send(&departure).await, 0);
    assert!(!departure.has_left() && futures::poll!(Box::pin(departure.left())).is_pending());

    let departure = Departure::new(|| true);
    assert_eq!(server.send(&departure).await, 503);
    assert!(!departure.call_off() && departure.has_left());
    tokio::time::timeout(LIMIT, departure.left()).await.expect("at once");
    assert_eq!(server.seen.load(Ordering::Relaxed), 1);
    server.shutdown.trigger();
}
