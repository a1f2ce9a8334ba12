use super::*;
use crate::mock_api::{self, failure};
use serde_json::Value;
use std::sync::Mutex;

/// Every call as `METHOD path body`, and how to answer the next ones (a status; 0 drops the connection); then all succeed.
#[derive(Clone, Default)]
struct Calls {
    seen: Arc<Mutex<Vec<(String, String, Value)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
    /// How long each takes.
    slow: Duration,
}

impl Calls {
    fn client(&self) -> kube::Client {
        let calls = self.clone();
        mock_api::client(move |request| {
            let slow = calls.slow;
            let body = protobuf::tests::event(request.body()).or_else(|| serde_json::from_slice(request.body()).ok()).unwrap_or_default();
            calls.seen.lock().unwrap().push((request.method().to_string(), request.uri().path().to_owned(), body));
            let status = calls.answers.lock().unwrap().pop().unwrap_or(200);
            async move {
                tokio::time::sleep(slow).await;
                match status {
                    0 => Err("connection reset".to_owned()),
                    200 => Ok(http::Response::new(r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"x"}}"#.into())),
                    other => Ok(failure(other, "Whatever", "no")),
                }
            }
        })
    }

    fn methods(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(method, _, _)| method.clone()).collect()
    }

    async fn until(&self, count: usize) {
        let wait = async {
            while self.seen.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("only {:?}", self.methods()));
    }
}

fn pod(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: Some("web".into()),
        name: Some(name.into()),
        uid: Some("u1".into()),
        ..Default::default()
    }
}

fn start(calls: &Calls, config: &RecorderConfig) -> (Recorder, Shutdown) {
    let shutdown = Shutdown::new();
    (Recorder::start(calls.client(), "edge-scheduler", "edge-scheduler-h_1", config, &shutdown), shutdown)
}

fn fail(recorder: &Recorder, name: &str) {
    recorder.publish(pod(name), EventType::Warning, "FailedScheduling", "Scheduling", "0/5 nodes are available");
}

#[tokio::test(start_paused = true)]
async fn the_first_is_made_the_second_patched_the_rest_written_at_the_end() {
    let calls = Calls::default();
    let (recorder, shutdown) = start(&calls, &RecorderConfig::default());
    for _ in 0..5 {
        fail(&recorder, "a");
    }
    calls.until(2).await;
    shutdown.trigger();
    shutdown.wait_all(Duration::from_secs(10)).await.expect("ends");

    let seen = calls.seen.lock().unwrap().clone();
    let [created, second, last] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((created.0.as_str(), created.1.as_str()), ("POST", "/apis/events.k8s.io/v1/namespaces/web/events"));
    let event = &created.2;
    for (field, expected) in [
        ("type", "Warning"),
        ("reason", "FailedScheduling"),
        ("action", "Scheduling"),
        ("note", "0/5 nodes are available"),
        ("reportingController", "edge-scheduler"),
        ("reportingInstance", "edge-scheduler-h_1"),
    ] {
        assert_eq!(event[field], expected, "{field}");
    }
    assert_eq!(event["regarding"]["uid"], "u1");
    assert!(event["eventTime"].as_str().unwrap().contains('.'), "in microseconds: {}", event["eventTime"]);
    let name = event["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a.1"), "{name}");
    for ((method, path, body), count) in [(second, 2), (last, 5)] {
        assert_eq!((method.as_str(), path.as_str()), ("PATCH", &*format!("/apis/events.k8s.io/v1/namespaces/web/events/{name}")));
        assert_eq!(body["series"]["count"], count);
        assert!(body["series"]["lastObservedTime"].is_string());
    }
    assert_eq!((recorder.status().written(), recorder.status().dropped()), (3, 0));
    fail(&recorder, "a");
    assert_eq!(recorder.status().dropped(), 1, "after the end nothing is taken");
}

#[tokio::test(start_paused = true)]
async fn a_series_that_is_over_is_written_out() {
    let calls = Calls::default();
    let (recorder, _shutdown) = start(&calls, &RecorderConfig::default());
    for _ in 0..3 {
        fail(&recorder, "a");
    }
    calls.until(2).await;
    tokio::time::sleep(FINISH * 2).await;
    assert_eq!(calls.methods(), ["POST", "PATCH", "PATCH"]);
    fail(&recorder, "a");
    calls.until(4).await;
    assert_eq!(calls.methods()[3], "POST");
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_paced_and_what_does_not_fit_is_counted() {
    let calls = Calls::default();
    let (recorder, _shutdown) = start(&calls, &RecorderConfig { queue: 100, qps: 10, writers: 1 });
    let begun = Instant::now();
    for pod in 0..150 {
        fail(&recorder, &format!("pod-{pod}"));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "the caller never waits");
    assert_eq!(recorder.status().dropped(), 50);
    calls.until(100).await;
    assert!(begun.elapsed() >= Duration::from_millis(9_900), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_different_objects_it_is_written_at_once_of_one_in_order() {
    let calls = Calls { slow: Duration::from_secs(1), ..Default::default() };
    let (recorder, _shutdown) = start(&calls, &RecorderConfig { queue: 100, qps: 0, writers: 4 });
    let begun = Instant::now();
    for round in 0..2 {
        for pod in 0..16 {
            fail(&recorder, &format!("pod-{pod}"));
        }
        assert_eq!(recorder.status().dropped(), 0, "round {round}");
    }
    calls.until(32).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "one after the other takes 31 s: {:?}", begun.elapsed());
    let seen = calls.seen.lock().unwrap();
    for pod in 0..16 {
        let of_pod = seen.iter().filter(|(_, path, body)| {
            path.contains(&format!("/pod-{pod}."))
                || body["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(&format!("pod-{pod}.")))
        });
        assert_eq!(of_pod.map(|(method, ..)| method.as_str()).collect::<Vec<_>>(), ["POST", "PATCH"], "pod-{pod}");
    }
}

async fn check_answers(answers: &[u16], expected_calls: &[&str], failed: u64) {
    let calls = Calls::default();
    *calls.answers.lock().unwrap() = answers.iter().rev().copied().collect();
    let (recorder, shutdown) = start(&calls, &RecorderConfig::default());
    fail(&recorder, "a");
    fail(&recorder, "a");
    calls.until(expected_calls.len()).await;
    shutdown.trigger();
    shutdown.wait_all(Duration::from_secs(30)).await.expect("ends");
    assert_eq!(calls.methods(), expected_calls, "{answers:?}");
    assert_eq!(recorder.status().failed(), failed, "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_or_given_up() {
    check_answers(&[0, 200], &["POST", "POST", "PATCH"], 0).await;
    check_answers(&[0, 409, 200], &["POST", "POST", "PATCH"], 0).await;
    check_answers(&[500, 0, 500, 200], &["POST", "POST", "POST", "POST"], 1).await;
    // The namespace is being deleted: each occurrence is tried once.
    check_answers(&[403, 403], &["POST", "POST"], 2).await;
    // The event has expired meanwhile.
    check_answers(&[200, 404, 200], &["POST", "PATCH", "POST"], 0).await;
}

#[test]
fn names_stay_within_their_limit() {
    let at = Timestamp::from_nanosecond(0x17f3_a000_0000_0000).unwrap();
    assert_eq!(event_name("pod-1", at), "pod-1.17f3a00000000000");
    let long = event_name(&"x".repeat(253), at);
    assert_eq!(long.len(), 253);
    assert!(long.ends_with("x.17f3a00000000000"));
}
