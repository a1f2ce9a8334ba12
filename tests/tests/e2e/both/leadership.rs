//! Two replicas: one binds, the other keeps up and takes over.

use crate::cluster::{Cluster, LIMIT};
use edge_scheduler::{Config, Error};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
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

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_lease_ends_with_an_error() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(elected(&cluster)).await;
    cluster.create("before", "1Gi", &[], |_| {}).await;
    cluster.bound("before").await;
    // As another replica would while this one was stopped.
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "edge-system");
    let taken = json!({"spec": {"holderIdentity": "another", "leaseDurationSeconds": 3600}});
    leases.patch("edge-scheduler", &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, replica.running.join()).await.expect("it ends by itself");
    assert!(matches!(&ended, Err(Error::LeaseLost { lease }) if lease == "edge-scheduler"), "{ended:?}");
    assert!(!replica.shutdown.is_signalled(), "nobody asked for it");
    let holder = leases.get("edge-scheduler").await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(holder.as_deref(), Some("another"), "the lease stays with whom it went to");
}
