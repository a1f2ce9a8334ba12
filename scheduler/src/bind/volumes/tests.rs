use super::*;
use crate::mock_api::{self, failure, json_response};
use placement::cluster::{Node, PodKey, PodVolume, Profile, Settings, StorageClass};
use placement::units::Span;
use std::sync::{Arc, Mutex};

fn claim() -> PersistentVolumeClaim {
    let (namespace, name) = ("shop".to_owned(), "data".to_owned());
    PersistentVolumeClaim { namespace, name, uid: "u".into(), version: "5".into(), class: "c".into(), ..PersistentVolumeClaim::default() }
}

fn bound_claim() -> PersistentVolumeClaim {
    PersistentVolumeClaim { version: "8".into(), volume: Some("v".into()), bind_completed: true, ..claim() }
}

fn volume(version: &str, claim: Option<ClaimRef>) -> PersistentVolume {
    PersistentVolume { name: "v".into(), version: version.into(), class: "c".into(), claim, available: true, ..PersistentVolume::default() }
}

fn key() -> PodKey {
    PodKey::new("shop", "web")
}

/// A pod assumed on node `n` with a claim; a volume is there, or has to be made.
fn assumed(timeout: Span, made: bool) -> Arc<Shared> {
    let mut profile = Profile::new("");
    profile.volume_binding.timeout = timeout;
    let settings = Settings { profiles: profile.into(), ..Settings::default() };
    let queue = crate::queue::Settings { initial_backoff: Span(1), max_backoff: Span(1), unschedulable_limit: Span(1) };
    let shared = Shared::new(settings, queue, true);
    let mut state = shared.lock();
    let cluster = &mut state.cluster;
    cluster.apply_node(Node { name: "n".into(), ..Node::default() });
    let provisioner = made.then(|| "driver".to_owned());
    cluster.apply_stored(StorageClass { name: "c".into(), delayed: true, provisioner, ..StorageClass::default() });
    if !made {
        cluster.apply_stored(volume("3", None));
    }
    cluster.apply_stored(claim());
    let volumes = vec![PodVolume::Claim("data".into())];
    cluster.apply_pod(Pod { key: key(), uid: "p".into(), volumes, ..Pod::default() });
    cluster.assume(&key(), "p", "n").unwrap();
    drop(state);
    Arc::new(shared)
}

/// Runs it against an API that answers every write by `answer`, which may change the state as the controllers would. The outcome, and the requests.
async fn play(
    shared: Arc<Shared>,
    held: bool,
    answer: impl Fn(&Shared) -> http::Response<bytes::Bytes> + Clone + Send + Sync + 'static,
) -> (String, Vec<String>) {
    let (pod, plan) = {
        let state = shared.lock();
        let view = state.cluster.view();
        (Pod::clone(view.pod(&key()).unwrap().pod), view.volume_plan(&key()).cloned().unwrap())
    };
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (log, of_api) = (requests.clone(), shared.clone());
    let client = mock_api::client(move |request| {
        log.lock().unwrap().push(format!("{} {} {}", request.method(), request.uri().path(), String::from_utf8_lossy(request.body())));
        let answer = answer(&of_api);
        async move { Ok(answer) }
    });
    let clients = Clients { binding: client.clone(), reading: client };
    let patience = Patience { call: Duration::from_secs(4), look: Duration::from_secs(20) };
    let outcome = match bind_volumes(&clients, &shared, &pod, "n", &plan, patience, || Departure::new(move || held)).await {
        Err(Bound::Failed(BindError::Volumes(error))) => error.to_string(),
        other => format!("{other:?}"),
    };
    let requests = requests.lock().unwrap().clone();
    (outcome, requests)
}

fn written(version: &str) -> http::Response<bytes::Bytes> {
    json_response(200, &json!({"metadata": {"resourceVersion": version}}))
}

const LONG: Span = Span(60_000);

#[tokio::test(start_paused = true)]
async fn a_volume_is_written_as_the_claims_and_the_controller_binds_them() {
    let (outcome, requests) = play(assumed(LONG, false), true, |shared| {
        let cluster = &mut shared.lock().cluster;
        cluster.apply_stored(volume("7", Some(claim().reference())));
        cluster.apply_stored(bound_claim());
        written("7")
    })
    .await;
    assert_eq!(outcome, "Ok(())");
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let (line, body) = request.split_at(request.find('{').unwrap());
    assert_eq!(line, "PATCH /api/v1/persistentvolumes/v ");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["metadata"], json!({"resourceVersion": "3", "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}));
    let claim_ref = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data", "uid": "u", "resourceVersion": "5"});
    assert_eq!(body["spec"]["claimRef"], claim_ref);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_written_for_a_volume_to_be_made() {
    let (outcome, requests) = play(assumed(LONG, true), true, |shared| {
        let cluster = &mut shared.lock().cluster;
        cluster.apply_stored(volume("7", Some(claim().reference())));
        cluster.apply_stored(PersistentVolumeClaim { selected_node: Some("n".into()), ..bound_claim() });
        written("6")
    })
    .await;
    assert_eq!(outcome, "Ok(())");
    let body = r#"{"metadata":{"resourceVersion":"5","annotations":{"volume.kubernetes.io/selected-node":"n"}}}"#;
    assert_eq!(requests, [format!("PATCH /api/v1/namespaces/shop/persistentvolumeclaims/data {body}")]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_told_in_kube_schedulers_words() {
    let check = async |made: bool, expected: &str, after: fn(&Shared)| {
        let (outcome, _) = play(assumed(LONG, made), true, move |shared| {
            after(shared);
            written("6")
        })
        .await;
        assert_eq!(outcome, expected);
    };
    check(true, "binding volumes: provisioning failed for PVC \"data\"", |shared| {
        shared.lock().cluster.apply_stored(PersistentVolumeClaim { version: "7".into(), ..claim() });
    })
    .await;
    check(false, "binding volumes: ClaimRef got reset for pv \"v\"", |shared| {
        shared.lock().cluster.apply_stored(volume("9", None));
    })
    .await;
    check(false, "binding volumes: failed to get node \"n\": node \"n\" not found", |shared| {
        shared.lock().cluster.delete_node("n");
    })
    .await;
    check(true, "Err(Gone)", |shared| {
        shared.lock().cluster.delete_pod(&key());
    })
    .await;
    // Nobody answers: the wait ends.
    check(true, "binding volumes: context deadline exceeded", |_| {}).await;
    let (refused, _) = play(assumed(LONG, false), true, |_| failure(409, "Conflict", "the object has been modified")).await;
    assert_eq!(refused, "the object has been modified");
}

#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_written() {
    let (outcome, requests) = play(assumed(LONG, false), false, |_| written("7")).await;
    assert_eq!((outcome.as_str(), requests.len()), ("Err(CalledOff)", 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_already_is_not_written_again() {
    let shared = assumed(LONG, false);
    shared.lock().cluster.apply_stored(volume("4", Some(claim().reference())));
    shared.lock().cluster.apply_stored(bound_claim());
    let (outcome, requests) = play(shared, true, |_| written("7")).await;
    assert_eq!((outcome.as_str(), requests.len()), ("Ok(())", 0));
}
