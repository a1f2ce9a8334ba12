//! The stream that readers follow: one snapshot, then what changed. Changes are gathered for a moment, so that a thousand reports a second are a few
//! lines a second for each reader.

use api::protocol::{DemandRow, LoadRow, NodeEntry, PairEntry, StreamEvent, TopologyDelta, TopologySnapshot};
use placement::cluster::Snapshot;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Lines a slow reader may be behind before it is sent a new snapshot instead.
const BACKLOG: usize = 64;

/// What changed since the last line.
#[derive(Default)]
struct Dirty {
    generation: u64,
    /// Unordered, the lesser name first.
    pairs: BTreeSet<(String, String)>,
    nodes: BTreeSet<String>,
    removed: BTreeSet<String>,
    load: Vec<LoadRow>,
    demand: Vec<DemandRow>,
    warm: bool,
    warm_changed: bool,
}

pub struct Feed {
    dirty: Mutex<Dirty>,
    lines: broadcast::Sender<Arc<str>>,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed { dirty: Mutex::default(), lines: broadcast::channel(BACKLOG).0 }
    }
}

impl Feed {
    pub fn pair(&self, a: &str, b: &str) {
        let (a, b) = if a < b { (a, b) } else { (b, a) };
        self.lock().pairs.insert((a.to_owned(), b.to_owned()));
    }

    pub fn node(&self, name: &str) {
        let mut dirty = self.lock();
        dirty.removed.remove(name);
        dirty.nodes.insert(name.to_owned());
    }

    pub fn removed(&self, name: &str) {
        let mut dirty = self.lock();
        dirty.nodes.remove(name);
        dirty.removed.insert(name.to_owned());
    }

    pub fn load(&self, rows: Vec<LoadRow>) {
        self.lock().load.extend(rows);
    }

    /// What a router is asked for, as it said.
    pub fn demand(&self, rows: Vec<DemandRow>) {
        self.lock().demand.extend(rows);
    }

    pub fn warm(&self, warm: bool) {
        let mut dirty = self.lock();
        dirty.warm_changed |= dirty.warm != warm;
        dirty.warm = warm;
    }

    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Sends what changed, with the figures of `cluster`. Does nothing when nothing did.
    pub fn flush(&self, cluster: impl FnOnce() -> Arc<Snapshot>, entry: impl Fn(&str) -> NodeEntry, at_ms: u64) {
        let mut dirty = self.lock();
        let rows = dirty.pairs.len() + dirty.nodes.len() + dirty.removed.len() + dirty.load.len() + dirty.demand.len();
        if rows == 0 && !dirty.warm_changed {
            return;
        }
        dirty.generation += 1;
        if self.lines.receiver_count() == 0 {
            // Nobody follows: who comes is sent a snapshot.
            *dirty = Dirty { generation: dirty.generation, warm: dirty.warm, ..Dirty::default() };
            return;
        }
        // Read after the changes are taken: what comes later is in the next line, and may be in this one too, which does no harm.
        let cluster = cluster();
        let pairs = std::mem::take(&mut dirty.pairs);
        let delta = TopologyDelta {
            generation: dirty.generation,
            at_ms,
            warm: dirty.warm,
            nodes: std::mem::take(&mut dirty.nodes).iter().map(|name| entry(name)).collect(),
            removed: std::mem::take(&mut dirty.removed).into_iter().collect(),
            pairs: pairs
                .into_iter()
                .map(|(a, b)| {
                    let stat = cluster.index(&a).zip(cluster.index(&b)).and_then(|(a, b)| cluster.rtt().get(a, b));
                    PairEntry { a, b, stat }
                })
                .collect(),
            load: std::mem::take(&mut dirty.load),
            demand: std::mem::take(&mut dirty.demand),
        };
        dirty.warm_changed = false;
        // Nobody listening is no error.
        let _ = self.lines.send(line(&StreamEvent::Delta(delta)));
    }

    /// A snapshot, and everything after it.
    pub fn subscribe(
        &self,
        cluster: impl FnOnce() -> Arc<Snapshot>,
        entry: impl Fn(&str) -> NodeEntry,
        at_ms: u64,
    ) -> (TopologySnapshot, broadcast::Receiver<Arc<str>>) {
        let dirty = self.lock();
        let lines = self.lines.subscribe();
        let cluster = cluster();
        let mut names: Vec<&str> = cluster.nodes().map(|(_, node)| node.name.as_str()).collect();
        names.sort_unstable();
        let pair = |(a, b, stat)| PairEntry { a: cluster.name(a).to_owned(), b: cluster.name(b).to_owned(), stat: Some(stat) };
        let snapshot = TopologySnapshot {
            generation: dirty.generation,
            at_ms,
            warm: dirty.warm,
            nodes: names.into_iter().map(entry).collect(),
            pairs: cluster.rtt().pairs().map(pair).collect(),
        };
        (snapshot, lines)
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event as one line of the stream.
pub fn line(event: &StreamEvent) -> Arc<str> {
    let mut text = serde_json::to_string(event).expect("plain data with string keys");
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::cluster::Cluster;
    use placement::topology::PairStat;
    use placement::units::{Micros, Timestamp};

    fn entry(name: &str) -> NodeEntry {
        NodeEntry { name: name.into(), site: None, devices: None }
    }

    fn delta(line: &str) -> TopologyDelta {
        match serde_json::from_str(line).unwrap() {
            StreamEvent::Delta(delta) => delta,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reader_gets_what_there_is_and_then_what_changes() {
        let (feed, mut cluster) = (Feed::default(), Cluster::new(Default::default()));
        let report = |cluster: &mut Cluster, rtt| {
            cluster.report_rtt("b", "a", PairStat::declared(Micros(rtt), Timestamp(1)));
            feed.pair("b", "a");
        };
        report(&mut cluster, 4_000);
        feed.flush(|| cluster.snapshot(), entry, 1);
        let (snapshot, mut lines) = feed.subscribe(|| cluster.snapshot(), entry, 2);
        assert_eq!((snapshot.generation, snapshot.pairs.len(), snapshot.warm), (1, 1, false));

        feed.flush(|| cluster.snapshot(), entry, 3);
        assert!(lines.try_recv().is_err(), "nothing changed");
        report(&mut cluster, 8_000);
        report(&mut cluster, 16_000);
        feed.node("a");
        feed.removed("a");
        feed.warm(true);
        feed.flush(|| cluster.snapshot(), entry, 4);
        let delta = delta(&lines.try_recv().unwrap());
        assert_eq!((delta.generation, delta.warm, delta.nodes.len(), delta.removed), (2, true, 0, vec!["a".to_owned()]));
        let pairs: Vec<_> = delta.pairs.iter().map(|pair| (pair.a.as_str(), pair.b.as_str(), pair.stat.unwrap().p90)).collect();
        assert_eq!(pairs, [("a", "b", Micros(16_000))], "once, with the last figure");
    }

    #[test]
    fn a_pair_taken_back_is_sent_as_gone() {
        let (feed, mut cluster) = (Feed::default(), Cluster::new(Default::default()));
        let (_, mut lines) = feed.subscribe(|| cluster.snapshot(), entry, 0);
        cluster.report_rtt("a", "b", PairStat::declared(Micros(1), Timestamp(1)));
        cluster.retract_rtt("a", "b");
        feed.pair("a", "b");
        feed.flush(|| cluster.snapshot(), entry, 1);
        assert_eq!(delta(&lines.try_recv().unwrap()).pairs[0].stat, None);
    }
}
