//! The topology service's HTTP API. Who may call what is decided outside, by layers around these routes; `Identity` is what they found.

mod explain;
mod stream;

pub use explain::Explainer;

use super::board::Board;
use super::summary::summary;
use crate::http_body as body;
use crate::state::{Shared, now};
use api::protocol::{DemandReport, Peers, REPORT_LIMIT_BYTES, Report, ReportAck, TopologySnapshot};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::authn::Identity;
use chassis::http_error::HttpError;
use chassis::shutdown::Shutdown;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

use super::demand::DemandBoard;
use super::validation::ReportError;

/// Longest wait of `GET /v1/peers?after=N`.
const LONG_POLL: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Clone)]
pub struct Service {
    pub shared: Arc<Shared>,
    pub board: Arc<Board>,
    pub demand: Arc<DemandBoard>,
    pub explainer: Arc<Explainer>,
    pub shutdown: Shutdown,
}

/// The routes, before authentication and authorization.
pub fn routes(service: Service) -> Router {
    Router::new()
        .route("/v1/peers", get(peers))
        .route("/v1/report", post(report))
        .route("/v1/demand", post(demand))
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/stream", get(stream::stream))
        .route("/v1/summary", get(summarise))
        .route("/v1/explain/{namespace}/{pod}", get(explain::explain))
        .with_state(service)
}

#[derive(Deserialize)]
struct PeersQuery {
    after: Option<u64>,
}

async fn peers(State(service): State<Service>, identity: Identity, Query(query): Query<PeersQuery>) -> Result<Json<Peers>, HttpError> {
    let node = identity.require_node()?;
    let mut generation = service.board.peers_generation();
    let unknown = || HttpError::not_found(format!("node {node:?} is not known here; ask again once it has registered"));
    let answer = service.board.peers(node).ok_or_else(unknown)?;
    if query.after != Some(answer.generation) {
        return Ok(Json(answer));
    }
    let changed = tokio::time::timeout(LONG_POLL, generation.wait_for(|now| *now > answer.generation));
    // Woken, timed out or shutting down: what holds now is the answer.
    let _ = service.shutdown.interrupt(changed).await;
    service.board.peers(node).map(Json).ok_or_else(unknown)
}

async fn report(State(service): State<Service>, identity: Identity, body: axum::body::Body) -> Result<Json<ReportAck>, HttpError> {
    let caller = identity.require_node()?;
    let report: Report = body::json(body, REPORT_LIMIT_BYTES).await?;
    let refused = |error: ReportError| {
        tracing::warn!(node = caller, user = identity.user, %error, "report refused");
        match error {
            ReportError::ForeignRow { .. } => HttpError::forbidden(error.to_string()),
            ReportError::UnknownNode { .. } => HttpError::not_found(error.to_string()),
            _ => HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", error.to_string()),
        }
    };
    service.board.report(report, caller, now()).map(Json).map_err(refused)
}

async fn demand(State(service): State<Service>, identity: Identity, body: axum::body::Body) -> Result<StatusCode, HttpError> {
    let caller = identity.require_node()?;
    let report: DemandReport = body::json(body, REPORT_LIMIT_BYTES).await?;
    if report.node != caller {
        return Err(HttpError::forbidden(format!(
            "this token belongs to the router on node {caller:?}, which may not report for node {:?}",
            report.node
        )));
    }
    service
        .demand
        .take(report, &service.shared, &service.board)
        .map_err(|error| HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn snapshot(State(service): State<Service>) -> Json<TopologySnapshot> {
    Json(service.board.subscribe(&None, now()).0)
}

async fn summarise(State(service): State<Service>, headers: HeaderMap) -> Result<Response, HttpError> {
    let cluster = service.shared.lock().cluster.snapshot();
    let made = tokio::task::spawn_blocking(move || summary(&service.board, &cluster, now())).await;
    let summary = made.map_err(|error| HttpError::unavailable(format!("the summary could not be made: {error}")))?;
    Ok(if wants_text(&headers) { summary.to_string().into_response() } else { Json(summary).into_response() })
}

/// Whether the caller asks for a text for people instead of JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/plain"))
}
