//! No pod sleeps through what helps it: wherever the planner finds a node that it did not find before, an event of the change wakes the pod. The
//! clusters are those of the differential test; in each, every object goes and comes back, and nodes and pods become like their neighbours.
//!
//! Left to the next attempt, as in kube-scheduler: that others could be evicted now, and that a pod which comes to a node uses a volume which is
//! attached there already, and counted twice without the pod.

use crate::case::Case;
use crate::generate::{COVERED, generate};
use crate::{objects, ours};
use anyhow::{Context, Result, ensure};
use placement::cluster::{Changes, Cluster, Pod, PodVolume};
use placement::plan::{Decision, Planner, Reason, Warmth};
use placement::units::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

const CASES: u64 = 400;
/// As in `tests/run differential`, where no other is asked for.
const SEED: u64 = 7;
/// What the API server keeps while pods use it; that it is gone helps by chance alone, and nobody waits for it.
const KEPT: [&str; 3] = ["PersistentVolume", "PersistentVolumeClaim", "StorageClass"];
/// What must have helped in some case.
const HELPFUL: [&str; 11] = [
    "Node added",
    "Node changed",
    "Node deleted",
    "Pod added",
    "Pod changed",
    "Pod deleted",
    "PersistentVolume added",
    "PersistentVolumeClaim added",
    "StorageClass added",
    "CSIStorageCapacity added",
    "ResourceClaim added",
];

fn decide(cluster: &Cluster, pod: &Pod) -> Decision {
    Planner::new().decide(&cluster.snapshot(), pod, Timestamp::default(), Warmth::Warm)
}

/// A cluster that changes, with what was decided last.
struct Play<'a> {
    pod: &'a Pod,
    cluster: Cluster,
    decision: Decision,
    /// How often a change helped, by what it was.
    helped: &'a mut BTreeMap<String, usize>,
}

impl Play<'_> {
    /// Fails where the change helped and woke nobody.
    fn follow(&mut self, kind: &str, change: &str, events: &Changes) -> Result<()> {
        let before = std::mem::replace(&mut self.decision, decide(&self.cluster, self.pod));
        if before.placed().is_some() || self.decision.placed().is_none() {
            return Ok(());
        }
        *self.helped.entry(format!("{kind} {change}")).or_default() += 1;
        let limited = before.reasons().any(|reason| matches!(reason, Reason::VolumeLimit { .. }));
        if limited && kind == "Pod" && change == "added" {
            return Ok(());
        }
        let wakes = events.iter().any(|event| before.wakes(event));
        ensure!(wakes, "{kind} {change} wakes nobody\nbefore {}\nwaits for {:?}\nevents {events:?}", before.message(), before.wake);
        Ok(())
    }

    fn apply(&mut self, object: &Value, change: &str) -> Result<()> {
        let events = objects::apply(&mut self.cluster, object)?;
        self.follow(object["kind"].as_str().unwrap_or_default(), change, &events)
    }
}

/// The object with what another of its kind has.
fn alike(object: &Value, other: &Value) -> Value {
    let mut like = object.clone();
    like["metadata"]["labels"] = other["metadata"]["labels"].clone();
    if object["kind"] == "Node" {
        (like["spec"], like["status"]) = (other["spec"].clone(), other["status"].clone());
    }
    like
}

fn play(case: &Case, helped: &mut BTreeMap<String, usize>) -> Result<()> {
    let mut whole = Cluster::new(ours::settings(case.profile.as_ref())?);
    for object in &case.objects {
        objects::apply(&mut whole, object)?;
    }
    let pod = api::convert::pod(&objects::parse(&case.pod)?);
    let (whole, decision) = (whole.snapshot(), decide(&whole, &pod));
    for object in &case.objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        // The claims of pods that have their nodes were there before them.
        let own = |name: &Value| pod.volumes.iter().filter_map(PodVolume::claim).any(|claim| name == claim);
        if kind == "PersistentVolumeClaim" && !own(&object["metadata"]["name"]) {
            continue;
        }
        let mut play = Play { pod: &pod, cluster: Cluster::fork(&whole), decision: decision.clone(), helped };
        let Some(gone) = objects::delete(&mut play.cluster, object) else { continue };
        match KEPT.contains(&kind) {
            true => play.decision = decide(&play.cluster, &pod),
            false => play.follow(kind, "deleted", &gone).with_context(|| object.to_string())?,
        }
        play.apply(object, "added").with_context(|| object.to_string())?;
        let other = || case.objects.iter().rev().find(|other| other["kind"] == kind && *other != object);
        if let Some(other) = other().filter(|_| kind == "Node" || kind == "Pod") {
            play.apply(&alike(object, other), "changed").with_context(|| format!("{object} like {other}"))?;
            play.apply(object, "changed").with_context(|| format!("{object} after it was like {other}"))?;
        }
    }
    Ok(())
}

#[test]
fn no_pod_sleeps_through_what_helps_it() {
    let mut helped = BTreeMap::new();
    for index in 0..CASES {
        let case = generate(COVERED, SEED, index);
        play(&case, &mut helped).unwrap_or_else(|error| panic!("case {index}, pod {}: {error:?}", case.pod));
    }
    let idle: Vec<_> = HELPFUL.into_iter().filter(|what| !helped.contains_key(*what)).collect();
    assert_eq!(idle, Vec::<&str>::new(), "never helped; what did: {helped:?}");
}
