//! `GET /v1/stream?sites=A,B`: one JSON object a line. A snapshot, then changes; a heartbeat when there are none.

use super::super::feed::{Change, Sites, line};
use super::Service;
use crate::state::now;
use api::protocol::StreamEvent;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use futures::stream;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

const HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub struct StreamQuery {
    /// Names of nodes, by commas: of the pairs only those with one of them at an end. A node that is not known yet may come.
    sites: Option<String>,
}

pub async fn stream(State(service): State<Service>, Query(query): Query<StreamQuery>) -> Response {
    let sites: Sites = query.sites.map(|sites| sites.split(',').map(str::to_owned).collect());
    let lines = stream::unfold((service, sites, None), |(service, sites, lines)| async move {
        let (line, lines) = next(&service, &sites, lines).await?;
        Some((Ok::<_, Infallible>(bytes::Bytes::copy_from_slice(line.as_bytes())), (service, sites, Some(lines))))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/x-ndjson"));
    response
}

/// The next line; `None` on shutdown.
async fn next(service: &Service, sites: &Sites, lines: Option<Receiver<Arc<Change>>>) -> Option<(Arc<str>, Receiver<Arc<Change>>)> {
    let Some(mut lines) = lines else { return Some(start(service, sites)) };
    match service.shutdown.interrupt(tokio::time::timeout(HEARTBEAT, lines.recv())).await? {
        Ok(Ok(change)) => Some((change.line(sites), lines)),
        // The reader fell behind what is kept: a new snapshot brings it up to date.
        Ok(Err(RecvError::Lagged(_))) => Some(start(service, sites)),
        Ok(Err(RecvError::Closed)) => None,
        Err(_elapsed) => {
            let beat = StreamEvent::Heartbeat { generation: service.board.feed().generation(), at_ms: now().0 };
            Some((line(&beat), lines))
        }
    }
}

fn start(service: &Service, sites: &Sites) -> (Arc<str>, Receiver<Arc<Change>>) {
    let (snapshot, lines) = service.board.subscribe(sites, now());
    (line(&StreamEvent::Snapshot(snapshot)), lines)
}
