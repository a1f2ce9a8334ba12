//! Bodies: both ways at once, with trailers, and what happens when one side leaves.

use super::*;
use futures::channel::mpsc;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, hyper::Error>>;

/// A body that the test feeds frame by frame.
fn fed() -> (Frames, Body) {
    let (frames, fed) = mpsc::unbounded();
    (frames, BodyExt::boxed(StreamBody::new(fed)))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, hyper::Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn next(body: &mut Incoming) -> Frame<Bytes> {
    within(body.frame()).await.expect("a frame").expect("no error")
}

/// Sends every frame of the request back as it comes, trailers included.
async fn echo() -> SocketAddr {
    endpoint(|request: Request<Incoming>| async move {
        let mut response = Response::builder();
        if let Some(trailer) = request.headers().get("trailer") {
            response = response.header("trailer", trailer);
        }
        response.body(request.into_body().boxed()).unwrap()
    })
    .await
}

async fn check_both_ways(client_http2: bool, endpoint_http2: bool) {
    let change: fn(&mut LoadBalancer) = if endpoint_http2 { |lb| lb.transport = crate::table::Transport::H2c } else { |_| {} };
    let proxy = Proxy::start(&[echo().await], Setup { change, ..Setup::default() }).await;
    let (frames, body) = fed();
    let request = Request::post(if client_http2 { "http://vision.demo/" } else { "/" });
    let request = request.header("te", "trailers").header("trailer", "x-sum");
    let response = if client_http2 {
        within(proxy.http2().await.send_request(request.body(body).unwrap())).await.unwrap()
    } else {
        within(proxy.http1().await.send_request(request.header("host", "vision.demo").body(body).unwrap())).await.unwrap()
    };
    let case = format!("client http2 {client_http2}, endpoint http2 {endpoint_http2}");
    assert_eq!(proxy.in_flight(), 1, "{case}");
    let mut answer = response.into_body();
    for text in ["one", "two"] {
        // The answer comes while the request is still open.
        frames.unbounded_send(data(text)).unwrap();
        assert_eq!(next(&mut answer).await.into_data().unwrap(), text, "{case}");
    }
    let trailers = [("x-sum".parse().unwrap(), "6".parse().unwrap())].into_iter().collect();
    frames.unbounded_send(Ok(Frame::trailers(trailers))).unwrap();
    drop(frames);
    let trailers = next(&mut answer).await.into_trailers().unwrap_or_else(|frame| panic!("{case}: {frame:?}"));
    assert_eq!(trailers["x-sum"], "6", "{case}");
    assert!(within(answer.frame()).await.is_none(), "{case}");
    until("the count is given back", || proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn streams_both_ways_with_trailers() {
    for (client_http2, endpoint_http2) in [(true, true), (false, false), (true, false), (false, true)] {
        check_both_ways(client_http2, endpoint_http2).await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_told_to() {
    let proxy = Proxy::start(&[echo().await], Setup::default()).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: vision.demo\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 25];
    within(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("body"), "{rest}");
}

#[tokio::test]
async fn without_an_endpoint_the_body_is_not_asked_for() {
    let proxy = Proxy::start(&[closed_port().await], Setup::default()).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: vision.demo\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    within(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 502");
}

/// An endpoint whose answer never comes, and that counts the requests it has open.
async fn silent() -> (SocketAddr, Arc<()>) {
    let open = Arc::new(());
    let held = Arc::clone(&open);
    let address = endpoint(move |_request| {
        let held = Arc::clone(&held);
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Response::new(BodyExt::boxed(Empty::new().map_err(|never| match never {})))
        }
    })
    .await;
    (address, open)
}

#[tokio::test]
async fn a_client_that_leaves_while_waiting_gives_its_count_back() {
    let (address, open) = silent().await;
    let proxy = Proxy::start(&[address], Setup::default()).await;
    for http2 in [false, true] {
        let waiting = if http2 {
            let mut sender = proxy.http2().await;
            tokio::spawn(async move { drop(sender.send_request(Request::get("http://vision.demo/").body(full("")).unwrap()).await) })
        } else {
            let mut sender = proxy.http1().await;
            tokio::spawn(async move { drop(sender.send_request(get("/")).await) })
        };
        // One handle for the test, one for the endpoint's handler, one for each open request.
        until("the request is in flight", || proxy.in_flight() == 1 && Arc::strong_count(&open) > 2).await;
        waiting.abort();
        until("the count is given back", || proxy.in_flight() == 0).await;
        until("the endpoint is told", || Arc::strong_count(&open) <= 2).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_the_answer_gives_its_count_back() {
    let (frames, _) = fed();
    drop(frames);
    let upstream = endpoint(|_request| async move {
        let (frames, body) = fed();
        frames.unbounded_send(data("first")).unwrap();
        // Kept open for as long as the body lives.
        std::mem::forget(frames);
        Response::new(body)
    })
    .await;
    let proxy = Proxy::start(&[upstream], Setup::default()).await;
    let mut answer = within(proxy.http1().await.send_request(get("/"))).await.unwrap().into_body();
    assert_eq!(next(&mut answer).await.into_data().unwrap(), "first");
    assert_eq!(proxy.in_flight(), 1);
    drop(answer);
    until("the count is given back", || proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn a_silent_body_is_given_up() {
    let upstream = endpoint(|_request| async move {
        let (frames, body) = fed();
        frames.unbounded_send(data("first")).unwrap();
        std::mem::forget(frames);
        Response::new(body)
    })
    .await;
    let change: fn(&mut LoadBalancer) = |lb| lb.timeouts.idle = Duration::from_millis(50);
    let proxy = Proxy::start(&[upstream], Setup { change, ..Setup::default() }).await;
    let mut answer = within(proxy.http1().await.send_request(get("/"))).await.unwrap().into_body();
    assert_eq!(next(&mut answer).await.into_data().unwrap(), "first");
    assert!(within(answer.frame()).await.unwrap().is_err(), "cut short, and the client can tell");
    until("the count is given back", || proxy.in_flight() == 0).await;
}
