use super::*;
use crate::mock_api::{self, failure, json_response};
use placement::cluster::{Cluster, Settings};
use placement::devices::{AllocatedDevice, Allocation};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn allocation(device: &str) -> Allocation {
    let device = AllocatedDevice {
        request: "r".into(),
        driver: "gpu.test".into(),
        pool: "p".into(),
        device: device.into(),
        admin_access: false,
        tolerations: vec![],
    };
    Allocation { devices: vec![device], ..Allocation::default() }
}

fn allocated(device: &str) -> Value {
    json!({
        "allocationTimestamp": "2026-01-01T00:00:00Z",
        "devices": {"results": [{"request": "r", "driver": "gpu.test", "pool": "p", "device": device}]},
    })
}

fn users(uids: &[&str]) -> Value {
    uids.iter().map(|uid| json!({"resource": "pods", "name": "web", "uid": uid})).collect()
}

fn claim(version: &str, status: Value) -> Value {
    json!({"metadata": {"name": "gpu", "namespace": "shop", "uid": "u", "resourceVersion": version}, "spec": {}, "status": status})
}

fn pod() -> Pod {
    Pod { key: PodKey::new("shop", "web"), uid: "web".into(), ..Pod::default() }
}

/// An API server with one claim that does what is asked, except where `disturb` has an answer of its own first.
struct Server {
    claim: Value,
    requests: Vec<String>,
    disturb: VecDeque<Disturbance>,
}

#[derive(Clone, Copy)]
enum Disturbance {
    /// Another has written the claim in between.
    Conflict,
    /// It is done, and the answer is lost.
    Lost,
    Refuses,
    Calm,
}

impl Server {
    fn answer(&mut self, method: &http::Method, path: &str, body: &[u8]) -> Result<http::Response<bytes::Bytes>, String> {
        if method == http::Method::GET {
            return Ok(json_response(200, &self.claim));
        }
        let subresource = path.rsplit_once("/gpu").unwrap().1;
        self.requests.push(format!("{method} {subresource} {}", String::from_utf8_lossy(body)));
        let disturbance = self.disturb.pop_front().unwrap_or(Disturbance::Calm);
        let body: Value = serde_json::from_slice(body).unwrap();
        let version: u64 = self.claim["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        match disturbance {
            Disturbance::Refuses => return Ok(failure(422, "Invalid", "no")),
            Disturbance::Conflict => {
                self.claim["metadata"]["resourceVersion"] = json!((version + 1).to_string());
                return Ok(failure(409, "Conflict", "the object has been modified"));
            }
            Disturbance::Lost | Disturbance::Calm => {}
        }
        assert_eq!(body["metadata"]["resourceVersion"], self.claim["metadata"]["resourceVersion"], "of the version that was read");
        json_patch::merge(&mut self.claim, &body);
        self.claim["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        if matches!(disturbance, Disturbance::Lost) { Err("connection reset".into()) } else { Ok(json_response(200, &self.claim)) }
    }
}

enum Ask {
    /// With this device promised.
    Allocate(&'static str),
    Reserve,
    Deallocate,
}

/// Plays it against a claim with this status. The outcome, the claim then, and the writes.
async fn play(status: Value, ask: Ask, held: bool, disturb: &[Disturbance]) -> (String, Value, Vec<String>) {
    let server = Server { claim: claim("4", status), requests: Vec::new(), disturb: disturb.iter().copied().collect() };
    let server = Arc::new(Mutex::new(server));
    let of_client = server.clone();
    let client = mock_api::client(move |request| {
        let answer = of_client.lock().unwrap().answer(request.method(), request.uri().path(), request.body());
        async move { answer }
    });
    let clients = Clients { binding: client.clone(), reading: client };
    let shared = Shared::new(Settings::default(), Default::default(), true);
    let patience = Patience { call: Duration::from_secs(4), look: Duration::from_secs(20) };
    let departure = || Departure::new(move || held);
    let writer = ClaimWriter { clients: &clients, shared: &shared, patience, departure, end: std::future::pending::<()> };
    let known = Arc::new(Claim::new(PodKey::new("shop", "gpu"), "u"));
    let promised = |allocation| ClaimReservation { claim: known.clone(), allocation };
    let ended = match ask {
        Ask::Allocate(device) => writer.reserve(&pod(), &[promised(Some(allocation(device)))]).await,
        Ask::Reserve => writer.reserve(&pod(), &[promised(None)]).await,
        Ask::Deallocate => writer.deallocate(&known, &pod()).await,
    };
    let outcome = match ended {
        Ok(()) => "done".to_owned(),
        Err(Bound::Failed(error)) => error.to_string(),
        Err(other) => format!("{other:?}"),
    };
    let server = server.lock().unwrap();
    if outcome == "done" {
        let expected = api::convert::claim(&serde_json::from_value(server.claim.clone()).unwrap());
        let cluster: &Cluster = &shared.lock().cluster;
        assert_eq!(cluster.view().inventory().claim(&known.key).map(|claim| &**claim), Some(&expected), "what was written is known");
    }
    (outcome, server.claim.clone(), server.requests.clone())
}

#[tokio::test(start_paused = true)]
async fn a_claim_gets_its_finalizer_and_then_its_devices_and_its_pod() {
    let (outcome, mut claim, writes) = play(json!({}), Ask::Allocate("a"), true, &[]).await;
    assert_eq!((outcome.as_str(), writes.len()), ("done", 2), "{writes:?}");
    let finalizer = json!({"metadata": {"resourceVersion": "4", "finalizers": ["resource.kubernetes.io/delete-protection"]}});
    assert_eq!(writes[0], format!("PATCH  {finalizer}"));
    assert!(writes[1].starts_with("PATCH /status "), "{writes:?}");
    assert!(claim["status"]["allocation"]["allocationTimestamp"].is_string(), "{claim}");
    claim["status"]["allocation"]["allocationTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(claim["status"], json!({"allocation": allocated("a"), "reservedFor": users(&["web"])}));
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_claim_decides() {
    let check = async |status: Value, ask: Ask, expected: &str, left: Option<Value>, writes: usize| {
        let (outcome, claim, made) = play(status.clone(), ask, true, &[]).await;
        let same = status.clone();
        assert_eq!((outcome.as_str(), &claim["status"], made.len()), (expected, left.as_ref().unwrap_or(&same), writes), "{status}");
    };
    let failed = |why: &str| format!("running PreBind plugin \"DynamicResources\": claim shop/gpu {why} in the meantime");
    let used = |uids: &[&str]| json!({"allocation": allocated("a"), "reservedFor": users(uids)});
    check(used(&["db"]), Ask::Reserve, "done", Some(used(&["db", "web"])), 1).await;
    check(used(&["db", "web"]), Ask::Reserve, "done", None, 0).await;
    // What was written before the answer was lost stands.
    check(used(&["web"]), Ask::Allocate("a"), "done", None, 0).await;
    check(used(&["web"]), Ask::Allocate("b"), &failed("got allocated elsewhere"), None, 0).await;
    check(used(&["db"]), Ask::Allocate("a"), &failed("got allocated elsewhere"), None, 0).await;
    check(json!({}), Ask::Reserve, &failed("got deallocated elsewhere"), None, 0).await;
    check(used(&[]), Ask::Deallocate, "done", Some(json!({})), 1).await;
    check(used(&["web"]), Ask::Deallocate, "done", Some(json!({})), 1).await;
    check(used(&["db"]), Ask::Deallocate, "done", None, 0).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_written_again_until_an_answer_comes() {
    use Disturbance::{Calm, Conflict, Lost, Refuses};
    let check = async |disturb: &[Disturbance], expected: &str, writes: usize| {
        let (outcome, _, made) = play(json!({}), Ask::Allocate("a"), true, disturb).await;
        assert_eq!((outcome.as_str(), made.len()), (expected, writes), "{made:?}");
    };
    check(&[Conflict, Calm, Conflict], "done", 4).await;
    check(&[Lost, Lost], "done", 2).await;
    check(&[Calm, Refuses], "running PreBind plugin \"DynamicResources\": claim shop/gpu: no", 2).await;
    let (outcome, _, made) = play(json!({}), Ask::Allocate("a"), true, &[Conflict; 64]).await;
    assert!(outcome.ends_with("claim shop/gpu: the object has been modified") && (5..64).contains(&made.len()), "{outcome} {}", made.len());
}

#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_written() {
    let (outcome, _, writes) = play(json!({}), Ask::Allocate("a"), false, &[]).await;
    assert_eq!((outcome.as_str(), writes.len()), ("CalledOff", 0));
}
