//! Pods of lower priority that leave for one of higher.

use crate::cluster::Cluster;
use edge_tests::objects::priority_class;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Priority classes `least`, `low` and `high`, and `polite`, which preempts nobody.
async fn classes(cluster: &Cluster) {
    for (name, value) in [("least", 1), ("low", 10), ("high", 100), ("polite", 100)] {
        let policy = if name == "polite" { "Never" } else { "PreemptLowerPriority" };
        priority_class(&cluster.client, name, value, policy).await.unwrap();
    }
}

fn of_class(class: &str, grace_s: u32) -> impl Fn(&mut Value) {
    move |pod: &mut Value| {
        pod["spec"]["priorityClassName"] = json!(class);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(grace_s);
    }
}

/// The pod once it has a condition `DisruptionTarget`.
async fn disrupted(cluster: &Cluster, name: &str) -> Pod {
    let marked = async || {
        let pod = cluster.get(name).await;
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().any(|condition| condition.type_ == "DisruptionTarget").then_some(pod)
    };
    cluster.until(&format!("{name} is marked"), marked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_higher_priority_gets_room_within_its_bound_and_nobody_leaves_elsewhere() {
    let cluster = Cluster::start().await;
    classes(&cluster).await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("in-the-way", "7Gi", &[("delay_edge-2", "0")], of_class("low", 0)).await;
    cluster.create("elsewhere", "7Gi", &[("delay_edge-3", "0")], of_class("least", 0)).await;
    cluster.check_bound("in-the-way", "edge-2").await;
    cluster.check_bound("elsewhere", "edge-3").await;
    cluster.create("urgent", "6Gi", &[("delay_edge-2", "0")], of_class("high", 0)).await;
    cluster.check_bound("urgent", "edge-2").await;
    assert_eq!(cluster.node_of("elsewhere").await.as_deref(), Some("edge-3"), "its priority is the lowest, and it stays");
    let uid = cluster.get("urgent").await.metadata.uid.unwrap();
    let note = format!("Preempted by pod {uid} on node edge-2");
    let told = async || cluster.events("in-the-way", "Preempted").await.into_iter().find(|event| event.note.as_deref() == Some(&*note));
    let event = cluster.until("the victim's event", told).await;
    assert_eq!((event.type_.as_deref(), event.action.as_deref()), (Some("Normal"), Some("Preempting")));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_victim_terminates_the_room_is_promised() {
    let cluster = Cluster::start().await;
    classes(&cluster).await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("slow", "7Gi", &[("delay_edge-2", "0")], of_class("low", 600)).await;
    cluster.check_bound("slow", "edge-2").await;
    cluster.create("urgent", "6Gi", &[("delay_edge-2", "0")], of_class("high", 0)).await;
    let slow = disrupted(&cluster, "slow").await;
    let conditions = slow.status.unwrap().conditions.unwrap();
    let target = conditions.iter().find(|condition| condition.type_ == "DisruptionTarget").unwrap();
    assert_eq!(target.reason.as_deref(), Some("PreemptionByScheduler"));
    assert_eq!(target.message.as_deref(), Some("edge-scheduler: preempting to accommodate a higher priority pod"));
    let nominated = async || cluster.get("urgent").await.status?.nominated_node_name.filter(|node| node == "edge-2");
    cluster.until("the room is promised", nominated).await;
    // Beside the victim there is room for this one, beside the one that was promised the node there is not.
    cluster.create("equal", "1Gi", &[("delay_edge-2", "0")], of_class("high", 0)).await;
    cluster.check_waits("equal", "0/4 nodes are available: 1 Insufficient memory, 3 RTT from edge-2 above 0 ms.").await;
    cluster.delete("slow").await;
    cluster.check_bound("urgent", "edge-2").await;
    cluster.check_bound("equal", "edge-2").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_preempts_nobody_waits_and_says_so() {
    let cluster = Cluster::start().await;
    classes(&cluster).await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("first", "7Gi", &[("delay_edge-2", "0")], of_class("low", 0)).await;
    cluster.check_bound("first", "edge-2").await;
    cluster.create("polite", "6Gi", &[("delay_edge-2", "0")], of_class("polite", 0)).await;
    cluster.create("equal", "6Gi", &[("delay_edge-2", "0")], of_class("low", 0)).await;
    for (name, message) in [
        ("polite", "preemption: not eligible due to preemptionPolicy=Never."),
        (
            "equal",
            "preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling.",
        ),
    ] {
        let told = async || cluster.condition(name).await.filter(|(_, found)| found.ends_with(message));
        cluster.until(&format!("{name} says why"), told).await;
    }
    assert_eq!(cluster.node_of("first").await.as_deref(), Some("edge-2"));
    replica.stop().await;
}
