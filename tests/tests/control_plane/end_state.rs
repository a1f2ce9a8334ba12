//! The same scenarios with kube-scheduler, with edge-scheduler beside it and with edge-scheduler in its place on a real control plane, whose end states must
//! be the same: who runs where, who had to go, who waits and why. Left out, saying so, where the control plane is not built.

use api::labels::{SCHEDULER_NAME, ZONE_LABEL};
use chassis::shutdown::Shutdown;
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, Shared};
use edge_tests::objects::{api, make, object, priority_class};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// Nodes of 32 CPUs each, every one a zone of its own.
const NODES: u32 = 3;
const SOON: Duration = Duration::from_secs(60);

static PLANE: Shared = Shared::new(Options { nodes: NODES, kubelets: Kubelets::Kwok, controllers: true, scheduler: true, audit: false });
/// Without kube-scheduler.
static REPLACED: Shared =
    Shared::new(Options { nodes: NODES, kubelets: Kubelets::Kwok, controllers: true, scheduler: false, audit: false });

/// What a scenario ends in, by pod or by what else is looked at.
type EndState = BTreeMap<String, String>;

/// A namespace whose pods one scheduler has.
struct Stage {
    client: Client,
    namespace: String,
    scheduler: &'static str,
}

impl Stage {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn make(&self, mut value: Value) {
        value["metadata"]["namespace"] = json!(self.namespace);
        make(&self.client, &object(value).unwrap()).await.unwrap();
    }

    /// A pod that asks for so many CPUs; `more` is merged into its spec.
    async fn pod(&self, name: &str, cpus: u32, more: Value) {
        let resources = json!({"requests": {"cpu": cpus.to_string()}});
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web", "name": name}},
            "spec": {"schedulerName": self.scheduler, "containers": [{"name": "main", "image": "none", "resources": resources}], "terminationGracePeriodSeconds": 0},
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        self.make(pod).await;
    }

    /// Waits for it.
    async fn until<T>(&self, what: &str, name: &str, found: impl Fn(&Pod) -> Option<T>) -> T {
        let reached = await_condition(self.pods(), name, |pod: Option<&Pod>| pod.and_then(&found).is_some());
        let pod = tokio::time::timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{}: {name} {what}: not in time", self.scheduler));
        found(&pod.unwrap().unwrap()).unwrap()
    }

    async fn node_of(&self, name: &str) -> String {
        self.until("is bound", name, |pod| pod.spec.as_ref()?.node_name.clone()).await
    }

    /// Why it waits.
    async fn reason(&self, name: &str) -> String {
        let reason = |pod: &Pod| {
            let conditions = pod.status.as_ref()?.conditions.as_ref()?;
            let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
            Some(format!("{}: {}", scheduled.reason.as_deref()?, scheduled.message.as_deref().unwrap_or_default()))
        };
        self.until("waits with a reason", name, reason).await
    }

    async fn gone(&self, name: &str) -> String {
        let uid = self.pods().get(name).await.ok().and_then(|pod| pod.uid()).unwrap_or_default();
        let gone = await_condition(self.pods(), name, conditions::is_deleted(&uid));
        tokio::time::timeout(SOON, gone).await.unwrap_or_else(|_| panic!("{}: {name} stays", self.scheduler)).unwrap();
        "gone".to_owned()
    }

    async fn class(&self, name: &str, value: i32, policy: &str) {
        priority_class(&self.client, name, value, policy).await.unwrap();
    }

    /// On every node a pod of 20 CPUs, the more important the higher the node's number.
    async fn filled(&self) {
        for at in 1..=NODES {
            self.class(&format!("low-{at}"), at as i32 * 10, "PreemptLowerPriority").await;
            let node = json!({"kubernetes.io/hostname": format!("node-{at}")});
            self.pod(&format!("low-{at}"), 20, json!({"nodeSelector": node, "priorityClassName": format!("low-{at}")})).await;
            assert_eq!(self.node_of(&format!("low-{at}")).await, format!("node-{at}"));
        }
    }
}

impl Stage {
    /// A class of volumes that are bound to claims when a pod is placed; the namespace's own, so that no other stage has its volumes. Its name.
    async fn storage_class(&self, name: &str, provisioner: &str) -> String {
        let name = format!("{name}-{}", self.namespace);
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer",
        });
        make(&self.client, &object(class).unwrap()).await.unwrap();
        name
    }

    async fn claim(&self, name: &str, class: &str) {
        let spec = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}});
        self.make(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec})).await;
    }

    /// What the claim says of itself as soon as it says so.
    async fn of_claim<T>(&self, what: &str, name: &str, found: impl Fn(&PersistentVolumeClaim) -> Option<T>) -> T {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let reached = await_condition(claims, name, |claim: Option<&_>| claim.and_then(&found).is_some());
        let claim = tokio::time::timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{}: {name} {what}: not in time", self.scheduler));
        found(&claim.unwrap().unwrap()).unwrap()
    }
}

/// Plays a scenario with kube-scheduler, with edge-scheduler beside it, and with edge-scheduler in its place.
async fn same_end_state(name: &str, play: impl AsyncFn(&Stage) -> EndState) {
    let Some(beside) = PLANE.get(name).await else { return };
    static ALONE: Mutex<()> = Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let Some(replaced) = REPLACED.get(name).await else { return };
    let besides = async { (played(&beside, "default-scheduler", &play).await, played_by_ours(&beside, SCHEDULER_NAME, &play).await) };
    let ((wanted, besides), in_place) = tokio::join!(besides, played_by_ours(&replaced, "default-scheduler", &play));
    assert!(!wanted.is_empty());
    assert_eq!(besides, wanted, "edge-scheduler's end state, and kube-scheduler's");
    assert_eq!(in_place, wanted, "edge-scheduler's in its place, and kube-scheduler's");
}

/// What docs/kube-scheduler.md disables for pods of kube-scheduler.
fn in_its_place() -> Value {
    let disabled = |names: &[&str]| json!({"disabled": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
    json!({"filter": disabled(&["CloudRole", "ControlPlane"]), "score": disabled(&["ResponseTime"])})
}

async fn played_by_ours(plane: &ControlPlane, scheduler: &'static str, play: impl AsyncFn(&Stage) -> EndState) -> EndState {
    plane.install().await.unwrap();
    let mut config = plane.scheduler_config().await.unwrap();
    config.profiles = vec![json!({"schedulerName": scheduler, "plugins": in_its_place()})];
    let shutdown = Shutdown::new();
    let running = edge_scheduler::start(config, shutdown.clone()).await.unwrap().expect("not shut down");
    let end = played(plane, scheduler, play).await;
    shutdown.trigger();
    running.join().await.unwrap();
    end
}

/// As it writes it with all its defaults.
#[tokio::test]
async fn kube_schedulers_own_configuration_is_taken() {
    let Some(plane) = PLANE.get("kube_schedulers_own_configuration_is_taken").await else { return };
    let [given, written] = ["given.yaml", "written.yaml"].map(|name| plane.folder().join(name));
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": plane.folder().join("pki/kube-scheduler.conf")},
    });
    std::fs::write(&given, config.to_string()).unwrap();
    let mut program = tokio::process::Command::new(plane.folder().join("bin/kube-scheduler"));
    program.arg("--config").arg(&given).arg("--write-config-to").arg(&written).args(["--secure-port", "0"]).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, program.output()).await.expect("it ends when it has written").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut layers = chassis::config::Layers::new("EDGE_SCHEDULER");
    layers.file(&written);
    let config: edge_scheduler::Config = layers.load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.profiles.len(), 1);
    let defaults = placement::cluster::Profile::new("default-scheduler");
    assert_eq!(config.model().profiles.iter().collect::<Vec<_>>(), [&defaults], "with our plugins");
}

/// In a namespace of its own, all of whose pods have gone afterwards.
async fn played(plane: &ControlPlane, scheduler: &'static str, play: impl AsyncFn(&Stage) -> EndState) -> EndState {
    let client = plane.client().await.unwrap();
    zones(&client).await;
    static PLAYED: AtomicU32 = AtomicU32::new(0);
    let stage = Stage { client: client.clone(), namespace: format!("stage-{}", PLAYED.fetch_add(1, Ordering::Relaxed)), scheduler };
    let namespace = object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace}})).unwrap();
    make(&client, &namespace).await.unwrap();
    account(&stage).await;
    let end = play(&stage).await;
    for pod in stage.pods().list(&Default::default()).await.unwrap() {
        stage.pods().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await.unwrap();
        let gone = await_condition(stage.pods(), &pod.name_any(), conditions::is_deleted(&pod.uid().unwrap())).await;
        gone.unwrap();
    }
    api(&client, &namespace).unwrap().delete(&stage.namespace, &DeleteParams::default()).await.unwrap();
    end
}

/// Admission wants the namespace's default account first.
async fn account(stage: &Stage) {
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let there = await_condition(accounts, "default", |account: Option<&_>| account.is_some());
    tokio::time::timeout(SOON, there).await.expect("a default account in time").unwrap();
}

async fn zones(client: &Client) {
    let nodes: Api<Node> = Api::all(client.clone());
    for at in 1..=NODES {
        let patch = Patch::Merge(json!({"metadata": {"labels": {ZONE_LABEL: format!("zone-{at}")}}}));
        nodes.patch(&format!("node-{at}"), &PatchParams::default(), &patch).await.unwrap();
    }
}

fn state<const N: usize>(of: [(&str, String); N]) -> EndState {
    of.into_iter().map(|(what, end)| (what.to_owned(), end)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_important_pod_goes() {
    same_end_state("the_least_important_pod_goes", async |stage| {
        stage.filled().await;
        stage.class("high", 1_000, "PreemptLowerPriority").await;
        stage.pod("high", 25, json!({"priorityClassName": "high"})).await;
        let gone = stage.gone("low-1").await;
        let [high, second, third] = [stage.node_of("high").await, stage.node_of("low-2").await, stage.node_of("low-3").await];
        state([("low-1", gone), ("high", high), ("low-2", second), ("low-3", third)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_protects_the_least_important_pod() {
    same_end_state("a_budget_protects_the_least_important_pod", async |stage| {
        stage.filled().await;
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "keep"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"name": "low-1"}}},
        });
        stage.make(budget).await;
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let counted = |budget: Option<&PodDisruptionBudget>| {
            budget
                .and_then(|budget| budget.status.as_ref())
                .is_some_and(|status| status.expected_pods == Some(1) && status.current_healthy == Some(1))
        };
        tokio::time::timeout(SOON, await_condition(budgets, "keep", counted)).await.expect("the budget is counted in time").unwrap();
        stage.class("high", 1_000, "PreemptLowerPriority").await;
        stage.pod("high", 25, json!({"priorityClassName": "high"})).await;
        let gone = stage.gone("low-2").await;
        state([("low-2", gone), ("high", stage.node_of("high").await), ("low-1", stage.node_of("low-1").await)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_preempt_waits() {
    same_end_state("who_may_not_preempt_waits", async |stage| {
        stage.filled().await;
        stage.class("polite", 1_000, "Never").await;
        stage.pod("polite", 25, json!({"priorityClassName": "polite"})).await;
        state([("polite", stage.reason("polite").await), ("low-1", stage.node_of("low-1").await)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_spread_over_zones_and_the_odd_one_waits() {
    same_end_state("replicas_spread_over_zones_and_the_odd_one_waits", async |stage| {
        let spread = |extra: Value| {
            let mut spec = json!({"topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": ZONE_LABEL, "whenUnsatisfiable": "DoNotSchedule", "nodeAffinityPolicy": "Ignore", "labelSelector": {"matchLabels": {"app": "web"}},
            }]});
            extra.as_object().into_iter().flatten().for_each(|(field, value)| spec[field] = value.clone());
            spec
        };
        let mut zones = Vec::new();
        for at in 0..6 {
            stage.pod(&format!("web-{at}"), 1, spread(Value::Null)).await;
            zones.push(stage.node_of(&format!("web-{at}")).await);
        }
        zones.sort();
        // Two of a zone more than of the others: one is let in, the second is not.
        let near = json!({"nodeSelector": {ZONE_LABEL: "zone-1"}});
        stage.pod("odd-1", 1, spread(near.clone())).await;
        let odd = stage.node_of("odd-1").await;
        stage.pod("odd-2", 1, spread(near)).await;
        state([("zones", zones.join(" ")), ("odd-1", odd), ("odd-2", stage.reason("odd-2").await)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_pod_waits_until_its_gate_is_lifted() {
    same_end_state("a_gated_pod_waits_until_its_gate_is_lifted", async |stage| {
        let node = json!({"kubernetes.io/hostname": "node-2"});
        stage.pod("gated", 1, json!({"schedulingGates": [{"name": "example.com/wait"}], "nodeSelector": node})).await;
        let before = stage.reason("gated").await;
        let lifted = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
        stage.pods().patch("gated", &PatchParams::default(), &lifted).await.unwrap();
        state([("before", before), ("after", stage.node_of("gated").await)])
    })
    .await;
}

fn mounting(claim: &str) -> Value {
    json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_gets_the_volume_of_a_node_with_room() {
    same_end_state("a_claim_gets_the_volume_of_a_node_with_room", async |stage| {
        let class = stage.storage_class("local", "kubernetes.io/no-provisioner").await;
        // Node 1's is too small, and node 2, whose volume would do best, is taken.
        for (at, size) in [(1, "1Gi"), (2, "5Gi"), (3, "9Gi")] {
            let here =
                json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [format!("node-{at}")]}]}]);
            let volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("{}-{at}", stage.namespace)},
                "spec": {
                    "storageClassName": class, "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/data"},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": here}},
                },
            });
            make(&stage.client, &object(volume).unwrap()).await.unwrap();
        }
        stage.pod("taken", 20, json!({"nodeSelector": {"kubernetes.io/hostname": "node-2"}})).await;
        stage.node_of("taken").await;
        stage.claim("first", &class).await;
        stage.pod("first", 20, json!({"volumes": mounting("first")})).await;
        let volume = |claim: &PersistentVolumeClaim| {
            let bound = claim.status.as_ref()?.phase.as_deref() == Some("Bound");
            claim.spec.as_ref()?.volume_name.clone().filter(|_| bound)
        };
        let bound = stage.of_claim("is bound", "first", volume).await;
        let node = stage.node_of("first").await;
        // None is left that is large enough, but on the node that is taken.
        stage.claim("second", &class).await;
        stage.pod("second", 20, json!({"volumes": mounting("second")})).await;
        let why = stage.reason("second").await;
        state([("volume", bound.replace(&stage.namespace, "volume")), ("first", node), ("second", why)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provisioner_is_told_the_node_that_was_chosen() {
    same_end_state("a_provisioner_is_told_the_node_that_was_chosen", async |stage| {
        let class = stage.storage_class("made", "example.com/nobody").await;
        stage.claim("data", &class).await;
        stage.pod("data", 1, json!({"volumes": mounting("data"), "nodeSelector": {"kubernetes.io/hostname": "node-3"}})).await;
        let told = |claim: &PersistentVolumeClaim| claim.annotations().get("volume.kubernetes.io/selected-node").cloned();
        state([("told", stage.of_claim("names a node", "data", told).await)])
    })
    .await;
}
