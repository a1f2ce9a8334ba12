//! Two replicas: one binds, the other keeps up and takes over.

use crate::cluster::Cluster;
use edge_scheduler::Config;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use std::time::Duration;

fn elected(cluster: &Cluster) -> Config {
    let mut config = cluster.config();
    config.leader_election.leader_elect = true;
    config.leader_election.lease_duration = Duration::from_secs(3).into();
    config.leader_election.renew_deadline = Duration::from_millis(2_000).into();
    config.leader_election.retry_period = Duration::from_millis(200).into();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_replica_takes_over_and_no_pod_is_bound_twice() {
    let mut cluster = Cluster::start().await;
    let first = cluster.run(elected(&cluster)).await;
    cluster.create("before", "1Gi", &[], |_| {}).await;
    cluster.check_bound("before", "cloud-1").await;
    let second = cluster.run(elected(&cluster)).await;
    for i in 0..20 {
        cluster.create(&format!("web-{i}"), "100Mi", &[("delay_edge-1", "25")], |_| {}).await;
    }
    let holder =
        async || Api::<Lease>::namespaced(cluster.client.clone(), "edge-system").get("edge-scheduler").await.unwrap().spec?.holder_identity;
    let leader = cluster.until("a leader", holder).await;
    first.stop().await;
    for i in 20..40 {
        cluster.create(&format!("web-{i}"), "100Mi", &[("delay_edge-1", "25")], |_| {}).await;
    }
    for i in 0..40 {
        cluster.bound(&format!("web-{i}")).await;
    }
    assert_ne!(holder().await, Some(leader), "the lease names the other replica");
    second.stop().await;
    cluster.check_bound_once(41).await;
}
