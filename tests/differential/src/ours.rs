//! Our side: the objects as the scheduler's watches would bring them, through `api::convert` into the model, and the planner's decision as an answer.

use crate::case::{Answer, Candidate, Case, Preemption, SUCCESS, Score, Verdict};
use crate::objects;
use anyhow::{Result, anyhow, bail};
use placement::cluster::{Cluster, Pod, Settings, Undelayed};
use placement::constraint::{DelayBound, DelaySource, Missing, Reference, ReplicaRule, Statistic};
use placement::plan::{self, Choice, Decision, Eviction, Hold, Outcome, Planner, Reason, VerdictCode, Warmth};
use placement::topology::PairStat;
use placement::units::{Micros, Timestamp};
use serde_json::{Value, json};

/// Our answer; what went wrong stands in its `error`.
///
/// A pod without delay bounds is judged twice, the second time among measured RTTs and pods with bounds, and both must be the same.
pub fn answer(case: &Case) -> Answer {
    let judged = |world| judge(case, world).unwrap_or_else(|error| Answer { error: format!("{error:#}"), ..Answer::default() });
    let (mut answer, measured) = (judged(World::Bare), judged(World::Measured));
    if answer.error.is_empty() && answer != measured {
        answer.error = format!("where RTTs are measured, nodes have devices and others have delay bounds the answer is {measured:?}");
    }
    answer.id = case.id;
    answer
}

/// What is around the case that kube-scheduler knows nothing of.
#[derive(Clone, Copy, PartialEq)]
enum World {
    Bare,
    /// An RTT between every two nodes, and a bound on every pod that is there; a device on every node, the first one's in use, where the pod claims none.
    Measured,
}

const RTT_STEP_US: u32 = 700;

/// What [`World::Measured`] has more.
fn measure(cluster: &mut Cluster, now: Timestamp) {
    let nodes: Vec<String> = cluster.view().nodes().map(|(_, node)| node.name.clone()).collect();
    for (at, from) in nodes.iter().enumerate() {
        for (steps, to) in nodes[at + 1..].iter().enumerate() {
            cluster.report_rtt(from, to, PairStat::declared(Micros(RTT_STEP_US * (1 + steps as u32)), now));
        }
    }
    let Some(reference) = nodes.first() else { return };
    let bound = DelayBound {
        from: Reference::Name(reference.clone()),
        max: Micros(RTT_STEP_US * 5),
        statistic: Statistic::P90,
        replicas: ReplicaRule::Any,
        missing: Missing::Deny,
        source: DelaySource::Label,
    };
    let pods: Vec<Pod> = cluster.view().pods().map(|view| Pod { delays: vec![bound.clone()], ..Pod::clone(view.pod) }).collect();
    pods.into_iter().for_each(|pod| drop(cluster.apply_pod(pod)));
}

/// As [`measure`], devices.
fn equip(cluster: &mut Cluster) -> Result<()> {
    const DRIVER: &str = "bystander.test";
    let nodes: Vec<String> = cluster.view().nodes().map(|(_, node)| node.name.clone()).collect();
    let class = json!({"kind": "DeviceClass", "metadata": {"name": DRIVER}, "spec": {}});
    let slice = |node: &String| {
        json!({
            "kind": "ResourceSlice", "metadata": {"name": node},
            "spec": {
                "driver": DRIVER, "nodeName": node, "devices": [{"name": "gpu"}],
                "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            },
        })
    };
    let used = nodes.first().map(|node| {
        json!({
            "kind": "ResourceClaim", "metadata": {"name": "of-another", "namespace": "shop", "uid": "of-another", "resourceVersion": "1"},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": DRIVER}}]}},
            "status": {
                "allocation": {"devices": {"results": [{"request": "r", "driver": DRIVER, "pool": node, "device": "gpu"}]}},
                "reservedFor": [{"resource": "pods", "name": "another", "uid": "another"}],
            },
        })
    });
    let slices: Vec<Value> = nodes.iter().map(slice).collect();
    [class].iter().chain(&slices).chain(&used).try_for_each(|object| objects::apply(cluster, object).map(drop))
}

/// What kube-scheduler has no counterpart of is off.
pub(crate) fn settings(profile: Option<&Value>) -> Result<Settings> {
    let profiles: Vec<Value> = profile.cloned().into_iter().collect();
    let profiles = api::profile::read(&profiles, "default-scheduler").map_err(|found| anyhow!("{found:?}"))?;
    Ok(Settings { undelayed: Undelayed::Any, control_plane: None, profiles, ..Settings::default() })
}

fn judge(case: &Case, world: World) -> Result<Answer> {
    let mut cluster = Cluster::new(settings(case.profile.as_ref())?);
    for object in &case.objects {
        objects::apply(&mut cluster, object)?;
    }
    if world == World::Measured {
        measure(&mut cluster, Timestamp::default());
        if case.pod["spec"]["resourceClaims"].is_null() {
            equip(&mut cluster)?;
        }
    }
    let pod = api::convert::pod(&objects::parse(&case.pod)?);
    let decision = Planner::new().place(cluster.view(), &pod, Timestamp::default(), Warmth::Warm);
    choice_agrees(&cluster, &pod, &decision)?;
    let mut answer = answer_of(&decision)?;
    let promised = pod.nominated_node.clone().filter(|node| decision.nodes.iter().any(|of| of.node == *node && fits(&of.verdict)));
    answer.nominated = promised.unwrap_or_default();
    match decision.placed() {
        Some(node) if !answer.nominated.is_empty() && node != answer.nominated => {
            bail!("{node} is chosen, not the one that it was promised")
        }
        Some(node) if answer.nominated.is_empty() && !answer.best.iter().any(|best| best == node) => {
            bail!("{node} is chosen, and {:?} are the best", answer.best);
        }
        _ => {}
    }
    // kube-scheduler deallocates a claim in PostFilter, for which the oracle has no API server.
    let deallocates = decision.deallocation(cluster.view(), &pod).is_some();
    if decision.outcome == Outcome::Unschedulable && !deallocates && !counts_go_wrong(&cluster, &pod) {
        let found = Planner::new().preempt(cluster.view(), &pod, &decision, Timestamp::default());
        answer.preemption = Some(found.as_ref().map(preemption).unwrap_or_default());
    }
    answer.nodes.values_mut().for_each(|verdict| verdict.reasons.sort());
    Ok(answer)
}

/// The scheduler asks without a table first; it must get the node that the table says, and again by what the planner kept of the first times.
fn choice_agrees(cluster: &Cluster, pod: &Pod, decision: &Decision) -> Result<()> {
    let mut planner = Planner::new();
    for time in 1..=3 {
        let choice = planner.choose(cluster.view(), pod, Timestamp::default(), Warmth::Warm);
        let same = match (&choice, &decision.outcome) {
            (Choice::Place(ix), Outcome::Place { node, .. }) => cluster.view().name(*ix) == node,
            (Choice::Unschedulable, Outcome::Unschedulable) => true,
            (Choice::Held(a), Outcome::Held(b)) => a == b,
            _ => false,
        };
        if !same {
            bail!("asked for time {time}, the planner chooses {choice:?} and explains {:?}", decision.outcome);
        }
    }
    Ok(())
}

fn answer_of(decision: &Decision) -> Result<Answer> {
    let mut answer = Answer::default();
    match &decision.outcome {
        Outcome::Held(Hold::NoNodes) => answer.message = decision.message(),
        Outcome::Held(hold @ (Hold::AffinityConflict | Hold::NamesConflict)) => {
            let plugin = if *hold == Hold::AffinityConflict { "NodeAffinity".to_owned() } else { String::new() };
            answer.pre_filter = Some(Verdict { code: code(VerdictCode::Unresolvable), plugin, reasons: vec![hold.to_string()] });
            answer.message = decision.message();
        }
        Outcome::Held(hold @ Hold::Claims { .. }) => {
            let plugin = "DynamicResources".to_owned();
            answer.pre_filter = Some(Verdict { code: code(VerdictCode::Unresolvable), plugin, reasons: vec![hold.to_string()] });
            answer.message = decision.message();
        }
        Outcome::Held(Hold::Volumes(hold)) => {
            let plugin = hold.plugin().to_owned();
            answer.pre_filter = Some(Verdict { code: code(VerdictCode::Unresolvable), plugin, reasons: vec![hold.to_string()] });
            answer.message = decision.message();
        }
        Outcome::Held(hold) => bail!("held: {hold}"),
        Outcome::Unschedulable => answer.message = decision.message(),
        Outcome::Place { .. } => {}
    }
    for node in &decision.nodes {
        let verdict = match &node.verdict {
            plan::Verdict::Rejected(reasons) => rejected(reasons),
            plan::Verdict::Feasible { scores, total, .. } => {
                let line =
                    |line: &plan::ScoreLine| (line.name.clone(), Score { raw: line.raw, normalized: line.score, weight: line.weight });
                answer.scores.insert(node.node.clone(), scores.iter().map(line).collect());
                answer.total.insert(node.node.clone(), *total);
                Verdict { code: SUCCESS.into(), ..Verdict::default() }
            }
        };
        answer.nodes.insert(node.node.clone(), verdict);
    }
    let highest = answer.total.values().max();
    answer.best = answer.total.iter().filter(|(_, total)| Some(*total) == highest).map(|(node, _)| node.clone()).collect();
    Ok(answer)
}

/// Whether kube-scheduler's preemption miscounts: spreading does not count pods that terminate, and takes them from the count when they are evicted.
fn counts_go_wrong(cluster: &Cluster, pod: &Pod) -> bool {
    pod.spread.iter().any(|constraint| constraint.hard) && cluster.view().pods().any(|view| view.pod.terminating)
}

/// The one candidate that was chosen.
fn preemption(found: &plan::Preemption) -> Preemption {
    let mut of = Preemption { message: found.message(), ..Preemption::default() };
    if let plan::Preemption::Evict(Eviction { node, victims, violations, .. }) = found {
        let victims = victims.iter().map(|victim| victim.key.to_string()).collect();
        of.best.push(node.clone());
        of.candidates.insert(node.clone(), Candidate { victims, pdb_violations: *violations as i64 });
    }
    of
}

fn code(code: VerdictCode) -> String {
    match code {
        VerdictCode::Unschedulable => "Unschedulable",
        VerdictCode::Unresolvable => "UnschedulableAndUnresolvable",
    }
    .to_owned()
}

fn fits(verdict: &plan::Verdict) -> bool {
    matches!(verdict, plan::Verdict::Feasible { .. })
}

/// One reason that no preemption could lift decides for the node.
fn rejected(reasons: &[Reason]) -> Verdict {
    Verdict {
        code: reasons.iter().map(Reason::code).max().map(code).unwrap_or_default(),
        plugin: reasons.first().and_then(Reason::plugin).unwrap_or_default().to_owned(),
        reasons: reasons.iter().map(ToString::to_string).collect(),
    }
}
