//! Requests that must not leave too late: each can be called off until its body goes to the connection, and a gate is asked at that very moment.
//!
//! Between the decision to send a request and its first byte stand a rate limit, perhaps a connect and a TLS handshake, and any pause of the process. Who
//! checks a lease before all that may send long after it ran out.

use super::ConnectError;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::client::{Body, ConfigExt as _};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::watch;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, util::BoxService};

/// The departure of one request. Clones are the same departure.
#[derive(Clone)]
pub struct Departure(Arc<Inner>);

struct Inner {
    gate: Box<dyn Fn() -> bool + Send + Sync>,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Left,
    CalledOff,
}

/// The error of a request that was called off, or whose gate was shut: the server has not seen it.
#[derive(Debug, thiserror::Error)]
#[error("the request was called off before it was sent")]
pub struct CalledOff;

impl Departure {
    /// The request leaves only if `gate` returns true when it is about to. The gate must not block.
    pub fn new(gate: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { gate: Box::new(gate), stage: watch::Sender::new(Stage::Waiting) }))
    }

    /// Makes this the departure of `request`; heeded by clients of [`connect_departing`](super::connect_departing).
    pub fn attach<B>(&self, request: &mut Request<B>) {
        request.extensions_mut().insert(self.clone());
    }

    /// Calls the request off. True: it has not left and never will.
    pub fn call_off(&self) -> bool {
        self.settle(Stage::CalledOff) == Stage::CalledOff
    }

    /// Whether the server may have seen the request.
    pub fn has_left(&self) -> bool {
        *self.0.stage.borrow() == Stage::Left
    }

    /// Whether the gate was shut when it was asked, or the request was called off.
    pub fn is_called_off(&self) -> bool {
        *self.0.stage.borrow() == Stage::CalledOff
    }

    /// Waits until the request leaves; for ever when it is called off.
    pub async fn left(&self) {
        let mut stage = self.0.stage.subscribe();
        if stage.wait_for(|stage| *stage == Stage::Left).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The moment itself.
    pub(crate) fn leave(&self) -> Result<(), CalledOff> {
        let to = if (self.0.gate)() { Stage::Left } else { Stage::CalledOff };
        if self.settle(to) == Stage::Left { Ok(()) } else { Err(CalledOff) }
    }

    /// The first to settle it decides; returns what was decided.
    fn settle(&self, to: Stage) -> Stage {
        self.0.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Waiting;
            if first {
                *stage = to;
            }
            first
        });
        *self.0.stage.borrow()
    }
}

/// A body that asks for leave before its first byte. A connection reads it right before it writes to its socket, and on an error writes nothing.
pub(super) struct Guarded {
    body: Body,
    departure: Option<Departure>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(Err(called_off)) = self.departure.take().map(|departure| departure.leave()) {
            return Poll::Ready(Some(Err(called_off.into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// kube's stack without its retries (a request that must not leave late must not leave again unasked) and with guarded bodies.
pub(super) fn service(found: &kube::Config) -> Result<BoxService<Request<Body>, Response<Incoming>, BoxError>, ConnectError> {
    let build = |source| ConnectError::Build { server: found.cluster_url.clone(), source: Box::new(source) };
    let connector = found.rustls_https_connector().map_err(build)?;
    let client: legacy::Client<_, Guarded> = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(found.base_uri_layer())
        .option_layer(found.auth_layer().map_err(build)?)
        .layer(found.extra_headers_layer().map_err(build)?)
        .map_request(|request: Request<Body>| {
            let departure = request.extensions().get::<Departure>().cloned();
            request.map(|body| Guarded { body, departure })
        })
        .map_err(BoxError::from)
        .service(client);
    Ok(service.map_err(BoxError::from).boxed())
}

#[cfg(test)]
mod tests;
