//! What users are told of a pod: events, and the condition `PodScheduled`, in kube-scheduler's words.
//!
//! The condition is patched only when it changes, and carries no live figures: those are in the event and in `explain`, or every retry would write to
//! the API server.

mod conditions;

pub use conditions::ConditionWriter;

use crate::bounds::BoundNews;
use crate::explain::event_note;
use crate::state::{Shared, Told};
use chassis::events::{EventType, Recorder};
use k8s_openapi::api::core::v1::ObjectReference;
use placement::cluster::Pod;
use placement::plan::Decision;
use std::sync::Arc;

/// What became of a pod whose room another has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Deleted,
    /// It was not bound yet, and is in the queue again.
    CalledOff,
}

/// Why `PodScheduled` is False, as kube-scheduler names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Unschedulable,
    SchedulerError,
}

impl Failure {
    pub fn reason(self) -> &'static str {
        match self {
            Failure::Unschedulable => "Unschedulable",
            Failure::SchedulerError => "SchedulerError",
        }
    }
}

/// Tells users. Nothing here waits: events and patches are written by tasks of their own.
pub struct Teller {
    events: Recorder,
    conditions: ConditionWriter,
    shared: Arc<Shared>,
}

impl Teller {
    pub fn new(events: Recorder, conditions: ConditionWriter, shared: Arc<Shared>) -> Teller {
        Teller { events, conditions, shared }
    }

    /// In the name of the scheduler that the pod asks for.
    fn events_of(&self, pod: &Pod) -> Recorder {
        self.events.reporting_as(&pod.scheduler_name)
    }

    pub fn scheduled(&self, pod: &Pod, decision: &Decision) {
        self.events_of(pod).publish(reference(pod), EventType::Normal, "Scheduled", "Binding", event_note(decision));
    }

    /// The pod is about to be nominated to the node: a condition that is yet to be written must not take that back.
    pub fn nominated(&self, pod: &Pod, node: &str) {
        if let Some(told) = self.shared.lock().told.get_mut(&pod.key).filter(|told| told.uid == pod.uid) {
            told.nominated = Some(node.to_owned());
        }
        self.conditions.nominated(pod, node);
    }

    /// A pod that runs is outside its bounds, or within them again.
    pub fn bound(&self, news: &BoundNews) {
        let (pod, kind, reason, note) = match news {
            BoundNews::Violated { pod, note } => (pod, EventType::Warning, "DelayBoundViolated", note),
            BoundNews::Restored { pod, note } => (pod, EventType::Normal, "DelayBoundRestored", note),
        };
        self.events_of(pod).publish(reference(pod), kind, reason, "WatchingBounds", note.as_str());
    }

    /// The pod has to go for another.
    pub fn preempted(&self, victim: &Pod, by: &Pod, node: &str, how: Victim) {
        let how = match how {
            Victim::Deleted => "",
            Victim::CalledOff => " (in edge-scheduler memory).",
        };
        let note = format!("Preempted by pod {} on node {node}{how}", by.uid);
        self.events_of(by).publish(reference(victim), EventType::Normal, "Preempted", "Preempting", note);
    }

    /// `message` goes into the condition, `note` into the event. A pod that is gone or being deleted needs no word.
    pub fn failed(&self, pod: &Pod, failure: Failure, message: &str, note: &str) {
        let (changed, told) = {
            let mut state = self.shared.lock();
            let known = state.cluster.view().pod(&pod.key).map(|view| view.pod);
            let Some(known) = known.filter(|known| known.uid == pod.uid && !known.terminating) else { return };
            let told = Told {
                uid: pod.uid.clone(),
                nominated: known.nominated_node.clone(),
                status: "False".into(),
                reason: failure.reason().into(),
                message: message.to_owned(),
            };
            let changed = state.told.get(&pod.key) != Some(&told);
            if changed {
                state.told.insert(pod.key.clone(), told.clone());
            }
            (changed, told)
        };
        self.events_of(pod).publish(reference(pod), EventType::Warning, "FailedScheduling", "Scheduling", note);
        if changed {
            self.conditions.write(pod.key.clone(), told);
        }
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.key.namespace.clone()),
        name: Some(pod.key.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}
