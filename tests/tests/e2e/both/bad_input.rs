//! What users get wrong: the pod stays Pending, and its condition says what is wrong and what would be right.

use crate::cluster::{Cluster, from};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim};
use kube::api::{Api, PostParams};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn bad_bounds_keep_the_pod_pending_with_the_reason() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    let annotated =
        |text: &'static str| move |pod: &mut serde_json::Value| pod["metadata"]["annotations"] = json!({"edge-scheduler.io/delay": text});
    cluster.create("word", "1Gi", &[("delay_edge-1", "abc")], |_| {}).await;
    cluster.create("seconds", "1Gi", &[("delay_edge-1", "25s")], |_| {}).await;
    cluster.create("exponent", "1Gi", &[("delay_edge-1", "1e9")], |_| {}).await;
    cluster.create("empty", "1Gi", &[("delay_edge-1", "")], |_| {}).await;
    cluster.create("negative", "1Gi", &[], annotated(r#"{"node/edge-1": -3}"#)).await;
    cluster.create("nan", "1Gi", &[], annotated(r#"{"node/edge-1": "NaN"}"#)).await;
    cluster.create("broken", "1Gi", &[], annotated(r#"{"node/edge-1": "#)).await;
    cluster.create("unknown", "1Gi", &[("delay_edge-9", "25")], |_| {}).await;
    cluster.create("itself", "1Gi", &[("delay_itself", "25")], |_| {}).await;
    for (pod, parts) in [
        ("word", ["label delay_edge-1", "\"abc\""]),
        ("seconds", ["label delay_edge-1", "\"25s\""]),
        ("exponent", ["label delay_edge-1", "\"1e9\""]),
        ("empty", ["label delay_edge-1", "\"\""]),
        ("negative", ["annotation edge-scheduler.io/delay", "-3"]),
        ("nan", ["annotation edge-scheduler.io/delay", "NaN"]),
        ("broken", ["annotation edge-scheduler.io/delay", "JSON"]),
        ("unknown", ["\"edge-9\"", "is no node"]),
        ("itself", ["\"itself\"", "is the pod itself"]),
    ] {
        let told = cluster.until(pod, async || cluster.condition(pod).await.filter(|told| told.0 == "Unschedulable")).await;
        assert!(parts.iter().all(|part| told.1.contains(part)), "{pod}: {}", told.1);
        assert_eq!(cluster.node_of(pod).await, None, "{pod} is never placed by ignoring its bound");
    }
    // Zero is a bound like any other: on the node itself.
    cluster.create("zero", "1Gi", &[("delay_edge-3", "0")], |_| {}).await;
    cluster.check_bound("zero", "edge-3").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_implemented_is_refused_by_name() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    let claim = json!({"metadata": {"name": "shared"}, "spec": {"devices": {"requests": [
        {"name": "gpu", "exactly": {"deviceClassName": "gpu", "capacity": {"requests": {"memory": "1Gi"}}}}]}}});
    let claims = Api::<ResourceClaim>::default_namespaced(cluster.client.clone());
    claims.create(&PostParams::default(), &from(claim)).await.unwrap();
    let claiming = |pod: &mut serde_json::Value| pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "shared"}]);
    cluster.create("sharing", "1Gi", &[], claiming).await;
    let told = cluster.until("sharing waits", async || cluster.condition("sharing").await.filter(|told| told.0 == "Unschedulable")).await;
    assert!(told.1.contains("spec.devices.requests[0].exactly.capacity is not supported yet"), "{}", told.1);
    let class: DeviceClass = from(json!({"metadata": {"name": "offering"}, "spec": {"extendedResourceName": "offering.test/gpu"}}));
    Api::all(cluster.client.clone()).create(&PostParams::default(), &class).await.unwrap();
    let asking = |pod: &mut serde_json::Value| {
        let resources = json!({"offering.test/gpu": "1"});
        pod["spec"]["containers"][0]["resources"] = json!({"requests": resources, "limits": resources});
    };
    cluster.create("asking", "1Gi", &[("delay_edge-1", "25")], asking).await;
    let told = cluster.until("asking waits", async || cluster.condition("asking").await.filter(|told| told.0 == "Unschedulable")).await;
    let message = "0/4 nodes are available: 4 offering.test/gpu is offered by device class offering, which is not supported yet: claim a device of it instead";
    assert!(told.1.contains(message), "{}", told.1);
    // The kubelet of another system rejects the pod; who places it goes by labels, as kube-scheduler does.
    let windows = |pod: &mut serde_json::Value| pod["spec"]["os"] = json!({"name": "windows"});
    cluster.create("windows", "1Gi", &[], windows).await;
    cluster.check_bound("windows", "cloud-1").await;
    replica.stop().await;
}
