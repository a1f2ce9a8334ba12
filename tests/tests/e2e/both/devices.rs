//! Pods that claim devices. Nobody runs the controllers of claims here: the tests make the claims of templates, and free them, themselves.

use crate::cluster::{Cluster, from};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

fn claims(cluster: &Cluster) -> Api<ResourceClaim> {
    Api::default_namespaced(cluster.client.clone())
}

/// A class `<driver>` of a driver's devices.
async fn class(cluster: &Cluster, driver: &str) {
    let expression = format!("device.driver == '{driver}'");
    let class: DeviceClass = from(json!({"metadata": {"name": driver}, "spec": {"selectors": [{"cel": {"expression": expression}}]}}));
    Api::<DeviceClass>::all(cluster.client.clone()).create(&PostParams::default(), &class).await.unwrap();
}

/// One device of this model on a node.
async fn device(cluster: &Cluster, driver: &str, node: &str, model: &str) {
    let slice: ResourceSlice = from(json!({
        "metadata": {"name": format!("{node}-{driver}")},
        "spec": {
            "driver": driver, "nodeName": node, "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "d0", "attributes": {"model": {"string": model}}, "capacity": {"memory": {"value": "40Gi"}}}],
        },
    }));
    Api::<ResourceSlice>::all(cluster.client.clone()).create(&PostParams::default(), &slice).await.unwrap();
}

/// A claim for one device, of this model or of any.
async fn claim(cluster: &Cluster, name: &str, driver: &str, model: Option<&str>, owner: Option<&Pod>) -> ResourceClaim {
    let selectors = model.map(|model| {
        let expression = format!(
            "device.attributes['{driver}'].model == '{model}' && device.capacity['{driver}'].memory.isGreaterThan(quantity('1Gi'))"
        );
        json!([{"cel": {"expression": expression}}])
    });
    let owners = owner
        .map(|pod| json!([{"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid, "controller": true}]));
    let claim = from(json!({
        "metadata": {"name": name, "ownerReferences": owners},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": driver, "selectors": selectors}}]}},
    }));
    claims(cluster).create(&PostParams::default(), &claim).await.unwrap()
}

fn claiming(entry: Value) -> impl Fn(&mut Value) {
    move |pod: &mut Value| {
        pod["spec"]["resourceClaims"] = json!([entry]);
        pod["spec"]["containers"][0]["resources"]["claims"] = json!([{"name": "gpu"}]);
    }
}

fn named(claim: &str) -> impl Fn(&mut Value) {
    claiming(json!({"name": "gpu", "resourceClaimName": claim}))
}

/// The claim's device, as `<pool>/<device>`, and the names of those that it is reserved for.
async fn held(cluster: &Cluster, name: &str) -> Option<(String, Vec<String>)> {
    let status = claims(cluster).get(name).await.unwrap().status?;
    let device = status.allocation?.devices?.results?.into_iter().next()?;
    let users = status.reserved_for.unwrap_or_default().into_iter().map(|user| user.name).collect();
    Some((format!("{}/{}", device.pool, device.device), users))
}

async fn set_status(cluster: &Cluster, mut claim: ResourceClaim, status: Value) {
    claim.status = Some(from(status));
    let name = claim.metadata.name.clone().unwrap();
    claims(cluster).replace_status(&name, &PostParams::default(), &claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_has_a_device_takes_its_pod_there() {
    let cluster = Cluster::start().await;
    class(&cluster, "held.test").await;
    let made = claim(&cluster, "held", "held.test", None, None).await;
    let on = json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["edge-3"]}]}]});
    let device = json!({"driver": "held.test", "pool": "edge-3", "device": "d0"});
    let mut result = device.clone();
    result["request"] = json!("gpu");
    (result["bindingConditions"], result["bindingFailureConditions"]) = (json!(["Ready"]), json!(["Broken"]));
    let other = json!([{"resource": "pods", "name": "other", "uid": "1f0e"}]);
    let mut status = json!({"allocation": {"nodeSelector": on, "devices": {"results": [result]}}, "reservedFor": other});
    set_status(&cluster, made, status.clone()).await;
    let replica = cluster.run(cluster.config()).await;
    // Edge-2 would be nearer.
    cluster.create("user", "64Mi", &[("delay_edge-1", "25")], named("held")).await;
    let message = "0/4 nodes are available: resourceclaim \"held\": status.allocation.devices.results[].bindingConditions device d0 is not prepared yet: \
                   Ready is awaited.";
    cluster.check_waits("user", message).await;
    let ready =
        json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Prepared", "message": ""});
    status["devices"] = json!([device]);
    status["devices"][0]["conditions"] = json!([ready]);
    set_status(&cluster, claims(&cluster).get("held").await.unwrap(), status).await;
    cluster.check_bound("user", "edge-3").await;
    assert_eq!(held(&cluster, "held").await, Some(("edge-3/d0".into(), vec!["other".into(), "user".into()])));
    cluster.create("too-far", "64Mi", &[("delay_edge-1", "10")], named("held")).await;
    let message = "0/4 nodes are available: 1 RTT from edge-1 above 10 ms, 3 resourceclaim not available on the node.";
    cluster.check_waits("too-far", message).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_a_template_gets_the_device_that_it_asks_for() {
    let cluster = Cluster::start().await;
    class(&cluster, "made.test").await;
    for (node, model) in [("edge-2", "small"), ("edge-3", "large"), ("cloud-1", "large")] {
        device(&cluster, "made.test", node, model).await;
    }
    let before = cluster.version().await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("web", "64Mi", &[("delay_edge-1", "25")], claiming(json!({"name": "gpu", "resourceClaimTemplateName": "gpu"}))).await;
    cluster.check_waits("web", "0/4 nodes are available: pod \"default/web\": ResourceClaim not created yet.").await;
    let pod = cluster.get("web").await;
    claim(&cluster, "web-gpu", "made.test", Some("large"), Some(&pod)).await;
    let made = json!({"status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "web-gpu"}]}});
    cluster.pods().patch_status("web", &PatchParams::default(), &Patch::Strategic(made)).await.unwrap();
    cluster.check_bound("web", "edge-3").await;
    assert_eq!(cluster.nominations("web", &before).await.iter().flatten().collect::<Vec<_>>(), ["edge-3"], "before its claim is written");
    assert_eq!(held(&cluster, "web-gpu").await, Some(("edge-3/d0".into(), vec!["web".into()])));
    let written = claims(&cluster).get("web-gpu").await.unwrap();
    assert_eq!(written.metadata.finalizers.as_deref(), Some(&[FINALIZER.to_owned()][..]));
    let nodes = written.status.unwrap().allocation.unwrap().node_selector.unwrap();
    assert_eq!(nodes.node_selector_terms[0].match_fields.as_ref().unwrap()[0].values.as_ref().unwrap(), &["edge-3"]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_device_goes_to_one_claim_after_the_other() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    for (driver, node, labels) in [("only.test", "cloud-1", &[][..]), ("near.test", "edge-2", &[("delay_edge-1", "10")])] {
        let (first, second) = (format!("first-{driver}"), format!("second-{driver}"));
        class(&cluster, driver).await;
        device(&cluster, driver, node, "only").await;
        claim(&cluster, &first, driver, None, None).await;
        claim(&cluster, &second, driver, None, None).await;
        cluster.create(&first, "64Mi", labels, named(&first)).await;
        cluster.check_bound(&first, node).await;
        cluster.create(&second, "64Mi", labels, named(&second)).await;
        cluster.check_waits(&second, "0/4 nodes are available: 4 cannot allocate all claims.").await;
        cluster.delete(&first).await;
        // As the controller does when the last user has gone.
        let used = claims(&cluster).get(&first).await.unwrap();
        set_status(&cluster, used, json!({})).await;
        cluster.check_bound(&second, node).await;
        assert_eq!(held(&cluster, &second).await, Some((format!("{node}/d0"), vec![second.clone()])));
    }
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_nobody_can_use_where_it_is_is_given_back() {
    let cluster = Cluster::start().await;
    class(&cluster, "moved.test").await;
    device(&cluster, "moved.test", "edge-2", "any").await;
    let made = claim(&cluster, "moved", "moved.test", None, None).await;
    let on = json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["edge-1"]}]}]});
    let results = json!([{"request": "gpu", "driver": "moved.test", "pool": "edge-1", "device": "d0"}]);
    set_status(&cluster, made, json!({"allocation": {"nodeSelector": on, "devices": {"results": results}}})).await;
    let replica = cluster.run(cluster.config()).await;
    cluster
        .create("user", "64Mi", &[("delay_edge-1", "10")], |pod| {
            named("moved")(pod);
            let there = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["edge-2"]}]}]);
            pod["spec"]["affinity"] =
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": there}}});
        })
        .await;
    cluster.check_bound("user", "edge-2").await;
    assert_eq!(held(&cluster, "moved").await, Some(("edge-2/d0".into(), vec!["user".into()])));
    replica.stop().await;
}
