use super::*;
use crate::mock_api::{self, failure, json_response};
use axum::{Router, body::Body, routing::get};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tower::ServiceExt as _;

/// Knows three tokens, allows `pinger` to get /v1/peers, and counts what it is asked.
fn cluster(asked: &Arc<AtomicU32>) -> kube::Client {
    let asked = asked.clone();
    mock_api::client(move |request| {
        asked.fetch_add(1, Ordering::Relaxed);
        let mut body: Value = serde_json::from_slice(request.body()).unwrap();
        let user = |name: &str, extra: Value, audiences: Value| json!({"authenticated": true, "audiences": audiences, "user": {"username": name, "uid": "1", "groups": ["system:authenticated"], "extra": extra}});
        let token = body["spec"]["token"].as_str().unwrap_or_default().to_owned();
        let answer = if token == "broken" {
            failure(500, "InternalError", "etcd is away")
        } else {
            body["status"] = match token.as_str() {
                "pinger" => user("pinger", json!({"authentication.kubernetes.io/node-name": ["edge-1"]}), json!(["edge-topology"])),
                "person" => user("person", json!({}), json!(["edge-topology"])),
                "apiserver" => user("pinger", json!({}), json!([])),
                "" => {
                    let spec = &body["spec"];
                    assert_eq!(spec["groups"], json!(["system:authenticated"]));
                    let url = &spec["nonResourceAttributes"];
                    let allowed = spec["user"] == "pinger" && url["verb"] == "get" && url["path"] == "/v1/peers";
                    json!({"allowed": allowed, "reason": if allowed { "RBAC" } else { "no role" }})
                }
                _ => json!({"authenticated": false, "error": "invalid bearer token"}),
            };
            json_response(201, &body)
        };
        async move { Ok(answer) }
    })
}

fn router(asked: &Arc<AtomicU32>) -> Router {
    let client = cluster(asked);
    let authenticator = Authenticator::new(client.clone(), TOPOLOGY_AUDIENCE);
    let who = get(async |identity: Identity| identity.require_node().map(str::to_owned));
    let report = require_token(Router::new().route("/v1/report", who.clone()), &authenticator);
    let inner = Router::new().route("/peers", who.clone()).route("/summary", who.clone());
    let access = require_access(Router::new().nest("/v1", inner), &authenticator, &Authorizer::new(client));
    report.merge(access).route("/forgotten", who)
}

async fn check(router: &Router, path: &str, authorization: Option<&str>, status: u16, part: &str) {
    let mut request = http::Request::get(path);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let got = response.status().as_u16();
    let challenge = response.headers().contains_key("www-authenticate");
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    let text = serde_json::from_str::<Value>(text).map_or(text.to_owned(), |json| json["error"]["message"].as_str().unwrap().to_owned());
    assert_eq!(got, status, "{path} {authorization:?}: {text}");
    assert!(text.contains(part), "{path} {authorization:?}: {text}");
    assert!(challenge || got != 401 || path == "/forgotten");
}

#[tokio::test]
async fn callers_are_let_in_or_told_what_is_missing() {
    let router = router(&Arc::default());
    check(&router, "/v1/report", Some("Bearer pinger"), 200, "edge-1").await;
    check(&router, "/v1/report", Some("bearer  pinger"), 200, "edge-1").await;
    for wrong in [None, Some("Basic eDp5"), Some("Bearer "), Some("pinger")] {
        check(&router, "/v1/report", wrong, 401, "send `Authorization: Bearer TOKEN` with a token for the audience \"edge-topology\"")
            .await;
    }
    check(&router, "/v1/report", Some("Bearer forged"), 401, "not accepted: invalid bearer token").await;
    check(&router, "/v1/report", Some("Bearer apiserver"), 401, "it is for another audience").await;
    check(&router, "/v1/report", Some("Bearer person"), 403, "names no node").await;
    check(&router, "/v1/report", Some("Bearer broken"), 503, "try again").await;
    check(&router, "/v1/peers", Some("Bearer pinger"), 200, "edge-1").await;
    let denied = "user \"pinger\" needs the verb \"get\" on the non-resource URL \"/v1/summary\" (no role)";
    check(&router, "/v1/summary", Some("Bearer pinger"), 403, denied).await;
    check(&router, "/forgotten", Some("Bearer pinger"), 401, "does not authenticate").await;
}

#[tokio::test(start_paused = true)]
async fn answers_are_remembered_for_a_while() {
    let asked = Arc::default();
    let router = router(&asked);
    let count = async |path: &str, token: &str, status: u16| {
        let before = asked.load(Ordering::Relaxed);
        check(&router, path, Some(token), status, "").await;
        asked.load(Ordering::Relaxed) - before
    };
    assert_eq!(count("/v1/peers", "Bearer pinger", 200).await, 2, "who and whether");
    assert_eq!(count("/v1/peers", "Bearer pinger", 200).await, 0);
    assert_eq!(count("/v1/summary", "Bearer pinger", 403).await, 1);
    assert_eq!(count("/v1/summary", "Bearer pinger", 403).await, 0, "denials are remembered too");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(count("/v1/peers", "Bearer pinger", 200).await, 1, "whether, again");
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(count("/v1/report", "Bearer pinger", 200).await, 1, "who, again");
    assert_eq!(count("/v1/report", "Bearer forged", 401).await, 1);
    assert_eq!(count("/v1/report", "Bearer forged", 401).await, 1, "a refusal is not remembered: the token may become valid");
    assert_eq!(count("/v1/report", "Bearer broken", 503).await, 1);
}
