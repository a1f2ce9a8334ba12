//! Tower layers around the Kubernetes client: a token bucket for calls, and a deadline for each.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};
use tower::{BoxError, Layer, Service};

/// `burst` calls at once, `qps` a second on average, as client-go's flow control. `qps` 0 means no limit.
#[derive(Clone, Debug)]
pub(super) struct RateLimitLayer {
    qps: f64,
    burst: f64,
}

impl RateLimitLayer {
    pub(super) fn new(qps: f64, burst: u32) -> Self {
        Self { qps, burst: f64::from(burst) }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;
    fn layer(&self, inner: S) -> Self::Service {
        let Self { qps, burst } = *self;
        RateLimit { inner, qps, burst, tokens: burst, at: Instant::now(), wait: None }
    }
}

/// kube puts a buffer with one worker around its stack. Hence the wait stands in `poll_ready`: calls go in order, none overtakes,
/// and a call given up while it waits costs no token.
pub(super) struct RateLimit<S> {
    inner: S,
    qps: f64,
    burst: f64,
    /// Tokens there were `at` that instant.
    tokens: f64,
    at: Instant,
    wait: Option<Pin<Box<Sleep>>>,
}

impl<S, R> Service<R> for RateLimit<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        while self.qps > 0.0 {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let now = Instant::now();
            self.tokens = (self.tokens + (now - self.at).as_secs_f64() * self.qps).min(self.burst);
            self.at = now;
            if self.tokens >= 1.0 {
                break;
            }
            // A millisecond more: timers tick in milliseconds, and rounding must not make this loop spin.
            let missing = Duration::from_secs_f64((1.0 - self.tokens) / self.qps) + Duration::from_millis(1);
            self.wait = Some(Box::pin(tokio::time::sleep(missing)));
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.tokens -= 1.0;
        self.inner.call(request)
    }
}

/// A call took longer than the configuration allows.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer {method} {path} within {limit:?}")]
pub struct CallTimedOut {
    pub method: http::Method,
    pub path: String,
    pub limit: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct CallTimeoutLayer {
    limit: Duration,
}

impl CallTimeoutLayer {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for CallTimeoutLayer {
    type Service = CallTimeout<S>;
    fn layer(&self, inner: S) -> Self::Service {
        CallTimeout { inner, limit: self.limit }
    }
}

pub(super) struct CallTimeout<S> {
    inner: S,
    limit: Duration,
}

impl<S, A, B> Service<Request<A>> for CallTimeout<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let limit = self.limit;
        let deadline = Instant::now() + limit;
        let late = CallTimedOut { method: request.method().clone(), path: request.uri().path().to_owned(), limit };
        // A watch goes on for minutes; its watcher notices when nothing comes any more.
        let endless = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true" || pair == "follow=true"));
        let answer = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(answer) => Ok(answer.map_err(Into::into)?.map(|body| DeadlineBody {
                    body: Box::pin(body),
                    deadline: (!endless).then(|| (Box::pin(tokio::time::sleep_until(deadline)), Some(late))),
                })),
                Err(_elapsed) => Err(late.into()),
            }
        })
    }
}

/// An answer's body that must have arrived by a deadline.
pub(super) struct DeadlineBody<B> {
    body: Pin<Box<B>>,
    deadline: Option<(Pin<Box<Sleep>>, Option<CallTimedOut>)>,
}

impl<B> Body for DeadlineBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some((sleep, late)) = &mut self.deadline else {
            return Poll::Pending;
        };
        ready!(sleep.as_mut().poll(cx));
        // Asked again after the error: the body has ended.
        Poll::Ready(late.take().map(|late| Err(late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use std::convert::Infallible;
    use tower::ServiceExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_keeps_the_rate() {
        let service = tower::service_fn(|(): ()| async { Ok::<_, Infallible>(Instant::now()) });
        let mut limited = RateLimitLayer::new(10.0, 3).layer(service);
        let start = Instant::now();
        let mut at_ms = Vec::new();
        for _ in 0..5 {
            at_ms.push((limited.ready().await.unwrap().call(()).await.unwrap() - start).as_millis());
        }
        assert_eq!(&at_ms[..3], [0, 0, 0]);
        assert!((100..110).contains(&at_ms[3]) && (200..215).contains(&at_ms[4]), "{at_ms:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_means_no_limit() {
        let service = tower::service_fn(|(): ()| async { Ok::<_, Infallible>(()) });
        let mut limited = RateLimitLayer::new(0.0, 0).layer(service);
        let start = Instant::now();
        for _ in 0..1000 {
            limited.ready().await.unwrap().call(()).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    async fn check_timeout(uri: &str, answer_after: Duration, body_after: Duration, expected: Result<&str, &str>) {
        let service = tower::service_fn(move |_request: Request<()>| async move {
            tokio::time::sleep(answer_after).await;
            let chunk = futures::stream::once(async move {
                tokio::time::sleep(body_after).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"late")))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(chunk)))
        });
        let service = CallTimeoutLayer::new(Duration::from_secs(10)).layer(service);
        let result = async {
            let response = service.oneshot(Request::get(uri).body(()).unwrap()).await?;
            Ok::<_, BoxError>(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec()).unwrap())
        };
        let result = result.await.map_err(|error| error.to_string());
        assert_eq!(result.as_ref().map(String::as_str).map_err(String::as_str), expected, "{uri}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_has_a_deadline_and_a_watch_only_until_it_starts() {
        let (soon, late) = (Duration::from_secs(6), Duration::from_secs(11));
        let message = "the API server did not answer GET /api/v1/pods within 10s";
        check_timeout("/api/v1/pods", soon, Duration::ZERO, Ok("late")).await;
        check_timeout("/api/v1/pods", late, Duration::ZERO, Err(message)).await;
        check_timeout("/api/v1/pods", soon, soon, Err(message)).await;
        check_timeout("/api/v1/pods?limit=5&watch=true", soon, late, Ok("late")).await;
        check_timeout("/api/v1/pods?watch=true", late, late, Err(message)).await;
    }

    #[tokio::test]
    async fn a_whole_body_passes_unchanged() {
        let service = tower::service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"x")))) });
        let response = CallTimeoutLayer::new(Duration::from_secs(1)).layer(service).oneshot(Request::new(())).await.expect("answers");
        assert_eq!(response.body().size_hint().exact(), Some(1));
    }
}
