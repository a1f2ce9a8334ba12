//! The stream that readers follow: one snapshot, then what changed. Changes are gathered for a moment, so that a thousand reports a second are a few
//! lines a second for each reader.

use api::protocol::{DemandRow, LoadRow, NodeEntry, PairEntry, StreamEvent, TopologyDelta, TopologySnapshot};
use placement::cluster::Snapshot;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::broadcast;

/// Lines a slow reader may be behind before it is sent a new snapshot instead.
const BACKLOG: usize = 64;

/// What changed since the last line.
#[derive(Default)]
struct Dirty {
    generation: u64,
    /// Unordered, the lesser name first.
    pairs: BTreeSet<(Arc<str>, Arc<str>)>,
    nodes: BTreeSet<String>,
    removed: BTreeSet<String>,
    load: Vec<LoadRow>,
    demand: Vec<DemandRow>,
    warm: bool,
    warm_changed: bool,
}

pub struct Feed {
    dirty: Mutex<Dirty>,
    changes: broadcast::Sender<Arc<Change>>,
}

/// The nodes whose pairs a reader wants; `None`: all. A router has one or a few sites, and of 490 nodes' 120,000 pairs needs 489 for each.
pub type Sites = Option<BTreeSet<String>>;

/// What changed in a moment, made into a line for each reader.
pub struct Change {
    delta: TopologyDelta,
    whole: OnceLock<Arc<str>>,
    /// Node -> pairs that it is an end of.
    by_node: OnceLock<HashMap<Arc<str>, Vec<usize>>>,
}

impl Change {
    fn new(delta: TopologyDelta) -> Change {
        Change { delta, whole: OnceLock::new(), by_node: OnceLock::new() }
    }

    pub fn line(&self, sites: &Sites) -> Arc<str> {
        let Some(sites) = sites else {
            return self.whole.get_or_init(|| line(&StreamEvent::Delta(self.delta.clone()))).clone();
        };
        let by_node = self.by_node.get_or_init(|| {
            let mut by_node: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
            for (at, pair) in self.delta.pairs.iter().enumerate() {
                by_node.entry(pair.a.clone()).or_default().push(at);
                by_node.entry(pair.b.clone()).or_default().push(at);
            }
            by_node
        });
        let wanted: BTreeSet<usize> = sites.iter().filter_map(|site| by_node.get(site.as_str())).flatten().copied().collect();
        let pairs = wanted.into_iter().map(|at| self.delta.pairs[at].clone()).collect();
        let TopologyDelta { generation, at_ms, warm, nodes, removed, pairs: _, load, demand } = &self.delta;
        let (nodes, removed, load, demand) = (nodes.clone(), removed.clone(), load.clone(), demand.clone());
        line(&StreamEvent::Delta(TopologyDelta {
            generation: *generation,
            at_ms: *at_ms,
            warm: *warm,
            nodes,
            removed,
            pairs,
            load,
            demand,
        }))
    }
}

impl Default for Feed {
    fn default() -> Feed {
        Feed { dirty: Mutex::default(), changes: broadcast::channel(BACKLOG).0 }
    }
}

impl Feed {
    pub fn pair(&self, a: &Arc<str>, b: &Arc<str>) {
        let (a, b) = if a < b { (a, b) } else { (b, a) };
        self.lock().pairs.insert((a.clone(), b.clone()));
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
        if self.changes.receiver_count() == 0 {
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
        let _ = self.changes.send(Arc::new(Change::new(delta)));
    }

    /// A snapshot, and everything after it.
    pub fn subscribe(
        &self,
        cluster: impl FnOnce() -> Arc<Snapshot>,
        entry: impl Fn(&str) -> NodeEntry,
        sites: &Sites,
        at_ms: u64,
    ) -> (TopologySnapshot, broadcast::Receiver<Arc<Change>>) {
        let dirty = self.lock();
        let changes = self.changes.subscribe();
        let cluster = cluster();
        let mut names: Vec<&str> = cluster.nodes().map(|(_, node)| node.name.as_str()).collect();
        names.sort_unstable();
        let snapshot = TopologySnapshot {
            generation: dirty.generation,
            at_ms,
            warm: dirty.warm,
            nodes: names.into_iter().map(entry).collect(),
            pairs: pairs(&cluster, sites),
        };
        (snapshot, changes)
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is measured between a site and any node, or between any two.
fn pairs(cluster: &Snapshot, sites: &Sites) -> Vec<PairEntry> {
    let entry = |a, b, stat| PairEntry { a: cluster.name(a).into(), b: cluster.name(b).into(), stat: Some(stat) };
    let Some(sites) = sites else {
        return cluster.rtt().pairs().map(|(a, b, stat)| entry(a, b, stat)).collect();
    };
    let sites = sites.iter().filter_map(|site| cluster.index(site));
    let others = |site| cluster.nodes().map(|(other, _)| other).filter(move |other| *other != site);
    sites.flat_map(|site| others(site).filter_map(move |other| Some(entry(site, other, cluster.rtt().get(site, other)?)))).collect()
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
            feed.pair(&"b".into(), &"a".into());
        };
        report(&mut cluster, 4_000);
        feed.flush(|| cluster.snapshot(), entry, 1);
        let (snapshot, mut lines) = feed.subscribe(|| cluster.snapshot(), entry, &None, 2);
        assert_eq!((snapshot.generation, snapshot.pairs.len(), snapshot.warm), (1, 1, false));

        feed.flush(|| cluster.snapshot(), entry, 3);
        assert!(lines.try_recv().is_err(), "nothing changed");
        report(&mut cluster, 8_000);
        report(&mut cluster, 16_000);
        feed.node("a");
        feed.removed("a");
        feed.warm(true);
        feed.flush(|| cluster.snapshot(), entry, 4);
        let delta = delta(&lines.try_recv().unwrap().line(&None));
        assert_eq!((delta.generation, delta.warm, delta.nodes.len(), delta.removed), (2, true, 0, vec!["a".to_owned()]));
        let pairs: Vec<_> = delta.pairs.iter().map(|pair| (&*pair.a, &*pair.b, pair.stat.unwrap().p90)).collect();
        assert_eq!(pairs, [("a", "b", Micros(16_000))], "once, with the last figure");
    }

    #[test]
    fn a_pair_taken_back_is_sent_as_gone() {
        let (feed, mut cluster) = (Feed::default(), Cluster::new(Default::default()));
        let (_, mut lines) = feed.subscribe(|| cluster.snapshot(), entry, &None, 0);
        cluster.report_rtt("a", "b", PairStat::declared(Micros(1), Timestamp(1)));
        cluster.retract_rtt("a", "b");
        feed.pair(&"a".into(), &"b".into());
        feed.flush(|| cluster.snapshot(), entry, 1);
        assert_eq!(delta(&lines.try_recv().unwrap().line(&None)).pairs[0].stat, None);
    }

    #[test]
    fn a_reader_with_sites_gets_the_pairs_that_end_there() {
        let (feed, mut cluster) = (Feed::default(), Cluster::new(Default::default()));
        for name in ["a", "b", "c"] {
            cluster.apply_node(placement::cluster::Node { name: name.into(), ..Default::default() });
        }
        let sites = Some(BTreeSet::from(["b".to_owned(), "elsewhere".to_owned()]));
        let ends = |pairs: &[PairEntry]| -> BTreeSet<String> {
            pairs
                .iter()
                .map(|pair| if pair.a < pair.b { format!("{}{}", pair.a, pair.b) } else { format!("{}{}", pair.b, pair.a) })
                .collect()
        };
        let expected = BTreeSet::from(["ab".to_owned(), "bc".to_owned()]);
        let (_, mut lines) = feed.subscribe(|| cluster.snapshot(), entry, &sites, 0);
        for (a, b) in [("a", "b"), ("a", "c"), ("b", "c")] {
            cluster.report_rtt(a, b, PairStat::declared(Micros(1), Timestamp(1)));
            feed.pair(&a.into(), &b.into());
        }
        feed.flush(|| cluster.snapshot(), entry, 1);
        let change = lines.try_recv().unwrap();
        assert_eq!(ends(&delta(&change.line(&sites)).pairs), expected);
        assert_eq!(delta(&change.line(&None)).pairs.len(), 3);
        let (snapshot, _lines) = feed.subscribe(|| cluster.snapshot(), entry, &sites, 2);
        assert_eq!(ends(&snapshot.pairs), expected);
    }
}
