//! One request through the proxy: its fate is drawn, and it is carried out whether the client waits or not.

use super::plan::{Fate, Plan};
use bytes::Bytes;
use chassis::tls::HttpsClient;
use futures::StreamExt as _;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the answer was dropped on purpose")]
    OnPurpose,
    #[error("the API server did not take the request within {LONGEST_STAY:?}")]
    TooLate,
    #[error("the API server did not answer")]
    NoAnswer(#[source] BoxError),
}

pub(super) struct Forwarder {
    server: Uri,
    upstream: HttpsClient<Body>,
    plan: Plan,
    watches: Mutex<CancellationToken>,
    bindings: watch::Sender<Bindings>,
}

/// What becomes of bindings.
#[derive(Clone, Copy, Default)]
pub(super) struct Bindings {
    /// They wait.
    pub held: bool,
    /// How many do.
    pub waiting: usize,
}

impl Forwarder {
    pub(super) fn new(server: Uri, upstream: HttpsClient<Body>, plan: Plan) -> Forwarder {
        Forwarder { server, upstream, plan, watches: Mutex::default(), bindings: watch::Sender::default() }
    }

    pub(super) fn bindings(&self) -> &watch::Sender<Bindings> {
        &self.bindings
    }

    pub(super) fn cut_watches(&self) {
        std::mem::take(&mut *self.watches.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }

    /// The answer, or an error, which closes the client's connection.
    pub(super) async fn carry(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1"));
        let (parts, body) = request.into_parts();
        // A body that the client did not finish is no request.
        let body = body.collect().await.map_err(|error| Cut::NoAnswer(error.into()))?.to_bytes();
        let fate = self.plan.draw(&parts.method, watch);
        if let Fate::Refused(status) = fate {
            return Ok(failure(status));
        }
        let mut request = Request::from_parts(parts, empty());
        self.redirect(&mut request);
        let upstream = self.upstream.clone();
        let held = (request.method() == Method::POST && request.uri().path().ends_with("/binding")).then(|| self.bindings.clone());
        // A task of its own: what was sent arrives though the sender has gone.
        let done = tokio::spawn(async move {
            if let Fate::Slow(delay) = fate {
                tokio::time::sleep(delay).await;
            }
            if let Some(bindings) = held {
                release(&bindings).await;
            }
            if !body.is_empty() {
                *request.body_mut() = in_time(body);
            }
            upstream.request(request).await
        });
        let answer = done.await.map_err(|error| Cut::NoAnswer(error.into()))?.map_err(|error| Cut::NoAnswer(error.into()))?;
        match fate {
            Fate::Dropped => return Err(Cut::OnPurpose),
            Fate::AnsweredWith(status) => return Ok(failure(status)),
            Fate::AnsweredLate(delay) => tokio::time::sleep(delay).await,
            Fate::Passed | Fate::Slow(_) | Fate::Refused(_) => {}
        }
        Ok(self.passed_on(answer, watch))
    }

    fn redirect(&self, request: &mut Request<Body>) {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(self.server.scheme().cloned().unwrap_or(Scheme::HTTPS));
        uri.authority = self.server.authority().cloned().or_else(|| Some(Authority::from_static("127.0.0.1")));
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
        // Of the connection to the proxy; the client upstream sets its own.
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::CONNECTION);
    }

    /// The body as it comes; a watch's can be cut.
    fn passed_on(&self, answer: Response<Incoming>, watch: bool) -> Response<Body> {
        if !watch {
            return answer.map(|body| body.map_err(BoxError::from).boxed_unsync());
        }
        let cut = self.watches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        answer.map(|body| {
            let ended = cut.clone();
            let stream = BodyDataStream::new(body).map(|chunk| chunk.map(Frame::data).map_err(BoxError::from));
            // An error and no end: the client sees its connection break off.
            let last =
                futures::stream::once(async move { if ended.is_cancelled() { Some(Err(BoxError::from(Cut::OnPurpose))) } else { None } });
            let stream = stream.take_until(cut.cancelled_owned()).chain(last.filter_map(futures::future::ready));
            StreamBody::new(stream).boxed_unsync()
        })
    }
}

/// Waits until bindings are held no more.
async fn release(bindings: &watch::Sender<Bindings>) {
    bindings.send_modify(|bindings| bindings.waiting += 1);
    // It fails when the sender has gone, and we hold it.
    let _ = bindings.subscribe().wait_for(|bindings| !bindings.held).await;
    bindings.send_modify(|bindings| bindings.waiting -= 1);
}

/// How long a request waits here for an API server that takes connections and does not serve them, as one does that is just starting. Without a bound, what
/// a leader sent would arrive when another has long led; no network keeps messages for that long.
const LONGEST_STAY: Duration = Duration::from_secs(1);

fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that is only sent if that is soon.
fn in_time(body: Bytes) -> Body {
    let latest = Instant::now() + LONGEST_STAY;
    let chunk = async move { if Instant::now() < latest { Ok(Frame::data(body)) } else { Err(BoxError::from(Cut::TooLate)) } };
    StreamBody::new(futures::stream::once(chunk)).boxed_unsync()
}

/// As the API server words a failure.
fn failure(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = match status.as_u16() {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let message = "a failure that was asked for";
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status.as_u16(), "reason": reason, "message": message});
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).map_err(|never: Infallible| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
