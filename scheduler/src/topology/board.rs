//! Where rows come in and go out: the agents' rows, the model's RTT store, and the readers' stream, kept in step.
//!
//! Locks are taken in this order and never the other way: agents, feed, then state or entries.

use super::agents::{Accepted, Agents, NodeFacts, PairChange, Settings};
use super::feed::{Change, Feed, Sites};
use super::source::FileRows;
use super::validation::ReportError;
use crate::state::{Shared, State};
use api::labels::ZONE_LABEL;
use api::protocol::{NodeEntry, Peers, Report, ReportAck, TopologySnapshot};
use placement::cluster::{ClusterEvent, Node};
use placement::topology::PairStat;
use placement::units::{Span, Timestamp};
use smallvec::smallvec;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// Pairs taken in before the lock is let go, so that a cycle waits a millisecond at most.
const BATCH: usize = 1024;

/// The topology of one replica.
pub struct Board {
    shared: Arc<Shared>,
    agents: Mutex<Agents>,
    feed: Feed,
    /// What readers are told of each node.
    entries: Mutex<HashMap<String, NodeEntry>>,
    /// Sites of nodes without a zone label, as clustering found them.
    found_sites: Mutex<HashMap<String, String>>,
    /// Generation of the agents' peers.
    peers: watch::Sender<u64>,
    /// Why the source gives nothing at present.
    trouble: Mutex<Option<String>>,
}

impl Board {
    pub fn new(shared: Arc<Shared>, settings: Settings, started: Timestamp) -> Board {
        Board {
            shared,
            agents: Mutex::new(Agents::new(settings, started)),
            feed: Feed::default(),
            entries: Mutex::default(),
            found_sites: Mutex::default(),
            peers: watch::Sender::new(0),
            trouble: Mutex::default(),
        }
    }

    pub fn apply_node(&self, node: &Node) {
        let facts = NodeFacts { addresses: node.addresses.clone(), ready: node.ready };
        let mut agents = self.agents();
        if agents.apply_node(&node.name, facts) && node.addresses.is_empty() {
            tracing::warn!(node = node.name, "the node has no InternalIP: no agent can probe it");
        }
        drop(agents);
        let site = node.labels.get(ZONE_LABEL).cloned();
        self.update_entry(&node.name, |entry| entry.site = site);
    }

    /// What was measured of the node stays in the model until it is too old: a pod can still be placed near where it was.
    pub fn delete_node(&self, name: &str) {
        let mut agents = self.agents();
        agents.delete_node(name);
        drop(agents);
        lock(&self.entries).remove(name);
        self.feed.removed(name);
    }

    /// Takes a report of the agent on `caller`.
    pub fn report(&self, report: Report, caller: &str, now: Timestamp) -> Result<ReportAck, ReportError> {
        let node = report.node.clone();
        let mut agents = self.agents();
        let accepted = agents.accept(report, caller, now)?;
        self.take(&accepted.changes, now);
        let devices = agents.devices(&node).filter(|_| accepted.devices_changed).cloned();
        drop(agents);
        self.refresh_warm(now);
        if devices.is_some() {
            self.update_entry(&node, |entry| entry.devices = devices);
        }
        Ok(Accepted::ack(&accepted))
    }

    pub fn peers(&self, node: &str) -> Option<Peers> {
        self.agents().peers(node)
    }

    /// Changes when agents should ask for their peers again.
    pub fn peers_generation(&self) -> watch::Receiver<u64> {
        self.peers.subscribe()
    }

    /// Replaces the rows that came from files. Pairs that are in `old` only are no longer known.
    pub fn declare(&self, old: Option<&FileRows>, new: &FileRows, now: Timestamp) {
        let mut gone: HashSet<(&str, &str)> = old.into_iter().flat_map(|rows| rows.pairs()).map(|(a, b, _)| (a, b)).collect();
        let mut batch = Vec::with_capacity(BATCH);
        for (a, b, rtt) in new.pairs() {
            gone.remove(&(a, b));
            batch.push(PairChange { from: a.into(), to: b.into(), stat: Some(PairStat::declared(rtt, now)) });
            if batch.len() == BATCH {
                self.take(&std::mem::take(&mut batch), now);
            }
        }
        batch.extend(gone.into_iter().map(|(a, b)| PairChange { from: a.into(), to: b.into(), stat: None }));
        for part in batch.chunks(BATCH) {
            self.take(part, now);
        }
    }

    /// Says that the source can't be used, or (`None`) can.
    pub fn set_trouble(&self, trouble: Option<String>) {
        *lock(&self.trouble) = trouble;
    }

    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Once warm it stays so: a node that joins later waits for its own measurements, not everybody else.
    pub fn refresh_warm(&self, now: Timestamp) {
        if !self.is_warm() && self.agents().warm(now) {
            self.set_warm(now);
        }
    }

    /// The rows are there: pods with bounds need not wait.
    pub fn set_warm(&self, now: Timestamp) {
        let newly = {
            let mut state = self.shared.lock();
            let newly = !std::mem::replace(&mut state.warm, true);
            if newly {
                state.note(&smallvec![ClusterEvent::TopologyWarm], now);
            }
            newly
        };
        if newly {
            self.feed.warm(true);
            self.shared.wake.notify_one();
            let (heard, expected) = self.heard();
            tracing::info!(heard, expected, "topology warm");
        }
    }

    pub fn is_warm(&self) -> bool {
        self.shared.lock().warm
    }

    /// Agents that have reported on their peers since the start, and Ready nodes.
    pub fn heard(&self) -> (u32, u32) {
        self.agents().heard()
    }

    /// Nodes whose agents report, with the time of the last report.
    pub fn reporting(&self) -> Vec<(String, Timestamp)> {
        self.agents().reporting().map(|(node, at)| (node.to_owned(), at)).collect()
    }

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Tells agents and readers what changed.
    pub fn flush(&self, now: Timestamp) {
        if let Some(generation) = self.agents().publish(now) {
            self.peers.send_replace(generation);
        }
        self.feed.flush(|| self.shared.lock().cluster.snapshot(), |name| self.entry(name), now.0);
    }

    pub fn subscribe(&self, sites: &Sites, now: Timestamp) -> (TopologySnapshot, broadcast::Receiver<Arc<Change>>) {
        self.feed.subscribe(|| self.shared.lock().cluster.snapshot(), |name| self.entry(name), sites, now.0)
    }

    /// What readers are told of a node. A label is the operator's word; without one the site is what clustering found.
    pub fn entry(&self, name: &str) -> NodeEntry {
        let mut entry = self.own_entry(name);
        if entry.site.is_none() {
            entry.site = lock(&self.found_sites).get(name).cloned();
        }
        entry
    }

    /// Sites of nodes without a label.
    pub fn set_found_sites(&self, found: HashMap<String, String>) {
        let old = std::mem::replace(&mut *lock(&self.found_sites), found.clone());
        for (node, _) in found.iter().filter(|(node, site)| old.get(*node) != Some(site)) {
            self.feed.node(node);
        }
    }

    fn own_entry(&self, name: &str) -> NodeEntry {
        lock(&self.entries).get(name).cloned().unwrap_or_else(|| NodeEntry { name: name.to_owned(), site: None, devices: None })
    }

    fn update_entry(&self, name: &str, change: impl FnOnce(&mut NodeEntry)) {
        let mut entry = self.own_entry(name);
        change(&mut entry);
        let same = lock(&self.entries).insert(name.to_owned(), entry.clone()).is_some_and(|old| old == entry);
        if !same {
            self.feed.node(name);
        }
    }

    /// Passes changes on to the model, the queue and the readers.
    fn take(&self, changes: &[PairChange], now: Timestamp) {
        if changes.is_empty() {
            return;
        }
        self.shared.change(|state| changes.iter().for_each(|change| state.take_pair(change, now)));
        changes.iter().for_each(|change| self.feed.pair(&change.from, &change.to));
    }

    fn agents(&self) -> MutexGuard<'_, Agents> {
        lock(&self.agents)
    }
}

impl State {
    fn take_pair(&mut self, change: &PairChange, now: Timestamp) {
        match change.stat {
            None => self.cluster.retract_rtt(&change.from, &change.to),
            Some(stat) => {
                let mut events = self.cluster.report_rtt(&change.from, &change.to, stat);
                let max_age = self.cluster.view().settings().max_age;
                events.retain(|event| !repeats(event, now, max_age));
                self.note(&events, now);
            }
        }
    }
}

/// Whether the figures are those from before, and those were still fresh: nobody needs to be woken.
fn repeats(event: &ClusterEvent, now: Timestamp, max_age: Span) -> bool {
    let ClusterEvent::RttChanged { old: Some(old), new, .. } = event else { return false };
    (old.p50, old.p90, old.kind) == (new.p50, new.p90, new.kind) && now.since(old.at) <= max_age
}

/// A panic elsewhere left whole values behind: every change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
