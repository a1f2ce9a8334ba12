//! The scheduling queue, after kube-scheduler's: what to try next, what waits, and what ends the wait.
//!
//! ```text
//!             add                    pop                    done (binding began)
//!   ─────────────────► active ───────────────► in flight ─────────────────────────► (gone)
//!      gates │           ▲ ▲  ▲                  │    │
//!            ▼   cleared │ │  └── backoff over ──┤    │ fail: no node fits
//!          gated ────────┘ │        backoff ◄────┘    ▼
//!                          │           ▲  error    unschedulable
//!                          │           └──────────────┤ an event that may help, its own update, or five minutes
//!                          └──────────────────────────┘ (straight to active when its backoff is over)
//! ```
//!
//! A pod that others are evicted for is held: it waits among the unschedulable, and what wakes it counts when it is released.
//!
//! Pure: time is a parameter, nothing waits, and the same calls give the same order.

mod entry;
mod in_flight;

use entry::{ActiveKey, Entry, Place};
use in_flight::InFlight;
use placement::cluster::{Pod, PodKey};
use placement::plan::{Topic, Topics};
use placement::units::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Something that happened in the cluster and may let a waiting pod fit.
pub trait Event: Clone {
    /// The `event` label of `scheduler_queue_incoming_pods_total`, such as `NodeAdd`.
    fn label(&self) -> &'static str;

    /// Leads to the pods that it may help.
    fn topics(&self) -> Topics;
}

/// Tells which events may help a pod that found no node; made from the reasons of its rejection.
pub trait Wake<E>: Send + Sync {
    /// An event of other topics never helps.
    fn topics(&self) -> Vec<Topic>;

    fn wakes(&self, event: &E) -> bool;

    /// The plugins that rejected the pod.
    fn rejected_by(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Waiting times; the defaults are kube-scheduler's.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Wait after the first failed attempt; doubles with each.
    pub initial_backoff: Span,
    pub max_backoff: Span,
    /// A pod that no event woke for this long is tried anyway.
    pub unschedulable_limit: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { initial_backoff: Span(1_000), max_backoff: Span(10_000), unschedulable_limit: Span(300_000) }
    }
}

/// The part of the queue that a pod is in, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Active,
    Backoff,
    Unschedulable,
    Gated,
}

/// How many pods each lane holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

/// A pod taken out for an attempt. It must come back through [`Queue::fail`] or [`Queue::retry`], or end with [`Queue::done`].
#[derive(Clone, Debug)]
pub struct Popped {
    pub pod: Arc<Pod>,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// When the pod first came to the queue without gates.
    pub first_tried: Timestamp,
    /// Nothing but the time that it waited brought it here.
    pub after_timeout: bool,
}

/// See the module's drawing.
pub struct Queue<E> {
    settings: Settings,
    pods: HashMap<PodKey, Entry<E>>,
    active: BTreeSet<ActiveKey>,
    /// By the end of the wait.
    backoff: BTreeSet<(Timestamp, PodKey)>,
    /// By the time of the last attempt.
    unschedulable: BTreeSet<(Timestamp, PodKey)>,
    /// Of the unschedulable pods, by topic: most events concern few of them.
    listening: HashMap<Topic, BTreeSet<(Timestamp, PodKey)>>,
    gated: BTreeSet<PodKey>,
    in_flight: InFlight<E>,
    sequence: u64,
    incoming: BTreeMap<(Lane, &'static str), u64>,
    rejected: BTreeMap<(&'static str, String), usize>,
}

impl<E: Event> Queue<E> {
    pub fn new(settings: Settings) -> Queue<E> {
        Queue {
            settings,
            pods: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            listening: HashMap::new(),
            gated: BTreeSet::new(),
            in_flight: InFlight::default(),
            sequence: 0,
            incoming: BTreeMap::new(),
            rejected: BTreeMap::new(),
        }
    }

    /// A pending pod appeared or changed. One that recurs unchanged (a watch that began again) stays where it is; one with another UID is a new pod.
    pub fn apply(&mut self, pod: Arc<Pod>, now: Timestamp) {
        let key = pod.key.clone();
        let Some(entry) = self.pods.get_mut(&key).filter(|entry| entry.pod.uid == pod.uid) else {
            self.delete(&key);
            self.pods.insert(key.clone(), Entry::new(pod, now));
            return self.admit(&key, "UnscheduledPodAdd", now);
        };
        let change = change_for_placing(&entry.pod, &pod);
        entry.pod = pod;
        let Some(change) = change else { return };
        match entry.place {
            Place::Gated => {
                entry.first_tried = now;
                self.admit(&key, change, now);
            }
            Place::InFlight => entry.changed_in_flight = true,
            Place::Unschedulable { .. } => self.wake(&key, change, now),
            // Priority may have changed, so it is filed anew; its wait goes on.
            Place::Active(_) => self.put_active(&key, change, now),
            Place::Backoff { .. } => {}
        }
    }

    /// The pod is gone, bound by someone else, or no longer ours.
    pub fn delete(&mut self, key: &PodKey) {
        if self.pods.contains_key(key) {
            self.lift(key);
            self.absolve(key);
            self.pods.remove(key);
        }
    }

    /// The next pod to try. When nothing is active, one whose backoff still runs is taken early, unless it waits because of an error.
    pub fn pop(&mut self, now: Timestamp) -> Option<Popped> {
        self.flush(now);
        let key = match self.active.first() {
            Some(first) => first.key.clone(),
            None => {
                let early = |(_, key): &&(Timestamp, PodKey)| self.pods.get(key).is_some_and(|entry| !entry.after_error);
                let key = self.backoff.iter().find(early)?.1.clone();
                self.count(Lane::Active, "PopFromBackoffQ");
                key
            }
        };
        self.take(&key)
    }

    /// Takes one pod for an attempt wherever it waits: the members of a group that refer to each other are tried together. `None` when it is not
    /// waiting here, is gated or held.
    pub fn take(&mut self, key: &PodKey) -> Option<Popped> {
        let entry = self.pods.get(key)?;
        match entry.place {
            Place::Gated | Place::InFlight => return None,
            Place::Unschedulable { .. } if entry.held => return None,
            Place::Active(_) | Place::Backoff { .. } | Place::Unschedulable { .. } => {}
        }
        self.lift(key);
        self.absolve(key);
        let entry = self.pods.get_mut(key)?;
        entry.place = Place::InFlight;
        let after_timeout = std::mem::take(&mut entry.after_timeout);
        entry.attempts += 1;
        entry.changed_in_flight = false;
        self.in_flight.begin(&entry.pod.uid);
        Some(Popped { pod: entry.pod.clone(), attempt: entry.attempts, first_tried: entry.first_tried, after_timeout })
    }

    /// No node fits: the pod waits for an event that `wake` accepts. One that came while it was being tried counts.
    pub fn fail(&mut self, popped: &Pod, wake: Box<dyn Wake<E>>, now: Timestamp) {
        let woken = self.in_flight.end(&popped.uid).iter().any(|event| wake.wakes(event));
        let Some(entry) = self.returned(popped) else { return };
        entry.last_failed = now;
        entry.after_error = false;
        let woken = woken || entry.changed_in_flight;
        if !entry.pod.scheduling_gates.is_empty() {
            return self.admit(&popped.key, "ScheduleAttemptFailure", now);
        }
        self.blame(&popped.key, wake.rejected_by());
        let Some(entry) = self.pods.get_mut(&popped.key) else { return };
        if woken {
            return self.put_waiting(&popped.key, "ScheduleAttemptFailure", now);
        }
        let topics = wake.topics();
        entry.wake = Some(wake);
        entry.place = Place::Unschedulable { since: now };
        let filed = (now, popped.key.clone());
        for topic in topics {
            self.listening.entry(topic).or_default().insert(filed.clone());
        }
        self.unschedulable.insert(filed);
        self.count(Lane::Unschedulable, "ScheduleAttemptFailure");
    }

    /// The attempt failed for a reason that has nothing to do with the pod (an API error): it is tried again after its backoff.
    pub fn retry(&mut self, popped: &Pod, now: Timestamp) {
        self.in_flight.end(&popped.uid);
        let Some(entry) = self.returned(popped) else { return };
        entry.last_failed = now;
        entry.after_error = true;
        self.put_waiting(&popped.key, "ScheduleAttemptFailure", now);
    }

    /// Puts a pod back as if it had not been tried: the attempt was called off before anything was decided.
    pub fn put_back(&mut self, popped: &Pod, now: Timestamp) {
        self.in_flight.end(&popped.uid);
        let Some(entry) = self.returned(popped) else { return };
        entry.attempts = entry.attempts.saturating_sub(1);
        self.admit(&popped.key, "AttemptCalledOff", now);
    }

    /// The pod has a node and its binding begins: no event matters to it any more, and none needs to be kept for it. If the binding fails it comes back by
    /// [`Queue::retry`].
    pub fn settled(&mut self, popped: &Pod) {
        self.in_flight.end(&popped.uid);
    }

    /// The pod's binding succeeded: nothing here waits for it any more.
    pub fn done(&mut self, popped: &Pod) {
        self.in_flight.end(&popped.uid);
        if self.returned(popped).is_some() {
            self.pods.remove(&popped.key);
        }
    }

    /// Something happened: wakes the pods whose rejection it may lift, and remembers it for those being tried. Returns how many woke.
    pub fn notify(&mut self, event: &E, now: Timestamp) -> usize {
        self.in_flight.record(event);
        let helped = |(_, key): &&(Timestamp, PodKey)| {
            self.pods.get(key).and_then(|entry| entry.wake.as_ref()).is_some_and(|wake| wake.wakes(event))
        };
        let topics = event.topics();
        let listening = topics.iter().filter_map(|topic| self.listening.get(topic)).flatten();
        let woken: BTreeSet<(Timestamp, PodKey)> = listening.filter(helped).cloned().collect();
        for (_, key) in &woken {
            self.wake(key, event.label(), now);
        }
        woken.len()
    }

    /// Something changed that no event tells: a pod that waits for one is tried again.
    pub fn activate(&mut self, key: &PodKey, label: &'static str, now: Timestamp) {
        if matches!(self.pods.get(key).map(|entry| &entry.place), Some(Place::Unschedulable { .. })) {
            self.wake(key, label, now);
        }
    }

    /// Whatever happens, the pod is not tried before it is [released](Queue::release). For one that is in flight.
    pub fn hold(&mut self, popped: &Pod) {
        if let Some(entry) = self.pods.get_mut(&popped.key).filter(|entry| entry.pod.uid == popped.uid) {
            entry.held = true;
        }
    }

    /// Ends the hold. The pod goes on where what happened meanwhile would have brought it.
    pub fn release(&mut self, pod: &Pod, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(&pod.key).filter(|entry| entry.held && entry.pod.uid == pod.uid) else { return };
        entry.held = false;
        if let (Some(label), Place::Unschedulable { .. }) = (entry.woken.take(), &entry.place) {
            self.wake(&pod.key, label, now);
        }
    }

    /// When [`Queue::pop`] may give something without a further event: the end of a backoff, or of the longest wait.
    pub fn next_due(&self) -> Option<Timestamp> {
        let limit = self.unschedulable.first().map(|(since, _)| Timestamp(since.0 + self.settings.unschedulable_limit.0));
        self.backoff.first().map(|(until, _)| *until).into_iter().chain(limit).min()
    }

    pub fn lengths(&self) -> Lengths {
        Lengths { active: self.active.len(), backoff: self.backoff.len(), unschedulable: self.unschedulable.len(), gated: self.gated.len() }
    }

    /// Pods that came into each lane so far, by what brought them.
    pub fn incoming(&self) -> &BTreeMap<(Lane, &'static str), u64> {
        &self.incoming
    }

    /// Pods that wait, by each plugin that rejected them at their last attempt and their scheduler. Those that there were once stay, with 0.
    pub fn rejected(&self) -> &BTreeMap<(&'static str, String), usize> {
        &self.rejected
    }

    /// Pods being tried, as `PodPopped`, and events kept for them by label.
    pub fn in_flight(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::from([("PodPopped", self.in_flight.pods())]);
        self.in_flight.events().for_each(|event| *counts.entry(event.label()).or_default() += 1);
        counts
    }

    /// Moves what has waited long enough to active.
    fn flush(&mut self, now: Timestamp) {
        while let Some((until, key)) = self.backoff.first().cloned().filter(|(until, _)| *until <= now) {
            self.backoff.remove(&(until, key.clone()));
            self.put_active(&key, "BackoffComplete", now);
        }
        while let Some((_, key)) =
            self.unschedulable.first().cloned().filter(|(since, _)| now.since(*since) >= self.settings.unschedulable_limit)
        {
            if let Some(entry) = self.pods.get_mut(&key) {
                entry.after_timeout = true;
            }
            self.wake(&key, "UnschedulableTimeout", now);
        }
    }

    /// Files a pod that is not waiting for an event: gated, else active.
    fn admit(&mut self, key: &PodKey, label: &'static str, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        if entry.pod.scheduling_gates.is_empty() {
            return self.put_active(key, label, now);
        }
        entry.place = Place::Gated;
        if self.gated.insert(key.clone()) {
            self.blame(key, vec!["SchedulingGates"]);
            // Counted there by kube-scheduler too.
            self.count(Lane::Unschedulable, label);
        }
    }

    fn wake(&mut self, key: &PodKey, label: &'static str, now: Timestamp) {
        self.lift(key);
        self.put_waiting(key, label, now);
    }

    /// To backoff while that still runs, else to active; one that is held is only remembered to have been woken.
    fn put_waiting(&mut self, key: &PodKey, label: &'static str, now: Timestamp) {
        let settings = self.settings;
        let Some(entry) = self.pods.get_mut(key) else { return };
        if entry.held {
            entry.woken.get_or_insert(label);
            entry.place = Place::Unschedulable { since: now };
            self.unschedulable.insert((now, key.clone()));
            return self.count(Lane::Unschedulable, label);
        }
        let until = entry.backoff_end(&settings);
        if until <= now {
            return self.put_active(key, label, now);
        }
        entry.place = Place::Backoff { until };
        self.backoff.insert((until, key.clone()));
        self.count(Lane::Backoff, label);
    }

    fn put_active(&mut self, key: &PodKey, label: &'static str, now: Timestamp) {
        self.lift(key);
        self.sequence += 1;
        let Some(entry) = self.pods.get_mut(key) else { return };
        let filed = ActiveKey::new(&entry.pod, now, self.sequence);
        entry.place = Place::Active(filed.clone());
        self.active.insert(filed);
        self.count(Lane::Active, label);
    }

    /// Takes the pod out of the lane it is in; the entry stays.
    fn lift(&mut self, key: &PodKey) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        match &entry.place {
            Place::Active(filed) => drop(self.active.remove(filed)),
            Place::Backoff { until } => drop(self.backoff.remove(&(*until, key.clone()))),
            Place::Unschedulable { since } => {
                let filed = (*since, key.clone());
                self.unschedulable.remove(&filed);
                for topic in entry.wake.take().into_iter().flat_map(|wake| wake.topics()) {
                    let Some(pods) = self.listening.get_mut(&topic) else { continue };
                    pods.remove(&filed);
                    if pods.is_empty() {
                        self.listening.remove(&topic);
                    }
                }
            }
            Place::Gated => drop(self.gated.remove(key)),
            Place::InFlight => {}
        }
    }

    /// The entry of a pod that was popped, if it is still the same pod and still out.
    fn returned(&mut self, popped: &Pod) -> Option<&mut Entry<E>> {
        self.pods.get_mut(&popped.key).filter(|entry| entry.pod.uid == popped.uid && matches!(entry.place, Place::InFlight))
    }

    /// The pod waits because of these plugins, until it is tried again or gone.
    fn blame(&mut self, key: &PodKey, plugins: Vec<&'static str>) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        for plugin in &plugins {
            *self.rejected.entry((plugin, entry.pod.scheduler_name.clone())).or_default() += 1;
        }
        entry.rejected_by = plugins;
    }

    fn absolve(&mut self, key: &PodKey) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        for plugin in std::mem::take(&mut entry.rejected_by) {
            if let Some(pods) = self.rejected.get_mut(&(plugin, entry.pod.scheduler_name.clone())) {
                *pods = pods.saturating_sub(1);
            }
        }
    }

    fn count(&mut self, lane: Lane, label: &'static str) {
        *self.incoming.entry((lane, label)).or_default() += 1;
    }
}

/// What changed of a pod that can change where it may go, as kube-scheduler names the event. Its status and foreign annotations do not.
fn change_for_placing(old: &Pod, new: &Pod) -> Option<&'static str> {
    let changes = [
        (old.scheduling_gates != new.scheduling_gates, "TargetPodUpdatePodSchedulingGatesEliminated"),
        (old.labels != new.labels, "TargetPodUpdatePodLabel"),
        (old.tolerations != new.tolerations, "TargetPodUpdatePodToleration"),
        (
            old.priority != new.priority
                || old.requests != new.requests
                || old.node_selector != new.node_selector
                || old.affinity != new.affinity
                || old.delays != new.delays
                || old.delay_errors != new.delay_errors
                || old.refusals != new.refusals,
            "TargetPodUpdate",
        ),
    ];
    changes.into_iter().find_map(|(changed, event)| changed.then_some(event))
}

#[cfg(test)]
mod tests;
