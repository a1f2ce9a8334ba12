//! An API server that is away, forgets, cuts and errs: the scheduler goes on with what it knows and catches up.

use crate::cluster::Cluster;
use edge_demo::apiserver::Rates;

#[tokio::test(flavor = "multi_thread")]
async fn cut_watches_lost_history_and_errors_bind_every_pod_once() {
    let mut cluster = Cluster::embedded().await;
    let faults = cluster.server().faults();
    let replica = cluster.run(cluster.config()).await;
    for i in 0..60 {
        if i % 20 == 5 {
            faults.cut_watches();
        }
        if i % 20 == 10 {
            cluster.server().compact();
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
    cluster.check_bound_once(60).await;
}
