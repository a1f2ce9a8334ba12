//! Lists: pages, selectors, versions; and deleting many.

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, VersionMatch};
use serde_json::json;

use super::{Cluster, config_map, pod, status};

#[tokio::test]
async fn pages_show_one_moment() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let post = PostParams::default();
    for name in ["a", "b", "c", "d"] {
        maps.create(&post, &config_map(name, "1")).await.unwrap();
    }
    let only_ours = ListParams::default().fields("metadata.name!=kube-root-ca.crt").limit(3);
    let first = maps.list(&only_ours).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    maps.delete("d", &DeleteParams::default()).await.unwrap();
    maps.create(&post, &config_map("e", "1")).await.unwrap();
    let second = maps.list(&only_ours.clone().continue_token(&token)).await.unwrap();
    let names = |list: &kube::api::ObjectList<_>| -> Vec<String> {
        list.items.iter().map(|m: &k8s_openapi::api::core::v1::ConfigMap| m.metadata.name.clone().unwrap()).collect()
    };
    assert_eq!((names(&first), names(&second)), (vec!["a".into(), "b".into(), "c".into()], vec!["d".to_owned()]));
    assert_eq!(first.metadata.resource_version, second.metadata.resource_version);
    cluster.server.compact();
    let gone = status(maps.list(&only_ours.continue_token(&token)).await);
    assert_eq!((gone.code, gone.reason.as_str()), (410, "Expired"));
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn selectors_and_versions() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.create_pod(pod(name)).await;
    }
    let pods = cluster.pods();
    let count = async |params: &ListParams| pods.list(params).await.map(|list| list.items.len());
    assert_eq!(count(&ListParams::default().labels("app in (a,c)")).await.unwrap(), 1);
    assert_eq!(count(&ListParams::default().labels("app!=a")).await.unwrap(), 1);
    assert_eq!(count(&ListParams::default().fields("spec.nodeName=")).await.unwrap(), 2);
    assert_eq!(count(&ListParams::default().fields("status.phase=Running")).await.unwrap(), 0);
    assert_eq!(status(count(&ListParams::default().fields("spec.colour=red")).await).code, 400);
    assert_eq!(status(count(&ListParams::default().labels("a in b")).await).code, 400);
    assert_eq!(count(&ListParams::default().match_any()).await.unwrap(), 2);
    let created: u64 = pods.get("a").await.unwrap().metadata.resource_version.unwrap().parse().unwrap();
    let exact = ListParams::default().at(&created.to_string()).matching(VersionMatch::Exact);
    assert_eq!(count(&exact).await.unwrap(), 1);
    let future = ListParams::default().at("999999").matching(VersionMatch::NotOlderThan);
    assert_eq!(status(count(&future).await).code, 504);
    pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=a")).await.unwrap();
    assert_eq!(count(&ListParams::default()).await.unwrap(), 1);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn one_event_in_two_views() {
    let cluster = Cluster::start().await;
    let new: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(cluster.client.clone(), "default");
    let event = json!({ "metadata": { "name": "e" }, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Warning",
        "reason": "FailedScheduling", "action": "Scheduling", "note": "0/5 nodes", "reportingController": "edge-scheduler",
        "reportingInstance": "x", "regarding": { "kind": "Pod", "name": "p", "namespace": "default" } });
    new.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    let old: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let fields = "involvedObject.name=p,involvedObject.kind=Pod,reason=FailedScheduling,type=Warning";
    let found = old.list(&ListParams::default().fields(fields)).await.unwrap();
    assert_eq!(found.items[0].message.as_deref(), Some("0/5 nodes"));
    assert_eq!(found.items[0].reporting_component.as_deref(), Some("edge-scheduler"));
    let found = new.list(&ListParams::default().fields("regarding.name=p")).await.unwrap();
    assert_eq!(found.items[0].note.as_deref(), Some("0/5 nodes"));
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn metadata_alone() {
    let cluster = Cluster::start().await;
    cluster.create_pod(pod("a")).await;
    let found = cluster.pods().list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(found.items[0].metadata.name.as_deref(), Some("a"));
    assert_eq!(cluster.pods().get_metadata("a").await.unwrap().types.unwrap().kind, "PartialObjectMetadata");
    cluster.server.shutdown().await;
}
