//! An API server that is away, forgets, cuts and errs: the scheduler goes on with what it knows and catches up.

use super::cluster::{Cluster, LIMIT};
use edge_demo::apiserver::{Observation, Rates};
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn cut_watches_lost_history_and_errors_bind_every_pod_once() {
    let cluster = Cluster::start().await;
    let mut observed = cluster.server.subscribe();
    let faults = cluster.server.faults();
    let replica = cluster.run(cluster.config()).await;
    for i in 0..60 {
        if i % 20 == 5 {
            faults.cut_watches();
        }
        if i % 20 == 10 {
            cluster.server.compact();
            faults.cut_watches();
        }
        if i % 20 == 15 {
            faults.cut_connections();
        }
        // The pods themselves are made without errors: they are the test's, not the scheduler's.
        faults.fail(Rates::default());
        cluster.create(&format!("web-{i}"), "100Mi", &[("delay_edge-1", "25")], |_| {}).await;
        faults.fail(Rates { internal: 0.2, too_many: 0.1, conflict: 0.1 });
    }
    let all_bound = async || {
        faults.fail(Rates::default());
        let placements = cluster.placements().await;
        faults.fail(Rates { internal: 0.1, too_many: 0.0, conflict: 0.1 });
        (placements.len() == 60 && placements.iter().all(|(_, node)| node.is_some())).then_some(())
    };
    cluster.until("all are bound", all_bound).await;
    faults.fail(Rates::default());
    replica.stop().await;
    let mut bound: BTreeMap<String, u32> = BTreeMap::new();
    while let Ok(observation) = observed.try_recv() {
        if let Observation::Bound(binding) = observation {
            *bound.entry(binding.name.clone()).or_default() += 1;
        }
    }
    assert!(bound.len() == 60 && bound.values().all(|count| *count == 1), "{bound:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_at_the_start_is_waited_for() {
    let cluster = Cluster::start().await;
    let faults = cluster.server.faults();
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
    let cluster = Cluster::start().await;
    cluster.server.faults().refuse_connections(true);
    let shutdown = chassis::shutdown::Shutdown::new();
    let running = tokio::spawn(edge_scheduler::run(cluster.config(), shutdown.clone()));
    shutdown.trigger();
    tokio::time::timeout(LIMIT, running).await.expect("ends").unwrap().expect("without an error");
}
