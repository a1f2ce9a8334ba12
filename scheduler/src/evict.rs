//! Evicts pods for one of higher priority that fits nowhere, as kube-scheduler does: each victim gets the condition `DisruptionTarget` and is deleted, with
//! its own grace period; one that still waits for its volumes goes back to the queue instead. The room is the pod's, which is nominated to the node, and it
//! is tried again when the victims have gone.

use crate::metrics::Metrics;
use crate::state::{Shared, State, now};
use crate::tell::{Teller, Victim};
use chassis::client::tell;
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, Request};
use kube::{Client, Error, Resource as _};
use placement::cluster::Pod;
use placement::plan::Eviction;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Pods evicted at a time. More would wait for the API server anyway, each call with a connection of its own.
const PARALLEL: usize = 16;
/// The watch is mostly there within milliseconds. Victims with a grace period stay longer than this.
const SEEN: Duration = Duration::from_millis(250);

pub struct Evictor {
    client: Client,
    leadership: Leadership,
    shared: Arc<Shared>,
    teller: Arc<Teller>,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Evictions that may begin now.
    slots: Semaphore,
}

#[derive(Debug, thiserror::Error)]
enum EvictError {
    #[error("cannot evict pod {pod}")]
    Refused { pod: String, source: Error },
    #[error("no longer the leader")]
    NotLeading,
}

impl Evictor {
    pub fn new(
        client: Client,
        leadership: Leadership,
        shared: Arc<Shared>,
        teller: Arc<Teller>,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Evictor {
        Evictor { client, leadership, shared, teller, metrics, shutdown, slots: Semaphore::new(PARALLEL) }
    }

    /// Evicts in a task for a pod that is held in the queue, and releases it at the end. Where a victim can't be evicted the pod is tried again.
    pub fn start(self: &Arc<Self>, pod: Arc<Pod>, eviction: Eviction) {
        self.shared.change(|state| eviction.outranked.iter().for_each(|outranked| withdraw(state, outranked, &eviction.node)));
        let evictor = self.clone();
        self.shutdown.spawn(async move {
            let outcome = evictor.shutdown.interrupt(evictor.carry_out(&pod, &eviction)).await;
            if let Some(outcome) = &outcome {
                evictor.metrics.evicted(outcome.is_ok());
            }
            if let Some(Ok(())) = &outcome {
                evictor.shutdown.interrupt(evictor.until_seen(&eviction.victims)).await;
            }
            evictor.shared.change(|state| {
                state.queue.release(&pod, now());
                if let Some(Err(error)) = &outcome {
                    tracing::warn!(pod = %pod.key, node = eviction.node, error = chassis::program::chain(error), "preemption failed");
                    state.queue.activate(&pod.key, "ForceActivate", now());
                }
            });
        });
    }

    async fn carry_out(&self, pod: &Pod, eviction: &Eviction) -> Result<(), EvictError> {
        for outranked in &eviction.outranked {
            let _slot = self.slots.acquire().await;
            // It may have been promised another room since; the same one is only an old word of the watch.
            if nominated(&self.shared.lock(), outranked).is_none_or(|promised| promised == eviction.node) {
                self.patch_status(outranked, json!({"nominatedNodeName": null})).await?;
            }
        }
        // One that terminates already goes by itself.
        let standing = eviction.victims.iter().filter(|victim| !victim.terminating);
        // One that waits for its slot takes no more memory than that.
        let evict = async |victim: &Arc<Pod>| {
            let _slot = self.slots.acquire().await;
            Box::pin(self.evict(victim, pod, &eviction.node)).await
        };
        try_join_all(standing.map(evict)).await.map(drop)
    }

    /// Waits until the watch has brought that the victims are gone, for so long at most: an attempt before that would find the node full.
    async fn until_seen(&self, victims: &[Arc<Pod>]) {
        let mut changes = self.shared.pods.subscribe();
        let stands = |victim: &Arc<Pod>| {
            let state = self.shared.lock();
            let known = state.cluster.view().pod(&victim.key);
            known.is_some_and(|known| known.pod.uid == victim.uid && known.node.is_some())
        };
        let seen = async { while victims.iter().any(stands) && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(SEEN, seen).await;
    }

    async fn evict(&self, victim: &Pod, pod: &Pod, node: &str) -> Result<(), EvictError> {
        let called_off = {
            let state = self.shared.lock();
            let cluster = state.cluster.view();
            let known = cluster.pod(&victim.key).filter(|known| known.pod.uid == victim.uid);
            // It has left the node meanwhile, for another pod or by itself.
            if known.is_none_or(|known| known.node.is_none_or(|ix| cluster.name(ix) != node)) {
                return Ok(());
            }
            state.preparing.get(&victim.uid).map(CancellationToken::cancel).is_some()
        };
        if called_off {
            tracing::info!(victim = %victim.key, pod = %pod.key, node, "preempted while it waited for its volumes");
            self.teller.preempted(victim, pod, node, Victim::CalledOff);
            return Ok(());
        }
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", pod.scheduler_name),
            "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let there = self.patch_status(victim, json!({"conditions": [condition]})).await?;
        if !there || !self.delete(victim).await? {
            return Ok(());
        }
        tracing::info!(victim = %victim.key, pod = %pod.key, node, "preempted");
        self.teller.preempted(victim, pod, node, Victim::Deleted);
        Ok(())
    }

    /// Whether the pod was still there.
    async fn patch_status(&self, pod: &Pod, status: serde_json::Value) -> Result<bool, EvictError> {
        let body = Patch::Strategic(json!({"metadata": {"uid": pod.uid}, "status": status}));
        let request = self.pods(pod).patch_subresource("status", &pod.key.name, &PatchParams::default(), &body);
        self.held(pod, tell(&self.client, request)).await
    }

    /// Whether the pod was still there.
    async fn delete(&self, pod: &Pod) -> Result<bool, EvictError> {
        let same = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        self.held(pod, tell(&self.client, self.pods(pod).delete(&pod.key.name, &params))).await
    }

    /// A call about a pod, made by the leader alone: false where the pod is gone, or another has its name.
    async fn held(&self, pod: &Pod, call: impl Future<Output = Result<(), Error>>) -> Result<bool, EvictError> {
        if !self.leadership.is_leader() {
            return Err(EvictError::NotLeading);
        }
        match call.await {
            Ok(()) => Ok(true),
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(source) => Err(EvictError::Refused { pod: pod.key.to_string(), source }),
        }
    }

    fn pods(&self, pod: &Pod) -> Request {
        Request::new(v1::Pod::url_path(&(), Some(&pod.key.namespace)))
    }
}

/// A pod of lower priority loses the room that it was promised on the node, and looks for another.
fn withdraw(state: &mut State, outranked: &Pod, node: &str) {
    if nominated(state, outranked).as_deref() == Some(node) {
        state.nominate(outranked, None, now());
        state.queue.activate(&outranked.key, "ForceActivate", now());
    }
}

/// The node that the pod is nominated to now.
fn nominated(state: &State, pod: &Pod) -> Option<String> {
    let known = state.cluster.view().pod(&pod.key).filter(|known| known.pod.uid == pod.uid)?;
    known.pod.nominated_node.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::binder;
    use crate::mock_api::{self, json_response};
    use placement::cluster::{Node, PodKey};
    use std::sync::Mutex;

    fn pod(name: &str) -> Arc<Pod> {
        Arc::new(Pod { key: PodKey::new("default", name), uid: name.into(), ..Pod::default() })
    }

    fn done() -> http::Response<bytes::Bytes> {
        json_response(200, &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "victim"}}))
    }

    fn evictor(client: Client, shared: &Arc<Shared>) -> Evictor {
        let shutdown = Shutdown::new();
        let teller = binder(client.clone(), shared.clone(), shutdown.clone()).teller.clone();
        Evictor::new(client, Leadership::always(), shared.clone(), teller, Metrics::default(), shutdown)
    }

    fn shared(nodes: &[&str]) -> Arc<Shared> {
        let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
        shared
            .change(|state| nodes.iter().for_each(|name| drop(state.cluster.apply_node(Node { name: (*name).into(), ..Node::default() }))));
        shared
    }

    /// What is asked of the API server to evict a pod from node `a` while it stands on `on` and perhaps waits for its volumes there, and whether
    /// that was called off.
    async fn evicted(on: Option<&str>, waits: bool) -> (Vec<String>, bool) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let client = mock_api::client(move |request| {
            if !request.uri().path().contains("/events") {
                seen.lock().unwrap().push(request.method().to_string());
            }
            async { Ok(done()) }
        });
        let (victim, shared) = (pod("victim"), shared(&["a", "b"]));
        let volumes = CancellationToken::new();
        shared.change(|state| {
            state.apply_pod(victim.clone(), None, now());
            on.iter().for_each(|node| drop(state.cluster.assume(&victim.key, &victim.uid, node)));
            if waits {
                state.preparing.insert(victim.uid.clone(), volumes.clone());
            }
        });
        evictor(client, &shared).evict(&victim, &pod("urgent"), "a").await.expect("nothing is refused");
        (asked.lock().unwrap().clone(), volumes.is_cancelled())
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_left_the_node_meanwhile_is_let_alone_and_who_waits_there_is_called_off() {
        let nothing = Vec::<String>::new();
        assert_eq!(evicted(Some("a"), false).await, (vec!["PATCH".to_owned(), "DELETE".to_owned()], false));
        assert_eq!(evicted(Some("a"), true).await, (nothing.clone(), true));
        assert_eq!(evicted(Some("b"), true).await, (nothing.clone(), false));
        assert_eq!(evicted(Some("b"), false).await, (nothing.clone(), false));
        assert_eq!(evicted(None, false).await, (nothing, false), "another has called it off, and it is in the queue");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_are_under_way_than_have_a_slot() {
        let under_way = Arc::new(Mutex::new((0, 0)));
        let counted = under_way.clone();
        let client = mock_api::client(move |request| {
            let (counted, counts) = (counted.clone(), !request.uri().path().contains("/events"));
            async move {
                if counts {
                    let mut counted = counted.lock().unwrap();
                    counted.0 += 1;
                    counted.1 = counted.1.max(counted.0);
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                if counts {
                    counted.lock().unwrap().0 -= 1;
                }
                Ok(done())
            }
        });
        let victims: Vec<Arc<Pod>> = (0..3 * PARALLEL).map(|index| pod(&format!("victim-{index}"))).collect();
        let shared = shared(&["a"]);
        shared.change(|state| {
            for victim in &victims {
                state.apply_pod(victim.clone(), None, now());
                state.cluster.assume(&victim.key, &victim.uid, "a").expect("it is pending");
            }
        });
        let eviction = Eviction { node: "a".into(), victims, violations: 0, outranked: Vec::new() };
        evictor(client, &shared).carry_out(&pod("urgent"), &eviction).await.expect("nothing is refused");
        assert_eq!(*under_way.lock().unwrap(), (0, PARALLEL));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pod_is_held_until_its_victims_are_seen_to_have_gone() {
        let client = mock_api::client(|_| async { Ok(done()) });
        let (victim, urgent, shared) = (pod("victim"), pod("urgent"), shared(&["a"]));
        shared.change(|state| {
            state.apply_pod(urgent.clone(), None, now());
            let popped = state.queue.pop(now()).expect("it was queued");
            state.queue.hold(&urgent);
            state.queue.retry(&popped.pod, now());
            state.apply_pod(victim.clone(), None, now());
            state.cluster.assume(&victim.key, &victim.uid, "a").expect("it is pending");
            state.queue.delete(&victim.key);
        });
        let evictor = Arc::new(evictor(client, &shared));
        evictor.start(urgent, Eviction { node: "a".into(), victims: vec![victim.clone()], violations: 0, outranked: Vec::new() });
        // Time passes when nobody has anything to do.
        tokio::time::sleep(SEEN / 2).await;
        let held = || shared.lock().queue.lengths().unschedulable;
        assert_eq!(held(), 1);
        shared.change(|state| state.delete_pod(&victim.key, now()));
        shared.pods.send_replace(());
        tokio::time::sleep(SEEN / 4).await;
        assert_eq!(held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_was_promised_elsewhere_meanwhile_is_not_withdrawn() {
        let patched = Arc::new(Mutex::new(Vec::new()));
        let seen = patched.clone();
        let client = mock_api::client(move |request| {
            if request.uri().path().contains("/pods/") {
                seen.lock().unwrap().push(request.uri().path().to_owned());
            }
            async { Ok(done()) }
        });
        let shared = shared(&["a", "b"]);
        let promised = |name: &str, node: &str| {
            let promised = Arc::new(Pod { nominated_node: Some(node.into()), ..Pod::clone(&pod(name)) });
            shared.change(|state| state.apply_pod(promised.clone(), None, now()));
            promised
        };
        let outranked = vec![promised("stays", "a"), promised("moves", "a"), promised("moved", "b")];
        let room = || ["stays", "moves", "moved"].map(|name| nominated(&shared.lock(), &pod(name)));
        let evictor = Arc::new(evictor(client, &shared));
        let busy = evictor.slots.acquire_many(PARALLEL as u32).await.expect("it is never closed");
        evictor.start(pod("urgent"), Eviction { node: "a".into(), victims: Vec::new(), violations: 0, outranked });
        let b = || Some("b".to_owned());
        assert_eq!(room(), [None, None, b()], "before anybody else is decided for");
        shared.change(|state| state.nominate(&pod("moves"), Some("b"), now()));
        drop(busy);
        tokio::time::sleep(SEEN).await;
        assert_eq!(room(), [None, b(), b()]);
        assert_eq!(*patched.lock().unwrap(), ["/api/v1/namespaces/default/pods/stays/status"]);
    }
}
