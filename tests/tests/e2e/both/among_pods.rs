//! Pods that are placed by where other pods are.

use crate::cluster::Cluster;
use edge_scheduler::Config;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use placement::cluster::Undelayed;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NODES: [(&str, &str); 4] = [("edge-1", "west"), ("edge-2", "west"), ("edge-3", "east"), ("cloud-1", "east")];

/// Every node with its zone and hostname, and a scheduler that places pods without delay bounds anywhere.
async fn zones() -> (Cluster, Config) {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for (name, zone) in NODES {
        let labels = json!({"zone": zone, "kubernetes.io/hostname": name});
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": labels}}))).await.unwrap();
    }
    let mut config = cluster.config();
    config.placement.undelayed = Undelayed::Any;
    (cluster, config)
}

async fn zone_of(cluster: &Cluster, pod: &str) -> &'static str {
    let node = cluster.bound(pod).await;
    NODES.iter().find(|(name, _)| *name == node).unwrap().1
}

fn term(app: &str, key: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_spread_over_zones() {
    let (cluster, config) = zones().await;
    let replica = cluster.run(config).await;
    let mut zones: BTreeMap<&str, u32> = BTreeMap::new();
    for i in 0..6 {
        let name = format!("spread-{i}");
        let spread = |pod: &mut Value| {
            pod["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "spread"}}}]);
        };
        cluster.create(&name, "100Mi", &[("app", "spread")], spread).await;
        *zones.entry(zone_of(&cluster, &name).await).or_default() += 1;
    }
    assert_eq!(zones, [("east", 3), ("west", 3)].into());
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_keep_apart_wait_for_a_node_of_their_own() {
    let (cluster, config) = zones().await;
    let replica = cluster.run(config).await;
    let apart = |pod: &mut Value| pod["spec"]["affinity"]["podAntiAffinity"] = term("apart", "kubernetes.io/hostname");
    let mut nodes = Vec::new();
    for i in 0..4 {
        cluster.create(&format!("apart-{i}"), "100Mi", &[("app", "apart")], apart).await;
        nodes.push(cluster.bound(&format!("apart-{i}")).await);
    }
    cluster.create("apart-4", "100Mi", &[("app", "apart")], apart).await;
    cluster.check_waits("apart-4", "0/4 nodes are available: 4 node(s) didn't match pod anti-affinity rules.").await;
    // It has no rules itself, and is in the way of theirs.
    cluster.create("unruled", "100Mi", &[("app", "apart")], |_| {}).await;
    cluster.check_waits("unruled", "0/4 nodes are available: 4 node(s) didn't satisfy existing pods anti-affinity rules.").await;
    cluster.delete("unruled").await;
    cluster.delete("apart-2").await;
    cluster.check_bound("apart-4", &nodes[2]).await;
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 4, "{nodes:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_follows_another_into_its_zone() {
    let (cluster, config) = zones().await;
    let replica = cluster.run(config).await;
    cluster.create("web", "100Mi", &[("app", "web")], |pod| pod["spec"]["affinity"]["podAffinity"] = term("db", "zone")).await;
    cluster.check_waits("web", "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.").await;
    cluster.create("db", "100Mi", &[("app", "db")], |pod| pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "edge-1"})).await;
    cluster.check_bound("db", "edge-1").await;
    assert_eq!(zone_of(&cluster, "web").await, "west");
    replica.stop().await;
}
