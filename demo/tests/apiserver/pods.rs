//! Pods: admission, binding, eviction, graceful deletion.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Cluster, eventually, pod, status};

impl Cluster {
    async fn bind(&self, name: &str, node: &str, uid: Option<&str>) -> Result<Value, kube::Error> {
        let binding = json!({ "apiVersion": "v1", "kind": "Binding",
            "metadata": { "name": name, "uid": uid, "annotations": { "a": "b" } },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node } });
        self.pods().create_subresource("binding", name, &PostParams::default(), &binding).await
    }

    async fn ready(&self, name: &str) {
        let patch = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        self.pods().patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }
}

#[tokio::test]
async fn admission_fills_in_a_pod() {
    let cluster = Cluster::start().await;
    let mut value = pod("p");
    value["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "1", "memory": "1Gi" } });
    value["spec"]["priorityClassName"] = "system-node-critical".into();
    let created = cluster.create_pod(value).await;
    let spec = created.spec.unwrap();
    assert_eq!((spec.priority, spec.scheduler_name.as_deref()), (Some(2_000_001_000), Some("default-scheduler")));
    assert_eq!(spec.tolerations.unwrap().len(), 2);
    assert!(spec.volumes.unwrap()[0].name.starts_with("kube-api-access-"));
    assert_eq!(spec.containers[0].resources.as_ref().unwrap().requests.as_ref().unwrap()["cpu"].0, "1");
    let status_ = created.status.unwrap();
    assert_eq!((status_.phase.as_deref(), status_.qos_class.as_deref()), (Some("Pending"), Some("Guaranteed")));
    assert_eq!(created.metadata.generation, Some(1));

    let mut unknown = pod("q");
    unknown["spec"]["priorityClassName"] = "none".into();
    let create = async |value: Value| cluster.pods().create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await;
    assert!(status(create(unknown).await).message.contains("no PriorityClass with name none was found"));
    let mut unknown = pod("q");
    unknown["spec"]["serviceAccountName"] = "nobody".into();
    let refused = status(create(unknown).await);
    assert_eq!(refused.code, 403);
    assert!(refused.message.contains("serviceaccount \"nobody\" not found"), "{}", refused.message);
    let mut bad = pod("q");
    bad["spec"]["containers"][0]["name"] = "Not Valid".into();
    let refused = status(create(bad).await);
    assert_eq!(refused.details.unwrap().causes[0].field, "spec.containers[0].name");
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::start().await;
    cluster.create_node("n1").await;
    cluster.create_pod(pod("p")).await;
    let refused = status(cluster.bind("p", "n1", Some("another")).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert!(refused.message.starts_with("Operation cannot be fulfilled on pods \"p\":"), "{}", refused.message);
    assert!(refused.message.contains("another"), "{}", refused.message);
    let uid = cluster.pods().get("p").await.unwrap().metadata.uid.unwrap();
    cluster.bind("p", "n1", Some(&uid)).await.unwrap();
    let bound = cluster.pods().get("p").await.unwrap();
    assert_eq!(bound.metadata.annotations.unwrap()["a"], "b");
    assert_eq!(bound.metadata.labels.unwrap()["topology.kubernetes.io/zone"], "z1");
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n1"));
    let conditions = bound.status.unwrap().conditions.unwrap();
    assert_eq!((conditions[0].type_.as_str(), conditions[0].status.as_str()), ("PodScheduled", "True"));
    let again = status(cluster.bind("p", "n1", None).await);
    assert!(again.message.contains("pod p is already assigned to node \"n1\""), "{}", again.message);
    assert_eq!(status(cluster.bind("none", "n1", None).await).message, "pods \"none\" not found");
    let moved = json!({ "spec": { "nodeName": "n2" } });
    let moved = cluster.pods().patch("p", &PatchParams::default(), &Patch::Merge(moved)).await;
    assert_eq!(status(moved).code, 422);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn gated_and_deleting_pods_are_not_bound() {
    let cluster = Cluster::start().await;
    cluster.create_node("n1").await;
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{ "name": "example.com/wait" }]);
    let created = cluster.create_pod(gated).await;
    assert_eq!(created.status.unwrap().conditions.unwrap()[0].reason.as_deref(), Some("SchedulingGated"));
    let refused = status(cluster.bind("gated", "n1", None).await);
    assert!(refused.message.contains("has non-empty .spec.schedulingGates"), "{}", refused.message);
    let open = json!({ "spec": { "schedulingGates": null } });
    let opened = cluster.pods().patch("gated", &PatchParams::default(), &Patch::Merge(open)).await.unwrap();
    // The condition stays until the pod is bound, as on the real server.
    assert_eq!(opened.status.unwrap().conditions.unwrap()[0].reason.as_deref(), Some("SchedulingGated"));
    cluster.bind("gated", "n1", None).await.unwrap();
    assert_eq!(cluster.pods().get("gated").await.unwrap().status.unwrap().conditions.unwrap()[0].status, "True");

    let mut held = pod("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create_pod(held).await;
    cluster.pods().delete("held", &DeleteParams::default()).await.unwrap();
    let refused = status(cluster.bind("held", "n1", None).await);
    assert!(refused.message.contains("pod held is being deleted, cannot be assigned to a host"), "{}", refused.message);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_bound_pod_waits_for_its_kubelet() {
    let cluster = Cluster::start().await;
    cluster.create_node("n1").await;
    let pods = cluster.pods();
    cluster.create_pod(pod("unbound")).await;
    pods.delete("unbound", &DeleteParams::default()).await.unwrap();
    assert_eq!(pods.get_opt("unbound").await.unwrap(), None);
    cluster.create_pod(pod("p")).await;
    cluster.bind("p", "n1", None).await.unwrap();
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    let deleting = pods.get("p").await.unwrap().metadata;
    assert_eq!(deleting.deletion_grace_period_seconds, Some(30));
    assert!(deleting.deletion_timestamp.is_some());
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(pods.get_opt("p").await.unwrap(), None);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn budgets_hold_evictions() {
    let cluster = Cluster::start().await;
    cluster.create_node("n1").await;
    let pods = cluster.pods();
    for name in ["a", "b"] {
        let mut value = pod(name);
        value["metadata"]["labels"] = json!({ "app": "web" });
        cluster.create_pod(value).await;
        cluster.bind(name, "n1", None).await.unwrap();
        cluster.ready(name).await;
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client.clone(), "default");
    let budget = json!({ "metadata": { "name": "web" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } } });
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    eventually("the budget to be counted", async || {
        let status = budgets.get("web").await.unwrap().status?;
        (status.disruptions_allowed == Some(1) && status.current_healthy == Some(2)).then_some(())
    })
    .await;
    pods.evict("a", &EvictParams::default()).await.unwrap();
    let refused = status(pods.evict("b", &EvictParams::default()).await);
    assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
    let causes = refused.details.unwrap().causes;
    assert_eq!(causes[0].reason, "DisruptionBudget");
    assert_eq!(causes[0].message, "The disruption budget web needs 1 healthy pods and has 1 currently");
    let evicted: Pod = pods.get("a").await.unwrap();
    assert!(evicted.metadata.deletion_timestamp.is_some());
    assert!(evicted.status.unwrap().conditions.unwrap().iter().any(|c| c.type_ == "DisruptionTarget"));
    cluster.server.shutdown().await;
}
