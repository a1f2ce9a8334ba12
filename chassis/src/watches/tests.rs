use super::*;
use crate::{
    admin::Admin,
    mock_api::{self, failure, json_response},
};
use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Mutex};

#[derive(Clone)]
enum Answer {
    List(&'static str, &'static [&'static str]),
    /// The resource version that must be asked for, and the events: `+a` added, `-a` deleted, `!410` an error.
    Watch(&'static str, &'static [&'static str]),
    Status(u16),
    Dropped,
}

fn object(name: &str, version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version}})
}

fn event(text: &str) -> Value {
    match text.split_at(1) {
        ("+", name) => json!({"type": "ADDED", "object": object(name, "5")}),
        ("-", name) => json!({"type": "DELETED", "object": object(name, "6")}),
        ("b", _) => json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata":
            {"resourceVersion": "8", "annotations": {"k8s.io/initial-events-end": "true"}}}}),
        (_, code) => json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": code.parse::<u16>().unwrap(),
            "reason": "Expired", "message": "too old"}}),
    }
}

fn names(change: Change<ConfigMap>) -> String {
    match change {
        Change::Apply(object) => format!("+{}", object.name_any()),
        Change::Delete(object) => format!("-{}", object.name_any()),
        Change::Reset(objects) => format!("={}", objects.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(",")),
    }
}

/// Plays the answers, then silence; the changes must be those expected.
async fn check(config: watcher::Config, answers: &[Answer], expected: &[&str]) -> Arc<WatchStatus> {
    check_kind(config, false, answers, expected).await
}

async fn check_kind(config: watcher::Config, optional: bool, answers: &[Answer], expected: &[&str]) -> Arc<WatchStatus> {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let left = answers.clone();
    let client = mock_api::client(move |request| {
        let answer = answers.lock().unwrap().pop_front();
        let query = request.uri().query().unwrap_or_default().to_owned();
        async move {
            match answer {
                Some(Answer::List(version, names)) => {
                    assert!(!query.contains("watch=true"), "{query}");
                    let items: Vec<Value> = names.iter().map(|name| object(name, "1")).collect();
                    Ok(json_response(
                        200,
                        &json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
                    ))
                }
                Some(Answer::Watch(version, events)) => {
                    assert!(query.contains("watch=true") && query.contains(&format!("resourceVersion={version}")), "{query}");
                    let lines: String = events.iter().map(|text| format!("{}\n", event(text))).collect();
                    Ok(http::Response::new(Bytes::from(lines)))
                }
                Some(Answer::Status(code)) => Ok(failure(code, "Whatever", "refused")),
                Some(Answer::Dropped) => Err("connection reset".to_owned()),
                None => std::future::pending().await,
            }
        }
    });
    let shutdown = Shutdown::new();
    let (status, changes) = follow(Api::<ConfigMap>::all(client), config, "configmaps", optional, std::convert::identity, &shutdown);
    let mut changes = std::pin::pin!(changes.map(names));
    for change in expected {
        let got = tokio::time::timeout(Duration::from_secs(100), changes.next()).await.expect("in time");
        assert_eq!(got.as_deref(), Some(*change));
    }
    // Drains what is scripted after the last change, to see that it brings none.
    let silence = tokio::time::timeout(Duration::from_secs(100), changes.next()).await;
    assert!(silence.is_err(), "unexpected {silence:?}");
    assert!(left.lock().unwrap().is_empty(), "not every answer was asked for");
    shutdown.trigger();
    assert_eq!(changes.next().await, None, "a shutdown ends the stream");
    status
}

#[tokio::test(start_paused = true)]
async fn resumes_where_a_connection_dropped() {
    use Answer::*;
    let answers = [List("4", &["a", "b"]), Watch("4", &["+c"]), Dropped, Dropped, Watch("5", &["-a"])];
    let status = check(watcher::Config::default(), &answers, &["=a,b", "+c", "-a"]).await;
    assert_eq!((status.restarts(), status.errors(), status.synced()), (0, 2, true));
}

#[tokio::test(start_paused = true)]
async fn lists_again_after_410_in_the_stream_or_as_the_answer() {
    use Answer::*;
    let answers = [List("4", &["a"]), Watch("4", &["!410"]), List("9", &["b"]), Watch("9", &[]), Status(410), List("12", &[])];
    let status = check(watcher::Config::default(), &answers, &["=a", "=b", "="]).await;
    assert_eq!((status.restarts(), status.errors()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn keeps_listing_until_it_works() {
    use Answer::*;
    let answers = [Dropped, Status(500), Status(403), List("4", &["a"])];
    let status = check(watcher::Config::default(), &answers, &["=a"]).await;
    assert_eq!(status.errors(), 3);
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_fall_back_where_they_are_refused() {
    use Answer::*;
    let config = WatchConfig { streaming_lists: true, ..Default::default() }.watcher();
    check(config.clone(), &[Watch("0", &["+a", "+b", "b", "+c"]), Watch("5", &[])], &["=a,b", "+c"]).await;
    check(config, &[Status(422), List("4", &["a"]), Watch("4", &["+b"])], &["=a", "+b"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_synced_when_its_list_was_taken_in_not_when_it_came() {
    let client = mock_api::client(|request| async move {
        match request.uri().query().unwrap_or_default().contains("watch=true") {
            true => std::future::pending().await,
            false => Ok(json_response(200, &json!({"metadata": {"resourceVersion": "1"}, "items": [object("a", "1")]}))),
        }
    });
    let (watches, shutdown) = (Watches::new(), Shutdown::new());
    let mut changes = watches.watch(Api::<ConfigMap>::all(client), watcher::Config::default(), "configmaps", &shutdown);
    assert_eq!(changes.next().await.map(names).as_deref(), Some("=a"));
    assert_eq!(watches.ready(), Err("configmaps: not synced".to_owned()), "whoever has the list has yet to work through it");
    assert!(futures::poll!(changes.next()).is_pending());
    assert_eq!(watches.ready(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn readiness_and_metrics_tell_the_state() {
    let client = mock_api::client(|_request| async { Err("connection refused".to_owned()) });
    let (watches, admin, shutdown) = (Watches::new(), Admin::new(), Shutdown::new());
    watches.attach(&admin);
    assert_eq!(watches.ready(), Ok(()));
    let mut changes = watches.watch(Api::<ConfigMap>::all(client), watcher::Config::default(), "configmaps", &shutdown);
    assert_eq!(watches.ready(), Err("configmaps: not synced".to_owned()));
    assert!(tokio::time::timeout(Duration::from_secs(1), changes.next()).await.is_err());
    let why = watches.ready().expect_err("still not synced");
    assert!(why.contains("configmaps: not synced; failed to perform initial object list") && why.contains("connection refused"), "{why}");

    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(watches));
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("watch_synced{watch=\"configmaps\"} 0.0\n"), "{text}");
    assert!(text.contains("watch_errors_total{watch=\"configmaps\"} 2\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_is_not_ready_until_it_is_granted() {
    use Answer::*;
    // The tests' wait for silence is longer than a refusal counts.
    let status = check(watcher::Config::default(), &[List("4", &["a"]), Status(403)], &["=a"]).await;
    assert_eq!((status.errors(), status.ready()), (1, Ok(())));
    status.saw_error("may not watch", true);
    assert_eq!(status.ready(), Err("not followed; may not watch, 0 s ago".to_owned()));
    status.saw_error("connection refused", false);
    assert!(status.ready().is_err(), "the API server is away, and has not granted it");
    status.saw_event();
    assert_eq!(status.ready(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_served_has_no_objects_until_it_is() {
    use Answer::*;
    let config = watcher::Config::default();
    let status = check_kind(config.clone(), true, &[Status(404), Status(404), Status(404)], &["="]).await;
    assert!(status.synced() && !status.is_served());
    let later = [Status(404), Dropped, Status(404), List("4", &["a"]), Watch("4", &["+b"])];
    assert!(check_kind(config.clone(), true, &later, &["=", "=a", "+b"]).await.is_served());
    // What was served once is only away.
    let away = [List("4", &["a"]), Watch("4", &["!410"]), Status(404), List("9", &["a"])];
    assert!(check_kind(config.clone(), true, &away, &["=a", "=a"]).await.is_served());
    assert!(!check_kind(config, false, &[Status(404)], &[]).await.synced(), "others are waited for");
}
