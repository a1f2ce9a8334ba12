//! Pods with claims. No server here runs controllers of volumes: the tests play them, as they bind both sides and provision what a node was chosen for.

use crate::cluster::{Cluster, from};
use edge_tests::objects::priority_class;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const HOSTNAME: &str = "kubernetes.io/hostname";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// A cluster whose nodes know their names, and its storage. Names are the test's own: volumes outlive a test on a real server.
struct Storage {
    cluster: Cluster,
    test: &'static str,
}

impl Storage {
    async fn start(test: &'static str) -> Storage {
        let cluster = Cluster::start().await;
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        for name in ["edge-1", "edge-2", "edge-3", "cloud-1"] {
            let labelled = json!({"metadata": {"labels": {HOSTNAME: name}}});
            nodes.patch(name, &PatchParams::default(), &Patch::Merge(labelled)).await.unwrap();
        }
        Storage { cluster, test }
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.cluster.client.clone())
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::default_namespaced(self.cluster.client.clone())
    }

    /// A class whose claims wait for their pods.
    async fn class(&self, provisioner: &str) {
        let classes: Api<StorageClass> = Api::all(self.cluster.client.clone());
        let class = json!({"metadata": {"name": self.test}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"});
        classes.create(&PostParams::default(), &from(class)).await.unwrap();
    }

    /// An available volume that one node reaches.
    async fn volume(&self, name: &str, node: &str, mode: &str) {
        let terms = json!([{"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node]}]}]);
        let volume = json!({
            "metadata": {"name": format!("{}-{name}", self.test)},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": [mode], "storageClassName": self.test,
                "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "csi.test", "volumeHandle": format!("{}-{name}", self.test)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            },
        });
        self.volumes().create(&PostParams::default(), &from(volume)).await.unwrap();
        let available = Patch::Merge(json!({"status": {"phase": "Available"}}));
        self.volumes().patch_status(&format!("{}-{name}", self.test), &PatchParams::default(), &available).await.unwrap();
    }

    async fn claim(&self, name: &str, mode: &str) {
        let claim = json!({
            "metadata": {"name": name},
            "spec": {"accessModes": [mode], "storageClassName": self.test, "resources": {"requests": {"storage": "1Gi"}}},
        });
        self.claims().create(&PostParams::default(), &from(claim)).await.unwrap();
    }

    /// Binds a claim to a volume as the controller does.
    async fn bind(&self, claim: &str, volume: &str) {
        let uid = self.claims().get(claim).await.unwrap().metadata.uid;
        let namespace = self.cluster.client.default_namespace();
        let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim, "uid": uid});
        let claimed = Patch::Merge(json!({"spec": {"claimRef": reference}}));
        self.volumes().patch(volume, &PatchParams::default(), &claimed).await.unwrap();
        let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": volume}});
        self.claims().patch(claim, &PatchParams::default(), &Patch::Merge(bound)).await.unwrap();
    }

    /// What the volume controller does in one round: claims get the volumes that are written as theirs.
    async fn bind_promised(&self) {
        for volume in self.volumes().list(&ListParams::default()).await.unwrap() {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let name = volume.metadata.name.unwrap_or_default();
            let Some(claim) = reference.and_then(|reference| reference.name.as_deref()) else { continue };
            if name.starts_with(self.test) && self.claims().get(claim).await.unwrap().spec.unwrap().volume_name.is_none() {
                self.bind(claim, &name).await;
            }
        }
    }

    /// Waits until a node is chosen for the claim; the node.
    async fn selected(&self, claim: &str) -> String {
        let selected = async || self.claims().get(claim).await.unwrap().metadata.annotations?.remove(SELECTED_NODE);
        self.cluster.until(&format!("a node is chosen for {claim}"), selected).await
    }

    /// A pod with the claim, within a bound from edge-1.
    async fn pod(&self, name: &str, claim: &str, within_ms: &str) {
        self.cluster.create(name, "1Gi", &[("delay_edge-1", within_ms)], with_claim(claim)).await;
    }
}

fn with_claim(claim: &str) -> impl Fn(&mut Value) {
    move |pod: &mut Value| pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_goes_where_its_volume_is_if_the_bound_lets_it() {
    let storage = Storage::start("bound").await;
    storage.class("kubernetes.io/no-provisioner").await;
    let replica = storage.cluster.run(storage.cluster.config()).await;
    storage.pod("near", "bound-data", "5").await;
    storage.cluster.check_waits("near", "0/4 nodes are available: persistentvolumeclaim \"bound-data\" not found.").await;
    storage.volume("v", "edge-3", "ReadWriteOnce").await;
    storage.claim("bound-data", "ReadWriteOnce").await;
    storage.bind("bound-data", "bound-v").await;
    let message = "0/4 nodes are available: 1 RTT from edge-1 above 5 ms, 3 node(s) didn't match PersistentVolume's node affinity.";
    storage.cluster.check_waits("near", message).await;
    storage.pod("far", "bound-data", "25").await;
    storage.cluster.check_bound("far", "edge-3").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_waits_for_its_pod_gets_the_volume_of_the_pods_node() {
    let storage = Storage::start("static").await;
    storage.class("kubernetes.io/no-provisioner").await;
    storage.volume("v", "edge-2", "ReadWriteOnce").await;
    for claim in ["first", "second"] {
        storage.claim(claim, "ReadWriteOnce").await;
    }
    let replica = storage.cluster.run(storage.cluster.config()).await;
    storage.pod("first", "first", "25").await;
    let bound = async || {
        storage.bind_promised().await;
        storage.cluster.node_of("first").await
    };
    assert_eq!(storage.cluster.until("first is bound", bound).await, "edge-2");
    let volume = storage.volumes().get("static-v").await.unwrap();
    assert_eq!(volume.metadata.annotations.unwrap()["pv.kubernetes.io/bound-by-controller"], "yes");
    assert_eq!(volume.spec.unwrap().claim_ref.unwrap().name.as_deref(), Some("first"));
    // There is no other volume.
    storage.pod("second", "second", "25").await;
    let message = "0/4 nodes are available: 4 node(s) didn't find available persistent volumes to bind.";
    storage.cluster.check_waits("second", message).await;
    storage.volume("w", "edge-3", "ReadWriteOnce").await;
    let bound = async || {
        storage.bind_promised().await;
        storage.cluster.node_of("second").await
    };
    assert_eq!(storage.cluster.until("second is bound", bound).await, "edge-3");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_provisioned_on_the_pods_node_and_a_node_without_room_is_given_back() {
    let storage = Storage::start("made").await;
    storage.class("csi.test").await;
    storage.claim("made-data", "ReadWriteOnce").await;
    let before = storage.cluster.version().await;
    let replica = storage.cluster.run(storage.cluster.config()).await;
    storage.pod("web", "made-data", "0").await;
    assert_eq!(storage.selected("made-data").await, "edge-1");
    assert_eq!(storage.cluster.node_of("web").await, None, "it waits for its volume");
    // Others need not wait with it, and nothing is written of them but their node.
    storage.cluster.create("other", "1Gi", &[("delay_edge-2", "0")], |_| {}).await;
    storage.cluster.check_bound("other", "edge-2").await;
    assert_eq!(storage.cluster.nominations("other", &before).await, [None, None]);
    // The provisioner has no room there: it takes the node back, and the pod is tried again.
    let refused = json!({"metadata": {"annotations": {SELECTED_NODE: null}}});
    storage.claims().patch("made-data", &PatchParams::default(), &Patch::Merge(refused)).await.unwrap();
    let why = "running PreBind plugin \"VolumeBinding\": binding volumes: provisioning failed for PVC \"made-data\"";
    assert_eq!(storage.cluster.note("web", "FailedScheduling").await, why);
    assert_eq!(storage.selected("made-data").await, "edge-1");
    storage.volume("v", "edge-1", "ReadWriteOnce").await;
    storage.bind("made-data", "made-v").await;
    storage.cluster.check_bound("web", "edge-1").await;
    let nominations = storage.cluster.nominations("web", &before).await;
    assert_eq!(nominations[..2], [None, Some("edge-1".to_owned())], "before its volume is waited for");
    assert_eq!(nominations.last(), Some(&None), "the binding takes it back");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_for_one_pod_is_had_by_one_at_a_time() {
    let storage = Storage::start("alone").await;
    storage.class("kubernetes.io/no-provisioner").await;
    storage.volume("v", "edge-2", "ReadWriteOncePod").await;
    storage.claim("alone-data", "ReadWriteOncePod").await;
    storage.bind("alone-data", "alone-v").await;
    let replica = storage.cluster.run(storage.cluster.config()).await;
    storage.pod("first", "alone-data", "25").await;
    storage.cluster.check_bound("first", "edge-2").await;
    storage.pod("second", "alone-data", "25").await;
    let message = "0/4 nodes are available: 4 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use \
                   by another pod.";
    storage.cluster.check_waits("second", message).await;
    storage.cluster.delete("first").await;
    storage.cluster.check_bound("second", "edge-2").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_waits_for_its_volume_is_called_off_for_one_of_higher_priority_and_not_deleted() {
    let storage = Storage::start("patient").await;
    let cluster = &storage.cluster;
    storage.class("csi.test").await;
    storage.claim("patient-data", "ReadWriteOnce").await;
    priority_class(&cluster.client, "above-the-patient", 1_000, "PreemptLowerPriority").await.unwrap();
    let replica = cluster.run(cluster.config()).await;
    cluster.create("patient", "7Gi", &[("delay_edge-2", "0")], with_claim("patient-data")).await;
    assert_eq!(storage.selected("patient-data").await, "edge-2");
    let before = cluster.get("patient").await;

    let urgent = |pod: &mut Value| pod["spec"]["priorityClassName"] = json!("above-the-patient");
    cluster.create("urgent", "7Gi", &[("delay_edge-2", "0")], urgent).await;
    cluster.check_bound("urgent", "edge-2").await;
    let uid = cluster.get("urgent").await.metadata.uid.unwrap();
    assert_eq!(cluster.note("patient", "Preempted").await, format!("Preempted by pod {uid} on node edge-2 (in edge-scheduler memory)."));
    // Its claim was given to edge-2, and no other node will do; edge-1 is too small anyway.
    let message = "0/4 nodes are available: 2 Insufficient memory, 2 node(s) didn't find available persistent volumes to bind.";
    cluster.check_waits("patient", message).await;
    let after = cluster.get("patient").await;
    assert_eq!((&after.metadata.uid, &after.metadata.deletion_timestamp), (&before.metadata.uid, &None));
    let conditions = after.status.unwrap().conditions.unwrap();
    assert!(conditions.iter().all(|condition| condition.type_ != "DisruptionTarget"), "{conditions:?}");

    cluster.delete("urgent").await;
    storage.volume("v", "edge-2", "ReadWriteOnce").await;
    storage.bind("patient-data", "patient-v").await;
    cluster.check_bound("patient", "edge-2").await;
    replica.stop().await;
}
