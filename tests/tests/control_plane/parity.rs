//! edge-scheduler on a real API server, held to kube-scheduler's own code decision by decision: before each of ours the oracle is asked about the cluster as
//! the API server has it, and our node must be among its best, our reason its reason. Left out, saying so, where the control plane or the oracle is not
//! built.

use anyhow::{Context as _, Result};
use api::labels::SCHEDULER_NAME;
use chassis::shutdown::Shutdown;
use differential::case::Case;
use differential::generate::{self, Feature};
use differential::oracle::{self, Oracle};
use differential::ours;
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, Shared};
use edge_tests::objects::{api, ensure, make, object, priority_class};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::time::Duration;

static PLANE: Shared = Shared::new(Options { nodes: 0, kubelets: Kubelets::None, controllers: false, scheduler: false, audit: false });

const KUBE_SCHEDULER: &str = "default-scheduler";
/// A bound on everything that is waited for here.
const SOON: Duration = Duration::from_secs(60);
/// Clusters, each with a scheduler of its own, which begins with lists and so with the cluster as it is.
const CLUSTERS: u64 = 16;
/// Decisions on each, one after the other: our own placements are part of the next one's cluster.
const DECISIONS: u64 = 8;

/// What can be brought about by creating objects: a pod with spec.nodeName is bound by that, resizes and terminating or finished pods can't, claims that
/// wait for their pod want a provisioner, and preemption would change the cluster between two decisions (these have scenarios of their own).
const FEATURES: &[Feature] = &[
    Feature::Resources,
    Feature::Unschedulable,
    Feature::Taints,
    Feature::NodeAffinity,
    Feature::Spread,
    Feature::PodAffinity,
    Feature::HostPorts,
    Feature::Images,
    Feature::DeclaredFeatures,
    Feature::Volumes,
    Feature::AttachedVolumes,
    Feature::Disks,
];

/// What decisions depend on, by apiVersion and kind.
const KINDS: [(&str, &str); 15] = [
    ("v1", "Namespace"),
    ("v1", "Service"),
    ("v1", "ReplicationController"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "PersistentVolume"),
    ("storage.k8s.io/v1", "StorageClass"),
    ("storage.k8s.io/v1", "CSINode"),
    ("storage.k8s.io/v1", "CSIDriver"),
    ("storage.k8s.io/v1", "CSIStorageCapacity"),
    ("storage.k8s.io/v1", "VolumeAttachment"),
    ("v1", "Node"),
    ("v1", "Pod"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_one_that_kube_scheduler_would_make() {
    let Some(plane) = PLANE.get("every_decision_is_one_that_kube_scheduler_would_make").await else { return };
    let program = match oracle::program() {
        Ok(program) => program,
        Err(why) => return println!("SKIPPED every_decision_is_one_that_kube_scheduler_would_make: {why}"),
    };
    let mut oracle = Oracle::start(&program).unwrap();
    plane.install().await.unwrap();
    let admin = plane.client().await.unwrap();
    let seed = std::env::var("EDGE_TESTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let (mut placed, mut refused, mut with_volumes, mut differ) = (0, 0, 0, Vec::new());
    for number in 0..CLUSTERS {
        let cases: Vec<Case> = (0..DECISIONS).map(|turn| generate::generate(FEATURES, seed, number + turn * CLUSTERS)).collect();
        let made = build(&admin, &cases).await.unwrap();
        // No kube-scheduler runs: ours may serve its name.
        let scheduler = if number % 2 == 0 { SCHEDULER_NAME } else { KUBE_SCHEDULER };
        let shutdown = Shutdown::new();
        let running = edge_scheduler::start(config(&plane, scheduler).await, shutdown.clone()).await.unwrap().expect("not shut down");
        let mut pods = Vec::new();
        for (turn, case) in cases.iter().enumerate() {
            let what = format!("seed {seed}, cluster {number}, pod {turn}");
            let objects = objects(&admin).await.unwrap();
            // What the API server refuses is no case.
            let Ok(pod) = make(&admin, &incoming(&admin, case, &made, scheduler, turn).await.unwrap()).await else { continue };
            let mut stored = serde_json::to_value(&pod).unwrap();
            pods.push(pod);
            stored["spec"]["schedulerName"] = json!(KUBE_SCHEDULER);
            with_volumes += usize::from(stored["spec"]["volumes"].as_array().is_some_and(|volumes| !volumes.is_empty()));
            let asked = Case { id: 0, objects, pod: stored, profile: None };
            let wanted = oracle.ask(std::slice::from_ref(&asked)).unwrap().remove(0);
            assert_eq!(wanted.error, "", "{what}");
            match (decision(&admin, pods.last().unwrap()).await, wanted.best.is_empty()) {
                (Ok(node), false) if wanted.best.contains(&node) => placed += 1,
                (Err(why), true) if same_reason(&why, &wanted) => refused += 1,
                (decided, _) => {
                    // The same objects without watches between: where this agrees with kube-scheduler, something was not heard in time.
                    let planner = ours::answer(&asked);
                    differ.push(format!(
                        "{what}: {decided:?}, kube-scheduler: {:?} {:?} {:?}; our planner on these objects: {:?} {:?}",
                        wanted.best, wanted.message, wanted.preemption, planner.best, planner.message
                    ));
                }
            }
        }
        shutdown.trigger();
        running.join().await.unwrap();
        futures::stream::iter(made.iter().chain(&pods)).for_each_concurrent(16, async |object| delete(&admin, object).await).await;
    }
    println!(
        "FIGURE {placed} pods placed on one of kube-scheduler's best nodes, {refused} refused for its reasons, {} otherwise; {with_volumes} of all with volumes",
        differ.len()
    );
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(placed >= 30 && refused >= 10 && with_volumes >= 20, "too few cases to show anything");
}

async fn config(plane: &ControlPlane, scheduler: &str) -> edge_scheduler::Config {
    let mut config = plane.scheduler_config().await.unwrap();
    config.placement.undelayed = placement::cluster::Undelayed::Any;
    config.placement.control_plane = String::new();
    config.profiles = vec![json!({"schedulerName": scheduler})];
    config
}

/// Makes the first case's cluster, as far as the API server takes it, with the storage of all.
async fn build(admin: &Client, cases: &[Case]) -> Result<Vec<DynamicObject>> {
    let mut made: Vec<DynamicObject> = Vec::new();
    let (namespaces, others): (Vec<&Value>, Vec<&Value>) = cases[0].objects.iter().partition(|object| object["kind"] == "Namespace");
    let stored = |object: &&Value| ["PersistentVolumeClaim", "PersistentVolume", "StorageClass"].iter().any(|kind| object["kind"] == *kind);
    let more = cases[1..].iter().flat_map(|case| &case.objects).filter(stored);
    for name in ["shop", "plant"] {
        let namespace = object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
        ensure(admin, &namespace).await?;
        let wanted = namespaces.iter().find(|namespace| namespace["metadata"]["name"] == name);
        // Those of the cluster before are taken away first.
        for labels in [&Value::Null, wanted.map_or(&Value::Null, |wanted| &wanted["metadata"]["labels"])] {
            let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
            api(admin, &namespace)?.patch(name, &PatchParams::default(), &patch).await?;
        }
    }
    for value in others.into_iter().chain(more) {
        let terminating = !value["metadata"]["deletionTimestamp"].is_null();
        let ended = ["Succeeded", "Failed"].iter().any(|phase| value["status"]["phase"] == *phase);
        if terminating || ended {
            continue;
        }
        let mut value = value.clone();
        if value["kind"] == "Pod" {
            // Those that wait do so for good, whichever name ours serves.
            value["spec"]["schedulerName"] = json!("nobody");
        }
        // A volume names its claim by the UID too, which the API server has given: claims come before their volumes.
        let claimed = value.pointer("/spec/claimRef/name").and_then(Value::as_str).map(str::to_owned);
        if let Some(claim) =
            made.iter().find(|object| is(object, "PersistentVolumeClaim") && claimed.as_ref() == object.metadata.name.as_ref())
        {
            value["spec"]["claimRef"]["uid"] = json!(claim.uid());
        }
        made.extend(make(admin, &fresh(admin, value).await?).await.ok());
    }
    Ok(made)
}

/// Without what the API server sets, and with a class for its priority, by which alone a pod may have one.
async fn fresh(admin: &Client, mut value: Value) -> Result<DynamicObject> {
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        value["metadata"].as_object_mut().context("no metadata")?.remove(field);
    }
    if value["kind"] == "Pod" {
        let spec = value["spec"].as_object_mut().context("no spec")?;
        let priority = spec.remove("priority").and_then(|priority| priority.as_i64()).unwrap_or(0);
        spec.remove("preemptionPolicy");
        let name = format!("never-{}", priority.to_string().replace('-', "minus-"));
        priority_class(admin, &name, i32::try_from(priority)?, "Never").await?;
        spec.insert("priorityClassName".into(), json!(name));
    }
    object(value)
}

fn is(object: &DynamicObject, kind: &str) -> bool {
    object.types.as_ref().is_some_and(|types| types.kind == kind)
}

/// The case's pod as one of ours, without claims that wait for it: nothing provides for them. `made`: what there is.
async fn incoming(admin: &Client, case: &Case, made: &[DynamicObject], scheduler: &str, turn: usize) -> Result<DynamicObject> {
    let mut pod = case.pod.clone();
    let namespace = pod["metadata"]["namespace"].clone();
    let waits = |volume: &Value| {
        let name = &volume["persistentVolumeClaim"]["claimName"];
        let of = |object: &&DynamicObject| {
            is(object, "PersistentVolumeClaim") && *name == object.name_any() && object.namespace().is_some_and(|of| namespace == of)
        };
        made.iter().filter(of).any(|claim| claim.data["spec"]["volumeName"].is_null() && claim.data["spec"]["storageClassName"] != "now")
    };
    if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
        volumes.retain(|volume| !waits(volume));
    }
    pod["metadata"]["name"] = json!(format!("incoming-{turn}"));
    pod["spec"]["schedulerName"] = json!(scheduler);
    fresh(admin, pod).await
}

/// The cluster as the API server has it.
async fn objects(admin: &Client) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for (version, kind) in KINDS {
        let any = object(json!({"apiVersion": version, "kind": kind, "metadata": {}}))?;
        for item in api(admin, &any)?.list(&ListParams::default()).await?.items {
            let mut value = serde_json::to_value(item)?;
            (value["apiVersion"], value["kind"]) = (json!(version), json!(kind));
            all.push(value);
        }
    }
    Ok(all)
}

/// The node that the pod is bound to, or why it is not.
async fn decision(admin: &Client, pod: &DynamicObject) -> Result<String, String> {
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let why = |pod: &Pod| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?.message.clone()
    };
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &pod.namespace().unwrap());
    let name = pod.name_any();
    let decided = await_condition(pods, &name, |pod: Option<&Pod>| pod.is_some_and(|pod| node(pod).is_some() || why(pod).is_some()));
    let decided = tokio::time::timeout(SOON, decided)
        .await
        .unwrap_or_else(|_| panic!("{name} waits without a word: {:?}", pod.data))
        .unwrap()
        .unwrap();
    node(&decided).ok_or_else(|| why(&decided).unwrap())
}

/// Whether our message is kube-scheduler's, with what preemption adds; not where a pod is refused before any node is looked at: we add nothing then, and
/// kube-scheduler an error of its own, `not found`, since a plugin misses there what its preFilter would have prepared.
fn same_reason(ours: &str, wanted: &differential::case::Answer) -> bool {
    if wanted.pre_filter.is_some() {
        return ours == wanted.message;
    }
    let preemption = wanted.preemption.as_ref().map(|preemption| preemption.message.as_str()).unwrap_or_default();
    ours.trim_end() == format!("{} {preemption}", wanted.message).trim_end()
}

async fn delete(admin: &Client, object: &DynamicObject) {
    let (api, name) = (api(admin, object).unwrap(), object.name_any());
    if let Err(error) = api.delete(&name, &DeleteParams::default().grace_period(0)).await {
        panic!("cannot delete {name}: {error}");
    }
    // Whose part it is to see that nobody uses it any more does not run.
    if is(object, "PersistentVolume") || is(object, "PersistentVolumeClaim") {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        api.patch(&name, &PatchParams::default(), &patch).await.unwrap_or_else(|error| panic!("{name} stays: {error}"));
    }
}
