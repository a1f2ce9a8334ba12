//! A tower layer that asks for lists and watches of pods and nodes in protobuf and hands them on as JSON: one for the whole cluster is most of what a
//! scheduler reads. What an API server answers in JSON nonetheless is passed on as it is.

use super::{MEDIA_TYPE, read};
use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::{BoxError, Layer, Service};

const ACCEPT: HeaderValue = HeaderValue::from_static("application/vnd.kubernetes.protobuf,application/json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct AcceptProtobufLayer;

impl<S> Layer<S> for AcceptProtobufLayer {
    type Service = AcceptProtobuf<S>;
    fn layer(&self, inner: S) -> Self::Service {
        AcceptProtobuf { inner }
    }
}

#[derive(Clone)]
pub(in crate::client) struct AcceptProtobuf<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for AcceptProtobuf<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<JsonBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        if request.method() == Method::GET && is_known(request.uri().path()) {
            request.headers_mut().entry(header::ACCEPT).or_insert(ACCEPT);
        }
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map(in_json) })
    }
}

/// Whether `path` is that of all pods, those of a namespace, or all nodes.
fn is_known(path: &str) -> bool {
    let Some((_, path)) = path.split_once("/api/v1/") else { return false };
    match path.strip_prefix("namespaces/") {
        Some(path) => path.split_once('/').is_some_and(|(_, kind)| kind == "pods"),
        None => matches!(path, "pods" | "nodes"),
    }
}

fn in_json<B>(answer: Response<B>) -> Response<JsonBody<B>> {
    let form = answer.headers().get(header::CONTENT_TYPE).and_then(|form| form.to_str().ok());
    let reading = match form.and_then(|form| form.strip_prefix(MEDIA_TYPE)) {
        None => None,
        Some(stream) if stream.contains("stream=watch") => Some(Reading::Events),
        Some(_) => Some(Reading::Object),
    };
    let (mut head, body) = answer.into_parts();
    if reading.is_some() {
        head.headers.insert(header::CONTENT_TYPE, JSON);
        head.headers.remove(header::CONTENT_LENGTH);
    }
    Response::from_parts(head, JsonBody { body: Box::pin(body), reading, held: BytesMut::new() })
}

/// A body in JSON.
pub(in crate::client) struct JsonBody<B> {
    body: Pin<Box<B>>,
    /// What comes in protobuf.
    reading: Option<Reading>,
    /// What has come of an object or event that is not complete.
    held: BytesMut,
}

#[derive(Clone, Copy)]
enum Reading {
    /// One, which is all there is.
    Object,
    /// One after the other, each after its length in 4 bytes.
    Events,
    Done,
}

impl<B> Body for JsonBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(reading) = self.reading else { return self.body.as_mut().poll_frame(cx).map_err(Into::into) };
            if matches!(reading, Reading::Done) {
                return Poll::Ready(None);
            }
            let frame = ready!(self.body.as_mut().poll_frame(cx)).transpose().map_err(Into::into)?;
            let mut out = Vec::new();
            match (reading, frame.map(Frame::into_data)) {
                (_, Some(Err(_))) => continue, // trailers, which nobody reads
                (Reading::Object, Some(Ok(data))) => self.held.extend_from_slice(&data),
                (Reading::Events, Some(Ok(data))) => {
                    self.held.extend_from_slice(&data);
                    events(&mut self.held, &mut out)?;
                }
                (Reading::Object, None) => {
                    self.reading = Some(Reading::Done);
                    out = read::object(&std::mem::take(&mut self.held), read::Fields::Known)?;
                }
                // An event that did not come to its end comes again with the next watch.
                (Reading::Events | Reading::Done, None) | (Reading::Done, Some(_)) => self.reading = Some(Reading::Done),
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.reading {
            None => self.body.is_end_stream(),
            Some(reading) => matches!(reading, Reading::Done),
        }
    }
}

/// Takes the events that are complete.
fn events(held: &mut BytesMut, out: &mut Vec<u8>) -> Result<(), read::Malformed> {
    while let Some((length, rest)) = held.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(event) = rest.get(..length) else { break };
        read::event(event, out)?;
        held.advance(size_of::<u32>() + length);
    }
    Ok(())
}
