//! Each fate against an upstream that counts what reaches it.

use super::*;
use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use chassis::serve::{Limits, serve_tls};
use chassis::tls::HttpsClient;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

const LIMIT: Duration = Duration::from_secs(20);

struct Setup {
    proxy: FaultProxy,
    client: HttpsClient<Full<Bytes>>,
    /// Requests that reached the upstream.
    seen: Arc<AtomicU32>,
    upstream: Shutdown,
    _folder: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Setup {
        let seen = Arc::new(AtomicU32::new(0));
        let counted = seen.clone();
        // A watch whose stream begins and never ends.
        let endless = || async {
            let first = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"first\n")) });
            Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
        };
        let done = move |headers: http::HeaderMap, body: String| async move {
            counted.fetch_add(1, Ordering::Relaxed);
            format!("{} {body}", headers["authorization"].to_str().unwrap())
        };
        let routes = Router::new().route("/done", post(done)).route("/pods", get(endless));

        let authority = Authority::generate("upstream", VALIDITY).unwrap();
        let serving = ServingCertificate::new(&authority.issue(&["127.0.0.1".to_owned()], VALIDITY).unwrap()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let upstream = Shutdown::new();
        upstream.spawn(serve_tls(listener, serving.server_config().unwrap(), routes, Limits::default(), upstream.clone()));

        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("original");
        let ca = STANDARD.encode(authority.certificate_pem());
        let text = format!("clusters: [{{name: c, cluster: {{server: '{server}', certificate-authority-data: {ca}}}}}]\n");
        std::fs::write(&original, text).unwrap();
        let proxy = FaultProxy::start(&original, 1).await.unwrap();
        let ca_pem = proxy.ca_pem.clone();
        let client = https_client(&ClientOptions { ca_pem, ..ClientOptions::default() }).unwrap();
        Setup { proxy, client, seen, upstream, _folder: folder }
    }

    fn request(&self, method: &str, path: &str) -> Request<Full<Bytes>> {
        let uri = format!("https://{}{path}", self.proxy.address);
        let request = Request::builder().method(method).uri(uri).header("authorization", "Bearer t");
        request.body(Full::new(Bytes::from_static(b"body"))).unwrap()
    }

    /// Sends one request under these rates: status and text, or `None` where the connection breaks off; and whether the upstream saw it.
    async fn check(&self, rates: Rates, status: Option<u16>, text: &str, seen: bool) {
        self.proxy.plan().set(rates, Delays { request: Duration::from_millis(20), answer: Duration::from_millis(20) });
        let before = self.seen.load(Ordering::Relaxed);
        let answer = tokio::time::timeout(LIMIT, self.client.request(self.request("POST", "/done"))).await.expect("in time");
        assert_eq!(answer.as_ref().ok().map(|answer| answer.status().as_u16()), status, "{rates:?}");
        if let Ok(answer) = answer {
            let retry_after = answer.headers().contains_key("retry-after");
            assert_eq!(retry_after, status == Some(429), "{rates:?}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(text), "{rates:?}: {body:?}");
        }
        assert_eq!(self.seen.load(Ordering::Relaxed) - before, u32::from(seen), "{rates:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fate_does_what_its_name_says() {
    let setup = Setup::new().await;
    let none = Rates::default();
    setup.check(none, Some(200), "Bearer t body", true).await;
    setup.check(Rates { conflict: 1.0, ..none }, Some(409), r#""reason":"Conflict""#, false).await;
    setup.check(Rates { too_many: 1.0, ..none }, Some(429), "TooManyRequests", false).await;
    setup.check(Rates { internal: 1.0, ..none }, Some(500), "InternalError", false).await;
    setup.check(Rates { unavailable: 1.0, ..none }, Some(503), "ServiceUnavailable", false).await;
    setup.check(Rates { slow: 1.0, ..none }, Some(200), "Bearer t body", true).await;
    setup.check(Rates { answered_late: 1.0, ..none }, Some(200), "Bearer t body", true).await;
    setup.check(Rates { timed_out: 1.0, ..none }, Some(504), "Timeout", true).await;
    setup.check(Rates { dropped: 1.0, ..none }, None, "", true).await;
    setup.upstream.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_arrives_though_the_sender_has_gone() {
    let setup = Setup::new().await;
    setup.proxy.plan().set(Rates { slow: 1.0, ..Rates::default() }, Delays { request: Duration::from_secs(2), answer: Duration::ZERO });
    let sent = tokio::spawn(setup.client.request(setup.request("POST", "/done")));
    let begun = Instant::now();
    while setup.proxy.plan().drawn().is_empty() {
        assert!(begun.elapsed() < LIMIT, "the request does not reach the proxy");
        tokio::task::yield_now().await;
    }
    sent.abort();
    while setup.seen.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < LIMIT, "the request does not reach the upstream");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_streams_and_breaks_off_when_it_is_cut() {
    let setup = Setup::new().await;
    let answer = setup.client.request(setup.request("GET", "/pods?watch=true&x=y")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    let mut next = async || tokio::time::timeout(LIMIT, body.frame()).await.expect("in time");
    assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), Bytes::from_static(b"first\n"));
    setup.proxy.cut_watches();
    assert!(next().await.expect("no clean end").is_err());
    // A new one begins as if nothing had been.
    let again = setup.client.request(setup.request("GET", "/pods?watch=true")).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
}
