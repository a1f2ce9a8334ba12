//! Carries out decisions: each binding is a task of its own, a bounded number at once, checked against the lease right before it is sent.
//!
//! A pod gets its slot before it is decided for: where the API server is slower than decisions, pods wait in the queue, where their priority counts and
//! nothing is taken for them yet, and what they are given is decided by the cluster as it is when their turn has come.

use super::devices::ClaimWriter;
use super::nominate::{nominate, takes_time};
use super::volumes::{VolumeError, bind_volumes};
use super::{BindError, Bound, Clients, Patience, bind, devices::DeviceError};
use crate::metrics::{Attempt, Metrics, Status};
use crate::queue::Popped;
use crate::state::{Shared, State, now};
use crate::tell::{Failure, Teller};
use chassis::client::Departure;
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use placement::cluster::{Pod, Point, VolumePlan};
use placement::devices::Claim;
use placement::plan::Decision;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

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
    /// Waits for a place among the bindings under way.
    pub async fn slot(&self) -> OwnedSemaphorePermit {
        match self.slots.clone().acquire_owned().await {
            Ok(slot) => slot,
            // Nobody closes it.
            Err(_closed) => std::future::pending().await,
        }
    }

    /// Binds an assumed pod in a task. Without a `slot` it waits for one there. Whatever happens, the pod ends bound, back in the queue, or gone, and its
    /// room is given back unless it is bound.
    /// The attempt began when the pod was taken from the queue, at `started`.
    pub fn start(
        self: &Arc<Self>,
        popped: Popped,
        node: String,
        decision: Arc<Decision>,
        started: Instant,
        slot: Option<OwnedSemaphorePermit>,
    ) {
        let binder = self.clone();
        self.shutdown.spawn(async move {
            binder.metrics.bindings().inc();
            binder.carry_out(popped, &node, &decision, started, slot).await;
            binder.metrics.bindings().dec();
        });
    }

    /// What only few pods need is boxed: the task of every other would be as large.
    async fn carry_out(&self, popped: Popped, node: &str, decision: &Decision, started: Instant, slot: Option<OwnedSemaphorePermit>) {
        let pod = &popped.pod;
        let slow = takes_time(self.shared.lock().cluster.view(), pod);
        let outcome = if slow {
            Box::pin(self.prepare_and_bind(pod, node, slot)).await
        } else {
            self.bind_pod(pod, node, slot, Duration::ZERO).await
        };
        self.shared.change(|state| {
            // What was written of its claims is known by now.
            let changes = state.cluster.release_devices(&pod.uid);
            state.note(&changes, now());
        });
        if !matches!(outcome, Bound::CalledOff) {
            return self.conclude(&popped, node, decision, outcome, started.elapsed());
        }
        self.shared.change(|state| {
            let changes = state.cluster.forget(&pod.key);
            state.note(&changes, now());
            state.queue.put_back(pod, now());
        });
    }

    /// Takes the devices from a claim that is of no use to a pod where they are, in a task. The pod is tried again when the claim has changed.
    pub fn deallocate(self: &Arc<Self>, claim: Arc<Claim>, pod: Arc<Pod>) {
        let binder = self.clone();
        self.shutdown.spawn(async move {
            match binder.claims(|| binder.shutdown.signalled()).deallocate(&claim, &pod).await {
                Ok(()) => tracing::info!(claim = %claim.key, pod = %pod.key, "its devices are given back"),
                Err(why) => tracing::warn!(claim = %claim.key, pod = %pod.key, ?why, "its devices are not given back"),
            }
        });
    }

    /// The slot that is there, or the next one; none on shutdown.
    async fn turn(&self, slot: Option<OwnedSemaphorePermit>) -> Option<OwnedSemaphorePermit> {
        match slot {
            Some(slot) => Some(slot),
            None => self.shutdown.interrupt(self.slot()).await,
        }
    }

    /// Binds a pod whose claims come first.
    async fn prepare_and_bind(&self, pod: &Pod, node: &str, slot: Option<OwnedSemaphorePermit>) -> Bound {
        let Some(mut slot) = self.turn(slot).await.map(Some) else { return Bound::CalledOff };
        if let Err(outcome) = self.nominate(pod, node).await {
            return outcome;
        }
        let plan = self.shared.lock().cluster.view().volume_plan(&pod.key).cloned();
        let begun = Instant::now();
        if let Some(plan) = plan {
            // It may take minutes.
            slot = None;
            if let Err(outcome) = self.bind_volumes(pod, node, &plan).await {
                self.metrics.ran(pod, Point::PreBind, Status::Error, begun.elapsed());
                return outcome;
            }
        }
        self.bind_pod(pod, node, slot, begun.elapsed()).await
    }

    /// Says which node is meant, unless the pod says so already.
    async fn nominate(&self, pod: &Pod, node: &str) -> Result<(), Bound> {
        let known = self.shared.lock().cluster.view().pod(&pod.key).map(|known| known.pod.clone());
        if known.is_some_and(|known| known.nominated_node.as_deref() == Some(node)) {
            return Ok(());
        }
        self.teller.nominated(pod, node);
        nominate(&self.clients, pod, node, self.patience, &self.departure(), self.shutdown.signalled()).await
    }

    /// Gets the pod's claims the volumes of `plan`, unless its room is taken for a pod of higher priority meanwhile.
    async fn bind_volumes(&self, pod: &Pod, node: &str, plan: &VolumePlan) -> Result<(), Bound> {
        let preempted = CancellationToken::new();
        self.shared.lock().preparing.insert(pod.uid.clone(), preempted.clone());
        let volumes = bind_volumes(&self.clients, &self.shared, pod, node, plan, self.patience, || self.departure());
        let outcome = preempted.run_until_cancelled(self.shutdown.interrupt(volumes)).await;
        let mut state = self.shared.lock();
        if preempted.is_cancelled() {
            // To be called off until its room is given back.
            return Err(Bound::Failed(BindError::Volumes(VolumeError::Preempted)));
        }
        // From here on it is bound, and who wants its room deletes it.
        state.preparing.remove(&pod.uid);
        outcome.flatten().unwrap_or(Err(Bound::CalledOff))
    }

    /// Writes the pod's device claims and binds it, in its turn; its volumes are bound, which took so long.
    async fn bind_pod(&self, pod: &Pod, node: &str, slot: Option<OwnedSemaphorePermit>, volumes: Duration) -> Bound {
        let (Some(_slot), Ok(_deadline)) = (self.turn(slot).await, self.leadership.check()) else { return Bound::CalledOff };
        // Boxed, so that who waits for a slot takes little memory.
        if pod.claims.is_empty() {
            self.metrics.ran(pod, Point::PreBind, Status::Success, volumes);
            Box::pin(self.send_binding(pod, node)).await
        } else {
            Box::pin(self.bind_with_devices(pod, node, volumes)).await
        }
    }

    /// Shutdown calls off only what has not left: what was sent is seen to its end.
    async fn send_binding(&self, pod: &Pod, node: &str) -> Bound {
        let begun = Instant::now();
        let outcome = bind(&self.clients, pod, node, self.patience, || self.departure(), || self.shutdown.signalled()).await;
        self.metrics.ran(pod, Point::Bind, Status::of(matches!(outcome, Bound::Here)), begun.elapsed());
        outcome
    }

    async fn bind_with_devices(&self, pod: &Pod, node: &str, volumes: Duration) -> Bound {
        let reservations = match self.shared.lock().cluster.view().claim_reservations(pod) {
            Ok(reservations) => reservations,
            Err(why) => return Bound::Failed(BindError::Devices(DeviceError::Changed(why))),
        };
        let claims = self.claims(|| self.shutdown.signalled());
        let begun = Instant::now();
        let reserved = claims.reserve(pod, &reservations).await;
        self.metrics.ran(pod, Point::PreBind, Status::of(reserved.is_ok()), volumes + begun.elapsed());
        let outcome = match reserved {
            Ok(()) => self.send_binding(pod, node).await,
            Err(outcome) => outcome,
        };
        if matches!(outcome, Bound::Failed(_) | Bound::Gone) {
            claims.withdraw(pod, &reservations).await;
        }
        outcome
    }

    fn claims<E>(&self, end: E) -> ClaimWriter<'_, impl Fn() -> Departure, E> {
        ClaimWriter { clients: &self.clients, shared: &self.shared, patience: self.patience, departure: || self.departure(), end }
    }

    /// Of a write that leaves only while the lease is held.
    fn departure(&self) -> Departure {
        let (leadership, ending) = (self.leadership.clone(), self.shutdown.clone());
        Departure::new(move || leadership.is_leader() && !ending.is_signalled())
    }

    fn conclude(&self, popped: &Popped, node: &str, decision: &Decision, outcome: Bound, time: Duration) {
        let pod = &popped.pod;
        match outcome {
            Bound::Here => {
                self.shared.change(|state| state.queue.done(pod));
                tracing::info!(pod = %pod.key, node, attempt = popped.attempt, "bound");
                if popped.after_timeout {
                    self.metrics.scheduled_after_flush();
                }
                self.metrics.bound(pod, popped.attempt, time, now().since(popped.first_tried));
                self.teller.scheduled(pod, decision);
            }
            Bound::Elsewhere { node: other } => {
                tracing::warn!(pod = %pod.key, node, other, "another scheduler bound the pod");
                self.metrics.attempted(pod, Attempt::Error, time);
                self.give_back(|state| state.queue.done(pod), pod);
            }
            Bound::Gone => {
                tracing::debug!(pod = %pod.key, "the pod is gone");
                self.give_back(|state| state.queue.done(pod), pod);
            }
            // The pod was put back by the caller.
            Bound::CalledOff => {}
            Bound::Failed(error) => {
                tracing::warn!(pod = %pod.key, node, %error, "the pod was not bound");
                self.metrics.attempted(pod, Attempt::Error, time);
                let retry = |state: &mut State| {
                    state.preparing.remove(&pod.uid);
                    state.nominate(pod, None, now());
                    state.queue.retry(pod, now());
                };
                self.give_back(retry, pod);
                self.teller.failed(pod, Failure::SchedulerError, &error.to_string(), &error.to_string());
            }
        }
    }

    fn give_back(&self, end: impl FnOnce(&mut State), pod: &Pod) {
        self.shared.change(|state| {
            // Nothing to forget when the watch was faster and said where the pod is, or when a new pod has the name.
            if state.cluster.view().pod(&pod.key).is_some_and(|view| view.pod.uid == pod.uid) {
                let changes = state.cluster.forget(&pod.key);
                state.note(&changes, now());
            }
            end(state);
        });
        self.shared.pods.send_replace(());
    }
}

#[cfg(test)]
pub mod tests;
