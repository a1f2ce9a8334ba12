//! The connection to the Kubernetes API server: where it is, how fast we may call it, how long a call may take.

mod departure;
mod limits;
pub mod protobuf;
mod reach;

pub use departure::{CalledOff, Departure};
pub use limits::CallTimedOut;
pub use reach::{Interrupted, wait_until_reachable};

use crate::config::{Duration, Problems};
use bytes::Bytes;
use http::Uri;
use hyper::body::Body as HttpBody;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use limits::{CallTimeoutLayer, RateLimitLayer};
use protobuf::AcceptProtobufLayer;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tower::{BoxError, Service};

/// The section `client` of a program's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Kubeconfig file. Without it: `$KUBECONFIG`, `~/.kube/config`, then the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one by default.
    pub context: Option<String>,
    /// Calls a second, averaged; 0 lifts the limit. A watch counts once, when it starts.
    pub qps: f64,
    /// Calls that may be made at once before `qps` holds them back.
    pub burst: u32,
    /// Longest time for a call to be answered, body included (for a watch: until it starts).
    pub timeout: Duration,
}

impl Default for ClientConfig {
    /// kube-scheduler's 50 calls a second with bursts of 100.
    fn default() -> Self {
        Self { kubeconfig: None, context: None, qps: 50.0, burst: 100, timeout: Duration::from_secs(30) }
    }
}

impl crate::config::Validate for ClientConfig {
    fn validate(&self, problems: &mut Problems) {
        if !(self.qps >= 0.0 && self.qps.is_finite()) {
            problems.wrong("qps", self.qps, "calls a second, or 0 for no limit");
        }
        if self.qps > 0.0 && self.burst == 0 {
            problems.wrong("burst", self.burst, "at least 1 (or qps 0 for no limit)");
        }
        if self.timeout.is_zero() {
            problems.wrong("timeout", self.timeout, "more than 0s");
        }
    }
}

/// A client and where it leads. Making it calls nobody: see [`wait_until_reachable`].
#[derive(Clone)]
pub struct Connection {
    pub client: kube::Client,
    /// The API server's URL, for messages.
    pub server: Uri,
    /// The namespace of the context or of the pod.
    pub namespace: String,
}

/// The API server's address or our identity could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig { path: PathBuf, source: KubeconfigError },
    #[error("cannot use the context {context:?} of the kubeconfig")]
    Context { context: String, source: KubeconfigError },
    #[error("no API server to connect to: neither a kubeconfig ($KUBECONFIG, ~/.kube/config, --kubeconfig) nor a pod's service account")]
    Infer(#[source] kube::config::InferConfigError),
    #[error("cannot build the client for {server}")]
    Build { server: Uri, source: Box<kube::Error> },
    #[error("the user agent {0:?} is not a valid header value")]
    UserAgent(String),
}

/// Finds the API server and our identity. `user_agent` is the program's name and version, `edge-pinger/0.1.0`.
pub async fn connect(config: &ClientConfig, user_agent: &str) -> Result<Connection, ConnectError> {
    connect_with(find(config, user_agent).await?, config)
}

/// As [`connect`], for requests with a [`Departure`]: none leaves when its gate is shut, and none is ever sent twice.
pub async fn connect_departing(config: &ClientConfig, user_agent: &str) -> Result<kube::Client, ConnectError> {
    connect_departing_with(&find(config, user_agent).await?, config)
}

/// As [`connect_departing`] for an API server that is already known; takes only the limits from `config`.
pub fn connect_departing_with(found: &kube::Config, config: &ClientConfig) -> Result<kube::Client, ConnectError> {
    let builder = kube::client::ClientBuilder::new(departure::service(found)?, found.default_namespace.clone());
    Ok(limited(builder, config))
}

/// Metadata, of what the answer would have been; for servers that do not know this, all of it.
const METADATA_ALONE: http::HeaderValue =
    http::HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");

/// Has something done, and asks for no more of the answer than whether it was: neither side spends time on the rest. What is no JSON isn't the
/// API server's answer.
pub async fn tell(client: &kube::Client, request: Result<http::Request<Vec<u8>>, kube::core::request::Error>) -> kube::Result<()> {
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    request.headers_mut().insert(http::header::ACCEPT, METADATA_ALONE);
    client.request(request).await.map(|IgnoredAny| ())
}

async fn find(config: &ClientConfig, user_agent: &str) -> Result<kube::Config, ConnectError> {
    let options = KubeConfigOptions { context: config.context.clone(), ..Default::default() };
    let mut found = if let Some(path) = &config.kubeconfig {
        let wrong = |source| ConnectError::Kubeconfig { path: path.clone(), source };
        let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
        kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?
    } else if let Some(context) = &config.context {
        let wrong = |source| ConnectError::Context { context: context.clone(), source };
        kube::Config::from_kubeconfig(&options).await.map_err(wrong)?
    } else {
        kube::Config::infer().await.map_err(ConnectError::Infer)?
    };
    let agent = user_agent.parse().map_err(|_error| ConnectError::UserAgent(user_agent.to_owned()))?;
    found.headers.push((http::header::USER_AGENT, agent));
    Ok(found)
}

/// As [`connect`] for an API server that is already known; takes only the limits from `config`.
pub fn connect_with(found: kube::Config, config: &ClientConfig) -> Result<Connection, ConnectError> {
    let server = found.cluster_url.clone();
    let namespace = found.default_namespace.clone();
    let builder = kube::client::ClientBuilder::try_from(found)
        .map_err(|source| ConnectError::Build { server: server.clone(), source: Box::new(source) })?;
    Ok(Connection { client: limited(builder, config), server, namespace })
}

fn limited<S, B>(builder: kube::client::ClientBuilder<S>, config: &ClientConfig) -> kube::Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // The clock of a call starts when the rate limit lets it go.
    builder
        .with_layer(&AcceptProtobufLayer)
        .with_layer(&CallTimeoutLayer::new(*config.timeout))
        .with_layer(&RateLimitLayer::new(config.qps, config.burst))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Validate as _;

    #[tokio::test]
    async fn a_wrong_kubeconfig_is_named() {
        let config = ClientConfig { kubeconfig: Some("/nowhere/config".into()), ..Default::default() };
        let error = connect(&config, "test/0").await.err().expect("no such file");
        assert_eq!(error.to_string(), "cannot use the kubeconfig /nowhere/config");
    }

    #[tokio::test]
    async fn what_another_than_the_api_server_answers_is_no_success() {
        let told = |body: &'static str| async move {
            let client = crate::mock_api::client(move |request| async move {
                assert_eq!(request.headers()[http::header::ACCEPT], METADATA_ALONE);
                Ok(http::Response::new(Bytes::from_static(body.as_bytes())))
            });
            tell(
                &client,
                http::Request::delete("/api/v1/namespaces/default/pods/a")
                    .body(Vec::new())
                    .map_err(kube::core::request::Error::BuildRequest),
            )
            .await
        };
        told(r#"{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}"#).await.expect("that was the API server");
        told("<html>Who are you?</html>").await.expect_err("that was a proxy");
    }

    #[test]
    fn limits_are_checked() {
        let wrong = ClientConfig { qps: f64::NAN, timeout: Duration::default(), ..Default::default() };
        let mut problems = Problems::default();
        wrong.validate(&mut problems);
        let no_burst = ClientConfig { burst: 0, ..Default::default() };
        no_burst.validate(&mut problems);
        ClientConfig { qps: 0.0, burst: 0, ..Default::default() }.validate(&mut problems);
        assert_eq!(problems.into_keys(), ["qps", "timeout", "burst"]);
    }
}
