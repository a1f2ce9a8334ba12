//! Evicts pods for one of higher priority that fits nowhere, as kube-scheduler does: each victim gets the condition `DisruptionTarget` and is deleted, with
//! its own grace period; one that still waits for its volumes goes back to the queue instead. The room is the pod's, which is nominated to the node, and it is tried again when the victims have gone.

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
        if self.shared.lock().preparing.get(&victim.uid).map(CancellationToken::cancel).is_some() {
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
