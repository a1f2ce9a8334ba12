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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use serde_json::{Value, json};
    use std::convert::Infallible;

    /// The text of the answer to a GET of `path` that comes as `content_type` in pieces, and what was accepted.
    async fn get(path: &str, content_type: &'static str, pieces: Vec<Vec<u8>>) -> Result<(String, Option<HeaderValue>), String> {
        let mut pieces = Some(pieces);
        let inner = tower::service_fn(move |request: Request<()>| {
            let frames = pieces.take().into_iter().flatten().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
            let mut answer = Response::new(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            answer.headers_mut().extend(request.headers().get(header::ACCEPT).map(|accepted| (header::ACCEPT, accepted.clone())));
            async { Ok::<_, Infallible>(answer) }
        });
        let answer = AcceptProtobufLayer.layer(inner).call(Request::get(path).body(()).unwrap()).await.unwrap();
        let accepted = answer.headers().get(header::ACCEPT).cloned();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((String::from_utf8(body.to_vec()).unwrap(), accepted))
    }

    const POD: &[u8] = include_bytes!("samples/pod.pb");

    fn added() -> Vec<u8> {
        let field = |number: u8, bytes: &[u8]| {
            let mut length = Vec::new();
            prost::encode_length_delimiter(bytes.len(), &mut length).unwrap();
            [&[number << 3 | 2], &length[..], bytes].concat()
        };
        let event = [field(1, b"ADDED"), field(2, &field(1, POD))].concat();
        [&u32::try_from(event.len()).unwrap().to_be_bytes()[..], &event].concat()
    }

    const WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

    #[tokio::test]
    async fn events_are_lines_however_they_are_cut() {
        let whole = [added(), added()].concat();
        for size in [1, 3, 4096, added().len(), whole.len()] {
            let (text, accepted) = get("/api/v1/pods?watch=true", WATCH, whole.chunks(size).map(<[u8]>::to_vec).collect()).await.unwrap();
            let types: Vec<Value> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
            assert_eq!((types, accepted), (vec![json!("ADDED"), json!("ADDED")], Some(ACCEPT)), "pieces of {size}");
        }
    }

    #[tokio::test]
    async fn half_an_event_is_not_told_and_what_is_none_is_an_error() {
        let half = added()[..1000].to_vec();
        assert_eq!(get("/api/v1/pods", WATCH, vec![added(), half]).await.unwrap().0.lines().count(), 1);
        let wrong = [&4u32.to_be_bytes()[..], b"\xff\xff\xff\xff"].concat();
        assert_eq!(get("/api/v1/pods", WATCH, vec![wrong]).await.unwrap_err(), "not read from protobuf: it ends too early");
    }

    #[tokio::test]
    async fn an_object_comes_whole_and_json_as_it_is() {
        let pieces = POD.chunks(100).map(<[u8]>::to_vec).collect();
        let (text, _) = get("/base/api/v1/nodes", MEDIA_TYPE, pieces).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["kind"], "Pod");
        let (text, accepted) = get("/api/v1/namespaces/a/pods", "application/json", vec![b"{}".to_vec()]).await.unwrap();
        assert_eq!((text.as_str(), accepted), ("{}", Some(ACCEPT)));
    }

    #[tokio::test]
    async fn only_pods_and_nodes_are_asked_for_in_protobuf() {
        for path in ["/api/v1/services", "/api/v1/pods/a", "/api/v1/namespaces/a/pods/b/log", "/apis/apps/v1/pods"] {
            assert_eq!(get(path, "application/json", Vec::new()).await.unwrap().1, None, "{path}");
        }
    }
}
