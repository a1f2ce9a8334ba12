//! Bodies on their way through: streamed, trailers included, with what must happen when they end tied to them.

use crate::table::InFlight;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::Sleep;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is known of a request body while the response is awaited.
#[derive(Debug)]
pub struct Upload {
    began: Instant,
    /// Time of the last frame, in ms after `began`.
    last_ms: AtomicU64,
    /// A frame has been handed to the connection: the request can't be sent again.
    touched: AtomicBool,
    /// The connection asked for a frame that the client has not sent yet.
    waiting: AtomicBool,
}

impl Upload {
    fn new() -> Arc<Upload> {
        let upload =
            Upload { began: Instant::now(), last_ms: AtomicU64::new(0), touched: AtomicBool::new(false), waiting: AtomicBool::new(false) };
        Arc::new(upload)
    }

    pub fn touched(&self) -> bool {
        self.touched.load(Relaxed)
    }

    /// It is the client's turn: the endpoint would take more of the body.
    pub fn waits_for_client(&self) -> bool {
        self.waiting.load(Relaxed)
    }

    /// Moment of the last frame.
    pub fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last_ms.load(Relaxed))
    }
}

/// A request's body toward the endpoint.
#[derive(Debug)]
pub struct RequestBody {
    /// `None`: the request has no body.
    inner: Option<(Incoming, Arc<Upload>)>,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> RequestBody {
        RequestBody { inner: None }
    }

    /// The body and, when there is one, the view of its progress.
    pub fn new(incoming: Incoming) -> (RequestBody, Option<Arc<Upload>>) {
        if incoming.is_end_stream() {
            return (RequestBody { inner: None }, None);
        }
        let upload = Upload::new();
        (RequestBody { inner: Some((incoming, Arc::clone(&upload))) }, Some(upload))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((incoming, upload)) = &mut self.inner else { return Poll::Ready(None) };
        // Asking for the first frame already sends `100 Continue`, so the client may have begun.
        upload.touched.store(true, Relaxed);
        let frame = Pin::new(incoming).poll_frame(cx);
        upload.waiting.store(frame.is_pending(), Relaxed);
        if frame.is_ready() {
            upload.last_ms.store(upload.began.elapsed().as_millis() as u64, Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}

/// Something to do when a response has come through whole, such as giving the connection back.
pub trait OnEnd: Send {
    /// Called once, and only when the body ended without an error.
    fn ended(self: Box<Self>);
}

/// A response's body toward the client.
pub struct ResponseBody {
    kind: Kind,
}

enum Kind {
    Full(Option<Bytes>),
    Stream(Box<Stream>),
}

struct Stream {
    incoming: Incoming,
    on_end: Option<Box<dyn OnEnd>>,
    _in_flight: InFlight,
    idle: Duration,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub fn empty() -> ResponseBody {
        ResponseBody::full(Bytes::new())
    }

    pub fn full(bytes: Bytes) -> ResponseBody {
        ResponseBody { kind: Kind::Full(Some(bytes).filter(|bytes| !bytes.is_empty())) }
    }

    /// Streams `incoming`; fails when the endpoint sends nothing for `idle`. `in_flight` is given back when the body ends or is dropped.
    pub fn stream(incoming: Incoming, in_flight: InFlight, on_end: Box<dyn OnEnd>, idle: Duration) -> ResponseBody {
        if incoming.is_end_stream() {
            on_end.ended();
            return ResponseBody::full(Bytes::new());
        }
        let stream = Stream { incoming, on_end: Some(on_end), _in_flight: in_flight, idle, last: Instant::now(), timer: None };
        ResponseBody { kind: Kind::Stream(Box::new(stream)) }
    }
}

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.last = Instant::now();
                if frame.is_none() || self.incoming.is_end_stream() {
                    self.end();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                // Most bodies never wait; the timer is made for those that do, and moved only when it fires.
                let deadline = self.last + self.idle;
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
                while timer.as_mut().poll(cx).is_ready() {
                    if deadline <= Instant::now() {
                        let text = format!("the endpoint sent nothing for {:?}", self.idle);
                        return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, text).into())));
                    }
                    timer.as_mut().reset(deadline.into());
                }
                Poll::Pending
            }
        }
    }

    fn end(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end.ended();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}
