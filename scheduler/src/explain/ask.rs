//! `edge-scheduler explain`: asks the running scheduler.

use crate::config::Config;
use api::labels::{SCHEDULER, TOKEN_AUDIENCE};
use chassis::client::{self, ConnectError, Connection};
use chassis::shutdown::Shutdown;
use chassis::tls::{CallError, TokenSource};
use chassis::topology::{Service, TopologyConfig, TopologyError};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// `NAMESPACE/POD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodArg {
    pub namespace: String,
    pub name: String,
}

impl FromStr for PodArg {
    type Err = String;

    fn from_str(text: &str) -> Result<PodArg, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(PodArg { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("got {text:?}: expected NAMESPACE/POD, such as default/web-0")),
        }
    }
}

impl fmt::Display for PodArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Question {
    Explain(PodArg),
    Summary,
}

impl Question {
    fn path(&self) -> String {
        match self {
            Question::Explain(pod) => format!("/v1/explain/{pod}"),
            Question::Summary => "/v1/summary".to_owned(),
        }
    }
}

/// Of whom, by which right, and in what form.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Ask {
    /// URL of the topology service; without it, its replicas are found in the cluster
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Token of audience edge-topology (a file); without it, one is asked for the scheduler's service account
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// CA of the topology service (a file); without it, the published one
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot get a token for the service account {namespace}/{SCHEDULER} (give one with --token-file)")]
    Token { namespace: String, source: Box<kube::Error> },
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("no replica of edge-scheduler is known in the cluster; is it running? (--server names one)")]
    NoReplica,
    #[error("shut down while waiting for the cluster")]
    Interrupted,
    #[error("no replica answers")]
    Unanswered(#[source] CallError),
}

const TIMEOUT: Duration = Duration::from_secs(15);

/// The answer as text, from the first replica that gives one.
pub async fn ask(config: &Config, question: &Question, how: &Ask, shutdown: &Shutdown) -> Result<String, AskError> {
    let defaults = TopologyConfig::default();
    let service = TopologyConfig {
        endpoints: how.server.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
        namespace: config.namespace.clone(),
        ca_file: how.ca_file.clone(),
        token_file: how.token_file.clone().unwrap_or(defaults.token_file.clone()),
        ..defaults
    };
    let mut found = Service::find(&service, &config.client, super::USER_AGENT, shutdown).await?.ok_or(AskError::Interrupted)?;
    if how.token_file.is_none() {
        let connection = client::connect(&config.client, super::USER_AGENT).await?;
        found = found.with_token(TokenSource::fixed(&request_token(&connection, &config.namespace).await?));
    }
    let mut replicas = found.replicas.clone();
    let known = tokio::time::timeout(TIMEOUT, replicas.wait_for(|replicas| !replicas.is_empty())).await;
    let replicas = known.ok().and_then(Result::ok).map(|replicas| replicas.clone()).ok_or(AskError::NoReplica)?;
    let mut last = None;
    for base in replicas {
        let (replica, path) = (found.replica(&base), question.path());
        let answer = match how.json {
            true => replica.get::<serde_json::Value>(&path).await.map(|found| serde_json::to_string_pretty(&found).unwrap_or_default()),
            false => replica.get_text(&path).await,
        };
        match answer {
            Ok(text) => return Ok(text),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or(AskError::NoReplica, AskError::Unanswered))
}

/// A token of the scheduler's own service account: whoever may create one may see explanations.
async fn request_token(connection: &Connection, namespace: &str) -> Result<String, AskError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(connection.client.clone(), namespace);
    let spec =
        TokenRequestSpec { audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]), expiration_seconds: Some(600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(SCHEDULER, &PostParams::default(), &request).await;
    let answer = answer.map_err(|source| AskError::Token { namespace: namespace.to_owned(), source: Box::new(source) })?;
    Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_with_their_namespace() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = text.parse::<PodArg>().ok();
            assert_eq!(found.as_ref().map(|pod| (pod.namespace.as_str(), pod.name.as_str())), expected, "{text:?}");
        };
        check("default/web-0", Some(("default", "web-0")));
        for wrong in ["web-0", "/web-0", "default/", "a/b/c", ""] {
            check(wrong, None);
        }
    }
}
