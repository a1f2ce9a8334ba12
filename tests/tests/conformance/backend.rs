//! A server that cases are sent to, raw: the answer is what came, not what a client library makes of it.

use super::answer::Answer;
use super::case::{Step, filled, filled_value};
use axum::body::Body as AxumBody;
use edge_demo::apiserver::{Options as ServerOptions, Server};
use edge_tests::control_plane::ControlPlane;
use futures::StreamExt as _;
use http::{Request, Response, header};
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for an answer, for the events of a watch, and for what [`Step::until`] asks.
const BOUND: Duration = Duration::from_secs(30);

/// Largest answer that is read.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Either of the two.
pub struct Backend {
    admin: Client,
    /// Without credentials; tokens are added by hand.
    anonymous: Client,
    _server: Running,
}

enum Running {
    Embedded(#[expect(dead_code, reason = "held so that it runs")] Server),
    Real(#[expect(dead_code, reason = "held so that it runs")] ControlPlane),
}

impl Backend {
    pub async fn embedded() -> Self {
        let server =
            Server::start(ServerOptions { enforce_rbac: true, loopback_endpoints: false, ..ServerOptions::default() }).await.unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&server.admin_kubeconfig()).unwrap();
        Self::of(kubeconfig, Running::Embedded(server)).await
    }

    pub async fn real(plane: ControlPlane) -> Self {
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
        Self::of(kubeconfig, Running::Real(plane)).await
    }

    async fn of(kubeconfig: Kubeconfig, server: Running) -> Self {
        let mut nobody = kubeconfig.clone();
        for user in &mut nobody.auth_infos {
            user.auth_info = Some(AuthInfo::default());
        }
        Self { admin: client(kubeconfig).await, anonymous: client(nobody).await, _server: server }
    }

    /// Sends the step, again and again where it waits for something, and keeps the variables that it names.
    pub async fn answer(&self, step: &Step, variables: &mut BTreeMap<String, String>) -> Result<Answer, String> {
        let deadline = Instant::now() + BOUND;
        loop {
            let answer = timeout(BOUND, self.send(step, variables)).await.map_err(|_| format!("no answer within {BOUND:?}"))??;
            let waits = step.until.as_ref().is_some_and(|until| !until.holds(answer.code, &answer.body));
            if waits && Instant::now() < deadline {
                sleep(Duration::from_millis(50)).await; // between two looks, not instead of one
                continue;
            }
            for (name, pointer) in &step.save {
                let value =
                    answer.body.pointer(pointer).ok_or_else(|| format!("nothing at {pointer} to save: {} {}", answer.code, answer.body))?;
                variables.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            return if waits { Err(format!("not within {BOUND:?}; the last answer: {} {}", answer.code, answer.body)) } else { Ok(answer) };
        }
    }

    async fn send(&self, step: &Step, variables: &BTreeMap<String, String>) -> Result<Answer, String> {
        let body = match (&step.raw, &step.body) {
            (Some(raw), _) => filled(raw, variables),
            (None, Some(body)) => filled_value(body, variables).to_string(),
            (None, None) => String::new(),
        };
        let mut request = Request::builder()
            .method(step.method())
            .uri(filled(step.uri(), variables))
            .header(header::USER_AGENT, "conformance/1")
            .header(header::ACCEPT, step.accepts());
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, step.media_type());
        }
        let client = match step.token.as_deref() {
            None => &self.admin,
            Some("anonymous") => &self.anonymous,
            Some(token) => {
                request = request.header(header::AUTHORIZATION, format!("Bearer {}", filled(token, variables)));
                &self.anonymous
            }
        };
        let request = request.body(Body::from(body.into_bytes())).map_err(|error| format!("{}: {error}", step.request))?;
        let response = client.send(request).await.map_err(|error| format!("{}: {error}", step.request))?;
        read(response, step.events).await
    }
}

async fn client(kubeconfig: Kubeconfig) -> Client {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // A refusal is an answer.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn read(response: Response<Body>, events: Option<usize>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    let text = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let warnings = parts.headers.get_all(header::WARNING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let watching = events.filter(|_| parts.status.is_success());
    let body = AxumBody::new(body);
    let body = match watching {
        Some(events) => read_events(body, events).await?,
        None => {
            let bytes = axum::body::to_bytes(body, ANSWER_LIMIT_BYTES).await.map_err(|error| format!("the answer broke off: {error}"))?;
            serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into())
        }
    };
    Ok(Answer {
        code: parts.status.as_u16(),
        media_type: text(header::CONTENT_TYPE).unwrap_or_default(),
        warnings: warnings.collect(),
        retry_after: text(header::RETRY_AFTER),
        body,
    })
}

/// The first `wanted` events of a watch, or as many as come before it ends or nothing comes for a while.
async fn read_events(body: AxumBody, wanted: usize) -> Result<Value, String> {
    let mut stream = body.into_data_stream();
    let (mut pending, mut events) = (Vec::new(), Vec::new());
    while events.len() < wanted {
        let Ok(Some(chunk)) = timeout(BOUND / 3, stream.next()).await else { break };
        pending.extend_from_slice(&chunk.map_err(|error| format!("the watch broke off: {error}"))?);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            events.push(serde_json::from_slice(&line).map_err(|error| format!("not an event: {error}"))?);
        }
    }
    events.truncate(wanted);
    Ok(Value::Array(events))
}
