//! Watches, and what can go wrong with them.

use std::pin::pin;
use std::time::Duration;

use edge_demo::apiserver::{ChangeKind, Observation, Options, Rates};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::{BOUND, Cluster, config_map, eventually, pod, status};

/// Reads one event as (type, name or reason).
async fn next(stream: &mut (impl futures::Stream<Item = Result<WatchEvent<ConfigMap>, kube::Error>> + Unpin)) -> (String, String) {
    let event = tokio::time::timeout(BOUND, stream.next()).await.expect("an event in time").expect("a stream that goes on");
    let name = |map: ConfigMap| map.metadata.name.unwrap();
    match event.unwrap() {
        WatchEvent::Added(map) => ("ADDED".into(), name(map)),
        WatchEvent::Modified(map) => ("MODIFIED".into(), name(map)),
        WatchEvent::Deleted(map) => ("DELETED".into(), name(map)),
        WatchEvent::Bookmark(mark) => ("BOOKMARK".into(), mark.metadata.resource_version),
        WatchEvent::Error(status) => ("ERROR".into(), status.reason),
    }
}

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

#[tokio::test]
async fn objects_enter_and_leave_a_selector() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let post = PostParams::default();
    maps.create(&post, &config_map("old", "1")).await.unwrap();
    let mut stream = pin!(maps.watch(&WatchParams::default().labels("in=yes"), "0").await.unwrap());
    let label = async |name: &str, value: Option<&str>| {
        let patch = json!({ "metadata": { "labels": { "in": value } } });
        maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    };
    label("old", Some("yes")).await;
    assert_eq!(next(&mut stream).await, pair("ADDED", "old"));
    let patch = json!({ "data": { "k": "2" } });
    maps.patch("old", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(next(&mut stream).await, pair("MODIFIED", "old"));
    label("old", None).await;
    assert_eq!(next(&mut stream).await, pair("DELETED", "old"));
    label("old", Some("yes")).await;
    assert_eq!(next(&mut stream).await, pair("ADDED", "old"));
    maps.delete("old", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut stream).await, pair("DELETED", "old"));
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn history_is_replayed_or_gone() {
    let cluster = Cluster::with(Options { history: 3, ..Options::default() }).await;
    let maps = cluster.config_maps();
    let post = PostParams::default();
    let first = maps.create(&post, &config_map("a", "1")).await.unwrap().metadata.resource_version.unwrap();
    for name in ["b", "c"] {
        maps.create(&post, &config_map(name, "1")).await.unwrap();
    }
    let mut stream = pin!(maps.watch(&WatchParams::default(), &first).await.unwrap());
    assert_eq!(next(&mut stream).await, pair("ADDED", "b"));
    assert_eq!(next(&mut stream).await, pair("ADDED", "c"));
    for name in ["d", "e"] {
        maps.create(&post, &config_map(name, "1")).await.unwrap();
    }
    let mut stream = pin!(maps.watch(&WatchParams::default(), &first).await.unwrap());
    assert_eq!(next(&mut stream).await, pair("ERROR", "Expired"));
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn bookmarks_tell_how_far_an_idle_watch_is() {
    let options = Options { bookmark_interval: Duration::from_millis(50), ..Options::default() };
    let cluster = Cluster::with(options).await;
    let maps = cluster.config_maps();
    let now = maps.list(&Default::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut stream = pin!(maps.watch(&WatchParams::default(), &now).await.unwrap());
    assert_eq!(next(&mut stream).await, pair("BOOKMARK", &now));
    let pod = cluster.create_pod(pod("p")).await.metadata.resource_version.unwrap();
    loop {
        let (kind, version) = next(&mut stream).await;
        assert_eq!(kind, "BOOKMARK");
        if version == pod {
            break;
        }
    }
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_up() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let stream = maps.watch(&WatchParams::default().timeout(1).disable_bookmarks(), "0").await.unwrap();
    let events: Vec<_> = tokio::time::timeout(BOUND, stream.try_collect()).await.unwrap().unwrap();
    assert_eq!(events.len(), 1, "the one ConfigMap that every namespace has");
    eventually("the watch to be forgotten", async || (cluster.server.watchers() == 0).then_some(())).await;
    cluster.server.shutdown().await;
}

/// Runs a kube watcher through cuts and compaction and checks that it ends up with what is stored.
async fn converges(config: watcher::Config) {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let (reader, writer) = kube::runtime::reflector::store::<ConfigMap>();
    let stream = watcher(maps.clone(), config).default_backoff();
    let follower = tokio::spawn(kube::runtime::reflector(writer, stream).for_each(|_| async {}));
    let post = PostParams::default();
    for round in 0..3 {
        for at in 0..20 {
            maps.create(&post, &config_map(&format!("m-{round}-{at}"), "1")).await.unwrap();
        }
        cluster.server.faults().cut_watches();
        maps.delete(&format!("m-{round}-3"), &DeleteParams::default()).await.unwrap();
        cluster.server.compact();
    }
    eventually("the follower to see every object", async || {
        let ours = |m: &ConfigMap| m.metadata.name.as_ref().is_some_and(|n| n.starts_with("m-"));
        (reader.state().iter().filter(|m| ours(m)).count() == 57).then_some(())
    })
    .await;
    follower.abort();
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_watcher_survives_cuts_and_compaction() {
    converges(watcher::Config::default()).await;
}

#[tokio::test]
async fn a_streaming_watcher_survives_cuts_and_compaction() {
    converges(watcher::Config::default().streaming_lists()).await;
}

#[tokio::test]
async fn asked_for_failures_reach_the_client() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    cluster.server.faults().fail(Rates { internal: 1.0, ..Rates::default() });
    assert_eq!(status(maps.get("kube-root-ca.crt").await).code, 500);
    cluster.server.faults().fail(Rates { conflict: 1.0, ..Rates::default() });
    let patch = Patch::Merge(json!({ "data": { "x": "y" } }));
    assert_eq!(status(maps.patch("kube-root-ca.crt", &PatchParams::default(), &patch).await).code, 409);
    cluster.server.faults().fail(Rates::default());
    assert!(maps.get("kube-root-ca.crt").await.is_ok());
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_refuses_connections_comes_back() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    assert!(maps.get("kube-root-ca.crt").await.is_ok());
    cluster.server.faults().refuse_connections(true);
    cluster.server.faults().cut_connections();
    eventually("requests to fail", async || maps.get("kube-root-ca.crt").await.is_err().then_some(())).await;
    cluster.server.faults().refuse_connections(false);
    eventually("requests to succeed", async || maps.get("kube-root-ca.crt").await.ok()).await;
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn observers_see_what_was_stored_in_order() {
    let cluster = Cluster::start().await;
    let mut seen = cluster.server.subscribe();
    cluster.create_node("n1").await;
    cluster.create_pod(pod("p")).await;
    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" },
        "target": { "kind": "Node", "name": "n1" } });
    cluster.pods().create_subresource::<_, serde_json::Value>("binding", "p", &PostParams::default(), &binding).await.unwrap();
    let mut story = Vec::new();
    let mut last = 0;
    while let Ok(observation) = seen.try_recv() {
        match observation {
            Observation::Change(change) => {
                assert!(change.object.rv > last);
                last = change.object.rv;
                let verb = if change.kind == ChangeKind::Added { "added" } else { "changed" };
                story.push(format!("{verb} {}", change.object.name));
            }
            Observation::Bound(bound) => {
                assert_eq!((bound.rv, bound.user.as_str()), (last, "kubernetes-admin"));
                story.push(format!("bound {} to {}", bound.name, bound.node));
            }
        }
    }
    assert_eq!(story, ["added n1", "added p", "changed p", "bound p to n1"]);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_ends_every_watch_at_once() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(Box::pin(maps.watch(&WatchParams::default(), "0").await.unwrap()));
    }
    let address = cluster.server.address();
    tokio::time::timeout(Duration::from_secs(10), cluster.server.shutdown()).await.expect("a shutdown in time");
    for stream in streams {
        let rest = tokio::time::timeout(BOUND, stream.collect::<Vec<_>>()).await.unwrap();
        assert!(rest.len() <= 2, "one object, and perhaps an error: {rest:?}");
    }
    assert!(tokio::net::TcpListener::bind(address).await.is_ok(), "the port is free again");
}
