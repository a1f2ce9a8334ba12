//! Pods that refer to each other: a node for each, every bound checked, all or none.
//!
//! A depth-first search with backtracking over the candidates that each member has by itself, most constrained member first. It is bounded: beyond
//! [`STEPS`] checks the group is held as unplaceable and tried again on the next event, as any pod that found no node.

use super::columns::Columns;
use super::explain::{figures_of_member, held, unplaceable};
use super::rank::Query;
use super::{Decision, Outcome, Planner, WakeOn, Warmth};
use crate::cluster::{CHUNK, NodeIx, Pod, PodKey, Point, Snapshot, amount, basic};
use crate::constraint::{DelayBound, Missing, ReplicaRule, ResolvedBound, pods_behind};
use crate::filter::{AmongPods, pod_topology_spread};
use crate::units::Timestamp;
use std::collections::BTreeMap;

/// Candidate checks per group: at about 200 ns each, a fifth of a second at worst.
const STEPS: usize = 1_000_000;
/// Checks that looking at where the other members' pods are counts for: it makes a state in which they are placed.
const AMONG_PODS: usize = 500;

/// One decision per member, in the order given: all of them place, or none. Their tables are empty; [`Planner::place`] gives a member's table once
/// the group is assumed. Only a member that fits no node even by itself comes with its table at once.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDecision {
    pub decisions: Vec<Decision>,
}

impl GroupDecision {
    pub fn placed(&self) -> bool {
        self.decisions.iter().all(|decision| decision.placed().is_some())
    }
}

/// A bound from one member to others that have no node yet.
struct Link<'a> {
    bound: &'a DelayBound,
    members: Vec<usize>,
}

struct Member<'a> {
    pod: &'a Pod,
    links: Vec<Link<'a>>,
    /// Nodes that fit the pod by itself, best first.
    candidates: Vec<u32>,
}

impl Planner {
    pub fn place_group(&mut self, snapshot: &Snapshot, pods: &[Pod], now: Timestamp, warm: Warmth) -> GroupDecision {
        let keys: Vec<PodKey> = pods.iter().map(|pod| pod.key.clone()).collect();
        let fails = |at: usize, decision: Decision| {
            let of = |i: usize| if i == at { decision.clone() } else { unplaceable(snapshot, &pods[i], &keys) };
            GroupDecision { decisions: (0..pods.len()).map(of).collect() }
        };
        let mut members = Vec::with_capacity(pods.len());
        for (at, pod) in pods.iter().enumerate() {
            let bounds = match self.prefilter(snapshot, pod, warm, &keys) {
                Ok(bounds) => bounds,
                Err(hold) => return fails(at, held(snapshot, pod, hold)),
            };
            let candidates = self.candidates(snapshot, pod, bounds.as_deref(), now);
            if candidates.is_empty() {
                return fails(at, self.explain(snapshot, pod, &bounds, now));
            }
            let links = if bounds.is_some() { links(snapshot, pods, at) } else { Vec::new() };
            members.push(Member { pod, links, candidates });
        }
        self.stopwatch.enter(Point::Filter);
        // Members that are placed one after the other may not keep each other out, nor skew what each alone would not.
        let among_pods = pods.iter().any(|pod| {
            let (constraints, _) = pod_topology_spread::constraints(snapshot, pod);
            let terms = [&pod.pod_affinity.required, &pod.pod_anti_affinity.required];
            constraints.iter().any(|constraint| constraint.hard) || terms.iter().any(|terms| !terms.is_empty())
        });
        let mut search = Search { snapshot, now, members: &members, columns: &mut self.columns, among_pods, steps: 0 };
        let found = search.run();
        self.stopwatch.stop();
        let Some(nodes) = found else {
            return GroupDecision { decisions: pods.iter().map(|pod| unplaceable(snapshot, pod, &keys)).collect() };
        };
        let placements: Vec<(&PodKey, NodeIx)> = keys.iter().zip(nodes.iter().copied()).collect();
        let after = snapshot.with(&placements);
        let decide = |(pod, &ix): (&Pod, &NodeIx)| Decision {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            generation: snapshot.generation(),
            outcome: Outcome::Place { node: snapshot.name(ix).to_owned(), because: figures_of_member(&after, pod, ix, now) },
            nodes: Vec::new(),
            node_count: snapshot.node_count(),
            wake: WakeOn::new(&pod.key, snapshot.settings().max_age),
            preemption: None,
        };
        GroupDecision { decisions: pods.iter().zip(&nodes).map(decide).collect() }
    }

    /// Nodes that fit the pod by itself: those in the band by score, then the others by cost.
    fn candidates(&mut self, snapshot: &Snapshot, pod: &Pod, bounds: Option<&[ResolvedBound<'_>]>, now: Timestamp) -> Vec<u32> {
        let query = Query::new(&mut self.columns, snapshot, pod, bounds, now);
        self.stopwatch.enter(Point::Filter);
        self.scratch.filter(&self.columns, &query, &mut self.stopwatch);
        self.stopwatch.enter(Point::Score);
        self.scratch.rank(&self.columns, &query, &mut self.stopwatch);
        self.scratch.in_order(&self.columns, &query)
    }
}

/// The member's bounds whose reference stands for other members.
fn links<'a>(snapshot: &Snapshot, pods: &'a [Pod], at: usize) -> Vec<Link<'a>> {
    let pod = &pods[at];
    let index: BTreeMap<&PodKey, usize> = pods.iter().enumerate().map(|(i, pod)| (&pod.key, i)).collect();
    let link = |bound: &'a DelayBound| {
        let behind = pods_behind(&bound.from, &pod.key.namespace, snapshot);
        let placed = behind.iter().any(|(key, node)| node.is_some() && **key != pod.key);
        // One placed replica is enough for `any`, and the candidates are within it.
        if placed && bound.replicas == ReplicaRule::Any {
            return None;
        }
        let members: Vec<usize> = behind.iter().filter_map(|(key, _)| index.get(*key).copied()).filter(|&i| i != at).collect();
        (!members.is_empty()).then_some(Link { bound, members })
    };
    pod.delays.iter().filter_map(link).collect()
}

struct Search<'a> {
    snapshot: &'a Snapshot,
    now: Timestamp,
    members: &'a [Member<'a>],
    columns: &'a mut Columns,
    /// Some member has rules about where other pods are.
    among_pods: bool,
    steps: usize,
}

impl Search<'_> {
    /// A node for each member.
    fn run(&mut self) -> Option<Vec<NodeIx>> {
        let order = self.order();
        let mut nodes: Vec<Option<NodeIx>> = vec![None; self.members.len()];
        // Per depth, the next candidate to try.
        let mut next = vec![0usize; self.members.len()];
        let mut depth = 0;
        while let Some(&at) = order.get(depth) {
            nodes[at] = None;
            let found = self.members[at].candidates[next[depth]..].iter().position(|&node| {
                self.steps += 1;
                nodes[at] = Some(NodeIx(node));
                self.steps > STEPS || self.consistent(at, &nodes)
            });
            if self.steps > STEPS {
                return None;
            }
            match found {
                Some(skipped) => {
                    next[depth] += skipped + 1;
                    depth += 1;
                }
                None => {
                    nodes[at] = None;
                    next[depth] = 0;
                    depth = depth.checked_sub(1)?;
                }
            }
        }
        nodes.into_iter().collect()
    }

    /// Fewest candidates first; then those that are linked to one already in the order, so that a contradiction shows early.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::with_capacity(self.members.len());
        let mut left: Vec<usize> = (0..self.members.len()).collect();
        let mut linked = vec![false; self.members.len()];
        let mut refers_to: Vec<Vec<usize>> = vec![Vec::new(); self.members.len()];
        for (at, member) in self.members.iter().enumerate() {
            for &other in member.links.iter().flat_map(|link| &link.members) {
                refers_to[other].push(at);
            }
        }
        while let Some(position) = (0..left.len()).min_by_key(|&i| (!linked[left[i]], self.members[left[i]].candidates.len(), left[i])) {
            let at = left.remove(position);
            order.push(at);
            let forward = self.members[at].links.iter().flat_map(|link| &link.members);
            forward.chain(&refers_to[at]).for_each(|&other| linked[other] = true);
        }
        order
    }

    /// Whether member `at`, just put on its node, agrees with those placed before.
    fn consistent(&mut self, at: usize, nodes: &[Option<NodeIx>]) -> bool {
        self.has_room(at, nodes)
            && (0..self.members.len()).all(|other| self.links_hold(other, at, nodes))
            && (!self.among_pods || self.fits_among_pods(at, nodes))
    }

    /// Whether the node takes the member after those that are placed already.
    fn fits_among_pods(&mut self, at: usize, nodes: &[Option<NodeIx>]) -> bool {
        self.steps += AMONG_PODS;
        let others = (0..nodes.len()).filter(|&other| other != at);
        let placed: Vec<(&PodKey, NodeIx)> = others.filter_map(|other| Some((&self.members[other].pod.key, nodes[other]?))).collect();
        let (before, Some(ix)) = (self.snapshot.with(&placed), nodes[at]) else { return true };
        let query = Query::new(self.columns, &before, self.members[at].pod, None, self.now);
        let AmongPods { spread, affinity } = query.among_pods();
        spread.is_none_or(|spread| spread.check(ix.at()).is_none()) && affinity.is_none_or(|rules| rules.check(ix.at()).is_none())
    }

    /// The links of `other` that member `at` has a part in.
    fn links_hold(&self, other: usize, at: usize, nodes: &[Option<NodeIx>]) -> bool {
        let Some(own) = nodes[other] else { return true };
        self.members[other].links.iter().filter(|link| other == at || link.members.contains(&at)).all(|link| {
            let within = |target: NodeIx| self.within(link.bound, target, own);
            match link.bound.replicas {
                ReplicaRule::All => link.members.iter().filter_map(|&member| nodes[member]).all(within),
                ReplicaRule::Any => link.members.iter().any(|&member| nodes[member].is_none_or(within)),
            }
        })
    }

    fn within(&self, bound: &DelayBound, a: NodeIx, b: NodeIx) -> bool {
        let max_age = self.snapshot.settings().max_age;
        let rtt = self.snapshot.rtt().get(a, b).and_then(|stat| stat.admissible(bound.statistic, self.now, max_age));
        rtt.map_or(bound.missing == Missing::Allow, |rtt| rtt <= bound.max)
    }

    /// Whether the node takes all members that are on it now. Each alone fits: it is a candidate.
    fn has_room(&self, at: usize, nodes: &[Option<NodeIx>]) -> bool {
        let Some(ix) = nodes[at] else { return true };
        let here: Vec<&Pod> = (0..nodes.len()).filter(|&i| nodes[i] == Some(ix)).map(|i| self.members[i].pod).collect();
        if here.len() == 1 {
            return true;
        }
        let (chunk, slot) = (&self.snapshot.load()[ix.at() / CHUNK], ix.at() % CHUNK);
        let asked = |resource: usize| here.iter().map(|pod| basic(&pod.requests)[resource]).sum::<i64>();
        let basic_fits = (0..3)
            .all(|r| basic(&self.members[at].pod.requests)[r] == 0 || asked(r) <= chunk.allocatable[r][slot] - chunk.requested[r][slot]);
        let member = self.members[at].pod;
        let ignored = &self.snapshot.profile(member).fit;
        let extended_fits = member.requests.extended.iter().filter(|(name, _)| !ignored.ignores(name)).all(|(name, &own)| {
            let column = self.snapshot.resource(name).and_then(|resource| chunk.extended(resource));
            let free = column.map_or(0, |column| column.allocatable[slot] - column.requested[slot]);
            own == 0 || here.iter().filter_map(|pod| pod.requests.extended.get(name)).map(|asked| amount(*asked)).sum::<i64>() <= free
        });
        chunk.pods[slot] + here.len() as i64 <= chunk.pods_allocatable[slot] && basic_fits && extended_fits
    }
}

#[cfg(test)]
mod tests;
