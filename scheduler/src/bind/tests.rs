use super::*;
use crate::mock_api::{self, failure, json_response};
use placement::cluster::PodKey;
use serde_json::json;
use std::sync::{Arc, Mutex};

/// One answer of the mock: a status code with a message, no answer at all, or the pod as it stands.
#[derive(Clone)]
enum Answer {
    Status(u16, &'static str),
    Dropped,
    Silence,
    Pod { uid: &'static str, node: Option<&'static str> },
}

fn pod() -> Pod {
    Pod { key: PodKey::new("default", "a"), uid: "u1".into(), ..Pod::default() }
}

/// Plays the answers in order; the outcome in words, and the requests that were made.
async fn play(answers: &[Answer]) -> (String, Vec<String>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (log, mut left) = (requests.clone(), Vec::from(answers));
    left.reverse();
    let left = Arc::new(Mutex::new(left));
    let client = mock_api::client(move |request| {
        log.lock().unwrap().push(format!("{} {} {}", request.method(), request.uri().path(), String::from_utf8_lossy(request.body())));
        let answer = left.lock().unwrap().pop();
        async move {
            match answer.expect("no more requests") {
                Answer::Status(201, _) => Ok(json_response(201, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))),
                Answer::Status(code, message) => Ok(failure(code, if code == 404 { "NotFound" } else { "Whatever" }, message)),
                Answer::Silence => std::future::pending().await,
                Answer::Dropped => Err("connection reset".to_owned()),
                Answer::Pod { uid, node } => Ok(json_response(
                    200,
                    &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "default", "uid": uid},
                            "spec": {"containers": [], "nodeName": node}}),
                )),
            }
        }
    });
    let clients = Clients { binding: client.clone(), reading: client };
    let patience = Patience { call: Duration::from_secs(4), look: Duration::from_secs(20) };
    let outcome = match bind(&clients, &pod(), "edge-1", patience, || Departure::new(|| true), std::future::pending::<()>).await {
        Bound::Here => "here".to_owned(),
        Bound::Elsewhere { node } => format!("on {node}"),
        Bound::Gone => "gone".to_owned(),
        Bound::CalledOff => "called off".to_owned(),
        Bound::Failed(error) => chassis::program::chain(&error),
    };
    let requests = requests.lock().unwrap().clone();
    (outcome, requests)
}

async fn check(answers: &[Answer], expected: &str, requests: usize) {
    let (outcome, made) = play(answers).await;
    assert!(outcome.contains(expected), "{outcome:?} is not {expected:?}");
    assert_eq!(made.len(), requests, "{made:?}");
}

#[tokio::test(start_paused = true)]
async fn the_binding_carries_the_uid() {
    let (outcome, requests) = play(&[Answer::Status(201, "")]).await;
    assert_eq!(outcome, "here");
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(request.starts_with("POST /api/v1/namespaces/default/pods/a/binding "), "{request}");
    // In protobuf: the fifth field of the metadata, and the first and third of the target.
    assert!(request.contains("\x2a\x02u1") && request.contains("\x0a\x04Node\x1a\x06edge-1"), "{request}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_and_a_conflict_is_looked_into() {
    use Answer::{Pod, Status};
    check(&[Status(404, "not found")], "gone", 1).await;
    check(&[Status(422, "pod is being deleted")], "binding rejected: pod is being deleted", 1).await;
    let conflict = Status(409, "pod a is already assigned");
    check(&[conflict.clone(), Pod { uid: "u1", node: Some("edge-2") }], "on edge-2", 2).await;
    check(&[conflict.clone(), Pod { uid: "u1", node: Some("edge-1") }], "here", 2).await;
    check(&[conflict.clone(), Pod { uid: "u2", node: None }], "gone", 2).await;
    check(&[conflict, Pod { uid: "u1", node: None }], "binding rejected: pod a is already assigned", 2).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_outcome_is_unknown_the_pod_is_read_until_it_tells() {
    use Answer::{Dropped, Pod, Silence, Status};
    check(&[Silence, Pod { uid: "u1", node: Some("edge-1") }], "here", 2).await;
    check(&[Dropped, Status(500, "x"), Dropped, Pod { uid: "u1", node: Some("edge-1") }], "here", 4).await;
    check(&[Status(503, "starting"), Pod { uid: "u1", node: None }], "binding failed: starting", 2).await;
    check(&[Dropped, Status(404, "not found")], "gone", 2).await;
    let silent = vec![Dropped; 16];
    let (outcome, made) = play(&silent).await;
    assert!(outcome.starts_with("binding failed") && (5..16).contains(&made.len()), "{outcome} after {}", made.len());
}

#[tokio::test(start_paused = true)]
async fn a_binding_without_an_answer_is_sent_again_since_it_may_be_done_yet() {
    use Answer::{Dropped, Pod, Silence, Status};
    let unbound = Pod { uid: "u1", node: None };
    let here = Pod { uid: "u1", node: Some("edge-1") };
    check(&[Silence, unbound.clone(), Status(201, "")], "here", 3).await;
    // The first was done in the end.
    check(&[Silence, unbound.clone(), Status(409, "already assigned"), here.clone()], "here", 4).await;
    check(&[Dropped, unbound.clone(), Status(503, "starting"), unbound.clone(), Status(409, "already assigned"), here], "here", 6).await;
    check(&[Dropped, unbound.clone(), Status(404, "not found")], "gone", 3).await;
    let never: Vec<Answer> = [Silence, unbound].into_iter().cycle().take(64).collect();
    let (outcome, made) = play(&never).await;
    assert!(outcome.starts_with("binding failed: no answer within 4s") && (6..16).contains(&made.len()), "{outcome} after {}", made.len());
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_has_not_left_is_called_off_and_one_that_has_is_seen_to_its_end() {
    let check = async |is_leader: bool, answers_after: Duration, ends_after: Duration, expected: &str| {
        let client = mock_api::client(move |_request| async move {
            tokio::time::sleep(answers_after).await;
            Ok(json_response(201, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})))
        });
        let clients = Clients { binding: client.clone(), reading: client };
        let patience = Patience { call: Duration::from_secs(4), look: Duration::from_secs(20) };
        let outcome =
            bind(&clients, &pod(), "edge-1", patience, || Departure::new(move || is_leader), async || tokio::time::sleep(ends_after).await)
                .await;
        assert_eq!(format!("{outcome:?}"), expected, "leader: {is_leader}, ends after {ends_after:?}");
    };
    let (second, never) = (Duration::from_secs(1), Duration::from_secs(1_000));
    check(true, second, second / 2, "Here").await;
    check(false, second, never, "CalledOff").await;
}

#[tokio::test]
async fn what_the_rate_limit_holds_back_is_called_off_and_costs_no_patience() {
    // A token every 1,000 s, of which the first call takes the only one. Port 9 of loopback: nobody.
    let config = chassis::client::ClientConfig { qps: 0.001, burst: 1, ..Default::default() };
    let nobody = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let binding = chassis::client::connect_departing_with(&nobody, &config).unwrap();
    let clients = Clients { binding: binding.clone(), reading: binding };
    let patience = Patience { call: Duration::ZERO, look: Duration::ZERO };
    let first = bind(&clients, &pod(), "edge-1", patience, || Departure::new(|| true), std::future::pending::<()>).await;
    assert!(matches!(&first, Bound::Failed(BindError::Failed(_))), "nobody to send it to, and nobody to ask: {first:?}");
    let end = || tokio::time::sleep(Duration::from_millis(300));
    let second = bind(&clients, &pod(), "edge-1", patience, || Departure::new(|| true), end).await;
    assert!(matches!(second, Bound::CalledOff), "{second:?}");
}
