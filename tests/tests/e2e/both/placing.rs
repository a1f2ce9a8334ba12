//! Where pods go, what they are told while they wait, and what ends the wait.

use crate::cluster::{Cluster, MATRIX};
use edge_scheduler::explain::{Ask, Question, ask};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_four_classic_cases() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("near", "6Gi", &[("delay_edge-1", "25")], |_| {}).await;
    cluster.create("anywhere", "6Gi", &[], |_| {}).await;
    cluster.create("too-near", "6Gi", &[("delay_edge-1", "1")], |_| {}).await;
    cluster.create("chained", "1Gi", &[("delay_near", "3")], |_| {}).await;

    cluster.check_bound("near", "edge-2").await;
    cluster.check_bound("anywhere", "cloud-1").await;
    cluster.check_bound("chained", "edge-2").await;
    cluster.check_waits("too-near", "0/4 nodes are available: 2 Insufficient memory, 2 RTT from edge-1 above 1 ms.").await;

    let note = cluster.note("near", "Scheduled").await;
    assert_eq!(note, "Successfully assigned default/near to edge-2: 4 ms from edge-1, bound 25 ms");
    let event = cluster.events("near", "Scheduled").await.remove(0);
    assert_eq!((event.type_.as_deref(), event.action.as_deref()), (Some("Normal"), Some("Binding")));
    let waiting = cluster.note("too-near", "FailedScheduling").await;
    assert!(waiting.starts_with("0/4 nodes are available: "), "{waiting}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_matrix_wakes_the_pod_whose_bound_it_crosses() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("a", "6Gi", &[("delay_edge-1", "3")], |_| {}).await;
    let message = "0/4 nodes are available: 1 Insufficient memory, 3 RTT from edge-1 above 3 ms.";
    cluster.check_waits("a", message).await;
    cluster.write_matrix(&MATRIX.replace(",4,", ",3.5,"));
    // A mistake in between leaves what was good.
    cluster.write_matrix("ms,edge-1\nedge-1,zero\n");
    cluster.until("the mistake is seen", async || replica.running.board.trouble().filter(|why| why.contains("line 2, column 2"))).await;
    cluster.write_matrix(&MATRIX.replace(",4,", ",2.5,").replace("edge-2,4,", "edge-2,2.5,"));
    cluster.check_bound("a", "edge-2").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn room_labels_and_nodes_wake_what_waits_for_them() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("first", "7Gi", &[("delay_edge-2", "0")], |_| {}).await;
    cluster.check_bound("first", "edge-2").await;
    cluster.create("second", "7Gi", &[("delay_edge-2", "0")], |_| {}).await;
    let message = "0/4 nodes are available: 2 Insufficient memory, 2 RTT from edge-2 above 0 ms.";
    cluster.check_waits("second", message).await;
    cluster.delete("first").await;
    cluster.check_bound("second", "edge-2").await;

    cluster.create("late", "1Gi", &[("delay_edge-4", "5")], |_| {}).await;
    let unknown = "0/4 nodes are available: delay reference \"edge-4\" is no node, and no workload or pod of namespace \"default\".";
    cluster.check_waits("late", unknown).await;
    cluster.write_matrix("ms,edge-2,edge-4\nedge-2,0,1\nedge-4,1,0\n");
    cluster.add_node("edge-4", "8Gi", "edge").await;
    cluster.bound("late").await;

    cluster.create("picky", "1Gi", &[], |pod| pod["spec"]["nodeSelector"] = json!({"disk": "ssd"})).await;
    cluster.check_waits("picky", "0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector.").await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"disk": "ssd"}}}));
    nodes.patch("cloud-1", &PatchParams::default(), &label).await.unwrap();
    cluster.check_bound("picky", "cloud-1").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_refer_to_each_other_are_placed_together() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("left", "7Gi", &[("delay_right", "5"), ("delay_edge-1", "25")], |_| {}).await;
    cluster
        .check_waits(
            "left",
            "0/4 nodes are available: delay reference \"right\" is no node, and no workload or pod of namespace \"default\".",
        )
        .await;
    cluster.create("right", "3Gi", &[("delay_left", "5"), ("delay_edge-1", "25")], |_| {}).await;
    // 7 Gi fits edge-2 and edge-3; within 5 ms of it with 3 Gi more: edge-1 beside edge-2.
    cluster.check_bound("left", "edge-2").await;
    cluster.check_bound("right", "edge-1").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gated_deleting_or_anothers_is_left_alone_and_still_counts() {
    let cluster = Cluster::start().await;
    let other = |pod: &mut serde_json::Value| {
        pod["spec"]["schedulerName"] = json!("default-scheduler");
        pod["spec"]["nodeName"] = json!("edge-2");
    };
    cluster.create("theirs", "7Gi", &[], other).await;
    cluster.create("theirs-waiting", "1Gi", &[], |pod| pod["spec"]["schedulerName"] = json!("default-scheduler")).await;
    cluster.create("gated", "1Gi", &[], |pod| pod["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}])).await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("near", "3Gi", &[("delay_edge-2", "5")], |_| {}).await;
    cluster.check_bound("near", "edge-1").await;
    assert_eq!(cluster.node_of("theirs-waiting").await, None);
    assert_eq!(cluster.condition("gated").await.map(|told| told.0).as_deref(), Some("SchedulingGated"), "the API server's word stands");
    let ungate = Patch::Merge(json!({"spec": {"schedulingGates": []}}));
    cluster.pods().patch("gated", &PatchParams::default(), &ungate).await.unwrap();
    cluster.check_bound("gated", "cloud-1").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_scheduler_goes_on_where_it_was() {
    let mut cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    cluster.create("first", "7Gi", &[("delay_edge-2", "0")], |_| {}).await;
    cluster.check_bound("first", "edge-2").await;
    replica.stop().await;
    cluster.create("second", "7Gi", &[("delay_edge-2", "18")], |_| {}).await;
    let replica = cluster.run(cluster.config()).await;
    cluster.check_bound("second", "edge-3").await;
    replica.stop().await;
    cluster.check_bound_once(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_explained_with_figures() {
    let cluster = Cluster::start().await;
    let config = cluster.config();
    let replica = cluster.run(config.clone()).await;
    cluster.create("near", "6Gi", &[("delay_edge-1", "25")], |_| {}).await;
    cluster.check_bound("near", "edge-2").await;
    let how = Ask { server: Some(format!("https://{}", replica.running.topology)), ..Ask::default() };
    // As whoever may create tokens of the scheduler's account: here, the administrator.
    let mut admin = config;
    admin.client.kubeconfig = Some(cluster.kubeconfig("admin"));
    let explain = async |pod: &str| ask(&admin, &Question::Explain(pod.parse().unwrap()), &how, &replica.shutdown).await;
    let table = explain("default/near").await.unwrap();
    let line = |node: &str| table.lines().find(|line| line.starts_with(node)).unwrap_or_else(|| panic!("{table}")).to_owned();
    assert!(line("cloud-1").contains("rejected") && line("cloud-1").contains("31.2 ms from edge-1, bound 25 ms"), "{table}");
    assert!(line("edge-1").contains("Insufficient memory"), "{table}");
    assert!(line("edge-2").contains("chosen"), "{table}");
    let error = chassis::program::chain(&explain("default/none").await.unwrap_err());
    assert!(error.contains("there is no pod default/none"), "{error}");

    let summary = ask(&admin, &Question::Summary, &how, &replica.shutdown).await.unwrap();
    assert!(summary.starts_with("warm;") && summary.contains("pairs measured: 6 of 6"), "{summary}");
    assert!(summary.contains("edge-1 to edge-3: 20 ms") || summary.contains("pairs with a shorter detour"), "{summary}");

    let base = format!("http://{}", replica.running.admin);
    let plain = chassis::tls::JsonClient::new(&Default::default(), None, crate::cluster::LIMIT).unwrap();
    let metrics = plain.get_text(&format!("{base}/metrics")).await.unwrap();
    for line in [
        "scheduler_schedule_attempts_total{result=\"scheduled\",profile=\"edge-scheduler\"} 1",
        "scheduler_pending_pods{queue=\"unschedulable\"} 0",
        "scheduler_queue_incoming_pods_total{queue=\"active\",event=\"UnscheduledPodAdd\"} 1",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"1\"} 1",
        "edge_topology_warm{} 1",
        "edge_topology_pairs{} 6",
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line} is not in\n{metrics}");
    }
    assert_eq!(plain.get_text(&format!("{base}/readyz")).await.unwrap(), "ok");
    replica.stop().await;
}
