//! The rules read plainly, over strings and maps.

use super::{MAX_AGE, NOW};
use placement::cluster::*;
use placement::constraint::*;
use placement::plan::*;
use placement::topology::{Kind, PairStat};
use placement::units::Micros;
use std::collections::BTreeMap;

/// What is known, as maps. `pods` holds where each stands.
#[derive(Default)]
pub struct World {
    pub nodes: BTreeMap<String, Node>,
    pub pods: BTreeMap<PodKey, Pod>,
    pub reports: BTreeMap<(String, String), PairStat>,
    pub demand: BTreeMap<(String, Workload), Vec<(String, f64)>>,
    /// Selectors of Services.
    pub services: BTreeMap<String, Labels>,
    pub settings: Settings,
}

/// Why not, as text and code; or cost in microseconds, whether in the band, and total.
pub type Judgement = Result<(Option<f64>, bool, i64), Vec<(String, VerdictCode)>>;
/// One amount of a pod's requests, and which of its requests.
type Amount = fn(&Resources) -> i64;
type Requests = fn(&Pod) -> &Resources;

#[derive(Debug, PartialEq)]
pub enum Answer {
    Held(Hold),
    /// Per node, and the node chosen.
    Judged(BTreeMap<String, Judgement>, Option<String>),
}

impl World {
    pub fn known(&self, name: &str) -> bool {
        self.nodes.contains_key(name) || self.reports.keys().any(|(a, b)| a == name || b == name)
    }

    /// Larger direction of those that count, if it admits and is fresh.
    pub fn rtt(&self, a: &str, b: &str, statistic: Statistic) -> Option<Micros> {
        if a == b {
            return Some(Micros(0));
        }
        let sides = [(a, b), (b, a)].map(|(x, y)| self.reports.get(&(x.to_owned(), y.to_owned())).copied());
        let admitting: Vec<PairStat> = sides.into_iter().flatten().filter(|s| matches!(s.kind, Kind::Measured | Kind::Declared)).collect();
        let newest = admitting.iter().map(|s| s.at).max()?;
        let counting = admitting.iter().filter(|s| newest.0 - s.at.0 <= MAX_AGE.0);
        let figure = counting.map(|s| if statistic == Statistic::P50 { s.p50 } else { s.p90 }).max()?;
        (NOW.0.saturating_sub(newest.0) <= MAX_AGE.0).then_some(figure)
    }

    /// Names of the nodes behind a reference; `None` for a node itself.
    pub fn targets(&self, pod: &Pod, bound: &DelayBound) -> Result<(Vec<String>, bool), Hold> {
        let from = bound.from.name().to_owned();
        let alive = |p: &&Pod| p.key.namespace == pod.key.namespace && p.phase != PodPhase::Ended;
        let of_workload = |kind: Option<WorkloadKind>| -> Vec<&Pod> {
            let owned = |p: &&Pod| p.owner.as_ref().is_some_and(|o| o.name == from && kind.is_none_or(|k| k == o.kind));
            let all: Vec<&Pod> = self.pods.values().filter(alive).filter(owned).collect();
            // Per kind, a terminating pod counts only beside none that is not.
            let lively = |kind: WorkloadKind| all.iter().any(|p| !p.terminating && p.owner.as_ref().is_some_and(|o| o.kind == kind));
            all.iter().copied().filter(|p| !p.terminating || p.owner.as_ref().is_some_and(|o| !lively(o.kind))).collect()
        };
        let by_name = || self.pods.values().filter(alive).find(|p| p.key.name == from).into_iter().collect::<Vec<_>>();
        let found = match &bound.from {
            Reference::Node(_) | Reference::Name(_) if self.known(&from) => return Ok((vec![from], false)),
            Reference::Node(_) => vec![],
            Reference::Pod(_) => by_name(),
            Reference::Workload(kind, _) => of_workload(Some(*kind)),
            Reference::Name(_) => Some(of_workload(None)).filter(|pods| !pods.is_empty()).unwrap_or_else(by_name),
        };
        let own_name = match &bound.from {
            Reference::Name(_) => pod.owner.as_ref().is_some_and(|o| o.name == from),
            Reference::Workload(kind, _) => pod.owner.as_ref().is_some_and(|o| o.name == from && o.kind == *kind),
            _ => false,
        };
        if found.is_empty() {
            let namespace = pod.key.namespace.clone();
            return Err(if own_name { Hold::SelfReference { from } } else { Hold::UnknownReference { from, namespace } });
        }
        let others: Vec<&Pod> = found.into_iter().filter(|p| p.key != pod.key).collect();
        if others.is_empty() {
            return Err(Hold::SelfReference { from });
        }
        let stands = |p: &&Pod| p.node_name.clone().filter(|_| !p.terminating);
        let mut on: Vec<String> = others.iter().filter_map(stands).collect();
        if on.is_empty() || (bound.replicas == ReplicaRule::All && others.iter().any(|p| stands(p).is_none())) {
            return Err(Hold::ReferenceNotPlaced { from });
        }
        on.sort();
        on.dedup();
        Ok((on, true))
    }

    pub fn tolerated(pod: &Pod, key: &str, value: &str, effect: TaintEffect) -> bool {
        pod.tolerations.iter().any(|t| {
            let matches_value = t.operator == TolerationOperator::Exists || t.value == value;
            (t.effect.is_none() || t.effect == Some(effect)) && (t.key.is_empty() || t.key == key) && matches_value
        })
    }

    pub fn label_holds(node: &Node, r: &Requirement) -> bool {
        let value = node.labels.get(&r.key);
        let number = |text: &String| text.parse::<i64>().ok();
        let pair = || Some((number(value?)?, number(r.values.first().filter(|_| r.values.len() == 1)?)?));
        match r.operator {
            Operator::In => value.is_some_and(|v| r.values.contains(v)),
            Operator::NotIn => !r.values.is_empty() && value.is_none_or(|v| !r.values.contains(v)),
            Operator::Exists => r.values.is_empty() && value.is_some(),
            Operator::DoesNotExist => r.values.is_empty() && value.is_none(),
            Operator::Gt => pair().is_some_and(|(have, want)| have > want),
            Operator::Lt => pair().is_some_and(|(have, want)| have < want),
        }
    }

    pub fn term_holds(node: &Node, term: &NodeSelectorTerm) -> bool {
        let field = |r: &Requirement| match (r.key.as_str(), r.operator, &r.values[..]) {
            ("metadata.name", Operator::In, [name]) => *name == node.name,
            ("metadata.name", Operator::NotIn, [name]) => *name != node.name,
            _ => false,
        };
        let any = !term.match_expressions.is_empty() || !term.match_fields.is_empty();
        any && term.match_expressions.iter().all(|r| Self::label_holds(node, r)) && term.match_fields.iter().all(field)
    }

    /// The names that terms leave, where each says which.
    pub fn pinned(terms: &[NodeSelectorTerm]) -> Option<Vec<String>> {
        let of_term = |term: &NodeSelectorTerm| -> Option<Vec<String>> {
            let pins: Vec<&Requirement> =
                term.match_fields.iter().filter(|r| r.key == "metadata.name" && r.operator == Operator::In).collect();
            let all: Vec<String> = pins.first()?.values.clone();
            Some(all.into_iter().filter(|name| pins.iter().all(|r| r.values.contains(name))).collect())
        };
        let named: Option<Vec<Vec<String>>> = terms.iter().map(of_term).collect();
        named.filter(|_| !terms.is_empty()).map(|names| names.concat())
    }

    pub fn on<'a>(&'a self, node: &'a str, except: &'a Pod) -> impl Iterator<Item = &'a Pod> {
        self.pods.values().filter(move |p| p.holds_capacity() && p.node_name.as_deref() == Some(node) && p.key != except.key)
    }

    pub fn reasons(&self, pod: &Pod, node: &Node, bounds: &[(&DelayBound, Vec<String>)]) -> Vec<(String, VerdictCode)> {
        use VerdictCode::{Unresolvable, Unschedulable};
        let one = |text: &str| vec![(text.to_owned(), Unresolvable)];
        if pod.affinity.required.as_ref().is_some_and(|terms| Self::pinned(terms).is_some_and(|names| !names.contains(&node.name))) {
            return one("node(s) didn't satisfy plugin(s) [NodeAffinity]");
        }
        if node.unschedulable && !Self::tolerated(pod, "node.kubernetes.io/unschedulable", "", TaintEffect::NoSchedule) {
            return one("node(s) were unschedulable");
        }
        let keeps_away = |t: &&Taint| t.effect != TaintEffect::PreferNoSchedule && !Self::tolerated(pod, &t.key, &t.value, t.effect);
        if node.taints.iter().any(|t| keeps_away(&t)) {
            return one("node(s) had untolerated taint(s)");
        }
        let selected = pod.node_selector.iter().all(|(k, v)| node.labels.get(k) == Some(v));
        if !selected || pod.affinity.required.as_ref().is_some_and(|terms| !terms.iter().any(|t| Self::term_holds(node, t))) {
            return one("node(s) didn't match Pod's node affinity/selector");
        }
        let mut missing = Vec::new();
        if self.on(&node.name, pod).count() as i64 + 1 > node.allocatable.pods {
            missing.push(("Too many pods".to_owned(), Unschedulable));
        }
        let amounts = |r: &Resources| -> BTreeMap<String, i64> {
            let basic = [("1cpu", r.cpu.0), ("2memory", r.memory.0), ("3ephemeral-storage", r.ephemeral_storage.0)];
            let extended = r.extended.iter().map(|(name, n)| (format!("4{name}"), *n));
            basic.into_iter().map(|(name, n)| (name.to_owned(), n)).chain(extended).collect()
        };
        let allocatable = amounts(&node.allocatable);
        for (name, asked) in amounts(&pod.requests).into_iter().filter(|(_, asked)| *asked > 0) {
            let used: i64 = self.on(&node.name, pod).filter_map(|p| amounts(&p.requests).get(&name).copied()).sum();
            let has = allocatable.get(&name).copied().unwrap_or(0);
            if asked > has - used {
                missing.push((format!("Insufficient {}", &name[1..]), if asked > has { Unresolvable } else { Unschedulable }));
            }
        }
        if !missing.is_empty() {
            return missing;
        }
        if let Some(reason) = self.among_pods(pod, node) {
            return vec![reason];
        }
        for (bound, targets) in bounds {
            let rtts: Vec<Option<Micros>> = targets.iter().map(|t| self.rtt(t, &node.name, bound.statistic)).collect();
            let unmeasured = rtts.iter().any(Option::is_none);
            let decisive = match bound.replicas {
                ReplicaRule::Any => rtts.iter().flatten().min(),
                ReplicaRule::All => rtts.iter().flatten().max(),
            };
            let above = decisive.is_some_and(|rtt| *rtt > bound.max);
            let excused = bound.missing == Missing::Allow && unmeasured && bound.replicas == ReplicaRule::Any;
            if above && !excused {
                return one(&format!("RTT from {} above {}", bound.from.name(), bound.max));
            }
            let lacks = decisive.is_none() || (unmeasured && bound.replicas == ReplicaRule::All);
            if lacks && bound.missing == Missing::Deny {
                return one(&format!("RTT from {} not measured", bound.from.name()));
            }
        }
        let cloud = |n: &Node| n.labels.get("kubernetes.io/role").is_some_and(|v| v == "cloud");
        let cloud_only = match self.settings.undelayed {
            Undelayed::CloudOnly => true,
            Undelayed::Any => false,
            Undelayed::CloudPreferred => self.nodes.values().any(cloud),
        };
        if pod.delays.is_empty() && cloud_only && !cloud(node) {
            return one("node(s) without the cloud role");
        }
        let key = "node-role.kubernetes.io/control-plane";
        let tainted = node.taints.iter().any(|t| t.key == key && t.effect != TaintEffect::PreferNoSchedule);
        if node.labels.contains_key(key) && !tainted && !Self::tolerated(pod, key, "", TaintEffect::NoSchedule) {
            return one("node(s) of the control plane");
        }
        vec![]
    }

    pub fn cost(&self, pod: &Pod, node: &str, bounds: &[(&DelayBound, Vec<String>)]) -> Option<f64> {
        let owner = pod.owner.clone().map(|owner| (pod.key.namespace.clone(), owner));
        let demand = owner.and_then(|key| self.demand.get(&key)).filter(|sites| !sites.is_empty());
        let p50 = |from: &str| self.rtt(from, node, Statistic::P50).map_or(f64::INFINITY, |rtt| f64::from(rtt.0));
        let sites: Vec<(f64, f64)> = match demand {
            Some(sites) => sites.iter().map(|(site, rate)| (p50(site), *rate)).collect(),
            None => bounds
                .iter()
                .map(|(bound, targets)| {
                    let rtts = targets.iter().map(|t| p50(t));
                    let nearest = bound.replicas == ReplicaRule::Any;
                    (if nearest { rtts.fold(f64::INFINITY, f64::min) } else { rtts.fold(0.0, f64::max) }, 1.0)
                })
                .collect(),
        };
        let weights: f64 = sites.iter().map(|s| s.1).sum();
        let service = if demand.is_some() { 5_000.0 } else { 0.0 };
        (!sites.is_empty()).then(|| sites.iter().map(|(rtt, weight)| weight * (rtt + service)).sum::<f64>() / weights)
    }

    pub fn answer(&self, pod: &Pod) -> Answer {
        if self.nodes.is_empty() {
            return Answer::Held(Hold::NoNodes);
        }
        if pod.affinity.required.as_ref().is_some_and(|terms| Self::pinned(terms).is_some_and(|names| names.is_empty())) {
            return Answer::Held(Hold::AffinityConflict);
        }
        let mut bounds = Vec::new();
        if self.settings.delay_filter {
            for bound in &pod.delays {
                match self.targets(pod, bound) {
                    Ok((targets, _)) => bounds.push((bound, targets)),
                    Err(hold) => return Answer::Held(hold),
                }
            }
        }
        let judged: BTreeMap<&str, Vec<_>> = self.nodes.values().map(|n| (n.name.as_str(), self.reasons(pod, n, &bounds))).collect();
        let feasible: Vec<&Node> = self.nodes.values().filter(|n| judged[n.name.as_str()].is_empty()).collect();
        let costs: BTreeMap<&str, Option<f64>> = feasible
            .iter()
            .map(|n| (n.name.as_str(), if self.settings.delay_filter { self.cost(pod, &n.name, &bounds) } else { None }))
            .collect();
        let best_cost = costs.values().flatten().copied().fold(f64::INFINITY, f64::min);
        let limit = best_cost + (best_cost * 0.05).max(500.0);
        let raw_affinity =
            |n: &Node| pod.affinity.preferred.iter().filter(|(_, t)| Self::term_holds(n, t)).map(|(w, _)| i64::from(*w)).sum::<i64>();
        let raw_taints = |n: &Node| {
            let soft = n.taints.iter().filter(|t| t.effect == TaintEffect::PreferNoSchedule);
            soft.filter(|t| !Self::tolerated(pod, &t.key, &t.value, t.effect)).count() as i64
        };
        let max_affinity = feasible.iter().map(|n| raw_affinity(n)).max().unwrap_or(0);
        let max_taints = feasible.iter().map(|n| raw_taints(n)).max().unwrap_or(0);
        let spread = self.spread_scores(pod, &feasible);
        let pods = self.pod_scores(pod, &feasible);
        let total = |n: &Node| {
            let sum = |f: Amount, pick: Requests| self.on(&n.name, pod).map(|p| f(pick(p))).sum::<i64>() + f(pick(pod));
            let (scoring, real): (Requests, Requests) = (|p| &p.scoring_requests, |p| &p.requests);
            let (cpu, memory): (Amount, Amount) = (|r| r.cpu.0, |r| r.memory.0);
            let caps = [n.allocatable.cpu.0, n.allocatable.memory.0];
            let free = |cap: i64, used: i64| if used > cap { 0 } else { (cap - used) * 100 / cap };
            let least: Vec<i64> = [(caps[0], sum(cpu, scoring)), (caps[1], sum(memory, scoring))]
                .iter()
                .filter(|c| c.0 > 0)
                .map(|c| free(c.0, c.1))
                .collect();
            let least = if least.is_empty() { 0 } else { least.iter().sum::<i64>() / least.len() as i64 };
            let even = |used: [i64; 2]| {
                let fractions: Vec<f64> = (0..2).filter(|&i| caps[i] > 0).map(|i| (used[i] as f64 / caps[i] as f64).min(1.0)).collect();
                let deviation = if let [a, b] = fractions[..] { ((a - b) / 2.0).abs() } else { 0.0 };
                ((1.0 - deviation) * 100.0) as i64
            };
            let own = [cpu(&pod.requests), memory(&pod.requests)];
            let after = [sum(cpu, real), sum(memory, real)];
            let change = even(after) - even([after[0] - own[0], after[1] - own[1]]);
            let balanced = if own != [0, 0] { 50 + (50 + change) / 2 } else { 0 };
            let taints = if max_taints == 0 { 100 } else { 100 - raw_taints(n) * 100 / max_taints };
            let affinity = if max_affinity == 0 { 0 } else { raw_affinity(n) * 100 / max_affinity };
            3 * taints + 2 * affinity + least + balanced + 2 * (spread[n.name.as_str()] + pods[n.name.as_str()])
        };
        let in_band = |n: &Node| costs[n.name.as_str()].is_none_or(|cost| cost <= limit);
        let tie = |n: &Node| mix(name_hash(&pod.uid) ^ name_hash(&n.name));
        let best = feasible.iter().filter(|n| in_band(n)).max_by_key(|n| (total(n), tie(n))).map(|n| n.name.clone());
        let verdicts = self.nodes.values().map(|n| {
            let reasons = judged[n.name.as_str()].clone();
            let verdict = if reasons.is_empty() { Ok((costs[n.name.as_str()], in_band(n), total(n))) } else { Err(reasons) };
            (n.name.clone(), verdict)
        });
        Answer::Judged(verdicts.collect(), best)
    }
}

pub fn answer_of(decision: &Decision) -> Answer {
    if let Outcome::Held(hold) = &decision.outcome {
        return Answer::Held(hold.clone());
    }
    let verdicts = decision.nodes.iter().map(|n| {
        let verdict = match &n.verdict {
            Verdict::Feasible { cost_us, in_band, total, .. } => Ok((*cost_us, *in_band, *total)),
            Verdict::Rejected(reasons) => Err(reasons.iter().map(|r| (r.to_string(), r.code())).collect()),
        };
        (n.node.clone(), verdict)
    });
    Answer::Judged(verdicts.collect(), decision.placed().map(ToOwned::to_owned))
}

// Random clusters.
