//! Starts and ends at bad moments, on the embedded API server.

use crate::cluster::{Cluster, LIMIT};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_bad_kubeconfig_are_named() {
    let cluster = Cluster::embedded().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = cluster.config();
    config.topology.address = taken.local_addr().unwrap();
    let error = edge_scheduler::start(config, chassis::shutdown::Shutdown::new()).await.err().expect("refused").to_string();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("in use"), "{error}");
    let mut config = cluster.config();
    config.client.kubeconfig = Some("/nowhere/kubeconfig".into());
    let error = edge_scheduler::start(config, chassis::shutdown::Shutdown::new()).await.err().expect("refused").to_string();
    assert!(error.contains("/nowhere/kubeconfig"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_at_the_start_is_waited_for() {
    let cluster = Cluster::embedded().await;
    let faults = cluster.server().faults();
    faults.refuse_connections(true);
    let shutdown = chassis::shutdown::Shutdown::new();
    let starting = tokio::spawn(edge_scheduler::start(cluster.config(), shutdown.clone()));
    // Long enough for a first try to fail, which is what a start that does not wait would end by.
    assert!(tokio::time::timeout(Duration::from_millis(500), async { starting.is_finished().then_some(()) }).await.unwrap().is_none());
    faults.refuse_connections(false);
    let running = tokio::time::timeout(LIMIT, starting).await.expect("in time").unwrap().unwrap().expect("not shut down");
    cluster.create("a", "1Gi", &[], |_| {}).await;
    cluster.check_bound("a", "cloud-1").await;
    shutdown.trigger();
    running.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_while_waiting_ends_it() {
    let cluster = Cluster::embedded().await;
    cluster.server().faults().refuse_connections(true);
    let shutdown = chassis::shutdown::Shutdown::new();
    let running = tokio::spawn(edge_scheduler::run(cluster.config(), shutdown.clone()));
    shutdown.trigger();
    tokio::time::timeout(LIMIT, running).await.expect("ends").unwrap().expect("without an error");
}
