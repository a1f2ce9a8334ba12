//! Every answer the router gives in place of an endpoint's, in one JSON shape: `{"error":{"reason","message"}}`.

use super::body::ResponseBody;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use std::time::Duration;

/// Why a request got no answer from an endpoint. The text goes to the client and names what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{what} is not supported: {instead}")]
    NotImplemented { what: &'static str, instead: &'static str },
    /// `known`: what the router answers for, in words.
    #[error("no load balancer for host {host:?} and path {path:?}; {known}")]
    NoRoute { host: String, path: String, known: String },
    /// `why` in the words of [`crate::select::NotFeasible`].
    #[error("{why}")]
    Infeasible { why: String },
    #[error("cannot connect to {endpoint}: {source}{}", tried(*.attempts))]
    Connect { endpoint: String, attempts: usize, source: std::io::Error },
    #[error("{endpoint} did not accept the connection within {after:?}{}", tried(*.attempts))]
    ConnectTimeout { endpoint: String, attempts: usize, after: Duration },
    #[error("{endpoint} broke off: {source}")]
    Upstream { endpoint: String, source: hyper::Error },
    #[error("{endpoint} sent no response within {after:?}")]
    ResponseTimeout { endpoint: String, after: Duration },
    #[error("the client sent nothing of the request body for {after:?}")]
    RequestTimeout { after: Duration },
    #[error("{endpoint} answered 101 Switching Protocols to a request that asked for no upgrade")]
    UnaskedUpgrade { endpoint: String },
}

fn tried(attempts: usize) -> String {
    if attempts > 1 { format!(" ({attempts} endpoints tried)") } else { String::new() }
}

impl ProxyError {
    pub fn status(&self) -> StatusCode {
        match self {
            ProxyError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ProxyError::NotImplemented { .. } => StatusCode::NOT_IMPLEMENTED,
            ProxyError::NoRoute { .. } => StatusCode::NOT_FOUND,
            ProxyError::Infeasible { .. } => StatusCode::SERVICE_UNAVAILABLE,
            ProxyError::Connect { .. } | ProxyError::Upstream { .. } | ProxyError::UnaskedUpgrade { .. } => StatusCode::BAD_GATEWAY,
            ProxyError::ConnectTimeout { .. } | ProxyError::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            ProxyError::RequestTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// A stable word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            ProxyError::BadRequest(_) => "BadRequest",
            ProxyError::NotImplemented { .. } => "NotImplemented",
            ProxyError::NoRoute { .. } => "NoRoute",
            ProxyError::Infeasible { .. } => "NoFeasibleEndpoint",
            ProxyError::Connect { .. } => "ConnectFailed",
            ProxyError::ConnectTimeout { .. } => "ConnectTimeout",
            ProxyError::Upstream { .. } => "UpstreamFailed",
            ProxyError::ResponseTimeout { .. } => "ResponseTimeout",
            ProxyError::RequestTimeout { .. } => "RequestTimeout",
            ProxyError::UnaskedUpgrade { .. } => "UnaskedUpgrade",
        }
    }

    pub fn into_response(self) -> Response<ResponseBody> {
        let body = serde_json::json!({ "error": { "reason": self.reason(), "message": self.to_string() } }).to_string();
        let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
        *response.status_mut() = self.status();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_endpoint_and_how_many_were_tried() {
        let error = |attempts| ProxyError::Connect {
            endpoint: "demo/vision-1@edge-3".into(),
            attempts,
            source: std::io::Error::other("Connection refused"),
        };
        assert_eq!(error(1).to_string(), "cannot connect to demo/vision-1@edge-3: Connection refused");
        assert_eq!(error(2).to_string(), "cannot connect to demo/vision-1@edge-3: Connection refused (2 endpoints tried)");
        let response = error(1).into_response();
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::BAD_GATEWAY, &"application/json".parse().unwrap())
        );
    }
}
