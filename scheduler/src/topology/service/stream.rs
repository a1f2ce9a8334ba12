//! `GET /v1/stream`: one JSON object a line. A snapshot, then changes; a heartbeat when there are none.

use super::super::feed::line;
use super::Service;
use crate::state::now;
use api::protocol::StreamEvent;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::stream;
use http::header::CONTENT_TYPE;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

const HEARTBEAT: Duration = Duration::from_secs(5);

pub async fn stream(State(service): State<Service>) -> Response {
    let lines = stream::unfold((service, None), |(service, lines)| async move {
        let (line, lines) = next(&service, lines).await?;
        Some((Ok::<_, Infallible>(bytes::Bytes::copy_from_slice(line.as_bytes())), (service, Some(lines))))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/x-ndjson"));
    response
}

/// The next line; `None` on shutdown.
async fn next(service: &Service, lines: Option<Receiver<Arc<str>>>) -> Option<(Arc<str>, Receiver<Arc<str>>)> {
    let Some(mut lines) = lines else { return Some(start(service)) };
    match service.shutdown.interrupt(tokio::time::timeout(HEARTBEAT, lines.recv())).await? {
        Ok(Ok(line)) => Some((line, lines)),
        // The reader fell behind what is kept: a new snapshot brings it up to date.
        Ok(Err(RecvError::Lagged(_))) => Some(start(service)),
        Ok(Err(RecvError::Closed)) => None,
        Err(_elapsed) => {
            let beat = StreamEvent::Heartbeat { generation: service.board.feed().generation(), at_ms: now().0 };
            Some((line(&beat), lines))
        }
    }
}

fn start(service: &Service) -> (Arc<str>, Receiver<Arc<str>>) {
    let (snapshot, lines) = service.board.subscribe(now());
    (line(&StreamEvent::Snapshot(snapshot)), lines)
}
