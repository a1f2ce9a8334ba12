//! Five hundred kubelets and some thousand pods: every watcher sees its own, and the server stays quick.

use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{PostParams, WatchEvent, WatchParams};
use serde_json::json;

use super::{BOUND, Cluster, pod};

const NODES: usize = 200;
const PODS_PER_NODE: usize = 3;

/// All of it together, on a busy machine with an unoptimised build.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_watches_its_own_pods() {
    let start = Instant::now();
    let cluster = Cluster::start().await;
    let mut watchers = Vec::new();
    for node in 0..NODES {
        let params = WatchParams::default().fields(&format!("spec.nodeName=n{node}"));
        let stream = cluster.pods().watch(&params, "0").await.unwrap();
        watchers.push(tokio::spawn(async move {
            let mine = stream.filter_map(async |event| match event {
                Ok(WatchEvent::Added(pod)) => Some(pod),
                _ => None,
            });
            let pods: Vec<Pod> = mine.take(PODS_PER_NODE).collect().await;
            pods.iter().all(|pod| pod.spec.as_ref().unwrap().node_name == Some(format!("n{node}")))
        }));
    }
    assert_eq!(cluster.server.watchers(), NODES);
    let pods = cluster.pods();
    futures::stream::iter(0..NODES * PODS_PER_NODE)
        .for_each_concurrent(16, |at| {
            let pods = pods.clone();
            async move {
                let name = format!("p{at}");
                pods.create(&PostParams::default(), &serde_json::from_value(pod(&name)).unwrap()).await.unwrap();
                let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
                    "target": { "kind": "Node", "name": format!("n{}", at % NODES) } });
                let post = PostParams::default();
                pods.create_subresource::<_, serde_json::Value>("binding", &name, &post, &binding).await.unwrap();
            }
        })
        .await;
    for watcher in watchers {
        assert!(tokio::time::timeout(BOUND, watcher).await.expect("every pod in time").unwrap());
    }
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    cluster.server.shutdown().await;
}
