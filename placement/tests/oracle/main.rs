//! The planner against a plain reading of the rules, over strings and maps, on random clusters that change between decisions.

mod among_pods;

use placement::cluster::*;
use placement::constraint::*;
use placement::lint;
use placement::plan::*;
use placement::topology::{Kind, PairStat};
use placement::units::{Bytes, Micros, MilliCpu, Span, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(10_000_000);
const MAX_AGE: Span = Span(900_000);
const KEYS: [&str; 3] = ["zone", "cores", "disk"];

/// What is known, as maps. `pods` holds where each stands.
#[derive(Default)]
struct World {
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<PodKey, Pod>,
    reports: BTreeMap<(String, String), PairStat>,
    demand: BTreeMap<(String, Workload), Vec<(String, f64)>>,
    /// Selectors of Services.
    services: BTreeMap<String, Labels>,
    settings: Settings,
}

/// Why not, as text and code; or cost in microseconds, whether in the band, and total.
type Judgement = Result<(Option<f64>, bool, i64), Vec<(String, VerdictCode)>>;
/// One amount of a pod's requests, and which of its requests.
type Amount = fn(&Resources) -> i64;
type Requests = fn(&Pod) -> &Resources;

#[derive(Debug, PartialEq)]
enum Answer {
    Held(Hold),
    /// Per node, and the node chosen.
    Judged(BTreeMap<String, Judgement>, Option<String>),
}

impl World {
    fn known(&self, name: &str) -> bool {
        self.nodes.contains_key(name) || self.reports.keys().any(|(a, b)| a == name || b == name)
    }

    /// Larger direction of those that count, if it admits and is fresh.
    fn rtt(&self, a: &str, b: &str, statistic: Statistic) -> Option<Micros> {
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
    fn targets(&self, pod: &Pod, bound: &DelayBound) -> Result<(Vec<String>, bool), Hold> {
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

    fn tolerated(pod: &Pod, key: &str, value: &str, effect: TaintEffect) -> bool {
        pod.tolerations.iter().any(|t| {
            let matches_value = t.operator == TolerationOperator::Exists || t.value == value;
            (t.effect.is_none() || t.effect == Some(effect)) && (t.key.is_empty() || t.key == key) && matches_value
        })
    }

    fn label_holds(node: &Node, r: &Requirement) -> bool {
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

    fn term_holds(node: &Node, term: &NodeSelectorTerm) -> bool {
        let field = |r: &Requirement| match (r.key.as_str(), r.operator, &r.values[..]) {
            ("metadata.name", Operator::In, [name]) => *name == node.name,
            ("metadata.name", Operator::NotIn, [name]) => *name != node.name,
            _ => false,
        };
        let any = !term.match_expressions.is_empty() || !term.match_fields.is_empty();
        any && term.match_expressions.iter().all(|r| Self::label_holds(node, r)) && term.match_fields.iter().all(field)
    }

    /// The names that terms leave, where each says which.
    fn pinned(terms: &[NodeSelectorTerm]) -> Option<Vec<String>> {
        let of_term = |term: &NodeSelectorTerm| -> Option<Vec<String>> {
            let pins: Vec<&Requirement> =
                term.match_fields.iter().filter(|r| r.key == "metadata.name" && r.operator == Operator::In).collect();
            let all: Vec<String> = pins.first()?.values.clone();
            Some(all.into_iter().filter(|name| pins.iter().all(|r| r.values.contains(name))).collect())
        };
        let named: Option<Vec<Vec<String>>> = terms.iter().map(of_term).collect();
        named.filter(|_| !terms.is_empty()).map(|names| names.concat())
    }

    fn on<'a>(&'a self, node: &'a str, except: &'a Pod) -> impl Iterator<Item = &'a Pod> {
        self.pods.values().filter(move |p| p.holds_capacity() && p.node_name.as_deref() == Some(node) && p.key != except.key)
    }

    fn reasons(&self, pod: &Pod, node: &Node, bounds: &[(&DelayBound, Vec<String>)]) -> Vec<(String, VerdictCode)> {
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

    fn cost(&self, pod: &Pod, node: &str, bounds: &[(&DelayBound, Vec<String>)]) -> Option<f64> {
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

    fn answer(&self, pod: &Pod) -> Answer {
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

fn answer_of(decision: &Decision) -> Answer {
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

#[derive(Clone, Debug)]
enum Event {
    Node(Node),
    DeleteNode(String),
    Pod(Pod),
    DeletePod(PodKey),
    Rtt(String, String, PairStat),
    Service(&'static str, Option<Labels>),
    Demand(Workload, Option<Vec<(String, f64)>>),
    /// Decide for this pod, and assume it where it fits.
    Place(Pod),
}

fn node_name() -> impl Strategy<Value = String> {
    (1..=6u32).prop_map(|i| format!("n{i}"))
}

fn labels() -> impl Strategy<Value = Labels> {
    let label = |key: &'static str, values: &'static [&'static str]| (Just(key.to_owned()), select(values).prop_map(str::to_owned));
    let all = (
        proptest::option::weighted(0.8, label("zone", &["a", "b", "c"])),
        proptest::option::of(label("cores", &["8", "16", "many"])),
        proptest::option::of(label("disk", &["ssd"])),
        proptest::option::weighted(0.25, label("kubernetes.io/role", &["cloud", "edge"])),
        proptest::option::weighted(0.8, label("kubernetes.io/hostname", &["h1", "h2", "h3"])),
        proptest::option::weighted(0.8, label("topology.kubernetes.io/zone", &["", "a", "b"])),
        proptest::option::weighted(0.15, label("node-role.kubernetes.io/control-plane", &[""])),
    );
    all.prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].into_iter().flatten().collect())
}

fn resources(scale: i64) -> impl Strategy<Value = Resources> {
    (0..=4i64, 0..=4i64, 0..=2i64, proptest::option::weighted(0.3, 0..=2i64)).prop_map(move |(cpu, memory, storage, gpu)| Resources {
        cpu: MilliCpu(cpu * 250 * scale),
        memory: Bytes(memory * 100 * scale),
        ephemeral_storage: Bytes(storage * 10 * scale),
        pods: 3,
        extended: gpu.map(|n| ("x.io/gpu".to_owned(), n)).into_iter().collect(),
    })
}

fn taint() -> impl Strategy<Value = Taint> {
    let effect =
        select(&[TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule, TaintEffect::PreferNoSchedule, TaintEffect::NoExecute][..]);
    let key = select(&["t1", "t2", "node-role.kubernetes.io/control-plane"][..]);
    (key, select(&["", "x"][..]), effect).prop_map(|(key, value, effect)| Taint { key: key.into(), value: value.into(), effect })
}

fn node() -> impl Strategy<Value = Node> {
    (node_name(), labels(), proptest::collection::vec(taint(), 0..3), proptest::bool::weighted(0.1), resources(4)).prop_map(
        |(name, labels, taints, unschedulable, allocatable)| Node { name, labels, taints, unschedulable, allocatable, ..Node::default() },
    )
}

fn toleration() -> impl Strategy<Value = Toleration> {
    let key = select(&["", "t1", "t2", "node-role.kubernetes.io/control-plane", "node.kubernetes.io/unschedulable"][..]);
    let effect = proptest::option::of(select(&[TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule][..]));
    (key, proptest::bool::ANY, select(&["", "x"][..]), effect).prop_map(|(key, exists, value, effect)| Toleration {
        key: key.into(),
        operator: if exists || key.is_empty() { TolerationOperator::Exists } else { TolerationOperator::Equal },
        value: value.into(),
        effect,
    })
}

fn term() -> impl Strategy<Value = NodeSelectorTerm> {
    let operator = select(&[Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist, Operator::Gt, Operator::Lt][..]);
    let values = subsequence(vec!["a", "b", "ssd", "8", "12"], 0..=2);
    let expression = (select(&KEYS[..]), operator.clone(), values).prop_map(|(key, operator, values)| Requirement {
        key: key.into(),
        operator,
        values: values.into_iter().map(Into::into).collect(),
    });
    let field =
        (operator, node_name()).prop_map(|(operator, name)| Requirement { key: "metadata.name".into(), operator, values: vec![name] });
    (proptest::collection::vec(expression, 0..=2), proptest::option::weighted(0.2, field))
        .prop_map(|(match_expressions, field)| NodeSelectorTerm { match_expressions, match_fields: field.into_iter().collect() })
}

fn workload() -> impl Strategy<Value = Workload> {
    let kind = select(&[WorkloadKind::Deployment, WorkloadKind::Job][..]);
    (kind, select(&["api", "web", "n9"][..])).prop_map(|(kind, name)| Workload { kind, name: name.into() })
}

fn bound() -> impl Strategy<Value = DelayBound> {
    let from = prop_oneof![
        5 => node_name().prop_map(Reference::Name),
        1 => node_name().prop_map(Reference::Node),
        3 => select(&["api", "web", "p1", "p2", "n9"][..]).prop_map(|name| Reference::Name(name.into())),
        1 => workload().prop_map(|w| Reference::Workload(w.kind, w.name)),
        1 => select(&["p1", "p3"][..]).prop_map(|name| Reference::Pod(name.into())),
    ];
    let options = (proptest::bool::ANY, proptest::bool::weighted(0.3), proptest::bool::weighted(0.3));
    (from, 0..=12u32, options).prop_map(|(from, max, (p50, all, allow))| DelayBound {
        from,
        max: Micros(max * 1000),
        statistic: if p50 { Statistic::P50 } else { Statistic::P90 },
        replicas: if all { ReplicaRule::All } else { ReplicaRule::Any },
        missing: if allow { Missing::Allow } else { Missing::Deny },
        source: DelaySource::Annotation,
    })
}

fn pod() -> impl Strategy<Value = Pod> {
    let affinity =
        (proptest::option::weighted(0.3, proptest::collection::vec(term(), 0..=2)), proptest::collection::vec((1..=100i32, term()), 0..=2));
    let selector = proptest::option::weighted(0.2, select(&["a", "b"][..]));
    let standing = (proptest::bool::weighted(0.1), proptest::bool::weighted(0.1));
    (
        (1..=8u32, proptest::option::of(workload()), standing, 0..1000u32),
        (resources(1), selector, affinity),
        (proptest::collection::vec(toleration(), 0..=3), proptest::collection::vec(bound(), 0..=2), among_pods::wishes()),
    )
        .prop_map(
            |((name, owner, (terminating, ended), uid), (requests, zone, (required, preferred)), (tolerations, delays, wishes))| {
                let mut scoring_requests = requests.clone();
                if scoring_requests.cpu.0 == 0 {
                    scoring_requests.cpu = MilliCpu(100);
                }
                Pod {
                    key: PodKey::new("default", format!("p{name}")),
                    uid: format!("u{uid}"),
                    owner,
                    terminating,
                    phase: if ended { PodPhase::Ended } else { PodPhase::Pending },
                    requests,
                    scoring_requests,
                    node_selector: zone.map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().collect(),
                    affinity: NodeAffinity { required, preferred },
                    tolerations,
                    delays,
                    labels: wishes.labels,
                    pod_affinity: wishes.towards,
                    pod_anti_affinity: wishes.away,
                    spread: wishes.spread,
                    ..Pod::default()
                }
            },
        )
}

fn stat() -> impl Strategy<Value = PairStat> {
    let kind = select(&[Kind::Measured, Kind::Measured, Kind::Measured, Kind::Declared, Kind::Estimated][..]);
    let age = select(&[0u64, 0, 0, 500_000, 900_000, 900_001, 1_500_000][..]);
    (0..=8u32, 0..=2u32, kind, age).prop_map(|(p50, spread, kind, age)| PairStat {
        p50: Micros(p50 * 1000),
        p90: Micros((p50 + spread) * 1000),
        loss_permille: 0,
        samples: 20,
        at: Timestamp(NOW.0 - age),
        kind,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let demand = proptest::option::weighted(0.7, proptest::collection::vec((node_name(), (1..5u32).prop_map(f64::from)), 1..3));
    prop_oneof![
        4 => node().prop_map(Event::Node),
        1 => node_name().prop_map(Event::DeleteNode),
        3 => (pod(), node_name()).prop_map(|(pod, node)| Event::Pod(Pod { node_name: Some(node), ..pod })),
        1 => (1..=8u32).prop_map(|i| Event::DeletePod(PodKey::new("default", format!("p{i}")))),
        12 => (node_name(), node_name(), stat()).prop_map(|(a, b, stat)| Event::Rtt(a, b, stat)),
        1 => (workload(), demand).prop_map(|(workload, demand)| Event::Demand(workload, demand)),
        1 => (select(&["s1", "s2"][..]), proptest::option::weighted(0.8, among_pods::labels())).prop_map(|(name, selector)| Event::Service(name, selector)),
        8 => pod().prop_map(|pod| Event::Place(Pod { terminating: false, phase: PodPhase::Pending, ..pod })),
    ]
}

/// A cluster in which much is measured and references stand, then changes and decisions.
fn story() -> impl Strategy<Value = Vec<Event>> {
    let easy = |node: Node, i: usize| Node {
        name: format!("n{}", i + 1),
        unschedulable: false,
        taints: node.taints.into_iter().take(1).collect(),
        ..node
    };
    let nodes = proptest::collection::vec(node(), 6)
        .prop_map(move |nodes| nodes.into_iter().enumerate().map(|(i, n)| Event::Node(easy(n, i))).collect::<Vec<_>>());
    let pairs = proptest::collection::vec(stat(), 15).prop_map(|stats| {
        let pairs = (1..=6).flat_map(|a| (a + 1..=6).map(move |b| (format!("n{a}"), format!("n{b}"))));
        pairs.zip(stats).map(|((a, b), stat)| Event::Rtt(a, b, PairStat { at: NOW, ..stat })).collect::<Vec<_>>()
    });
    let standing = proptest::collection::vec((pod(), node_name()), 4).prop_map(|pods| {
        let stands = |(i, (pod, node)): (usize, (Pod, String))| Pod {
            key: PodKey::new("default", format!("p{}", i + 1)),
            owner: Some(Workload { kind: WorkloadKind::Deployment, name: if i < 3 { "api" } else { "web" }.into() }),
            node_name: Some(node),
            ..pod
        };
        pods.into_iter().enumerate().map(|pod| Event::Pod(stands(pod))).collect::<Vec<_>>()
    });
    let rest = proptest::collection::vec(event(), 1..60);
    (proptest::bool::weighted(0.9), nodes, pairs, standing, rest)
        .prop_map(|(settled, nodes, pairs, standing, rest)| if settled { [nodes, pairs, standing, rest].concat() } else { rest })
}

fn settings() -> impl Strategy<Value = Settings> {
    let undelayed = select(&[Undelayed::CloudPreferred, Undelayed::CloudOnly, Undelayed::Any, Undelayed::Any][..]);
    (undelayed, proptest::bool::weighted(0.9)).prop_map(|(undelayed, delay_filter)| Settings {
        undelayed,
        delay_filter,
        ..Settings::default()
    })
}

/// Runs the events through the cluster and the plain world; every decision must be the same. Returns the decisions.
fn run(settings: Settings, events: &[Event], planner: &mut Planner) -> Result<Vec<Decision>, TestCaseError> {
    let mut world = World { settings: settings.clone(), ..World::default() };
    let mut cluster = Cluster::new(settings);
    let mut decisions = Vec::new();
    let mut held = None;
    let mut waiting = Waiting::default();
    for event in events {
        let mut changes = Changes::new();
        match event.clone() {
            Event::Node(node) => {
                changes = cluster.apply_node(node.clone());
                world.nodes.insert(node.name.clone(), node);
            }
            Event::DeleteNode(name) => {
                changes = cluster.delete_node(&name);
                world.nodes.remove(&name);
            }
            // A bound pod does not move; its name may be taken by a new one.
            Event::Pod(pod) => {
                if world.pods.get(&pod.key).is_none_or(|have| have.uid != pod.uid) {
                    waiting.forget(&pod.key);
                    changes = cluster.apply_pod(pod.clone());
                    world.pods.insert(pod.key.clone(), pod);
                }
            }
            Event::DeletePod(key) => {
                waiting.forget(&key);
                changes = cluster.delete_pod(&key);
                world.pods.remove(&key);
            }
            Event::Rtt(a, b, stat) => {
                if a != b {
                    changes = cluster.report_rtt(&a, &b, stat);
                    world.reports.insert((a, b), stat);
                    // Whether what stood before was stale by then can only be told of a report that comes when it was measured.
                    if stat.at != NOW {
                        waiting.judge_anew(&cluster, planner);
                    }
                }
            }
            Event::Service(name, selector) => {
                cluster.apply_service("default", name, selector.as_ref().map(LabelSelector::of_labels));
                match selector {
                    Some(selector) => world.services.insert(name.to_owned(), selector),
                    None => world.services.remove(name),
                };
            }
            Event::Demand(workload, demand) => {
                // Two rates of one site would be added up in an order that only the index knows.
                let demand = demand.map(|sites| sites.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>());
                cluster.set_demand("default", &workload, demand.clone(), Micros(5_000));
                match demand {
                    Some(sites) => world.demand.insert(("default".into(), workload), sites),
                    None => world.demand.remove(&("default".into(), workload)),
                };
            }
            Event::Place(pod) => {
                if world.pods.get(&pod.key).is_some_and(|have| have.uid == pod.uid) {
                    continue;
                }
                waiting.forget(&pod.key);
                changes = cluster.apply_pod(pod.clone());
                world.pods.insert(pod.key.clone(), pod.clone());
                let snapshot = cluster.snapshot();
                let decision = planner.place(&snapshot, &pod, NOW, Warmth::Warm);
                let (got, expected) = (answer_of(&decision), world.answer(&pod));
                prop_assert!(same(&got, &expected), "{pod:#?}\ngot {got:#?}\nexpected {expected:#?}");
                let choice = planner.choose(&snapshot, &pod, NOW, Warmth::Warm);
                match (&choice, decision.placed()) {
                    (Choice::Place(ix), Some(node)) => prop_assert_eq!(snapshot.name(*ix), node),
                    (Choice::Unschedulable, None) => prop_assert_eq!(&decision.outcome, &Outcome::Unschedulable),
                    (Choice::Held(hold), None) => prop_assert_eq!(&decision.outcome, &Outcome::Held(hold.clone())),
                    _ => prop_assert!(false, "{:?} and {:?}", choice, decision.outcome),
                }
                if let Some(node) = decision.placed() {
                    let binding = lint::Binding { pod: pod.key.clone(), uid: pod.uid.clone(), node: node.to_owned() };
                    let violations = lint::State::of(&snapshot, NOW).check_plan(&[binding]);
                    // Without the filter bounds are violated, which is what it is switched off for.
                    prop_assert!(violations.is_empty() || !snapshot.settings().delay_filter, "{:?}", violations);
                    changes.extend(cluster.assume(&pod.key, &pod.uid, node).expect("the planner's answer can be assumed"));
                    world.pods.get_mut(&pod.key).expect("just put there").node_name = Some(node.to_owned());
                }
                waiting.check(&cluster, planner, &changes)?;
                changes.clear();
                waiting.add(pod, &decision);
                decisions.push(decision);
                // Kept, so that what follows has something to share memory with.
                held = Some(snapshot);
            }
        }
        waiting.check(&cluster, planner, &changes)?;
    }
    drop(held);
    Ok(decisions)
}

/// Pods that found no node, with what wakes them.
#[derive(Default)]
struct Waiting(Vec<(Pod, Decision)>);

impl Waiting {
    fn add(&mut self, pod: Pod, decision: &Decision) {
        if decision.placed().is_none() {
            self.0.push((pod, decision.clone()));
        }
    }

    fn forget(&mut self, key: &PodKey) {
        self.0.retain(|(pod, _)| pod.key != *key);
    }

    /// Whoever is not woken by what changed still finds no node. Who is woken is judged anew.
    fn check(&mut self, cluster: &Cluster, planner: &mut Planner, changes: &Changes) -> Result<(), TestCaseError> {
        for (pod, decision) in &mut self.0 {
            let woken = changes.iter().any(|event| decision.wakes(event));
            let now = planner.place(cluster.view(), pod, NOW, Warmth::Warm);
            let fits = now.placed().is_some();
            prop_assert!(woken || !fits, "{} sleeps through {changes:#?}\nafter {}\n{pod:#?}", pod.key, decision.message());
            if woken {
                *decision = now;
            }
        }
        self.forget_placed();
        Ok(())
    }

    fn judge_anew(&mut self, cluster: &Cluster, planner: &mut Planner) {
        self.0.iter_mut().for_each(|(pod, decision)| *decision = planner.place(cluster.view(), pod, NOW, Warmth::Warm));
        self.forget_placed();
    }

    /// Who fits now would be placed; here it stays unplaced and is not followed any longer.
    fn forget_placed(&mut self) {
        self.0.retain(|(_, decision)| decision.placed().is_none());
    }
}

/// Costs may differ in the last bits: sums are the same in another order.
fn same(got: &Answer, expected: &Answer) -> bool {
    let (Answer::Judged(a, best_a), Answer::Judged(b, best_b)) = (got, expected) else { return got == expected };
    let close = |x: Option<f64>, y: Option<f64>| match (x, y) {
        (Some(x), Some(y)) => x == y || (x - y).abs() <= 1e-9 * y.abs(),
        (x, y) => x.is_none() && y.is_none(),
    };
    let alike = a.iter().zip(b).all(|(x, y)| {
        x.0 == y.0
            && match (x.1, y.1) {
                (Ok(x), Ok(y)) => close(x.0, y.0) && x.1 == y.1 && x.2 == y.2,
                (Err(x), Err(y)) => x == y,
                _ => false,
            }
    });
    a.len() == b.len() && alike && best_a == best_b
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// One planner sees many clusters that change under it: nothing that it keeps may go stale.
    #[test]
    fn the_planner_decides_as_the_rules_read(a in settings(), b in settings(), first in story(), second in story()) {
        let mut planner = Planner::new();
        run(a, &first, &mut planner)?;
        run(b, &second, &mut planner)?;
    }

    #[test]
    fn the_same_events_give_the_same_plan_byte_for_byte(settings in settings(), events in story()) {
        let plan = || -> Result<String, TestCaseError> {
            let decisions = run(settings.clone(), &events, &mut Planner::new())?;
            Ok(decisions.iter().map(|decision| format!("{decision:?}\n")).collect())
        };
        prop_assert_eq!(plan()?, plan()?);
    }
}
