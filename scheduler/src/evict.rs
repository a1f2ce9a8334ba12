//! Evicts pods for one of higher priority that fits nowhere, as kube-scheduler does: each victim gets the condition `DisruptionTarget` and is deleted, with
//! its own grace period; one that still waits for its volumes goes back to the queue instead. The room is the pod's, which is nominated to the node, and it
//! is tried again when the victims have gone.

use crate::metrics::Metrics;
use crate::state::{Shared, now};
use crate::tell::{Teller, Victim};
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, Error};
use placement::cluster::Pod;
use placement::plan::Eviction;
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub struct Evictor {
    pub client: Client,
    pub leadership: Leadership,
    pub shared: Arc<Shared>,
    pub teller: Arc<Teller>,
    pub metrics: Metrics,
    pub shutdown: Shutdown,
}

#[derive(Debug, thiserror::Error)]
enum EvictError {
    #[error("cannot evict pod {pod}")]
    Refused { pod: String, source: Error },
    #[error("no longer the leader")]
    NotLeading,
}

impl Evictor {
    /// Evicts in a task; until it ends nobody else is chosen for the pod. Where a victim can't be evicted the pod is tried again.
    pub fn start(self: &Arc<Self>, pod: Arc<Pod>, eviction: Eviction) {
        self.shared.lock().preempting.insert(pod.uid.clone());
        let evictor = self.clone();
        self.shutdown.spawn(async move {
            let outcome = evictor.shutdown.interrupt(evictor.carry_out(&pod, &eviction)).await;
            if let Some(outcome) = &outcome {
                evictor.metrics.evicted(outcome.is_ok());
            }
            evictor.shared.change(|state| {
                state.preempting.remove(&pod.uid);
                if let Some(Err(error)) = &outcome {
                    tracing::warn!(pod = %pod.key, node = eviction.node, error = chassis::program::chain(error), "preemption failed");
                    state.queue.activate(&pod.key, "ForceActivate", now());
                }
            });
        });
    }

    async fn carry_out(&self, pod: &Pod, eviction: &Eviction) -> Result<(), EvictError> {
        for outranked in &eviction.outranked {
            self.withdraw(outranked).await?;
        }
        // One that terminates already goes by itself.
        let standing = eviction.victims.iter().filter(|victim| !victim.terminating);
        try_join_all(standing.map(|victim| self.evict(victim, pod, &eviction.node))).await.map(drop)
    }

    /// A pod of lower priority loses the room that it was promised, and looks for another.
    async fn withdraw(&self, outranked: &Pod) -> Result<(), EvictError> {
        self.shared.change(|state| {
            state.cluster.nominate(&outranked.key, &outranked.uid, None);
            state.queue.activate(&outranked.key, "ForceActivate", now());
        });
        self.patch_status(outranked, json!({"nominatedNodeName": null})).await.map(drop)
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
        self.held(pod, self.api(pod).patch_status(&pod.key.name, &PatchParams::default(), &body)).await
    }

    /// Whether the pod was still there.
    async fn delete(&self, pod: &Pod) -> Result<bool, EvictError> {
        let same = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        self.held(pod, self.api(pod).delete(&pod.key.name, &params)).await
    }

    /// A call about a pod, made by the leader alone: false where the pod is gone, or another has its name.
    async fn held<T>(&self, pod: &Pod, call: impl Future<Output = Result<T, Error>>) -> Result<bool, EvictError> {
        if !self.leadership.is_leader() {
            return Err(EvictError::NotLeading);
        }
        match call.await {
            Ok(_) => Ok(true),
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(source) => Err(EvictError::Refused { pod: pod.key.to_string(), source }),
        }
    }

    fn api(&self, pod: &Pod) -> Api<v1::Pod> {
        Api::namespaced(self.client.clone(), &pod.key.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::binder;
    use crate::mock_api::{self, json_response};
    use placement::cluster::{Node, PodKey};
    use std::sync::Mutex;

    /// What is asked of the API server to evict a pod from node `a` while it stands on `on` and perhaps waits for its volumes there, and whether
    /// that was called off.
    async fn evicted(on: Option<&str>, waits: bool) -> (Vec<String>, bool) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let client = mock_api::client(move |request| {
            if !request.uri().path().contains("/events") {
                seen.lock().unwrap().push(request.method().to_string());
            }
            async { Ok(json_response(200, &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "victim"}}))) }
        });
        let pod = |name: &str| Arc::new(Pod { key: PodKey::new("default", name), uid: name.into(), ..Pod::default() });
        let (victim, urgent) = (pod("victim"), pod("urgent"));
        let (shared, shutdown) = (Arc::new(Shared::new(Default::default(), Default::default(), true)), Shutdown::new());
        let volumes = CancellationToken::new();
        shared.change(|state| {
            for name in ["a", "b"] {
                state.cluster.apply_node(Node { name: name.into(), ..Node::default() });
            }
            state.apply_pod(victim.clone(), None, now());
            on.iter().for_each(|node| drop(state.cluster.assume(&victim.key, &victim.uid, node)));
            if waits {
                state.preparing.insert(victim.uid.clone(), volumes.clone());
            }
        });
        let teller = binder(client.clone(), shared.clone(), shutdown.clone()).teller.clone();
        let evictor = Evictor { client, leadership: Leadership::always(), shared, teller, metrics: Metrics::default(), shutdown };
        evictor.evict(&victim, &urgent, "a").await.expect("nothing is refused");
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
}
