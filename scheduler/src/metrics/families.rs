//! kube-scheduler 1.37's families of metrics and what is printed of them here: one table, which gives metrics their names and buckets and the documents their
//! tables, and which a test holds against what a kube-scheduler prints.

use chassis::metrics::exposition;
use std::fmt::Write as _;

/// How firmly kube-scheduler stands by a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    Stable,
    Beta,
    Alpha,
}

impl Stability {
    /// As in the family's help.
    pub fn name(self) -> &'static str {
        match self {
            Stability::Stable => "STABLE",
            Stability::Beta => "BETA",
            Stability::Alpha => "ALPHA",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram(Buckets),
}

/// So many upper bounds, each `factor` times the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buckets {
    pub first: f64,
    pub factor: f64,
    pub count: usize,
}

impl Buckets {
    /// Multiplied one by one as kube-scheduler does, so that the last digit is the same too.
    pub fn bounds(self) -> impl Iterator<Item = f64> {
        std::iter::successors(Some(self.first), move |bound| Some(bound * self.factor)).take(self.count)
    }
}

/// What becomes of a family here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// Printed; the words say what differs.
    Printed(&'static str),
    /// Not printed, since nothing here is what it is about.
    Meaningless(&'static str),
    /// Not printed, though it could be.
    Missing(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// With `scheduler_`.
    pub name: &'static str,
    pub stability: Stability,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub here: Here,
}

use Here::{Meaningless, Missing, Printed};
use Kind::{Counter, Gauge};
use Stability::{Alpha, Beta, Stable};

const fn histogram(first: f64, factor: f64, count: usize) -> Kind {
    Kind::Histogram(Buckets { first, factor, count })
}

const fn family(name: &'static str, stability: Stability, kind: Kind, labels: &'static [&'static str], here: Here) -> Family {
    Family { name, stability, kind, labels, here }
}

const SAME: Here = Printed("as there");
const NO_BATCHES: Here = Meaningless("no result is kept for the next pod of the same shape, so there is none to use or to flush");
const NO_CONDITIONS: Here = Meaningless("devices with binding conditions are given to nobody");

/// Those that kube-scheduler prints with its default features, the firmest first, by name.
#[rustfmt::skip]
pub const FAMILIES: [Family; 34] = [
    family("scheduler_framework_extension_point_duration_seconds", Stable, histogram(0.0001, 2.0, 12), &["extension_point", "status", "profile"],
        Printed("PreFilter, Filter, PostFilter, PreScore, Score, Reserve, PreBind and Bind; members of a group that are placed together count once")),
    family("scheduler_pending_pods", Stable, Gauge, &["queue"],
        Printed("the parts `active`, `backoff`, `unschedulable` and `gated`; the two of pod groups, `incomplete` and `pending`, are not printed")),
    family("scheduler_pod_scheduling_attempts", Stable, histogram(1.0, 2.0, 5), &[], SAME),
    family("scheduler_preemption_attempts_total", Stable, Counter, &[],
        Printed("as there, but a pod that is refused as a whole, or whose victims are still going, makes no attempt")),
    family("scheduler_preemption_victims", Stable, histogram(1.0, 2.0, 7), &[], SAME),
    family("scheduler_queue_incoming_pods_total", Stable, Counter, &["queue", "event"],
        Printed("as there; what comes and what changes of storage and devices is told as `…Update`. Our own events are `RttChange`, `TopologyWarm` and `AttemptCalledOff`")),
    family("scheduler_schedule_attempts_total", Stable, Counter, &["result", "profile"],
        Printed("counted at the end of an attempt, after the binding; a pod that was deleted meanwhile is not counted")),
    family("scheduler_scheduling_attempt_duration_seconds", Stable, histogram(0.001, 2.0, 15), &["result", "profile"],
        Printed("of the same attempts: the decision and the binding, with its volumes and claims")),
    family("scheduler_goroutines", Beta, Gauge, &["operation"], Printed("tasks; the only `operation` is `binding`")),
    family("scheduler_permit_wait_duration_seconds", Beta, histogram(0.001, 2.0, 15), &["result"],
        Meaningless("no plugin has anything to do at Permit, so no pod waits there")),
    family("scheduler_plugin_evaluation_total", Beta, Counter, &["plugin", "extension_point", "profile"],
        Printed("counted once an attempt and where the pod gives the plugin something to look at; kube-scheduler counts every node at Filter and Score")),
    family("scheduler_plugin_execution_duration_seconds", Beta, histogram(0.00001, 1.5, 20), &["plugin", "extension_point", "status"],
        Printed("of every tenth attempt, over all nodes at once: filters, DefaultPreemption, and of the scores ResponseTime. TaintToleration's time has that of NodeUnschedulable and ControlPlane in it, and VolumeBinding's that of the other filters about volumes; the other scores are summed up node by node, so that none runs by itself")),
    family("scheduler_pod_scheduling_sli_duration_seconds", Beta, histogram(0.01, 2.0, 20), &["attempts"], SAME),
    family("scheduler_scheduling_algorithm_duration_seconds", Beta, histogram(0.001, 2.0, 15), &[],
        Printed("the decision, with the search for pods to evict and without the binding")),
    family("scheduler_unschedulable_pods", Beta, Gauge, &["plugin", "profile"], Printed("as there, with our plugins too")),
    family("scheduler_batch_attempts_total", Alpha, Counter, &["profile", "result"], NO_BATCHES),
    family("scheduler_batch_cache_flushed_total", Alpha, Counter, &["profile", "reason"], NO_BATCHES),
    family("scheduler_batch_rescore_attempts_total", Alpha, Counter, &["profile"], NO_BATCHES),
    family("scheduler_batch_rescore_duration_seconds", Alpha, histogram(0.00001, 2.0, 12), &["profile"], NO_BATCHES),
    family("scheduler_cache_size", Alpha, Gauge, &["type"], SAME),
    family("scheduler_dra_bindingconditions_allocations_total", Alpha, Counter, &["profile", "driver", "status"], NO_CONDITIONS),
    family("scheduler_dra_bindingconditions_wait_duration_seconds", Alpha, histogram(0.1, 2.0, 14), &["profile", "driver", "status"], NO_CONDITIONS),
    family("scheduler_event_handling_duration_seconds", Alpha, histogram(0.0001, 2.0, 12), &["event"],
        Missing("what an event wakes is in `queue_incoming_pods_total`; its handling is not timed")),
    family("scheduler_get_node_hint_duration_seconds", Alpha, histogram(0.00001, 2.0, 12), &["hinted", "profile"], NO_BATCHES),
    family("scheduler_inflight_events", Alpha, Gauge, &["event"], SAME),
    family("scheduler_pod_scheduled_after_flush_total", Alpha, Counter, &[], SAME),
    family("scheduler_pre_queueing_hint_evaluations_total", Alpha, Counter, &["plugin", "result"],
        Meaningless("an event leads to the pods that listen to it, whichever plugin rejected them")),
    family("scheduler_preemption_goroutines_execution_total", Alpha, Counter, &["result"], Printed("tasks that evict the victims of one pod")),
    family("scheduler_queue_incoming_entities_total", Alpha, Counter, &["queue", "event", "type"],
        Printed("the same as `queue_incoming_pods_total`, since every entity is a pod")),
    family("scheduler_queued_entities", Alpha, Gauge, &["queue", "type"], Printed("the same as `pending_pods`")),
    family("scheduler_queueing_hint_execution_duration_seconds", Alpha, histogram(0.00001, 1.5, 20), &["plugin", "event", "hint"],
        Meaningless("a pod is asked once whether an event helps it, not once for each plugin")),
    family("scheduler_store_schedule_results_duration_seconds", Alpha, histogram(0.00001, 2.0, 12), &["profile"], NO_BATCHES),
    family("scheduler_volume_binder_cache_requests_total", Alpha, Counter, &["operation"],
        Meaningless("volumes are matched with the other filters, from the state that all of them read; no cache of its own is asked")),
    family("scheduler_volume_scheduling_stage_error_total", Alpha, Counter, &["operation"],
        Missing("that a pod's volumes were not bound is in its event; the attempt counts as an error")),
];

/// The family of this name.
pub fn named(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

impl Family {
    /// Whether it is printed here.
    pub fn is_printed(&self) -> bool {
        matches!(self.here, Printed(_))
    }

    /// What a program prints under this name in another way than the table says; empty where it is the same.
    pub fn differences(&self, printed: &exposition::Family) -> Vec<String> {
        let (kind, buckets) = match self.kind {
            Counter => ("counter", Vec::new()),
            Gauge => ("gauge", Vec::new()),
            Kind::Histogram(buckets) => ("histogram", buckets.bounds().collect()),
        };
        let mut differences = Vec::new();
        if printed.kind != kind {
            differences.push(format!("{} is a {}, not a {kind}", self.name, printed.kind));
        }
        let mut wanted = self.labels.to_vec();
        wanted.sort_unstable();
        if !printed.labels.keys().eq(&wanted) {
            differences.push(format!("{} has the labels {:?}, not {wanted:?}", self.name, printed.labels.keys()));
        }
        if printed.buckets != buckets {
            differences.push(format!("{} has the buckets {:?}, not {buckets:?}", self.name, printed.buckets));
        }
        differences
    }
}

/// Two tables in Markdown: what is printed here, and what is not.
pub fn tables() -> String {
    let mut text = String::from("| family | | labels | |\n|---|---|---|---|\n");
    let mut without = String::from("| family | | why |\n|---|---|---|\n");
    for Family { name, stability, labels, here, .. } in &FAMILIES {
        let (name, stability) = (name.trim_start_matches("scheduler_"), stability.name().to_lowercase());
        // Writing to a String does not fail.
        let _ = match here {
            Printed(words) => writeln!(text, "| `{name}` | {stability} | {} | {words} |", labels.join(", ")),
            Meaningless(why) | Missing(why) => writeln!(without, "| `{name}` | {stability} | {why} |"),
        };
    }
    format!("{text}\nNot printed:\n\n{without}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_beta_families_are_printed_where_they_mean_anything() {
        let missing = |family: &&Family| family.stability != Alpha && matches!(family.here, Missing(_));
        assert_eq!(FAMILIES.iter().find(missing), None);
    }

    #[test]
    fn the_table_is_sorted_by_stability_and_name() {
        let place = |family: &Family| (family.stability as u8, family.name);
        assert!(FAMILIES.is_sorted_by_key(place), "{:#?}", FAMILIES.map(|family| place(&family)));
    }
}
