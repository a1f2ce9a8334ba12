//! Whole messages: heads, versions, methods, statuses.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Answers with the request's version, target and header fields as it got them, one a line.
async fn mirror() -> SocketAddr {
    endpoint(|request: Request<Incoming>| async move {
        let mut text = format!("{:?} {} {}\n", request.version(), request.method(), request.uri());
        for (name, value) in request.headers() {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        let answer = Response::builder().header("connection", "x-hop").header("x-hop", "1").header("x-end", "2");
        answer.header("keep-alive", "timeout=5").body(full(text)).unwrap()
    })
    .await
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let proxy = Proxy::start(&[mirror().await], Setup::default()).await;
    let request = Request::get("/a?b=c")
        .header("host", "Vision.Demo:8080")
        .header("connection", "keep-alive, x-secret")
        .header("x-secret", "1")
        .header("te", "gzip")
        .header("accept", "*/*")
        .header("x-forwarded-for", "203.0.113.9");
    let (head, body) = proxy.send(request.body(full("")).unwrap()).await;
    let mut lines: Vec<&str> = body.lines().collect();
    lines.sort_unstable();
    let expected = [
        "HTTP/1.1 GET /a?b=c",
        "accept: */*",
        "host: Vision.Demo:8080",
        "via: 1.1 edge-router",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines, expected);
    let mut names: Vec<&str> = head.headers.keys().map(|name| name.as_str()).filter(|name| *name != "date").collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "via", "x-edge-endpoint", "x-end"]);
    assert_eq!(head.headers["x-edge-endpoint"], "demo/vision-1@edge-1");
}

#[tokio::test]
async fn http2_clients_and_http2_endpoints() {
    let upstream = mirror().await;
    let http1 = Proxy::start(&[upstream], Setup::default()).await;
    let grpc = Proxy::start(&[upstream], Setup { change: |lb| lb.transport = crate::table::Transport::H2c, ..Setup::default() }).await;
    for (proxy, first) in [(&http1, "HTTP/1.1 GET /x"), (&grpc, "HTTP/2.0 GET http://vision.demo/x")] {
        let request = Request::get("http://vision.demo/x").header("te", "trailers").body(full("")).unwrap();
        let response = within(proxy.http2().await.send_request(request)).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().get("x-hop")), (200, None));
        let body = within(response.collect()).await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.starts_with(first), "{body}");
        assert!(body.contains("te: trailers\n"), "{body}");
    }
    // An HTTP/1.1 client of an HTTP/2 endpoint.
    let (_, body) = grpc.get().await;
    assert!(body.starts_with("HTTP/2.0 GET http://vision.demo/"), "{body}");
}

/// Sends bytes and reads what comes until the router closes, or until `end`.
async fn raw(proxy: &Proxy, request: &str, end: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = within(stream.read(&mut buffer)).await.unwrap();
        text.extend_from_slice(&buffer[..read]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if read == 0 || (!end.is_empty() && so_far.contains(end)) {
            return so_far;
        }
    }
}

#[tokio::test]
async fn requests_that_name_no_load_balancer() {
    let proxy = Proxy::start(&[mirror().await], Setup::default()).await;
    let check = async |request: &str, status: &str, part: &str| {
        let answer = raw(&proxy, request, "}}").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains(part), "{request}: {answer}");
    };
    check(
        "GET / HTTP/1.1\r\nhost: vison.demo\r\n\r\n",
        "404",
        r#"no load balancer for host \"vison.demo\" and path \"/\"; known: vision.demo"#,
    )
    .await;
    check("GET / HTTP/1.1\r\n\r\n", "400", "no Host field: use <service>.<namespace>").await;
    check("GET / HTTP/1.1\r\nhost: a.b\r\nhost: a.b\r\n\r\n", "400", "more than one Host field").await;
    check("CONNECT vision.demo:80 HTTP/1.1\r\nhost: vision.demo\r\n\r\n", "501", "CONNECT is not supported").await;
    // The absolute form names the load balancer, whatever Host says.
    let answer = raw(&proxy, "GET http://vision.demo/p HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n", "").await;
    assert!(answer.contains("HTTP/1.1 GET /p\n") && answer.contains("host: vision.demo\n"), "{answer}");
}

#[tokio::test]
async fn malformed_and_ambiguous_messages() {
    let proxy = Proxy::start(&[mirror().await], Setup::default()).await;
    let check = async |request: &str, status: &str| {
        let answer = raw(&proxy, request, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
        answer
    };
    check("POST / HTTP/1.1\r\nhost: vision.demo\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "400").await;
    check("POST / HTTP/1.1\r\nhost: vision.demo\r\ntransfer-encoding: gzip\r\n\r\n", "400").await;
    check(&format!("GET / HTTP/1.1\r\nhost: vision.demo\r\nx: {}\r\n\r\n", "a".repeat(32 << 10)), "431").await;
    // Of both lengths only the chunks count (RFC 9112 section 6.3), the other is not passed on, and the connection is not used again.
    let both = "POST / HTTP/1.1\r\nhost: vision.demo\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = check(&format!("{both}GET /smuggled HTTP/1.1\r\nhost: vision.demo\r\n\r\n"), "200").await;
    assert!(!answer.contains("content-length: 3") && !answer.contains("smuggled"), "{answer}");
    assert_eq!(proxy.in_flight(), 0);
}

#[tokio::test]
async fn answers_without_a_body_keep_their_head() {
    let upstream = endpoint(|request: Request<Incoming>| async move {
        let answer = Response::builder().status(&request.uri().path()[1..]);
        match *request.method() {
            http::Method::HEAD => answer.header("content-length", "42").body(full("")).unwrap(),
            _ => answer.header("etag", "\"1\"").body(full("")).unwrap(),
        }
    })
    .await;
    let proxy = Proxy::start(&[upstream], Setup::default()).await;
    let mut sender = proxy.http1().await;
    for (method, status, length) in [("HEAD", 200, Some("42")), ("GET", 204, None), ("GET", 304, None), ("GET", 200, Some("0"))] {
        let request = Request::builder().method(method).uri(format!("/{status}")).header("host", "vision.demo").body(full("")).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        let got = response.headers().get("content-length").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((response.status().as_u16(), got.as_deref()), (status, length), "{method}");
        // One connection for all of them: a wrong length would leave it unusable.
        assert!(within(response.collect()).await.unwrap().to_bytes().is_empty());
        within(sender.ready()).await.unwrap();
    }
    assert_eq!(proxy.in_flight(), 0);
}

#[tokio::test]
async fn websockets_are_tunnelled() {
    let upstream = endpoint(|mut request: Request<Incoming>| async move {
        assert_eq!(
            (&request.headers()["upgrade"], &request.headers()["connection"]),
            (&"echo".parse().unwrap(), &"upgrade".parse().unwrap())
        );
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            tokio::io::copy(&mut read, &mut write).await
        });
        Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo").body(full("")).unwrap()
    })
    .await;
    let proxy = Proxy::start(&[upstream], Setup::default()).await;
    let mut request = get("/");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let mut response = within(proxy.http1().await.send_request(request)).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["upgrade"]), (101, &"echo".parse().unwrap()));
    let mut tunnel = TokioIo::new(within(hyper::upgrade::on(&mut response)).await.unwrap());
    tunnel.write_all(b"there and back").await.unwrap();
    let mut text = [0; 14];
    within(tunnel.read_exact(&mut text)).await.unwrap();
    assert_eq!((&text, proxy.in_flight()), (b"there and back", 1));
    drop(tunnel);
    until("the tunnel gives its count back", || proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn workers_share_the_port() {
    let proxy = Proxy::start(&[says("hello").await], Setup { workers: 3, ..Setup::default() }).await;
    for _ in 0..12 {
        assert_eq!(proxy.get().await.1, "hello");
    }
    // Only with each other: a second router is told that the port is taken.
    let taken = ServerSettings { address: proxy.address, workers: 3, ..proxy.server.clone() };
    let error = start(Arc::clone(&proxy.shared), taken, &proxy.shutdown).await.err().expect("the port is in use");
    assert!(error.to_string().contains("the port is in use by another process"), "{error}");
    proxy.shutdown.trigger();
    proxy.shutdown.wait_all(LIMIT).await.unwrap();
    assert!(TcpStream::connect(proxy.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_preface_in_pieces_is_http2_all_the_same() {
    let proxy = Proxy::start(&[says("hello").await], Setup::default()).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in [&b"PRI * HT"[..], b"TP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0"] {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    // The server's own settings frame: length, then type 4.
    let mut frame = [0; 4];
    within(stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4);
}

#[tokio::test]
async fn a_client_that_says_nothing_holds_up_no_shutdown() {
    let proxy = Proxy::start(&[says("hello").await], Setup::default()).await;
    let _silent = TcpStream::connect(proxy.address).await.unwrap();
    until("it is accepted", || proxy.shared.connections.load(Relaxed) == 1).await;
    let began = std::time::Instant::now();
    proxy.shutdown.trigger();
    proxy.shutdown.wait_all(LIMIT).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "it took the whole time to drain");
}
