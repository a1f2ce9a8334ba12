//! `GET /v1/explain/{namespace}/{pod}`: why the pod is where it is, or waits.

use super::{Service, wants_text};
use crate::cycle::warmth;
use crate::explain::{Explanation, table};
use crate::state::{Shared, now};
use crate::topology::board::Board;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chassis::http_error::HttpError;
use http::HeaderMap;
use placement::cluster::PodKey;
use placement::plan::Planner;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers from the last decision, or judges anew where that is not kept.
#[derive(Default)]
pub struct Explainer {
    /// One of its own: the cycle's must not wait for people.
    planner: Mutex<Planner>,
}

impl Explainer {
    fn explain(&self, shared: &Arc<Shared>, board: &Board, key: &PodKey) -> Result<Explanation, HttpError> {
        let (snapshot, kept) = {
            let state = shared.lock();
            (state.cluster.snapshot(), state.decisions.get(key))
        };
        let view = snapshot.pod(key).ok_or_else(|| HttpError::not_found(format!("there is no pod {key}, or it has ended")))?;
        let asks_for = &view.pod.scheduler_name;
        let profiles = &snapshot.settings().profiles;
        if !profiles.serve(asks_for) {
            let ours: Vec<&str> = profiles.iter().map(|profile| profile.scheduler_name.as_str()).collect();
            return Err(HttpError::not_found(format!("pod {key} asks for the scheduler {asks_for:?}, not for {:?}", ours.join(" or "))));
        }
        if let Some((decision, at)) = kept.filter(|(decision, _)| decision.uid == view.pod.uid) {
            return Ok(Explanation::new(&decision, at, false));
        }
        let mut planner = self.planner.lock().unwrap_or_else(PoisonError::into_inner);
        let decision = planner.place(&snapshot, view.pod, now(), warmth(shared, board));
        Ok(Explanation::new(&decision, now(), true))
    }
}

pub async fn explain(
    State(service): State<Service>,
    Path((namespace, pod)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let explanation = service.explainer.explain(&service.shared, &service.board, &PodKey::new(namespace, pod))?;
    Ok(if wants_text(&headers) { table(&explanation).into_response() } else { Json(explanation).into_response() })
}
