//! The scheduling cycle: one pod (or a group) at a time, from the queue to a decision on a snapshot; bindings go on in the background.

use crate::bind::Binder;
use crate::catch_up::{see_allocations, see_placed_pods};
use crate::evict::Evictor;
use crate::explain::note;
use crate::metrics::{Attempt, Metrics, Status};
use crate::queue::Popped;
use crate::state::{Rejection, Shared, now};
use crate::tell::{Failure, Teller};
use crate::topology::board::Board;
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use chassis::watches::Watches;
use placement::cluster::{Pod, PodKey, Point, Snapshot};
use placement::plan::{Decision, Eviction, Hold, Outcome, Planner, Preemption, Stopwatch, Warmth};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

pub struct Cycle {
    pub shared: Arc<Shared>,
    pub planner: Planner,
    /// So far.
    pub attempts: u64,
    pub board: Arc<Board>,
    pub binder: Arc<Binder>,
    pub evictor: Arc<Evictor>,
    pub teller: Arc<Teller>,
    pub metrics: Metrics,
    pub leadership: Leadership,
    pub watches: Watches,
    /// For what a predecessor did.
    pub client: kube::Client,
}

/// With more nodes than this a placed pod's verdicts are made when somebody asks, by the cluster as it is then: with a decision they would cost far more
/// than the decision.
const TABLE_NODES: usize = 100;

/// Of so many attempts the first has its plugins timed one by one, as of kube-scheduler's 10 %.
const SAMPLED: u64 = 10;

/// One whose attempts are timed.
pub fn planner() -> Planner {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Planner::timed(Stopwatch::new(|| START.elapsed()))
}

/// Attempts in a row before other tasks of the thread get their turn.
const TURN: u32 = 16;

impl Cycle {
    /// Waits until we lead, and runs until shutdown, which the loss of the lease brings too.
    pub async fn run(mut self, shutdown: Shutdown) {
        let Some(Some(term)) = shutdown.interrupt(self.leadership.acquired()).await else { return };
        // What is not known yet may decide: nothing is placed on half a cluster.
        while self.watches.ready().is_err() {
            if !shutdown.sleep(Duration::from_millis(50)).await {
                return;
            }
        }
        let (client, shared) = (&self.client, &self.shared);
        if !(see_placed_pods(client, shared, &shutdown).await && see_allocations(client, shared, &shutdown).await) {
            return;
        }
        tracing::info!(term, "scheduling");
        let leadership = self.leadership.clone();
        tokio::select! {
            () = shutdown.signalled() => {}
            () = leadership.lost(term) => tracing::warn!("no longer the leader"),
            () = drain(&mut self) => {}
        }
    }

    /// Tries the next pod, if there is one that is due. Its binding takes the slot.
    fn attempt(&mut self, slot: OwnedSemaphorePermit) -> bool {
        let started = Instant::now();
        let (popped, snapshot) = {
            let mut state = self.shared.lock();
            let Some(popped) = state.queue.pop(now()) else { return false };
            (popped, state.cluster.snapshot())
        };
        if !pending(&snapshot, &popped.pod) {
            self.shared.lock().queue.done(&popped.pod);
            return true;
        }
        // For bounds alone; to find out takes a look at every node.
        let warmth = if popped.pod.delays.is_empty() { Warmth::Warm } else { warmth(&self.shared, &self.board) };
        self.planner.stopwatch.begin(self.attempts.is_multiple_of(SAMPLED));
        self.attempts += 1;
        let mut decision = match snapshot.node_count() {
            ..=TABLE_NODES => self.planner.place(&snapshot, &popped.pod, now(), warmth),
            _ => self.planner.decide(&snapshot, &popped.pod, now(), warmth),
        };
        let group = match decision.outcome {
            Outcome::Held(Hold::ReferenceNotPlaced { .. }) => self.group(&snapshot, &popped.pod),
            _ => Vec::new(),
        };
        if group.len() > 1 {
            self.attempt_group(popped, &group, &snapshot, warmth, started, slot);
        } else {
            let eviction = self.preempt(&snapshot, &popped.pod, &mut decision);
            self.staged(&snapshot, &popped.pod, &decision.outcome, eviction.is_some());
            let unschedulable = decision.outcome == Outcome::Unschedulable;
            let misplaced = if unschedulable { decision.deallocation(&snapshot, &popped.pod) } else { None };
            // What it shares with the cluster would be copied when the room is taken.
            drop(snapshot);
            let pod = popped.pod.clone();
            if eviction.is_some() {
                self.shared.lock().queue.hold(&pod);
            }
            self.conclude(popped, decision, started, Some(slot));
            if let Some(claim) = misplaced {
                self.binder.deallocate(claim, pod.clone());
            }
            if let Some(eviction) = eviction {
                self.evictor.start(pod, eviction);
            }
        }
        true
    }

    /// The pending pods that this one can only be placed together with, itself among them.
    fn group(&self, snapshot: &Snapshot, pod: &Pod) -> Vec<PodKey> {
        let waiting = snapshot.pods().filter(|view| {
            let other = view.pod;
            other.key.namespace == pod.key.namespace
                && other.scheduler_name == pod.scheduler_name
                && view.node.is_none()
                && placeable(other)
        });
        let waiting: Vec<&Pod> = waiting.map(|view| &**view.pod).collect();
        Planner::groups(snapshot, waiting).into_iter().find(|group| group.contains(&pod.key)).unwrap_or_default()
    }

    /// Decides for a group as one: a node for each, or none for any. The first has the slot, the others wait for theirs when they are bound.
    fn attempt_group(
        &mut self,
        first: Popped,
        group: &[PodKey],
        snapshot: &Snapshot,
        warmth: Warmth,
        started: Instant,
        slot: OwnedSemaphorePermit,
    ) {
        let mut members = vec![first];
        {
            let mut state = self.shared.lock();
            let others: Vec<&PodKey> = group.iter().filter(|key| **key != members[0].pod.key).collect();
            members.extend(others.into_iter().filter_map(|key| state.queue.take(key)));
        }
        let pods: Vec<Pod> = members.iter().map(|member| Pod::clone(&member.pod)).collect();
        let decisions = self.planner.place_group(snapshot, &pods, now(), warmth).decisions;
        // One attempt of all.
        if let (Some(pod), Some(decision)) = (pods.first(), decisions.first()) {
            self.staged(snapshot, pod, &decision.outcome, false);
        }
        let mut slot = Some(slot);
        for (member, decision) in members.into_iter().zip(decisions) {
            self.conclude(member, decision, started, slot.take());
        }
    }

    /// Looks for pods to evict where no node fits, and promises the pod its room. While others are being evicted for it, it is not tried.
    fn preempt(&mut self, snapshot: &Snapshot, pod: &Pod, decision: &mut Decision) -> Option<Eviction> {
        if decision.outcome != Outcome::Unschedulable {
            return None;
        }
        let preemption = self.planner.preempt(snapshot, pod, decision, now())?;
        decision.preemption = Some(preemption.message());
        let nominate = |node: Option<&str>| self.shared.change(|state| state.nominate(pod, node, now()));
        match preemption {
            Preemption::Evict(eviction) => {
                self.metrics.preempted(Some(eviction.victims.len()));
                nominate(Some(&eviction.node));
                Some(eviction)
            }
            Preemption::No { nominated, .. } => {
                self.metrics.preempted(None);
                if !nominated {
                    nominate(None);
                }
                None
            }
        }
    }

    fn staged(&self, snapshot: &Snapshot, pod: &Pod, outcome: &Outcome, evicts: bool) {
        self.metrics.staged(pod, &snapshot.profile(pod).plugins, outcome, evicts, &self.planner.stopwatch);
    }

    /// Acts on a decision: takes the room and starts the binding, or puts the pod where what may help it will wake it.
    fn conclude(&self, popped: Popped, decision: Decision, started: Instant, slot: Option<OwnedSemaphorePermit>) {
        let pod = &popped.pod;
        self.metrics.decided(started.elapsed());
        let decision = Arc::new(decision);
        let now = now();
        let Some(node) = decision.placed().map(str::to_owned) else {
            {
                let mut state = self.shared.lock();
                let by = decision.rejected_by().into_iter().collect();
                state.queue.fail(pod, Box::new(Rejection { by, wake: decision.wake.clone() }), now);
                state.decisions.keep(decision.clone(), now);
            }
            self.metrics.attempted(pod, Attempt::Unschedulable, started.elapsed());
            let message = decision.message();
            tracing::debug!(pod = %pod.key, attempt = popped.attempt, why = message, "not scheduled");
            return self.teller.failed(pod, Failure::Unschedulable, &message, &note(&decision, &message));
        };
        let begun = Instant::now();
        let assumed = self.shared.change(|state| {
            let assumed = state.cluster.assume(&pod.key, &pod.uid, &node);
            match &assumed {
                Ok(changes) => {
                    state.note(changes, now);
                    state.queue.settled(pod);
                    // A member of a group, or one of many nodes' choice, comes without its table: that is made when somebody asks.
                    if !decision.nodes.is_empty() {
                        state.decisions.keep(decision.clone(), now);
                    }
                }
                // It changed since the snapshot: deleted, bound by another, or its node went. The queue knows which by its own events.
                Err(_) => state.queue.retry(pod, now),
            }
            assumed
        });
        self.metrics.ran(pod, Point::Reserve, Status::of(assumed.is_ok()), begun.elapsed());
        match assumed {
            Ok(_) => self.binder.start(popped, node, decision, started, slot),
            Err(error) => {
                tracing::debug!(pod = %pod.key, %error, "changed while it was being placed");
                self.metrics.attempted(pod, Attempt::Error, started.elapsed());
            }
        }
    }
}

async fn drain(cycle: &mut Cycle) {
    let mut turn: u32 = 0;
    loop {
        let slot = cycle.binder.slot().await;
        if cycle.attempt(slot) {
            turn += 1;
            if turn.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
            continue;
        }
        let due = cycle.shared.lock().queue.next_due();
        let wait = due.map_or(Duration::from_secs(30), |due| Duration::from_millis(due.since(now()).0));
        // Neither a wake-up between the two is lost, since it is remembered.
        let _ = tokio::time::timeout(wait, cycle.shared.wake.notified()).await;
    }
}

/// Whether the model may judge by RTTs, and if not, how far it is.
pub fn warmth(shared: &Shared, board: &Board) -> Warmth {
    if shared.lock().warm {
        return Warmth::Warm;
    }
    let (heard, expected) = board.heard();
    Warmth::Warming { heard, expected }
}

/// Whether the pod is still waiting for a node: the same pod, not deleted, not on a node.
fn pending(snapshot: &Snapshot, pod: &Pod) -> bool {
    snapshot.pod(&pod.key).is_some_and(|view| view.pod.uid == pod.uid && view.node.is_none() && placeable(view.pod))
}

fn placeable(pod: &Pod) -> bool {
    !pod.terminating && pod.scheduling_gates.is_empty()
}

#[cfg(test)]
mod tests;
