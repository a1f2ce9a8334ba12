//! The client side of the topology service, for agents and routers: where its replicas are, whom to trust, and calls to one of them.

mod authority;
mod replicas;

use crate::client::{self, ClientConfig, ConnectError, Interrupted};
use crate::config::{Problems, Validate};
use crate::shutdown::Shutdown;
use crate::tls::{CallError, ClientOptions, JsonClient, TlsError, TokenSource};
use futures::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// Where the topology service is and how to prove who asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TopologyConfig {
    /// Base URLs of the replicas, `https://host:port`. Empty: from the EndpointSlices of the Service.
    pub endpoints: Vec<String>,
    pub namespace: String,
    pub service: String,
    /// CA that signs the service's certificate. Absent: from the ConfigMap that the service publishes.
    pub ca_file: Option<PathBuf>,
    /// Projected service account token of audience `edge-topology`, read again when it changes.
    pub token_file: PathBuf,
}

impl Default for TopologyConfig {
    fn default() -> TopologyConfig {
        TopologyConfig {
            endpoints: Vec::new(),
            namespace: "edge-system".into(),
            service: "edge-scheduler".into(),
            ca_file: None,
            token_file: "/var/run/secrets/edge-topology/token".into(),
        }
    }
}

impl Validate for TopologyConfig {
    fn validate(&self, problems: &mut Problems) {
        for endpoint in &self.endpoints {
            let https = endpoint.parse::<http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
            if https.is_none() {
                problems.wrong("endpoints", endpoint, "https://host:port");
            }
        }
    }
}

impl TopologyConfig {
    fn needs_api_server(&self) -> bool {
        self.endpoints.is_empty() || self.ca_file.is_none()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("cannot read the CA file {}", path.display())]
    CaFile { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// A call that takes longer than the server's longest wait (30 s of a long poll) has lost its server.
const CALL_TIMEOUT: Duration = Duration::from_secs(45);
/// The stream has a heartbeat every 5 s.
const STREAM_IDLE: Duration = Duration::from_secs(20);

/// The topology service as a set of replicas.
pub struct Service {
    client: JsonClient,
    /// Base URLs of the replicas.
    pub replicas: watch::Receiver<BTreeSet<String>>,
}

impl Service {
    /// Finds the service; waits, saying so, for what is not there yet (the API server, the published CA). `None` when shutdown comes first.
    ///
    /// `user_agent` is the program's name and version.
    pub async fn find(
        config: &TopologyConfig,
        api_server: &ClientConfig,
        user_agent: &str,
        shutdown: &Shutdown,
    ) -> Result<Option<Service>, TopologyError> {
        let kube = match config.needs_api_server() {
            false => None,
            true => {
                let connection = client::connect(api_server, user_agent).await?;
                if let Err(Interrupted) = client::wait_until_reachable(&connection, shutdown).await {
                    return Ok(None);
                }
                Some(connection.client)
            }
        };
        let ca_pem = match (&config.ca_file, &kube) {
            (Some(path), _) => std::fs::read_to_string(path).map_err(|source| TopologyError::CaFile { path: path.clone(), source })?,
            (None, Some(kube)) => match authority::published(kube, &config.namespace, shutdown).await {
                Some(ca_pem) => ca_pem,
                None => return Ok(None),
            },
            // needs_api_server() said that there is a client.
            (None, None) => return Ok(None),
        };
        let replicas = match kube {
            Some(kube) if config.endpoints.is_empty() => replicas::follow(&kube, config, shutdown),
            _ => watch::Sender::new(config.endpoints.iter().map(|url| url.trim_end_matches('/').to_owned()).collect()).subscribe(),
        };
        let options = ClientOptions { ca_pem, ..ClientOptions::default() };
        let client = JsonClient::new(&options, Some(TokenSource::file(&config.token_file)), CALL_TIMEOUT)?;
        Ok(Some(Service { client, replicas }))
    }

    /// Calls under this token instead of the configured file's.
    pub fn with_token(self, token: TokenSource) -> Service {
        Service { client: self.client.with_token(token), ..self }
    }

    pub fn replica(&self, base: &str) -> Replica {
        Replica { client: self.client.clone(), base: base.to_owned() }
    }
}

/// Calls to one replica. Paths begin with `/`.
#[derive(Clone, Debug)]
pub struct Replica {
    client: JsonClient,
    base: String,
}

impl Replica {
    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.client.get(&format!("{}{path}", self.base)).await
    }

    pub async fn get_text(&self, path: &str) -> Result<String, CallError> {
        self.client.get_text(&format!("{}{path}", self.base)).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        self.client.post(&format!("{}{path}", self.base), body).await
    }

    /// Follows a stream of JSON lines; it ends with an error when even the heartbeat stays away.
    pub async fn lines<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<T, CallError>> + Send + use<T>, CallError> {
        self.client.lines(&format!("{}{path}", self.base), STREAM_IDLE).await
    }
}
