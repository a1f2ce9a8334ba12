//! Electors against a Lease in memory that checks resourceVersions, with links that can be cut.

use super::*;
use crate::{
    lease::NotLeader,
    mock_api::{self, failure, json_response},
};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// The API server's side: one Lease, who cannot reach it, and how often each wrote.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    lease: Option<Lease>,
    version: u64,
    cut: BTreeSet<String>,
    /// Writes that get a conflict though their version is right: another was faster.
    conflicts: u32,
}

impl Store {
    fn client(&self, who: &str) -> kube::Client {
        let (store, who) = (self.clone(), who.to_owned());
        mock_api::client(move |request| {
            let answer = store.answer(&who, &request);
            async move {
                match answer {
                    Some(response) => Ok(response),
                    // A cut link swallows the call rather than refuse it.
                    None => std::future::pending().await,
                }
            }
        })
    }

    fn answer(&self, who: &str, request: &http::Request<bytes::Bytes>) -> Option<http::Response<bytes::Bytes>> {
        let mut store = self.0.lock().unwrap();
        if store.cut.contains(who) {
            return None;
        }
        let body = || serde_json::from_slice::<Lease>(request.body()).unwrap();
        let conflict = || Some(failure(409, "Conflict", "the object has been modified"));
        match (request.method().as_str(), &store.lease) {
            ("GET", None) | ("PUT", None) => Some(failure(404, "NotFound", "no such lease")),
            ("GET", Some(lease)) => Some(json_response(200, &serde_json::to_value(lease).unwrap())),
            ("POST", Some(_)) => Some(failure(409, "AlreadyExists", "exists")),
            ("PUT", Some(lease)) if lease.metadata.resource_version != body().metadata.resource_version => conflict(),
            _ if store.conflicts > 0 => {
                store.conflicts -= 1;
                conflict()
            }
            _ => {
                let mut lease = body();
                store.version += 1;
                lease.metadata.resource_version = Some(store.version.to_string());
                let answer = json_response(200, &serde_json::to_value(&lease).unwrap());
                store.lease = Some(lease);
                Some(answer)
            }
        }
    }

    fn cut(&self, who: &str) {
        self.0.lock().unwrap().cut.insert(who.to_owned());
    }

    fn mend(&self, who: &str) {
        self.0.lock().unwrap().cut.remove(who);
    }

    fn spec(&self) -> LeaseSpec {
        self.0.lock().unwrap().lease.clone().and_then(|lease| lease.spec).expect("there is a lease")
    }

    fn holder(&self) -> String {
        self.spec().holder_identity.unwrap_or_default()
    }

    /// Writes as another process would.
    fn edit(&self, change: impl FnOnce(&mut LeaseSpec)) {
        let mut store = self.0.lock().unwrap();
        store.version += 1;
        let version = store.version.to_string();
        let lease = store.lease.as_mut().expect("there is a lease");
        lease.metadata.resource_version = Some(version);
        change(lease.spec.as_mut().expect("it has a spec"));
    }
}

struct Replica {
    leadership: Leadership,
    shutdown: Shutdown,
}

fn start(store: &Store, who: &str) -> Replica {
    let shutdown = Shutdown::new();
    let leadership = elect(store.client(who), &LeaseConfig::default(), who, &shutdown);
    Replica { leadership, shutdown }
}

/// Lets `seconds` pass in steps of 100 ms and asserts at each that at most one of the replicas may act.
async fn pass(seconds: u64, replicas: &[&Replica]) {
    for _ in 0..seconds * 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let leaders = replicas.iter().filter(|replica| replica.leadership.is_leader()).count();
        assert!(leaders <= 1, "{leaders} leaders at once");
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_waits_for_its_release() {
    let store = Store::default();
    let a = start(&store, "a");
    assert_eq!(a.leadership.acquired().await, Some(1));
    let b = start(&store, "b");
    pass(120, &[&a, &b]).await;
    assert!(a.leadership.is_leader());
    assert_eq!(b.leadership.check(), Err(NotLeader::Following { leader: Some("a".into()) }));
    assert_eq!(store.spec().lease_transitions, Some(0));

    let stopped = Instant::now();
    a.shutdown.trigger();
    a.shutdown.wait_all(Duration::from_secs(5)).await.expect("ends");
    assert_eq!(a.leadership.check(), Err(NotLeader::Stopped));
    assert_eq!((store.holder().as_str(), store.spec().lease_duration_seconds), ("", Some(1)));
    b.leadership.acquired().await.expect("leads");
    assert!(stopped.elapsed() < Duration::from_secs(5), "took {:?}", stopped.elapsed());
    assert_eq!(store.spec().lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_stops_leaves_the_lease_alone() {
    let store = Store::default();
    let a = start(&store, "a");
    a.leadership.acquired().await.expect("leads");
    let b = start(&store, "b");
    pass(5, &[&a, &b]).await;
    b.shutdown.trigger();
    b.shutdown.wait_all(Duration::from_secs(5)).await.expect("ends");
    assert_eq!(store.holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_stops_acting_before_another_begins() {
    let store = Store::default();
    let (a, b) = (start(&store, "a"), start(&store, "b"));
    pass(30, &[&a, &b]).await;
    let (leader, other, name) = if a.leadership.is_leader() { (&a, &b, "a") } else { (&b, &a, "b") };
    let deadline = leader.leadership.deadline().expect("leads");
    let term = other.leadership.clone();
    store.cut(name);
    let cut = Instant::now();
    let waiting = tokio::spawn(async move { term.acquired().await.map(|_| Instant::now()) });
    pass(40, &[&a, &b]).await;

    let taken = waiting.await.unwrap().expect("the other leads");
    assert!(taken > deadline, "it began {:?} before the deadline", deadline - taken);
    // The last renewal is seen a try later at most, and so is its end; a try comes 2 s to 4.4 s after the one before.
    assert!(taken - cut < Duration::from_secs(15 + 9), "took {:?}", taken - cut);
    assert!(matches!(leader.leadership.check(), Err(NotLeader::Following { .. })));
    assert_eq!(store.spec().lease_transitions, Some(1));

    store.mend(name);
    pass(60, &[&a, &b]).await;
    assert!(other.leadership.is_leader(), "coming back does not take the lease away");
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_deadline_goes_unnoticed_and_a_longer_one_begins_a_new_term() {
    let store = Store::default();
    let a = start(&store, "a");
    a.leadership.acquired().await.expect("leads");
    for (outage_s, term) in [(5, 1), (30, 2)] {
        store.cut("a");
        pass(outage_s, &[&a]).await;
        assert_eq!(a.leadership.is_leader(), term == 1, "after {outage_s} s");
        store.mend("a");
        pass(10, &[&a]).await;
        assert!(matches!(a.leadership.state(), LeaderState::Leading { term: now, .. } if now == term), "after {outage_s} s");
    }
    assert_eq!(store.spec().lease_transitions, Some(0), "nobody else had it");
}

#[tokio::test(start_paused = true)]
async fn who_is_elected_once_does_not_take_the_lease_again_and_gives_it_up_in_the_end() {
    let (store, shutdown) = (Store::default(), Shutdown::new());
    let leadership = elect_once(store.client("a"), &LeaseConfig::default(), "a", Timestamp::now, &shutdown);
    let a = Replica { leadership, shutdown };
    a.leadership.acquired().await.expect("leads");
    store.cut("a");
    pass(12, &[&a]).await;
    store.mend("a");
    let version = store.0.lock().unwrap().version;
    pass(30, &[&a]).await;
    assert!(matches!(a.leadership.state(), LeaderState::Following { .. }));
    assert_eq!((store.holder().as_str(), store.0.lock().unwrap().version), ("a", version), "it wrote nothing");
    a.shutdown.trigger();
    a.shutdown.wait_all(Duration::from_secs(5)).await.expect("ends");
    assert_eq!(store.holder(), "", "nobody need wait for it to run out");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_finds_its_deadline_passed() {
    let store = Store::default();
    let a = start(&store, "a");
    let term = a.leadership.acquired().await.expect("leads");
    // As after SIGSTOP: time has passed, another leads, and no task of ours has run since.
    store.edit(|spec| spec.holder_identity = Some("b".into()));
    let deadline = a.leadership.deadline().expect("leads");
    let late = Duration::from_secs(60);
    // `advance` moves the clock before it lets other tasks run; the check below must not depend on them.
    let leadership = a.leadership.clone();
    let mut jump = Box::pin(tokio::time::advance(late));
    let _ = futures::poll!(&mut jump);
    assert!(Instant::now() > deadline);
    assert!(matches!(leadership.check(), Err(NotLeader::Expired(_))), "{:?}", leadership.check());
    jump.await;

    let version = store.0.lock().unwrap().version;
    tokio::time::timeout(Duration::from_secs(10), a.leadership.lost(term)).await.expect("notices");
    pass(5, &[&a]).await;
    assert_eq!(a.leadership.check(), Err(NotLeader::Following { leader: Some("b".into()) }));
    assert_eq!(store.0.lock().unwrap().version, version, "it wrote nothing");
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_for_a_write_is_no_leadership() {
    let store = Store::default();
    store.0.lock().unwrap().conflicts = 3;
    let a = start(&store, "a");
    pass(1, &[&a]).await;
    assert!(!a.leadership.is_leader());
    pass(20, &[&a]).await;
    assert!(a.leadership.is_leader());
    // A change by a person, an annotation say, makes the next renewal conflict: it is read and renewed at once.
    store.edit(|_| {});
    pass(3, &[&a]).await;
    assert!(matches!(a.leadership.state(), LeaderState::Leading { term: 1, .. }));
    // A deleted Lease is made anew.
    store.0.lock().unwrap().lease = None;
    pass(5, &[&a]).await;
    assert_eq!(store.holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn subscribers_wake_for_changes_of_leadership_only() {
    let store = Store::default();
    let a = start(&store, "a");
    a.leadership.acquired().await.expect("leads");
    let mut states = a.leadership.subscribe();
    states.mark_unchanged();
    let before = a.leadership.deadline();
    pass(20, &[&a]).await;
    assert!(a.leadership.deadline() > before, "renewed meanwhile");
    assert!(!states.has_changed().unwrap(), "renewals are silent");
    a.shutdown.trigger();
    states.changed().await.expect("wakes");
    assert_eq!(*states.borrow(), LeaderState::Stopped);
}

#[test]
fn identities_differ() {
    assert_ne!(identity(), identity());
}
