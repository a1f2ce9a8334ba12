//! The rows that agents report, by epoch and sequence, and what each agent is asked to do. Pure: time is a parameter.
//!
//! A row belongs to one run of an agent (its epoch). Within it, a delta applies only on top of the sequence before; whatever does not fit is answered
//! with `needFull`, so that a service that restarted, or missed one report, is whole again after the next.

use super::probe_plan;
use super::validation::{ReportError, validate};
use api::protocol::{AgentPeer, DeviceReport, PairReport, Peers, Report, ReportAck};
use placement::topology::{Kind, PairStat};
use placement::units::{Micros, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Fewer samples are no measurement yet.
const MIN_SAMPLES: u16 = 5;
/// An agent of a lower epoch is taken for a late report of its predecessor, unless the successor has been silent this long (a clock set back).
const EPOCH_TAKEOVER: Span = Span(60_000);

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time between two probes of a pair while the cluster is small.
    pub probe_interval: Duration,
    /// Probes a second that one agent may send.
    pub max_probes_per_second: f64,
    /// A probe unanswered for this long is lost.
    pub probe_timeout: Duration,
    /// How long to wait for agents after the start before judging by what is there.
    pub grace: Span,
    /// Off: agents are told to probe nobody (the topology comes from elsewhere), and only their devices count.
    pub probing: bool,
}

/// What the service needs to know of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub addresses: Vec<IpAddr>,
    /// An agent is expected to report from it.
    pub ready: bool,
}

/// One direction of a pair has new figures; `None`: it is no longer reported.
#[derive(Clone, Debug, PartialEq)]
pub struct PairChange {
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub stat: Option<PairStat>,
}

/// What a report led to.
#[derive(Debug, Default, PartialEq)]
pub struct Accepted {
    pub need_full: bool,
    pub also_probe: Vec<String>,
    pub changes: Vec<PairChange>,
    pub devices_changed: bool,
}

impl Accepted {
    pub fn ack(&self) -> ReportAck {
        ReportAck { need_full: self.need_full, also_probe: self.also_probe.clone() }
    }
}

struct Row {
    epoch: u64,
    sequence: u64,
    echo: Option<SocketAddr>,
    devices: Option<DeviceReport>,
    stats: HashMap<Arc<str>, PairStat>,
    last: Timestamp,
    /// Has told something about a pair, or had nobody to probe.
    measured: bool,
}

/// Nodes and the rows of their agents.
pub struct Agents {
    settings: Settings,
    started: Timestamp,
    /// Everything here that names a node shares these names: at 490 nodes there are 120,000 pairs.
    nodes: BTreeMap<Arc<str>, NodeFacts>,
    rows: HashMap<Arc<str>, Row>,
    /// Target of failing probes -> who can't reach it.
    failing: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    generation: u64,
    /// What agents were told of, and when.
    published: u64,
    published_at: Timestamp,
}

impl Agents {
    pub fn new(settings: Settings, started: Timestamp) -> Agents {
        // From the clock, so that an agent does not take a restarted service's peers for those it has.
        let generation = started.0.max(1);
        Agents {
            settings,
            started,
            nodes: BTreeMap::new(),
            rows: HashMap::new(),
            failing: HashMap::new(),
            generation,
            published: generation,
            published_at: started,
        }
    }

    /// Makes changes of the peers known: the new generation, if there is one. When hundreds of agents join, each change would make all others ask
    /// again; so there are at most five a second, and fewer the more agents there are to ask (every 2 s at 500).
    pub fn publish(&mut self, now: Timestamp) -> Option<u64> {
        let rest = Span((self.nodes.len() as u64 * 4).max(200));
        if self.published == self.generation || now.since(self.published_at) < rest {
            return None;
        }
        (self.published, self.published_at) = (self.generation, now);
        Some(self.published)
    }

    /// Returns whether the node is new or has other addresses.
    pub fn apply_node(&mut self, name: &str, facts: NodeFacts) -> bool {
        let old = self.nodes.get_mut(name).map(|old| std::mem::replace(old, facts.clone()));
        let changed = old.as_ref().is_none_or(|old| old.addresses != facts.addresses);
        if old.is_none() {
            self.nodes.insert(name.into(), facts);
        }
        self.generation += u64::from(changed);
        changed
    }

    /// Forgets the node and its row. What was measured of it is not taken back: it grows old in the model, where a pod may still ask for it.
    pub fn delete_node(&mut self, name: &str) {
        if self.nodes.remove(name).is_none() {
            return;
        }
        self.generation += 1;
        self.rows.remove(name);
        for row in self.rows.values_mut() {
            row.stats.remove(name);
        }
        self.failing.remove(name);
        self.failing.retain(|_, by| {
            by.remove(name);
            !by.is_empty()
        });
    }

    pub fn knows(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    pub fn devices(&self, node: &str) -> Option<&DeviceReport> {
        self.rows.get(node)?.devices.as_ref()
    }

    /// Nodes whose agent has reported since the start, with the time of its last report.
    pub fn reporting(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.rows.iter().map(|(node, row)| (&**node, row.last))
    }

    /// Takes a report whose caller was authenticated as the agent on `caller`.
    pub fn accept(&mut self, report: Report, caller: &str, now: Timestamp) -> Result<Accepted, ReportError> {
        validate(&report, caller)?;
        let Some((node, _)) = self.nodes.get_key_value(report.node.as_str()) else {
            return Err(ReportError::UnknownNode { node: report.node });
        };
        let node = node.clone();
        let need_full = Accepted { need_full: true, ..Accepted::default() };
        match self.rows.get(&node) {
            Some(row) if row.epoch == report.epoch => {
                // An agent whose report got no answer sends its whole row again under the same number.
                if report.sequence < row.sequence || (report.sequence == row.sequence && !report.full) {
                    return Ok(Accepted { also_probe: self.also_probe(&node), ..Accepted::default() });
                }
                if !report.full && report.sequence != row.sequence + 1 {
                    return Ok(need_full);
                }
            }
            Some(row) if report.epoch < row.epoch && now.since(row.last) < EPOCH_TAKEOVER => return Ok(Accepted::default()),
            _ if !report.full => return Ok(need_full),
            _ => {}
        }
        Ok(self.apply(node, report, now))
    }

    fn apply(&mut self, node: Arc<str>, report: Report, now: Timestamp) -> Accepted {
        let mut changes = Vec::new();
        let nobody = !self.settings.probing || !self.nodes.keys().any(|peer| *peer != node && probe_plan::probes(&node, peer));
        // An agent that starts anew knows less than its predecessor: what that measured stands until it is replaced or too old.
        let whole = report.full && self.rows.get(&node).is_some_and(|row| row.epoch == report.epoch);
        let row = self.rows.entry(node.clone()).or_insert_with(|| Row {
            epoch: report.epoch,
            sequence: 0,
            echo: None,
            devices: None,
            stats: HashMap::new(),
            last: now,
            measured: false,
        });
        (row.epoch, row.sequence, row.last) = (report.epoch, report.sequence, now);
        row.measured |= nobody || report.pairs.iter().any(|pair| pair.failing || pair.samples >= MIN_SAMPLES);
        if row.echo != report.echo {
            row.echo = report.echo;
            self.generation += 1;
        }
        let devices_changed = report.devices.is_some() && row.devices != report.devices;
        if devices_changed {
            row.devices = report.devices;
        }
        let pairs: &[PairReport] = if self.settings.probing { &report.pairs } else { &[] };
        if whole {
            let named: BTreeSet<&str> = pairs.iter().map(|pair| &*pair.to).collect();
            let gone: Vec<Arc<str>> = row.stats.keys().filter(|to| !named.contains(&***to)).cloned().collect();
            for to in gone {
                row.stats.remove(&to);
                changes.push(PairChange { from: node.clone(), to, stat: None });
            }
            self.failing.retain(|target, by| {
                if !named.contains(&**target) {
                    by.remove(&node);
                }
                !by.is_empty()
            });
        }
        for pair in pairs {
            let Some((to, _)) = self.nodes.get_key_value(&pair.to) else { continue };
            if pair.failing {
                self.failing.entry(to.clone()).or_default().insert(node.clone());
            } else if let Some(by) = self.failing.get_mut(to) {
                by.remove(&node);
            }
            // A window that has lost its samples says nothing new: the figures from before stand, and grow old.
            let Some(stat) = stat(pair, now) else { continue };
            if row.stats.insert(to.clone(), stat) != Some(stat) {
                changes.push(PairChange { from: node.clone(), to: to.clone(), stat: Some(stat) });
            }
        }
        Accepted { need_full: false, also_probe: self.also_probe(&node), changes, devices_changed }
    }

    /// The peers of `node`'s agent; `None` when the node is not known.
    pub fn peers(&self, node: &str) -> Option<Peers> {
        let asking = self.nodes.get(node)?;
        let peer = |(name, facts): (&Arc<str>, &NodeFacts)| AgentPeer {
            node: name.clone(),
            address: self.rows.get(name).and_then(|row| row.echo).and_then(|echo| match echo.ip().is_unspecified() {
                true => reachable(facts, asking).map(|address| SocketAddr::new(address, echo.port())),
                false => Some(echo),
            }),
            probe: probe_plan::probes(node, name),
        };
        let peers = match self.settings.probing {
            true => self.nodes.iter().filter(|(name, _)| ***name != *node).map(peer).collect(),
            false => Vec::new(),
        };
        Some(Peers {
            node: node.to_owned(),
            generation: self.published,
            interval_ms: self.interval().as_millis() as u64,
            timeout_ms: self.settings.probe_timeout.as_millis() as u64,
            peers,
        })
    }

    fn interval(&self) -> Duration {
        probe_plan::interval(self.settings.probe_interval, self.nodes.len(), self.settings.max_probes_per_second)
    }

    /// Ready nodes whose agents have reported on their peers, and how many of them there are. A cluster without nodes is not known yet.
    pub fn heard(&self) -> (u32, u32) {
        let expected = self.nodes.iter().filter(|(_, facts)| facts.ready);
        expected.fold((0, 0), |(heard, all), (name, _)| (heard + u32::from(self.rows.get(name).is_some_and(|row| row.measured)), all + 1))
    }

    /// Whether pods with bounds may be judged: every agent has reported, or the grace since the start is over.
    pub fn warm(&self, now: Timestamp) -> bool {
        let (heard, expected) = self.heard();
        (expected > 0 && heard == expected) || now.since(self.started) >= self.settings.grace
    }

    /// Peers that `node` should probe out of turn, because the end whose turn it is cannot reach it.
    fn also_probe(&self, node: &str) -> Vec<String> {
        let by = self.failing.get(node).into_iter().flatten();
        by.filter(|peer| !probe_plan::probes(node, peer)).map(|peer| peer.to_string()).collect()
    }
}

/// The address at which `asking` probes a peer: the peer's first InternalIP of a family that both have. An asking node without addresses may yet have
/// any. `None` where they share no family.
fn reachable(peer: &NodeFacts, asking: &NodeFacts) -> Option<IpAddr> {
    let shared = |address: &IpAddr| asking.addresses.is_empty() || asking.addresses.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    peer.addresses.iter().copied().find(shared)
}

fn stat(pair: &PairReport, now: Timestamp) -> Option<PairStat> {
    let sent = u32::from(pair.samples) + u32::from(pair.lost);
    (pair.samples >= MIN_SAMPLES).then(|| PairStat {
        p50: Micros(pair.p50_us),
        p90: Micros(pair.p90_us),
        loss_permille: (u32::from(pair.lost) * 1000 / sent) as u16,
        samples: pair.samples,
        at: Timestamp(now.0.saturating_sub(pair.age_ms)),
        kind: Kind::Measured,
    })
}

#[cfg(test)]
pub(crate) mod tests;
