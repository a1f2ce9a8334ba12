//! From a pod to the nodes that fit it and the best of them, over columns alone.

use super::Stopwatch;
use super::columns::Columns;
use super::load_scores::{Asks, Kept, LoadScores};
use crate::cluster::{
    BASIC, CHUNK, Labels, LoadChunk, NodeIx, NodeSelectorTerm, Plugin, Pod, Point, Profile, Resources, Snapshot, SpreadConstraint, amount,
    basic, mix, name_hash,
};
use crate::constraint::{ReplicaRule, ResolvedBound, Statistic};
use crate::filter::dynamic_resources::Claims;
use crate::filter::inter_pod_affinity::PodRules;
use crate::filter::pod_topology_spread::{self, Inclusion, Spread};
use crate::filter::{
    AmongPods, Domains, Subject, Volumes, cloud_role, delay_bound, named, node_declared_features, node_ports, node_resources_fit::Need,
};
use crate::score::inter_pod_affinity::{PodPreference, PodScale};
use crate::score::pod_topology_spread::{SpreadPreference, SpreadScale};
use crate::score::{band, normalize, response_time::response_time_us};
use crate::units::{Micros, Timestamp};
use fixedbitset::FixedBitSet;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;

/// One place that response time is measured from, with its share in the mean.
pub(super) struct Site<'a> {
    /// Of several replicas the nearest counts, or the farthest when every one is asked for.
    targets: &'a [NodeIx],
    farthest: bool,
    weight: f64,
}

/// A pod with everything about it looked up.
pub(super) struct Query<'a> {
    pub snapshot: &'a Snapshot,
    pub pod: &'a Pod,
    profile: &'a Profile,
    /// `None`: bounds are not looked at.
    pub bounds: Option<&'a [ResolvedBound<'a>]>,
    pub now: Timestamp,
    tolerance: usize,
    affinity: Option<usize>,
    preference: Option<usize>,
    /// Nodes that the settings' affinity matches.
    added: Option<usize>,
    spread: Option<Spread>,
    spread_preference: Option<SpreadPreference>,
    pod_rules: Option<PodRules>,
    pod_preference: Option<PodPreference>,
    images: Option<usize>,
    volumes: Option<Volumes<'a>>,
    claims: Option<Claims<'a>>,
    /// Empty: ranked by kube-scheduler's scores alone.
    sites: SmallVec<[Site<'a>; 4]>,
    service: Micros,
    asks: Asks,
}

impl<'a> Query<'a> {
    /// While no other query lives.
    pub fn new(
        columns: &mut Columns,
        snapshot: &'a Snapshot,
        pod: &'a Pod,
        bounds: Option<&'a [ResolvedBound<'a>]>,
        now: Timestamp,
    ) -> Query<'a> {
        columns.trim();
        Query::once_more(columns, snapshot, pod, bounds, now)
    }

    /// In another state of the cluster, while a query of the same pod lives.
    pub fn once_more(
        columns: &mut Columns,
        snapshot: &'a Snapshot,
        pod: &'a Pod,
        bounds: Option<&'a [ResolvedBound<'a>]>,
        now: Timestamp,
    ) -> Query<'a> {
        columns.sync(snapshot);
        let profile = snapshot.profile(pod);
        let (sites, service) = sites(snapshot, pod, bounds.filter(|_| profile.plugins.has(Point::Score, Plugin::ResponseTime)));
        let own = pod.own_scoring.as_deref().unwrap_or(&pod.scoring_requests);
        let [cpu, memory, _] = basic(own);
        let preferred = preferred(profile, pod);
        let added = profile.added_affinity.required.as_ref();
        let tolerance = columns.tolerance(&pod.tolerations, profile);
        let affinity = columns.affinity(snapshot, &pod.node_selector, pod.affinity.required.as_ref());
        let (spread, spread_preference) = spread(columns, snapshot, pod, tolerance, affinity);
        let domains = &mut |key: &str| columns.domains(snapshot, key);
        let held = snapshot.held_terms(pod);
        let pod_rules = PodRules::new(snapshot, pod, &held, domains);
        let pod_preference = PodPreference::new(snapshot, pod, &held, domains);
        Query {
            snapshot,
            pod,
            profile,
            bounds,
            now,
            tolerance,
            affinity,
            spread,
            spread_preference,
            pod_rules,
            pod_preference,
            preference: columns.preference(snapshot, &preferred),
            added: added.and_then(|terms| columns.affinity(snapshot, &Labels::new(), Some(terms))),
            images: columns.image_scores(snapshot, &pod.images),
            // What would hold the pod back was asked before.
            volumes: Volumes::new(snapshot, pod).ok().flatten(),
            // Whoever is held by its claims comes this far for advice alone.
            claims: Claims::new(snapshot, pod).ok().flatten(),
            sites,
            service,
            asks: Asks {
                need: profile.filters(Plugin::NodeResourcesFit).then(|| Need::new(snapshot, pod)),
                scoring: [cpu, memory],
                strategy: (!profile.fit.scores_by_default()).then(|| profile.fit.strategy.clone()),
                fit: fit_columns(snapshot, profile, own),
                balanced: balanced_columns(snapshot, profile, &pod.requests),
                balanced_by_default: profile.balanced == ["cpu", "memory"],
            },
        }
    }

    pub fn among_pods(&self) -> AmongPods<'_> {
        AmongPods { spread: self.spread.as_ref(), affinity: self.pod_rules.as_ref() }
    }

    pub fn volumes(&self) -> Option<&Volumes<'a>> {
        self.volumes.as_ref()
    }

    pub fn claims(&self) -> Option<&Claims<'a>> {
        self.claims.as_ref()
    }

    /// Whether the pod's filters look at no more of other pods than the room that they take on a node.
    pub fn wants_room_alone(&self) -> bool {
        self.spread.is_none() && self.pod_rules.is_none() && self.volumes.is_none() && self.claims.is_none()
    }

    pub fn ranked(&self) -> bool {
        !self.sites.is_empty()
    }

    /// What the filters need to know of the pod.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            snapshot: self.snapshot,
            pod: self.pod,
            bounds: self.bounds,
            now: self.now,
            among_pods: self.among_pods(),
            volumes: self.volumes(),
            claims: self.claims(),
        }
    }

    fn has_devices(&self, claims: &Claims<'_>, node: usize) -> bool {
        let ix = NodeIx(node as u32);
        let filters = self.snapshot.profile(self.pod).filters(Plugin::DynamicResources);
        !filters || self.snapshot.node(ix).is_some_and(|node| claims.check(node, ix).is_none())
    }

    fn device_score(&self, claims: &Claims<'_>, node: usize) -> i64 {
        let ix = NodeIx(node as u32);
        self.snapshot.node(ix).map_or(0, |node| claims.raw_score(node, ix))
    }

    fn load(&self, node: usize) -> (&LoadChunk, usize) {
        (&self.snapshot.load()[node / CHUNK], node % CHUNK)
    }
}

/// Where the figures of a scored resource stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FitColumn {
    /// CPU and memory, with the defaults for containers without a request.
    Scoring(usize),
    Basic(usize),
    Extended(u32),
}

impl FitColumn {
    /// Capacity and use of one node; `None` where it has none of it.
    pub(super) fn of(self, chunk: &LoadChunk, slot: usize) -> Option<(i64, i64)> {
        let figures = match self {
            FitColumn::Scoring(at) => (chunk.allocatable[at][slot], chunk.scoring[at][slot]),
            FitColumn::Basic(at) => (chunk.allocatable[at][slot], chunk.requested[at][slot]),
            FitColumn::Extended(resource) => chunk.extended(resource).map(|of| (of.allocatable[slot], of.requested[slot]))?,
        };
        (figures.0 > 0).then_some(figures)
    }
}

fn extended(requests: &Resources, name: &str) -> Option<i64> {
    requests.extended.get(name).copied().map(amount)
}

/// Extended resources that the pod does not ask for, and those that no node ever had, are not scored.
fn fit_columns(snapshot: &Snapshot, profile: &Profile, own: &Resources) -> SmallVec<[(FitColumn, i64, i64); 4]> {
    let fit = &profile.fit;
    if fit.scores_by_default() {
        return SmallVec::new();
    }
    let amounts = basic(own);
    let column = |(name, weight): &(String, i64)| {
        let (column, asked) = match BASIC.iter().position(|basic| basic == name) {
            Some(at @ 0..2) => (FitColumn::Scoring(at), amounts[at]),
            Some(at) => (FitColumn::Basic(at), amounts[at]),
            None => (FitColumn::Extended(snapshot.resource(name)?), extended(own, name).filter(|asked| *asked > 0)?),
        };
        Some((column, *weight, asked))
    };
    fit.resources.iter().filter_map(column).collect()
}

/// As for NodeResourcesFit, but by what pods really ask for. A pod that asks for none of the resources is not scored.
fn balanced_columns(snapshot: &Snapshot, profile: &Profile, requests: &Resources) -> Option<SmallVec<[(FitColumn, i64); 4]>> {
    let amounts = basic(requests);
    let asked = |name: &String| match BASIC.iter().position(|basic| basic == name) {
        Some(at) => amounts[at],
        None => extended(requests, name).unwrap_or(0),
    };
    let column = |name: &String| match BASIC.iter().position(|basic| basic == name) {
        Some(at) => Some((FitColumn::Basic(at), amounts[at])),
        None => Some((FitColumn::Extended(snapshot.resource(name)?), Some(asked(name)).filter(|asked| *asked > 0)?)),
    };
    profile.balanced.iter().any(|name| asked(name) > 0).then(|| profile.balanced.iter().filter_map(column).collect())
}

/// The pod's preferred terms, after those that the profile adds.
fn preferred<'a>(profile: &Profile, pod: &'a Pod) -> Cow<'a, [(i32, NodeSelectorTerm)]> {
    match profile.added_affinity.preferred.as_slice() {
        [] => Cow::Borrowed(&pod.affinity.preferred),
        added => Cow::Owned([added, &pod.affinity.preferred].concat()),
    }
}

/// The pod's constraints with the pods counted, hard and soft.
fn spread(
    columns: &mut Columns,
    snapshot: &Snapshot,
    pod: &Pod,
    tolerance: usize,
    affinity: Option<usize>,
) -> (Option<Spread>, Option<SpreadPreference>) {
    let (constraints, strict) = pod_topology_spread::constraints(snapshot, pod);
    if constraints.is_empty() {
        return (None, None);
    }
    let with_domains = |constraint: &'_ SpreadConstraint| columns.domains(snapshot, &constraint.topology_key);
    let domains: Vec<Domains> = constraints.iter().map(with_domains).collect();
    let constraints: Vec<(&SpreadConstraint, Domains)> = constraints.iter().zip(domains).collect();
    let inclusion = Inclusion {
        present: &columns.present,
        affinity: affinity.map(|at| columns.affinity_mask(at)),
        tolerated: &|node| columns.tolerated(tolerance, node),
    };
    let hard = Spread::new(snapshot, pod, &constraints, &inclusion);
    (hard, SpreadPreference::new(snapshot, pod, &constraints, strict, &inclusion))
}

/// Demand per client site where it is known, else the pod's references. Without bounds looked at, nothing is ranked by RTT.
fn sites<'a>(snapshot: &'a Snapshot, pod: &Pod, bounds: Option<&'a [ResolvedBound<'a>]>) -> (SmallVec<[Site<'a>; 4]>, Micros) {
    let Some(bounds) = bounds else { return Default::default() };
    let demand = pod.owner.as_ref().and_then(|owner| snapshot.demand(&pod.key.namespace, owner));
    let service = demand.map_or(Micros(0), |demand| demand.service);
    let demanded = demand.map_or(&[][..], |demand| &demand.sites);
    let sites: SmallVec<_> =
        demanded.iter().map(|(site, rate)| Site { targets: std::slice::from_ref(site), farthest: false, weight: *rate }).collect();
    if !sites.is_empty() {
        return (sites, service);
    }
    let of_bound =
        |bound: &'a ResolvedBound<'a>| Site { targets: &bound.targets, farthest: bound.bound.replicas == ReplicaRule::All, weight: 1.0 };
    (bounds.iter().map(of_bound).collect(), service)
}

/// Reused between decisions, so that one allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    mask: FixedBitSet,
    one: FixedBitSet,
    all: FixedBitSet,
    /// Nodes that fit, by rising index.
    pub candidates: Vec<u32>,
    /// Per candidate: microseconds, infinite where a site is unmeasured. Empty when not ranked.
    pub costs: Vec<f64>,
    /// Per candidate: RTT of the site at hand.
    site_rtt: Vec<u32>,
    /// Per candidate: RTT from the target at hand.
    target_rtt: Vec<u32>,
    pub(super) load_scores: LoadScores,
    /// Where `load_scores` keeps those of the pod at hand.
    kept: Option<usize>,
}

/// RTT that stands for an unmeasured pair; ranks last.
const UNMEASURED: u32 = u32::MAX;

impl Scratch {
    /// Fills `candidates` with the nodes that pass every filter.
    pub fn filter(&mut self, columns: &Columns, query: &Query<'_>, watch: &mut Stopwatch) {
        let (snapshot, on) = (query.snapshot, |plugin| query.profile.filters(plugin));
        // One set of nodes answers for all that taints can keep out.
        [Plugin::NodeUnschedulable, Plugin::TaintToleration, Plugin::ControlPlane]
            .into_iter()
            .filter(|plugin| on(*plugin))
            .for_each(|plugin| watch.note(plugin));
        watch.ask(Plugin::TaintToleration);
        self.mask.clone_from(columns.tolerance_mask(query.tolerance));
        for affinity in [query.affinity, query.added].into_iter().flatten().filter(|_| on(Plugin::NodeAffinity)) {
            watch.ask(Plugin::NodeAffinity);
            self.mask.intersect_with(columns.affinity_mask(affinity));
        }
        if cloud_role::applies(snapshot, query.pod) {
            watch.ask(Plugin::CloudRole);
            self.mask.intersect_with(&columns.cloud);
        }
        // Neither contradicts the other: such a pod is held.
        if let Ok(Some(named)) = named::named(query.pod, query.profile) {
            self.one.clear();
            self.one.grow(self.mask.len());
            named.names().filter_map(|name| snapshot.node_index(name)).for_each(|ix| self.one.insert(ix.at()));
            self.mask.intersect_with(&self.one);
        }
        if let Some(name) = query.pod.node_name.as_ref().filter(|_| on(Plugin::NodeName)) {
            watch.ask(Plugin::NodeName);
            let named = snapshot.node_index(name).filter(|ix| self.mask.contains(ix.at()));
            self.mask.clear();
            named.into_iter().for_each(|ix| self.mask.insert(ix.at()));
        }
        if !query.pod.host_ports.is_empty() && on(Plugin::NodePorts) {
            watch.ask(Plugin::NodePorts);
            node_ports::restrict(snapshot, &query.pod.host_ports, &mut self.mask);
        }
        if on(Plugin::NodeDeclaredFeatures) && !query.pod.required_features.is_empty() {
            watch.ask(Plugin::NodeDeclaredFeatures);
            node_declared_features::restrict(snapshot, &query.pod.required_features, &mut self.mask);
        }
        let bounds = query.bounds.unwrap_or_default();
        if !bounds.is_empty() {
            watch.ask(Plugin::DelayBound);
            for set in [&mut self.one, &mut self.all] {
                set.clear();
                set.grow(self.mask.len());
            }
        }
        for bound in bounds {
            delay_bound::restrict(snapshot, bound, query.now, &mut self.mask, &mut self.one, &mut self.all);
        }
        if let Some(spread) = query.spread.as_ref().filter(|_| on(Plugin::PodTopologySpread)) {
            watch.ask(Plugin::PodTopologySpread);
            spread.restrict(&mut self.mask);
        }
        if let Some(rules) = query.pod_rules.as_ref().filter(|_| on(Plugin::InterPodAffinity)) {
            watch.ask(Plugin::InterPodAffinity);
            rules.restrict(&mut self.mask);
        }
        if let Some(volumes) = &query.volumes {
            // The four filters about volumes go over the nodes together.
            VOLUME_FILTERS.into_iter().filter(|plugin| on(*plugin)).for_each(|plugin| watch.note(plugin));
            watch.ask(Plugin::VolumeBinding);
            volumes.restrict(&mut self.mask);
        }
        if query.asks.need.is_some() {
            watch.ask(Plugin::NodeResourcesFit);
        }
        let load = snapshot.load();
        self.candidates.clear();
        self.kept = self.load_scores.find(&query.asks);
        match self.kept {
            Some(at) => self.load_scores.with_room(at, (&self.mask, &columns.present), load, &mut self.candidates),
            None => {
                let room = |node: &usize| query.asks.fit(&load[node / CHUNK], node % CHUNK);
                self.candidates.extend(self.mask.ones().filter(room).map(|node| node as u32));
            }
        }
        // Of all filters devices take longest: they are looked for last.
        if let Some(claims) = &query.claims {
            watch.ask(Plugin::DynamicResources);
            self.candidates.retain(|&node| query.has_devices(claims, node as usize));
        }
    }

    /// Fills `costs` for the candidates.
    pub fn rank(&mut self, columns: &Columns, query: &Query<'_>, watch: &mut Stopwatch) {
        self.costs.clear();
        if !query.ranked() {
            return;
        }
        watch.ask(Plugin::ResponseTime);
        let (rtts, max_age) = (query.snapshot.rtt(), query.snapshot.settings().max_age);
        self.costs.resize(self.candidates.len(), 0.0);
        let mut weights = 0.0;
        for site in &query.sites {
            self.site_rtt.clear();
            self.site_rtt.resize(self.candidates.len(), if site.farthest { 0 } else { UNMEASURED });
            for &target in site.targets {
                self.target_rtt.clear();
                self.target_rtt.resize(self.candidates.len(), UNMEASURED);
                let of_target = &mut self.target_rtt;
                rtts.row(target).of_each(&self.candidates, Statistic::P50, query.now, max_age, |place, rtt| of_target[place] = rtt.0);
                for (rtt, &of_target) in self.site_rtt.iter_mut().zip(&self.target_rtt) {
                    *rtt = if site.farthest { (*rtt).max(of_target) } else { (*rtt).min(of_target) };
                }
            }
            for (cost, &rtt) in self.costs.iter_mut().zip(&self.site_rtt) {
                let time = if rtt == UNMEASURED { f64::INFINITY } else { response_time_us(Micros(rtt), query.service, 0.0, 1) };
                *cost += site.weight * time;
            }
            weights += site.weight;
        }
        for (cost, &node) in self.costs.iter_mut().zip(&self.candidates) {
            *cost = *cost / weights + columns.price_us[node as usize];
        }
    }

    /// Highest cost that counts as equal to the best.
    pub fn limit(&self, query: &Query<'_>) -> f64 {
        let best = self.costs.iter().copied().fold(f64::INFINITY, f64::min);
        band::limit_us(query.snapshot.settings(), best)
    }

    /// Position of the best candidate. `None` when there is none.
    pub fn best(&self, columns: &Columns, query: &Query<'_>, watch: &mut Stopwatch) -> Option<usize> {
        let limit = self.limit(query);
        watch.enter(Point::PreScore);
        let mut order = Order::new(columns, query, &self.candidates);
        order.scorer.kept = self.kept.map(|at| self.load_scores.of(at));
        watch.enter(Point::Score);
        order.scorer.asked().for_each(|plugin| watch.note(plugin));
        let in_band = (0..self.candidates.len()).filter(|&at| self.costs.get(at).is_none_or(|cost| *cost <= limit));
        let keyed = in_band.map(|at| (order.key(self.candidates[at]), at));
        let better = |best: (Key, usize), next: (Key, usize)| {
            if order.compare((next.0, self.candidates[next.1]), (best.0, self.candidates[best.1])).is_gt() { next } else { best }
        };
        keyed.reduce(better).map(|(_, at)| at)
    }

    /// Every candidate, best first: those in the band by score, then the others by cost.
    pub fn in_order(&self, columns: &Columns, query: &Query<'_>) -> Vec<u32> {
        let limit = self.limit(query);
        let order = Order::new(columns, query, &self.candidates);
        // In the band all costs are one.
        let cost = |at: usize| self.costs.get(at).map_or(0.0, |&cost| if cost <= limit { 0.0 } else { cost });
        let mut keyed: Vec<(f64, Key, u32)> =
            self.candidates.iter().enumerate().map(|(at, &node)| (cost(at), order.key(node), node)).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| order.compare((b.1, b.2), (a.1, a.2))));
        keyed.into_iter().map(|(_, _, node)| node).collect()
    }
}

/// Weighted sum of scores, and what breaks ties.
type Key = (i64, u64);

/// Which of two nodes of equal cost is better.
///
/// Of equals, the one whose name and the pod's UID hash highest together: it depends on nothing but the state, not even on the order in which
/// nodes came to be known, needs no strings, and spreads replicas over equal nodes where "the lowest name" would pile them up.
struct Order<'a, 'q> {
    scorer: Scorer<'a, 'q>,
    uid: u64,
}

impl<'a, 'q> Order<'a, 'q> {
    fn new(columns: &'a Columns, query: &'a Query<'q>, candidates: &[u32]) -> Order<'a, 'q> {
        Order { scorer: Scorer::new(columns, query, candidates), uid: name_hash(&query.pod.uid) }
    }

    fn key(&self, node: u32) -> Key {
        (self.scorer.total(node as usize), mix(self.uid ^ self.scorer.columns.name_hash[node as usize]))
    }

    /// Greater is better. Names are looked at only where hashes collide.
    fn compare(&self, a: (Key, u32), b: (Key, u32)) -> Ordering {
        let name = |node: u32| self.scorer.query.snapshot.name(NodeIx(node));
        a.0.cmp(&b.0).then_with(|| name(b.1).cmp(name(a.1)))
    }
}

/// In the order in which they are told.
const SCORES: [Plugin; 9] = [
    Plugin::TaintToleration,
    Plugin::NodeAffinity,
    Plugin::NodeResourcesFit,
    Plugin::PodTopologySpread,
    Plugin::InterPodAffinity,
    Plugin::NodeResourcesBalancedAllocation,
    Plugin::ImageLocality,
    Plugin::VolumeBinding,
    Plugin::DynamicResources,
];

const VOLUME_FILTERS: [Plugin; 4] = [Plugin::VolumeRestrictions, Plugin::NodeVolumeLimits, Plugin::VolumeBinding, Plugin::VolumeZone];

/// kube-scheduler's weighted sum among one pod's feasible nodes.
pub(super) struct Scorer<'a, 'q> {
    columns: &'a Columns,
    query: &'a Query<'q>,
    /// Of `SCORES`; 0: not asked.
    weights: [i64; SCORES.len()],
    max_intolerable: i64,
    max_preference: i64,
    max_devices: i64,
    spread: Option<(&'a SpreadPreference, SpreadScale)>,
    pods: Option<(&'a PodPreference, PodScale)>,
    /// Where nodes differ by their load alone: what the other scores come to.
    same: Option<i64>,
    /// Of NodeResourcesFit and NodeResourcesBalancedAllocation.
    load_weights: [i64; 2],
    /// What is known of the nodes' load.
    kept: Option<Kept<'a>>,
}

impl<'a, 'q> Scorer<'a, 'q> {
    pub fn new(columns: &'a Columns, query: &'a Query<'q>, feasible: &[u32]) -> Scorer<'a, 'q> {
        let profile = query.profile;
        let intolerable = |&node: &u32| columns.intolerable(query.tolerance, node as usize);
        let preference = |raw: &[i32]| feasible.iter().map(|&node| i64::from(raw[node as usize])).max().unwrap_or(0);
        let devices = |claims: &'a Claims<'q>| feasible.iter().map(|&node| query.device_score(claims, node as usize));
        let mut scorer = Scorer {
            columns,
            query,
            weights: SCORES.map(|plugin| profile.plugins.weight(plugin)),
            max_intolerable: if columns.soft_taints { feasible.iter().map(intolerable).max().unwrap_or(0) } else { 0 },
            max_preference: query.preference.map_or(0, |at| preference(columns.preference_raw(at))),
            max_devices: query.claims.as_ref().map_or(0, |claims| devices(claims).max().unwrap_or(0)),
            spread: query.spread_preference.as_ref().map(|preference| (preference, preference.scale(feasible))),
            pods: query.pod_preference.as_ref().map(|preference| (preference, preference.scale(feasible))),
            same: None,
            load_weights: [Plugin::NodeResourcesFit, Plugin::NodeResourcesBalancedAllocation].map(|plugin| profile.plugins.weight(plugin)),
            kept: None,
        };
        let by_load = [Plugin::TaintToleration, Plugin::NodeResourcesFit, Plugin::NodeResourcesBalancedAllocation];
        if scorer.max_intolerable == 0 && scorer.asked().all(|plugin| by_load.contains(&plugin)) {
            scorer.same = Some(normalize(0, 0, true) * profile.plugins.weight(Plugin::TaintToleration));
        }
        scorer
    }

    /// Raw score, score and weight, in the order of `SCORES`; `None` where kube-scheduler skips the plugin for this pod, or the profile does not have it.
    #[inline]
    fn lines(&self, node: usize) -> [Option<(i64, i64, i64)>; SCORES.len()] {
        let [fit, balanced] = self.load_scores(node);
        let intolerable = if self.max_intolerable == 0 { 0 } else { self.columns.intolerable(self.query.tolerance, node) };
        let taints = normalize(intolerable, self.max_intolerable, true);
        let preference = |at: usize| i64::from(self.columns.preference_raw(at)[node]);
        let affinity = |raw: i64| normalize(raw, self.max_preference, false);
        let spread = self.spread.as_ref().map(|(preference, scale)| (preference.raw(scale, node), preference.score(scale, node)));
        let pods = self.pods.as_ref().map(|(preference, scale)| (preference.raw(node), preference.score(scale, node)));
        let volumes = self.query.volumes.as_ref().filter(|volumes| volumes.is_scored());
        let devices = |claims: &Claims<'_>| {
            let raw = self.query.device_score(claims, node);
            (raw, normalize(raw, self.max_devices, false))
        };
        let same = |score: i64| (score, score);
        let scores = [
            Some((intolerable, taints)),
            self.query.preference.map(preference).map(|raw| (raw, affinity(raw))),
            Some(same(fit)),
            spread,
            pods,
            self.query.asks.balanced.is_some().then_some(same(balanced)),
            self.query.images.map(|at| self.columns.image_score(at, node)).map(same),
            volumes.map(|volumes| same(volumes.score(node))),
            self.query.claims.as_ref().map(devices),
        ];
        let weighed = |at: usize| scores[at].filter(|_| self.weights[at] > 0).map(|(raw, score)| (raw, score, self.weights[at]));
        std::array::from_fn(weighed)
    }

    /// Plugins that score this pod.
    fn asked(&self) -> impl Iterator<Item = Plugin> {
        let query = self.query;
        // In the order of `SCORES`.
        let applies = [
            true,
            query.preference.is_some(),
            true,
            self.spread.is_some(),
            self.pods.is_some(),
            query.asks.balanced.is_some(),
            query.images.is_some(),
            query.volumes.as_ref().is_some_and(Volumes::is_scored),
            query.claims.is_some(),
        ];
        let asked = SCORES.into_iter().zip(applies).zip(self.weights);
        asked.filter_map(|((plugin, applies), weight)| (applies && weight > 0).then_some(plugin))
    }

    /// By NodeResourcesFit and NodeResourcesBalancedAllocation.
    #[inline]
    fn load_scores(&self, node: usize) -> [i64; 2] {
        let (chunk, slot) = self.query.load(node);
        self.kept.and_then(|kept| kept.get(node, chunk)).unwrap_or_else(|| self.query.asks.scores(chunk, slot))
    }

    #[inline]
    pub fn total(&self, node: usize) -> i64 {
        if let Some(same) = self.same {
            let [fit, balanced] = self.load_scores(node);
            return same + fit * self.load_weights[0] + balanced * self.load_weights[1];
        }
        self.lines(node).iter().flatten().map(|(_, score, weight)| score * weight).sum()
    }

    pub fn score_lines(&self, node: usize) -> Vec<super::ScoreLine> {
        let named = SCORES.iter().zip(self.lines(node)).filter_map(|(plugin, line)| Some((plugin.name(), line?)));
        named.map(|(name, (raw, score, weight))| super::ScoreLine { name: name.to_owned(), raw, score, weight }).collect()
    }
}
