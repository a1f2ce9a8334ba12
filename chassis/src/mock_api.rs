//! A Kubernetes API for unit tests: a closure from request to answer behind a real [`kube::Client`].

use crate::client::Departure;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use std::{convert::Infallible, future::Future};

/// A client whose every request is answered by `answer`; an `Err` stands for a connection that fails with that text.
pub fn client<A, F>(answer: A) -> kube::Client
where
    A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Bytes>, String>> + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            if let Some(departure) = parts.extensions.get::<Departure>() {
                departure.leave().map_err(tower::BoxError::from)?;
            }
            let body = body.collect().await.map_err(|error| tower::BoxError::from(error.to_string()))?.to_bytes();
            let response = answer(Request::from_parts(parts, body)).await.map_err(tower::BoxError::from)?;
            Ok::<_, tower::BoxError>(response.map(|bytes| Full::new(bytes).map_err(|never: Infallible| match never {})))
        }
    });
    kube::Client::new(service, "default")
}

pub fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).expect("tests answer with valid statuses");
    response
}

/// A `Status` failure as the API server words it.
pub fn failure(status: u16, reason: &str, message: &str) -> Response<Bytes> {
    json_response(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": message}),
    )
}
