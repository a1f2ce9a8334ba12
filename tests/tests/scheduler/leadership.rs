//! Two replicas: one binds, the other keeps up and takes over.

use super::cluster::Cluster;
use edge_scheduler::Config;
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
    let cluster = Cluster::start().await;
    let mut observed = cluster.server.subscribe();
    let first = cluster.run(elected(&cluster)).await;
    cluster.create("before", "1Gi", &[], |_| {}).await;
    cluster.check_bound("before", "cloud-1").await;
    let second = cluster.run(elected(&cluster)).await;
    for i in 0..20 {
        cluster.create(&format!("web-{i}"), "100Mi", &[("delay_edge-1", "25")], |_| {}).await;
    }
    first.stop().await;
    for i in 20..40 {
        cluster.create(&format!("web-{i}"), "100Mi", &[("delay_edge-1", "25")], |_| {}).await;
    }
    for i in 0..40 {
        cluster.bound(&format!("web-{i}")).await;
    }
    second.stop().await;
    let mut bound = std::collections::BTreeMap::new();
    while let Ok(observation) = observed.try_recv() {
        if let edge_demo::apiserver::Observation::Bound(binding) = observation {
            *bound.entry(binding.name.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(bound.len(), 41);
    assert!(bound.values().all(|count| *count == 1), "{bound:?}");
}
