use super::*;
use crate::mock_api::{self, json_response};
use crate::tell::ConditionWriter;
use chassis::events::{Recorder, RecorderConfig};
use placement::cluster::{Node, PodKey};
use placement::devices::{ClaimName, PodClaim};
use placement::plan::{Planner, Warmth};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// One binding at a time.
pub fn binder(client: kube::Client, shared: Arc<Shared>, shutdown: Shutdown) -> Arc<Binder> {
    let conditions = ConditionWriter::default();
    shutdown.spawn(conditions.clone().run(client.clone(), shared.clone(), shutdown.clone()));
    let events = Recorder::start(client.clone(), "edge-scheduler", "test", &RecorderConfig::default(), &shutdown);
    Arc::new(Binder {
        clients: Clients { binding: client.clone(), reading: client },
        leadership: Leadership::always(),
        patience: Patience { call: Duration::from_secs(4), look: Duration::from_secs(20) },
        slots: Arc::new(Semaphore::new(1)),
        shared: shared.clone(),
        teller: Arc::new(Teller::new(events, conditions, shared)),
        metrics: Metrics::default(),
        shutdown,
    })
}

/// Binds a pod with these claims of devices, which nobody has made, to its node. What was asked of the API server but events, up to the last.
async fn play(claims: Vec<ClaimName>, last: &str) -> Vec<(String, Value)> {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let client = mock_api::client(move |request| {
        let (method, path) = (request.method().as_str(), request.uri().path());
        if !path.contains("/events") {
            let body = serde_json::from_slice(request.body()).unwrap_or_default();
            sender.send((format!("{method} {}", path.rsplit_once('/').unwrap().1), body)).unwrap();
        }
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        async move { Ok(json_response(200, &done)) }
    });
    let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
    let claims = claims.into_iter().map(|claim| PodClaim { name: "gpu".into(), claim }).collect();
    let pod = Arc::new(Pod { key: PodKey::new("default", "web"), uid: "u".into(), claims, ..Pod::default() });
    let popped = {
        let mut state = shared.lock();
        state.cluster.apply_node(Node { name: "n".into(), ..Node::default() });
        state.apply_pod(pod.clone(), None, now());
        state.queue.pop(now()).unwrap()
    };
    let decision = Planner::new().decide(&shared.lock().cluster.snapshot(), &pod, now(), Warmth::Warm);
    let shutdown = Shutdown::new();
    let binder = binder(client, shared, shutdown.clone());
    binder.start(popped, "n".into(), Arc::new(decision), Instant::now(), None);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(request, body): &(String, Value)| !format!("{request} {body}").contains(last)) {
        let next = tokio::time::timeout(Duration::from_secs(60), requests.recv()).await;
        seen.push(next.unwrap_or_else(|_| panic!("no {last:?} after {seen:?}")).unwrap());
    }
    shutdown.trigger();
    seen
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_needs_nothing_first_is_bound_by_one_request() {
    for claims in [vec![], vec![ClaimName::NotNeeded]] {
        let requests: Vec<String> = play(claims, "binding").await.into_iter().map(|(request, _)| request).collect();
        assert_eq!(requests, ["POST binding"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_nominated_before_claims_are_written_and_no_more_when_that_fails() {
    let requests = play(vec![ClaimName::Given("gpu".into())], "SchedulerError").await;
    let [(first, nomination), (second, failure)] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("PATCH status", "PATCH status"));
    assert_eq!(*nomination, json!({"metadata": {"uid": "u"}, "status": {"nominatedNodeName": "n"}}));
    assert_eq!(failure["status"]["nominatedNodeName"], Value::Null);
}
