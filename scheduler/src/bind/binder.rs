//! Carries out decisions: each binding is a task of its own, a bounded number at once, checked against the lease right before it is sent.

use super::claims::{Claimed, bind_claims};
use super::{BindError, Bound, Clients, Patience, bind};
use crate::metrics::{Attempt, Metrics};
use crate::queue::Popped;
use crate::state::{Shared, now};
use crate::tell::{Failure, Teller};
use chassis::client::Departure;
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use placement::cluster::Pod;
use placement::plan::Decision;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub struct Binder {
    pub clients: Clients,
    pub leadership: Leadership,
    pub patience: Patience,
    /// Bindings under way at once.
    pub slots: Arc<Semaphore>,
    pub shared: Arc<Shared>,
    pub teller: Arc<Teller>,
    pub metrics: Metrics,
    pub shutdown: Shutdown,
}

impl Binder {
    /// Binds an assumed pod in a task. Whatever happens, the pod ends bound, back in the queue, or gone, and its room is given back unless it is bound.
    pub fn start(self: &Arc<Self>, popped: Popped, node: String, decision: Arc<Decision>) {
        let binder = self.clone();
        self.shutdown.spawn(async move { binder.carry_out(popped, &node, &decision).await });
    }

    async fn carry_out(&self, popped: Popped, node: &str, decision: &Decision) {
        let pod = &popped.pod;
        let outcome = match self.bind_claims(pod, node).await {
            Ok(()) => self.bind_pod(pod, node).await,
            Err(outcome) => outcome,
        };
        if !matches!(outcome, Bound::CalledOff) {
            return self.conclude(&popped, node, decision, outcome);
        }
        self.shared.change(|state| {
            let changes = state.cluster.forget(&pod.key);
            state.note(&changes, now());
            state.queue.put_back(pod, now());
        });
    }

    /// Gets the pod's claims their volumes, where some have none. May take minutes, in which no slot is held.
    async fn bind_claims(&self, pod: &Pod, node: &str) -> Result<(), Bound> {
        let Some(plan) = self.shared.lock().cluster.view().volume_plan(&pod.key).cloned() else { return Ok(()) };
        let claims = bind_claims(&self.clients, &self.shared, pod, node, &plan, || self.departure());
        match self.shutdown.interrupt(claims).await {
            Some(Claimed::Bound) => Ok(()),
            Some(Claimed::Gone) => Err(Bound::Gone),
            Some(Claimed::Failed(error)) => Err(Bound::Failed(BindError::Claims(error))),
            Some(Claimed::CalledOff) | None => Err(Bound::CalledOff),
        }
    }

    async fn bind_pod(&self, pod: &Pod, node: &str) -> Bound {
        let slot = self.shutdown.interrupt(self.slots.acquire()).await;
        let (Some(Ok(_slot)), Ok(_deadline)) = (&slot, self.leadership.check()) else { return Bound::CalledOff };
        // Shutdown calls off only what has not left: a binding that was sent is seen to its end.
        bind(&self.clients, pod, node, self.patience, || self.departure(), || self.shutdown.signalled()).await
    }

    /// Of a write that leaves only while the lease is held.
    fn departure(&self) -> Departure {
        let (leadership, ending) = (self.leadership.clone(), self.shutdown.clone());
        Departure::new(move || leadership.is_leader() && !ending.is_signalled())
    }

    fn conclude(&self, popped: &Popped, node: &str, decision: &Decision, outcome: Bound) {
        let pod = &popped.pod;
        match outcome {
            Bound::Here => {
                self.shared.change(|state| state.queue.done(pod));
                tracing::info!(pod = %pod.key, node, attempt = popped.attempt, "bound");
                self.metrics.bound(pod, popped.attempt, now().since(popped.first_tried));
                self.teller.scheduled(pod, decision);
            }
            Bound::Elsewhere { node: other } => {
                tracing::warn!(pod = %pod.key, node, other, "another scheduler bound the pod");
                self.metrics.attempted(pod, Attempt::Error);
                self.give_back(|queue| queue.done(pod), pod);
            }
            Bound::Gone => {
                tracing::debug!(pod = %pod.key, "the pod is gone");
                self.give_back(|queue| queue.done(pod), pod);
            }
            // The pod was put back by the caller.
            Bound::CalledOff => {}
            Bound::Failed(error) => {
                tracing::warn!(pod = %pod.key, node, %error, "the pod was not bound");
                self.metrics.attempted(pod, Attempt::Error);
                self.give_back(|queue| queue.retry(pod, now()), pod);
                self.teller.failed(pod, Failure::SchedulerError, &error.to_string(), &error.to_string());
            }
        }
    }

    fn give_back(&self, end: impl FnOnce(&mut crate::queue::Queue<placement::cluster::ClusterEvent>), pod: &Pod) {
        self.shared.change(|state| {
            // Nothing to forget when the watch was faster and said where the pod is, or when a new pod has the name.
            if state.cluster.view().pod(&pod.key).is_some_and(|view| view.pod.uid == pod.uid) {
                let changes = state.cluster.forget(&pod.key);
                state.note(&changes, now());
            }
            end(&mut state.queue);
        });
    }
}
