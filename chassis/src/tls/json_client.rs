//! Calls of our own HTTP APIs: JSON in and out, under a bearer token, with a deadline and errors that say what was refused.

use super::{ClientOptions, HttpsClient, TlsError, TokenError, TokenSource, https_client};
use crate::http_error::ErrorBody;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

/// A client of the topology service and the like. Clones share connections.
#[derive(Clone, Debug)]
pub struct JsonClient {
    http: HttpsClient<Full<Bytes>>,
    token: Option<TokenSource>,
    timeout: Duration,
}

/// A call that brought no answer, or one that refuses.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{uri}: no token to send")]
    Token { uri: String, source: TokenError },
    #[error("{uri}: cannot connect")]
    Connect { uri: String, source: hyper_util::client::legacy::Error },
    #[error("{uri}: no answer within {limit:?}")]
    TimedOut { uri: String, limit: Duration },
    #[error("{uri} answered {status}: {message}")]
    Refused { uri: String, status: StatusCode, reason: String, message: String },
    #[error("{uri}: the answer broke off: {message}")]
    Body { uri: String, message: String },
    #[error("{uri}: the answer is not what was expected")]
    Json { uri: String, source: serde_json::Error },
    #[error("{uri}: not a request that can be sent")]
    Request { uri: String, source: http::Error },
}

impl CallError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// The largest JSON answer: a full snapshot of 2,000 nodes is 4 million pairs of about ten bytes.
const LARGEST_ANSWER: usize = 256 << 20;
/// The longest line of a stream; a snapshot is one line.
const LONGEST_LINE: usize = LARGEST_ANSWER;

impl JsonClient {
    /// `timeout` bounds a call from its start to the end of the answer; of a stream only up to its start.
    pub fn new(options: &ClientOptions, token: Option<TokenSource>, timeout: Duration) -> Result<Self, TlsError> {
        Ok(Self { http: https_client(options)?, token, timeout })
    }

    /// As this one with another time limit, for calls that wait at the server.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// As this one under another token.
    pub fn with_token(&self, token: TokenSource) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    pub async fn get<T: DeserializeOwned>(&self, uri: &str) -> Result<T, CallError> {
        let (uri, body) = self.call(Method::GET, uri, "application/json", Bytes::new()).await?;
        serde_json::from_slice(&body).map_err(|source| CallError::Json { uri, source })
    }

    pub async fn get_text(&self, uri: &str) -> Result<String, CallError> {
        let (_, body) = self.call(Method::GET, uri, "text/plain", Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// An answer without a body (204) reads as `null`.
    pub async fn post<T: DeserializeOwned>(&self, uri: &str, body: &impl Serialize) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|source| CallError::Json { uri: uri.to_owned(), source })?;
        let (uri, body) = self.call(Method::POST, uri, "application/json", body.into()).await?;
        let body = if body.is_empty() { Bytes::from_static(b"null") } else { body };
        serde_json::from_slice(&body).map_err(|source| CallError::Json { uri, source })
    }

    /// Follows a stream of JSON lines. It ends with the connection, or with an error when nothing comes for `idle`.
    pub async fn lines<T: DeserializeOwned + Send + 'static>(
        &self,
        uri: &str,
        idle: Duration,
    ) -> Result<impl Stream<Item = Result<T, CallError>> + Send + use<T>, CallError> {
        let start = self.start(Method::GET, uri, "application/x-ndjson", Bytes::new());
        let (uri, body) = within(self.timeout, uri, start).await?;
        let bytes = body.into_data_stream().map_err(std::io::Error::other);
        let lines = FramedRead::new(StreamReader::new(bytes), LinesCodec::new_with_max_length(LONGEST_LINE));
        Ok(stream::unfold((Some(lines), uri), move |(lines, uri)| async move {
            let mut lines = lines?;
            let line = match tokio::time::timeout(idle, lines.next()).await {
                Err(_elapsed) => return Some((Err(CallError::TimedOut { uri: uri.clone(), limit: idle }), (None, uri))),
                Ok(line) => line?,
            };
            match line {
                Ok(line) => {
                    let parsed = serde_json::from_str(&line).map_err(|source| CallError::Json { uri: uri.clone(), source });
                    Some((parsed, (Some(lines), uri)))
                }
                Err(error) => Some((Err(CallError::Body { uri: uri.clone(), message: error.to_string() }), (None, uri))),
            }
        }))
    }

    async fn call(&self, method: Method, uri: &str, accept: &'static str, body: Bytes) -> Result<(String, Bytes), CallError> {
        within(self.timeout, uri, async {
            let (uri, body) = self.start(method, uri, accept, body).await?;
            let body = read(&uri, body, LARGEST_ANSWER).await?;
            Ok((uri, body))
        })
        .await
    }

    /// Sends a request and returns the body of a success.
    async fn start(&self, method: Method, uri: &str, accept: &'static str, body: Bytes) -> Result<(String, Incoming), CallError> {
        let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(source) = &self.token {
            let token = source.token().await.map_err(|source| CallError::Token { uri: uri.to_owned(), source })?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|source| CallError::Request { uri: uri.to_owned(), source })?;
        let uri = uri.to_owned();
        let response = self.http.request(request).await.map_err(|source| CallError::Connect { uri: uri.clone(), source })?;
        let status = response.status();
        if status.is_success() {
            return Ok((uri, response.into_body()));
        }
        let body = read(&uri, response.into_body(), 64 << 10).await?;
        let (reason, message) = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => (error.reason, error.message),
            Err(_not_ours) => (String::new(), String::from_utf8_lossy(&body).trim().to_owned()),
        };
        Err(CallError::Refused { uri, status, reason, message })
    }
}

async fn within<T>(limit: Duration, uri: &str, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_elapsed| Err(CallError::TimedOut { uri: uri.to_owned(), limit }))
}

async fn read(uri: &str, body: Incoming, limit: usize) -> Result<Bytes, CallError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(CallError::Body { uri: uri.to_owned(), message: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http_error::HttpError,
        program::chain,
        serve::{self, Limits},
        shutdown::Shutdown,
        tls::{Authority, ServingCertificate},
    };
    use axum::{Json, Router, http::HeaderMap, routing::get};
    use serde_json::{Value, json};
    use std::net::SocketAddr;

    const DAY: Duration = Duration::from_secs(86_400);
    const LIMIT: Duration = Duration::from_secs(10);

    fn routes() -> Router {
        Router::new()
            .route(
                "/who",
                get(async |headers: HeaderMap, version: http::Version| {
                    Json(json!({"token": headers["authorization"].to_str().unwrap(), "version": format!("{version:?}")}))
                }),
            )
            .route("/refused", get(async || HttpError::forbidden("needs the verb get on /refused")))
            .route("/silent", get(async || std::future::pending::<()>().await))
            .route("/echo", axum::routing::post(async |Json(value): Json<Value>| Json(value)))
            .route(
                "/stream",
                get(async || {
                    let chunks = ["{\"n\":1}\n{\"n\"", ":2}\nnonsense\n"].map(|text| Ok::<_, std::io::Error>(Bytes::from(text)));
                    axum::body::Body::from_stream(stream::iter(chunks).chain(stream::pending()))
                }),
            )
    }

    /// A TLS server on loopback and the PEM of its authority.
    async fn server(shutdown: &Shutdown) -> (SocketAddr, String) {
        let authority = Authority::generate("test", DAY).unwrap();
        let serving = ServingCertificate::new(&authority.issue(&["127.0.0.1".to_owned()], DAY).unwrap()).unwrap();
        let listener = serve::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
        shutdown.spawn(serve::serve_tls(listener, serving.server_config().unwrap(), routes(), limits, shutdown.clone()));
        (address, authority.certificate_pem().to_owned())
    }

    fn client(ca_pem: &str, http2: bool) -> JsonClient {
        let options = ClientOptions { ca_pem: ca_pem.to_owned(), http2, ..ClientOptions::default() };
        JsonClient::new(&options, Some(TokenSource::fixed("t0ken")), LIMIT).unwrap()
    }

    #[tokio::test]
    async fn calls_over_tls_under_a_token() {
        let shutdown = Shutdown::new();
        let (address, ca_pem) = server(&shutdown).await;
        for (http2, version) in [(true, "HTTP/2.0"), (false, "HTTP/1.1")] {
            let client = client(&ca_pem, http2);
            let who: Value = client.get(&format!("https://{address}/who")).await.expect("answers");
            assert_eq!(who, json!({"token": "Bearer t0ken", "version": version}));
            let echo: Value = client.post(&format!("https://{address}/echo"), &json!([1])).await.expect("answers");
            assert_eq!(echo, json!([1]));
        }
        shutdown.trigger();
        shutdown.wait_all(LIMIT).await.expect("the server ends");
    }

    #[tokio::test]
    async fn errors_say_what_went_wrong() {
        let shutdown = Shutdown::new();
        let (address, ca_pem) = server(&shutdown).await;
        let trusted = client(&ca_pem, true);
        let check = async |client: &JsonClient, path: &str, expected: &str| {
            let error = chain(&client.get::<Value>(&format!("https://{address}{path}")).await.expect_err("fails"));
            assert!(error.contains(expected), "{path}: {error}");
        };
        check(&trusted, "/refused", "/refused answered 403 Forbidden: needs the verb get on /refused").await;
        check(&trusted, "/nothing", "/nothing answered 404 Not Found: ").await;
        check(&trusted.with_timeout(Duration::from_millis(50)), "/silent", "/silent: no answer within 50ms").await;
        let stranger = client(Authority::generate("other", DAY).unwrap().certificate_pem(), true);
        check(&stranger, "/who", "invalid peer certificate").await;
        shutdown.trigger();
        shutdown.wait_all(LIMIT).await.expect("the server ends");
        // Port 1 (tcpmux): nobody listens there, and no other test is given it.
        let error = chain(&trusted.get::<Value>("https://127.0.0.1:1/who").await.expect_err("nobody listens"));
        assert!(error.contains("onnection refused"), "{error}");
    }

    #[tokio::test]
    async fn follows_lines_until_they_stop() {
        let shutdown = Shutdown::new();
        let (address, ca_pem) = server(&shutdown).await;
        let uri = format!("https://{address}/stream");
        let lines = client(&ca_pem, true).lines::<Value>(&uri, Duration::from_millis(200)).await.expect("starts");
        let got: Vec<String> = lines.map(|line| line.map_or_else(|error| error.to_string(), |value| value.to_string())).collect().await;
        assert_eq!(got.len(), 4, "{got:?}");
        assert_eq!(got[..2], [r#"{"n":1}"#, r#"{"n":2}"#]);
        assert!(got[2].contains("not what was expected") && got[3].contains("no answer within 200ms"), "{got:?}");
        shutdown.trigger();
        shutdown.wait_all(LIMIT).await.expect("the server ends");
    }
}
