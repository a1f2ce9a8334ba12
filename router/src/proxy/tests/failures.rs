//! Endpoints that fail, and the router's own end.

use super::*;
use placement::{balance::Exclusion, units::Micros};
use std::sync::atomic::AtomicUsize;
use tokio::{io::AsyncReadExt as _, sync::Notify};

#[tokio::test]
async fn a_refused_connection_goes_to_the_next_endpoint() {
    let proxy = Proxy::start(&[closed_port().await, says("second").await], Setup::default()).await;
    let post = || Request::post("/").header("host", "vision.demo").body(full("with a body")).unwrap();
    let (head, body) = proxy.send(post()).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (200, "second"));
    assert_eq!(head.headers["x-edge-endpoint"], "demo/vision-2@edge-2");
    // The first is out for a while: the next request does not try it.
    let picks = proxy.backends[0].endpoint.picks();
    assert_eq!(proxy.get().await.1, "second");
    assert_eq!(proxy.backends[0].endpoint.picks(), picks);
    assert_eq!(proxy.in_flight(), 0);
}

#[tokio::test]
async fn when_all_refuse_the_answer_says_so() {
    let proxy = Proxy::start(&[closed_port().await, closed_port().await], Setup::default()).await;
    let (head, body) = proxy.get().await;
    let (reason, text) = message(&body);
    assert_eq!((head.status.as_u16(), reason.as_str()), (502, "ConnectFailed"));
    assert!(text.starts_with("cannot connect to demo/vision-2@edge-2: Connection refused"), "{text}");
    assert!(text.ends_with("(2 endpoints tried)"), "{text}");
    let (head, body) = proxy.get().await;
    assert_eq!((head.status.as_u16(), message(&body).1.as_str()), (503, "no endpoint of demo/vision: 2 of 2 refusing connections"));
    assert_eq!(proxy.in_flight(), 0);
}

async fn check_infeasible(endpoints: &[SocketAddr], change: fn(&mut LoadBalancer), expected: &str) {
    let proxy = Proxy::start(endpoints, Setup { change, ..Setup::default() }).await;
    let (head, body) = proxy.get().await;
    assert_eq!((head.status.as_u16(), message(&body)), (503, ("NoFeasibleEndpoint".to_owned(), expected.to_owned())));
    assert_eq!(proxy.shared.table.load().load_balancers[0].stats.infeasible_total(), 1);
}

#[tokio::test]
async fn without_a_feasible_endpoint_it_says_why() {
    let address = says("never").await;
    check_infeasible(&[], |_| {}, "no endpoint of demo/vision: it has none").await;
    check_infeasible(
        &[address; 3],
        |lb| {
            lb.max_rtt = Some(Micros(20_000));
            let far = Some(Exclusion::RttAbove { rtt: Micros(21_000), bound: Micros(20_000) });
            lb.sites[0].column.excluded = vec![far, Some(Exclusion::NotReady), far];
        },
        "no endpoint of demo/vision within 20 ms of edge-1: 2 of 3 excluded by RTT, 1 not ready",
    )
    .await;
    let refused: fn(&mut LoadBalancer) = |lb| lb.refused = Some("protocol tcp is not supported yet".into());
    check_infeasible(&[address], refused, "demo/vision is not served: protocol tcp is not supported yet").await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer() {
    let upstream = endpoint(|_request| std::future::pending()).await;
    let change: fn(&mut LoadBalancer) = |lb| lb.timeouts.response = Duration::from_millis(50);
    let proxy = Proxy::start(&[upstream], Setup { change, ..Setup::default() }).await;
    let (head, body) = proxy.get().await;
    let expected = ("ResponseTimeout".to_owned(), "demo/vision-1@edge-1 sent no response within 50ms".to_owned());
    assert_eq!((head.status.as_u16(), message(&body)), (504, expected));
    assert_eq!(proxy.in_flight(), 0);
}

#[tokio::test]
async fn a_client_that_stops_sending() {
    let upstream = endpoint(|request: Request<Incoming>| async move {
        drop(request.collect().await);
        Response::new(full(""))
    })
    .await;
    let change: fn(&mut LoadBalancer) = |lb| lb.timeouts.response = Duration::from_millis(50);
    let proxy = Proxy::start(&[upstream], Setup { change, ..Setup::default() }).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"POST / HTTP/1.1\r\nhost: vision.demo\r\ncontent-length: 9\r\n\r\nhalf")
        .await
        .unwrap();
    let mut status = [0; 12];
    within(stream.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
    until("the count is given back", || proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn an_endpoint_that_breaks_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 16];
            drop(stream.read(&mut some).await);
        }
    });
    let proxy = Proxy::start(&[address], Setup::default()).await;
    let (head, body) = proxy.get().await;
    assert_eq!((head.status.as_u16(), message(&body).0.as_str()), (502, "UpstreamFailed"));
    assert_eq!(proxy.in_flight(), 0);
}

/// An endpoint that closes each connection after one answer without having said so.
#[tokio::test]
async fn a_connection_that_was_closed_while_unused_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                drop(stream.read(&mut buffer).await);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                drop(tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await);
                // The second request arrives, and is answered by the end of the connection.
                drop(stream.read(&mut buffer).await);
            });
        }
    });
    let proxy = Proxy::start(&[address], Setup::default()).await;
    for _ in 0..5 {
        let (head, body) = proxy.get().await;
        assert_eq!((head.status.as_u16(), body.as_str()), (200, "ok"));
    }
    assert!(connections.load(std::sync::atomic::Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn connections_to_an_endpoint_are_used_again() {
    let connections = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let seen = Arc::clone(&connections);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            seen.lock().unwrap().insert(peer);
            let service = service_fn(|_request| async { Ok::<_, Infallible>(Response::new(full("answer"))) });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let proxy = Proxy::start(&[address], Setup::default()).await;
    for _ in 0..20 {
        assert_eq!(proxy.get().await.1, "answer");
    }
    assert!(connections.lock().unwrap().len() <= 2, "20 requests, {} connections", connections.lock().unwrap().len());
}

#[tokio::test]
async fn a_drain_lets_requests_finish() {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, wait) = (Arc::clone(&arrived), Arc::clone(&release));
    let upstream = endpoint(move |_request| {
        let (signal, wait) = (Arc::clone(&signal), Arc::clone(&wait));
        async move {
            signal.notify_one();
            wait.notified().await;
            Response::new(full("finished"))
        }
    })
    .await;
    let proxy = Proxy::start(&[upstream], Setup::default()).await;
    let (mut http1, mut http2) = (proxy.http1().await, proxy.http2().await);
    let first = tokio::spawn(async move { http1.send_request(get("/")).await });
    within(arrived.notified()).await;
    let second = tokio::spawn(async move { http2.send_request(Request::get("http://vision.demo/").body(full("")).unwrap()).await });
    within(arrived.notified()).await;
    proxy.shutdown.trigger();
    until("the port is closed", || std::net::TcpStream::connect(proxy.address).is_err()).await;
    release.notify_one();
    release.notify_waiters();
    for answer in [first, second] {
        release.notify_one();
        let answer = within(answer).await.unwrap().unwrap();
        let close = answer.headers().get("connection").map(|value| value.to_str().unwrap().to_owned());
        if answer.version() == http::Version::HTTP_11 {
            assert_eq!(close.as_deref(), Some("close"));
        }
        assert_eq!(within(answer.collect()).await.unwrap().to_bytes(), "finished");
    }
    proxy.shutdown.wait_all(LIMIT).await.unwrap();
    assert_eq!(proxy.in_flight(), 0);
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let upstream = endpoint(|_request| std::future::pending()).await;
    let proxy = Proxy::start(&[upstream], Setup { drain: Duration::from_millis(50), ..Setup::default() }).await;
    let mut sender = proxy.http1().await;
    let request = tokio::spawn(async move { sender.send_request(get("/")).await });
    until("in flight", || proxy.in_flight() == 1).await;
    proxy.shutdown.trigger();
    proxy.shutdown.wait_all(LIMIT).await.unwrap();
    assert!(within(request).await.unwrap().is_err());
    assert_eq!(proxy.in_flight(), 0);
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint() {
    let change: fn(&mut LoadBalancer) = |lb| {
        lb.policy = placement::balance::Policy::RoundRobin;
        lb.affinity = crate::table::Affinity::Header(http::HeaderName::from_static("x-session"));
    };
    let endpoints = [says("0").await, says("1").await, says("2").await];
    let proxy = Proxy::start(&endpoints, Setup { change, ..Setup::default() }).await;
    let mut homes = std::collections::BTreeMap::new();
    for round in 0..3 {
        for session in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let request = Request::get("/").header("host", "vision.demo").header("x-session", session).body(full("")).unwrap();
            let (_, answer) = proxy.send(request).await;
            assert_eq!(*homes.entry(session).or_insert(answer.clone()), answer, "session {session}, round {round}");
        }
    }
    let used: std::collections::BTreeSet<_> = homes.values().collect();
    assert!(used.len() > 1, "the sessions share the endpoints: {homes:?}");
}

#[tokio::test]
async fn an_endpoint_gets_no_more_than_its_fps() {
    // Less than one request a second: the first is one too many.
    let change: fn(&mut LoadBalancer) = |lb| lb.endpoints.fps = vec![Some(placement::units::Fps(0)), None];
    let proxy = Proxy::start(&[says("full").await, says("served").await], Setup { change, ..Setup::default() }).await;
    assert_eq!(proxy.get().await.1, "served");
    check_infeasible(
        &[says("full").await],
        |lb| lb.endpoints.fps = vec![Some(placement::units::Fps(0))],
        "no endpoint of demo/vision: 1 of 1 full",
    )
    .await;
}
