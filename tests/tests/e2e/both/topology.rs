//! The topology service: agents' reports in, peers, snapshot and stream out, and who may do what.

use crate::cluster::Cluster;
use api::crd::NodeNetwork;
use api::protocol::{PairReport, Peers, ProbeMethod, Report, ReportAck, StreamEvent, TopologySnapshot};
use chassis::tls::{CallError, JsonClient};
use edge_scheduler::Config;
use futures::StreamExt as _;
use kube::Api;
use serde_json::{Value, json};
use std::time::Duration;

pub const NODES: [&str; 4] = ["edge-1", "edge-2", "edge-3", "cloud-1"];

pub fn from_agents(cluster: &Cluster) -> Config {
    let mut config = cluster.config();
    config.topology.source = edge_scheduler::config::Source::Agents;
    config.topology.matrix = None;
    config.topology.warm_up = Duration::from_secs(600).into();
    config
}

/// The whole row of a node, every pair at this RTT.
fn row(node: &str, sequence: u64, ms: u32) -> Report {
    let pair = |to: &&str| PairReport {
        to: (*to).into(),
        method: ProbeMethod::Udp,
        samples: 10,
        lost: 0,
        p50_us: ms * 1000,
        p90_us: ms * 1000,
        jitter_us: 0,
        age_ms: 0,
        failing: false,
    };
    Report {
        node: node.into(),
        epoch: 1,
        sequence,
        full: true,
        echo: Some(([0, 0, 0, 0], 9444).into()),
        pairs: NODES.iter().filter(|peer| **peer != node).map(pair).collect(),
        devices: None,
    }
}

async fn check_refused(client: &JsonClient, uri: &str, body: &Value, status: u16, part: &str) {
    match client.post::<ReportAck>(uri, body).await {
        Err(CallError::Refused { status: found, message, .. }) => {
            assert!(found.as_u16() == status && message.contains(part), "{found}: {message} is not {status}: {part}");
        }
        other => panic!("{other:?} is not {status}: {part}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_with_bounds_wait_until_the_agents_have_reported() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(from_agents(&cluster)).await;
    let base = format!("https://{}", replica.running.topology);
    cluster.create("near", "6Gi", &[("delay_edge-1", "25")], |_| {}).await;
    cluster.create("anywhere", "1Gi", &[], |_| {}).await;
    cluster.check_bound("anywhere", "cloud-1").await;
    cluster.check_waits("near", "0/4 nodes are available: the topology is warming up: 0 of 4 nodes have reported.").await;

    let agents = {
        let mut agents = Vec::new();
        for node in NODES {
            agents.push((node, cluster.topology_client("edge-pinger", Some(node)).await));
        }
        agents
    };
    let peers: Peers = agents[0].1.get(&format!("{base}/v1/peers")).await.unwrap();
    assert_eq!((peers.node.as_str(), peers.peers.len()), ("edge-1", 3));
    for (node, agent) in &agents {
        let ack: ReportAck = agent.post(&format!("{base}/v1/report"), &row(node, 1, 30)).await.unwrap();
        assert!(!ack.need_full);
    }
    cluster.check_waits("near", "0/4 nodes are available: 1 Insufficient memory, 3 RTT from edge-1 above 25 ms.").await;

    let longer: Peers = agents[0].1.get(&format!("{base}/v1/peers?after={}", peers.generation)).await.unwrap();
    assert!(longer.generation > peers.generation && longer.peers.iter().all(|peer| peer.address.is_some()), "{longer:?}");

    let reader = cluster.topology_client("edge-router", Some("edge-1")).await;
    let snapshot: TopologySnapshot = reader.get(&format!("{base}/v1/snapshot")).await.unwrap();
    assert_eq!((snapshot.nodes.len(), snapshot.pairs.len(), snapshot.warm), (4, 6, true));
    let mut lines = Box::pin(reader.lines::<StreamEvent>(&format!("{base}/v1/stream"), Duration::from_secs(20)).await.unwrap());
    assert!(matches!(lines.next().await, Some(Ok(StreamEvent::Snapshot(_)))));
    for (node, agent) in &agents[..2] {
        let _: ReportAck = agent.post(&format!("{base}/v1/report"), &row(node, 2, 9)).await.unwrap();
    }
    let changed = async {
        loop {
            if let Some(Ok(StreamEvent::Delta(delta))) = lines.next().await
                && let Some(pair) = delta.pairs.iter().find(|pair| (&*pair.a, &*pair.b) == ("edge-1", "edge-2"))
                && pair.stat.is_some_and(|stat| stat.p90.0 == 9_000)
            {
                return;
            }
        }
    };
    tokio::time::timeout(crate::cluster::LIMIT, changed).await.expect("the stream tells the new figure");
    // The larger direction of edge-1 and edge-2 is 9 ms now, and only that pair wakes the pod.
    cluster.check_bound("near", "edge-2").await;

    let objects: Api<NodeNetwork> = Api::all(cluster.client.clone());
    let near = |status: &api::crd::NodeNetworkStatus| status.nearest.first().is_some_and(|nearest| nearest.node == "edge-2");
    let written = async || objects.get_opt("edge-1").await.unwrap()?.status.filter(near);
    let status = cluster.until("the NodeNetwork of edge-1", written).await;
    assert_eq!(status.peers.as_deref(), Some("3/3"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_reports_are_refused_and_the_row_stays() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(from_agents(&cluster)).await;
    let base = format!("https://{}", replica.running.topology);
    let uri = format!("{base}/v1/report");
    let agent = cluster.topology_client("edge-pinger", Some("edge-1")).await;
    let ack = async || agent.post::<ReportAck>(&uri, &row("edge-1", 1, 5)).await.ok();
    cluster.until("the node is known", ack).await;

    let with = |change: &dyn Fn(&mut Value)| {
        let mut report = serde_json::to_value(row("edge-1", 2, 50)).unwrap();
        change(&mut report);
        report
    };
    let foreign = with(&|report| report["node"] = json!("edge-2"));
    check_refused(&agent, &uri, &foreign, 403, "the agent on node \"edge-1\", which may not report for node \"edge-2\"").await;
    check_refused(&agent, &uri, &with(&|report| report["pairs"][0]["p90Us"] = Value::Null), 400, "expected u32").await;
    check_refused(&agent, &uri, &with(&|report| report["pairs"][0]["p90Us"] = json!(-5)), 400, "integer `-5`").await;
    check_refused(&agent, &uri, &with(&|report| report["pairs"][0]["p90Us"] = json!(3_600_000_000u64)), 422, "at most 60000000 us").await;
    check_refused(&agent, &uri, &with(&|report| report["padding"] = json!("x".repeat(10 << 20))), 413, "exceeds 4194304 bytes").await;

    let nodeless = cluster.topology_client("edge-pinger", None).await;
    check_refused(&nodeless, &uri, &with(&|_| {}), 403, "names no node").await;
    let router = cluster.topology_client("edge-router", Some("edge-1")).await;
    check_refused(&router, &uri, &with(&|_| {}), 403, "\"/v1/report\"").await;
    let refused = agent.get::<Value>(&format!("{base}/v1/snapshot")).await.unwrap_err();
    assert_eq!(refused.status().map(|status| status.as_u16()), Some(403), "an agent reads its peers, not the whole topology");

    let snapshot: TopologySnapshot = router.get(&format!("{base}/v1/snapshot")).await.unwrap();
    assert!(snapshot.pairs.iter().all(|pair| pair.stat.unwrap().p90.0 == 5_000), "{:?}", snapshot.pairs);
    replica.stop().await;
}
