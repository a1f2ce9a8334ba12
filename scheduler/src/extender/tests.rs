use super::*;
use crate::topology::agents::tests::settings;
use axum::http::Request;
use http_body_util::BodyExt as _;
use placement::cluster::{Node, Pod, PodKey};
use placement::topology::PairStat;
use placement::units::{Micros, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Nodes `near` and `far`, 3 ms and 30 ms from `edge`; pod `db` on `near`.
fn extender() -> Router {
    let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
    let board = Arc::new(Board::new(shared.clone(), settings(), Timestamp(0)));
    for name in ["edge", "near", "far"] {
        shared.lock().cluster.apply_node(Node { name: name.into(), ..Node::default() });
    }
    for (peer, us) in [("near", 3_000), ("far", 30_000)] {
        shared.lock().cluster.report_rtt("edge", peer, PairStat::declared(Micros(us), now()));
    }
    let db = Pod { key: PodKey::new("default", "db"), uid: "of-db".into(), node_name: Some("near".into()), ..Pod::default() };
    shared.lock().cluster.apply_pod(db);
    routes(shared, board, Watches::new())
}

async fn post(path: &str, body: Value) -> (u16, Value) {
    let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
    let answer = extender().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn pod(labels: Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "default", "labels": labels}, "spec": {"containers": [{"name": "c"}]}})
}

#[tokio::test]
async fn nodes_out_of_bounds_are_filtered_by_name_and_preempting_does_not_help_there() {
    let names = json!(["near", "far"]);
    let asked = json!({"Pod": pod(json!({"delay_edge": "10"})), "Nodes": null, "NodeNames": names});
    let filtered = json!({
        "NodeNames": ["near"], "Error": "", "FailedAndUnresolvableNodes": {"far": "RTT from edge above 10 ms"},
    });
    assert_eq!(post("/filter", asked).await, (200, filtered));
    let unbounded = json!({"Pod": pod(json!({})), "NodeNames": names});
    assert_eq!(post("/filter", unbounded).await.1, json!({"NodeNames": names, "Error": "", "FailedAndUnresolvableNodes": {}}));
}

#[tokio::test]
async fn whole_nodes_go_back_whole() {
    let node = |name: &str| json!({"metadata": {"name": name}, "status": {"phase": "x"}});
    let asked = json!({"Pod": pod(json!({"delay_edge": "10"})), "Nodes": {"items": [node("near"), node("far")]}});
    assert_eq!(post("/filter", asked).await.1["Nodes"], json!({"items": [node("near")]}));
}

#[tokio::test]
async fn what_cannot_be_judged_fails_the_attempt_with_its_reason() {
    let check = async |labels: Value, part: &str| {
        let (status, answer) = post("/filter", json!({"Pod": pod(labels), "NodeNames": ["near"]})).await;
        assert!(status == 200 && answer["Error"].as_str().unwrap().contains(part), "{answer}");
    };
    check(json!({"delay_nobody": "10"}), r#"delay reference "nobody" is no node"#).await;
    check(json!({"delay_edge": "soon"}), "delay_edge").await;
    let (status, answer) = post("/filter", json!({"Pod": pod(json!({}))})).await;
    assert_eq!((status, answer["error"]["message"].as_str().unwrap()), (400, "neither NodeNames nor Nodes is given"));
}

#[tokio::test]
async fn nearer_nodes_score_higher_and_pods_without_bounds_score_all_alike() {
    let check = async |labels: Value, near: i64, far: i64| {
        let asked = json!({"Pod": pod(labels), "NodeNames": ["near", "far"]});
        assert_eq!(post("/prioritize", asked).await.1, json!([{"Host": "near", "Score": near}, {"Host": "far", "Score": far}]));
    };
    check(json!({"delay_edge": "50"}), 10, 1).await;
    check(json!({}), 10, 10).await;
}

#[tokio::test]
async fn nobody_is_evicted_where_the_pod_may_not_go() {
    let victims = json!({"near": {"Pods": [{"UID": "1"}], "NumPDBViolations": 2}, "far": {"Pods": [{"UID": "2"}], "NumPDBViolations": 0}});
    let kept = json!({"near": {"Pods": [{"UID": "1"}], "NumPDBViolations": 2}});
    let bounded = pod(json!({"delay_edge": "10"}));
    let asked = json!({"Pod": bounded, "NodeNameToMetaVictims": victims});
    assert_eq!(post("/preempt", asked).await.1, json!({"NodeNameToMetaVictims": kept}));
    let whole = json!({"near": {"Pods": [{"metadata": {"name": "a", "uid": "1"}}], "NumPDBViolations": 2}, "far": {"Pods": null}});
    assert_eq!(post("/preempt", json!({"Pod": bounded, "NodeNameToVictims": whole})).await.1, json!({"NodeNameToMetaVictims": kept}));
    assert_eq!(post("/preempt", json!({"Pod": bounded})).await.0, 400);
    // `db` runs on `near`.
    let victims = json!({"near": {"Pods": [{"UID": "1"}, {"UID": "of-db"}], "NumPDBViolations": 0}, "edge": {"Pods": [{"UID": "2"}], "NumPDBViolations": 0}});
    let asked = json!({"Pod": pod(json!({"delay_db": "10"})), "NodeNameToMetaVictims": victims});
    let kept = json!({"edge": {"Pods": [{"UID": "2"}], "NumPDBViolations": 0}});
    assert_eq!(post("/preempt", asked).await.1, json!({"NodeNameToMetaVictims": kept}), "nor those that it refers to");
}
