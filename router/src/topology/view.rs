//! The rows of the router's client sites, as last heard.

use api::protocol::{DemandRow, LoadRow, PairEntry, StreamEvent};
use placement::{
    constraint::Statistic,
    topology::PairStat,
    units::{Micros, Span, Timestamp},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// What the stream said, reduced to the pairs with one of the sites at an end. Kept when the stream breaks.
#[derive(Clone, Debug)]
pub struct TopologyView {
    sites: Vec<Arc<str>>,
    /// One for each site: the pair's figures by the other end.
    rows: Vec<HashMap<Arc<str>, PairStat>>,
    /// In-flight requests by pod, summed over routers.
    pub load: HashMap<String, f64>,
    /// Requests per second by load balancer and site, over all routers.
    pub demand: HashMap<String, BTreeMap<String, f64>>,
    pub generation: u64,
    /// Whether every agent has reported to the service since it started.
    pub warm: bool,
    /// The service's clock at the last event, and ours: ages need no clocks that agree.
    heard: Option<(Timestamp, Instant)>,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub rows: bool,
    pub load: bool,
    pub demand: bool,
}

impl TopologyView {
    /// `sites`: nodes by which clients enter, the router's own first.
    pub fn new(sites: Vec<Arc<str>>) -> TopologyView {
        let rows = sites.iter().map(|_| HashMap::new()).collect();
        TopologyView { sites, rows, load: HashMap::new(), demand: HashMap::new(), generation: 0, warm: false, heard: None }
    }

    pub fn sites(&self) -> &[Arc<str>] {
        &self.sites
    }

    /// Takes in an event, and says what it changed.
    pub fn apply(&mut self, event: StreamEvent, now: Instant) -> Changed {
        match event {
            StreamEvent::Snapshot(snapshot) => {
                let before = std::mem::take(&mut self.rows);
                self.rows = self.sites.iter().map(|_| HashMap::new()).collect();
                self.set_pairs(snapshot.pairs);
                (self.generation, self.warm) = (snapshot.generation, snapshot.warm);
                self.heard = Some((Timestamp(snapshot.at_ms), now));
                // A snapshot says nothing of the load: what is in flight comes with the next deltas.
                Changed { rows: before != self.rows, ..Changed::default() }
            }
            StreamEvent::Delta(delta) => {
                let mut rows = self.set_pairs(delta.pairs);
                for gone in &delta.removed {
                    for row in &mut self.rows {
                        rows |= row.remove(gone.as_str()).is_some();
                    }
                }
                let load = self.set_load(delta.load);
                let demand = self.set_demand(delta.demand);
                (self.generation, self.warm) = (delta.generation, delta.warm);
                self.heard = Some((Timestamp(delta.at_ms), now));
                Changed { rows, load, demand }
            }
            StreamEvent::Heartbeat { generation, at_ms } => {
                self.generation = generation;
                self.heard = Some((Timestamp(at_ms), now));
                Changed::default()
            }
        }
    }

    fn set_pairs(&mut self, pairs: Vec<PairEntry>) -> bool {
        let mut changed = false;
        for pair in pairs {
            for (site, row) in self.sites.iter().zip(&mut self.rows) {
                let other = match &**site {
                    site if *site == *pair.a => &pair.b,
                    site if *site == *pair.b => &pair.a,
                    _ => continue,
                };
                changed |= match pair.stat {
                    Some(stat) => row.insert(other.clone(), stat) != Some(stat),
                    None => row.remove(other).is_some(),
                };
            }
        }
        changed
    }

    fn set_load(&mut self, load: Vec<LoadRow>) -> bool {
        let changed = !load.is_empty();
        for row in load {
            if row.in_flight > 0.0 {
                self.load.insert(row.pod, row.in_flight);
            } else {
                self.load.remove(&row.pod);
            }
        }
        changed
    }

    fn set_demand(&mut self, rows: Vec<DemandRow>) -> bool {
        let changed = !rows.is_empty();
        for row in rows {
            let sites = self.demand.entry(row.load_balancer.clone()).or_default();
            if row.rate > 0.0 {
                sites.insert(row.site, row.rate);
            } else {
                sites.remove(&row.site);
            }
            if sites.is_empty() {
                self.demand.remove(&row.load_balancer);
            }
        }
        changed
    }

    /// RTT for ranking between a site (by index) and a node: of whatever kind and age, since an old figure ranks better than none.
    pub fn ranking(&self, site: usize, node: &str) -> Option<Micros> {
        self.stat(site, node).map(|stat| stat.p50)
    }

    /// RTT to hold against a bound, when there is one that may admit.
    pub fn admitting(&self, site: usize, node: &str, max_age: Span, now: Instant) -> Option<Micros> {
        let stat = self.stat(site, node)?;
        let (service_time, heard) = self.heard.unwrap_or((Timestamp(0), now));
        let now = Timestamp(service_time.0 + now.saturating_duration_since(heard).as_millis() as u64);
        stat.admissible(Statistic::P90, now, max_age)
    }

    fn stat(&self, site: usize, node: &str) -> Option<PairStat> {
        if &*self.sites[site] == node {
            // A node is next to itself, measured or not, for ever.
            let at = Timestamp(u64::MAX);
            return Some(PairStat {
                p50: Micros(0),
                p90: Micros(0),
                loss_permille: 0,
                samples: 0,
                at,
                kind: placement::topology::Kind::Declared,
            });
        }
        self.rows[site].get(node).copied()
    }

    /// Time since the last event, heartbeats included.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|(_, heard)| now.saturating_duration_since(heard))
    }

    /// Number of measured pairs.
    pub fn pairs(&self) -> usize {
        self.rows.iter().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::protocol::{TopologyDelta, TopologySnapshot};
    use placement::topology::Kind;

    fn stat(ms: u32, at_ms: u64, kind: Kind) -> PairStat {
        let (p50, p90) = (Micros(ms * 1000), Micros(ms * 1100));
        PairStat { p50, p90, loss_permille: 0, samples: 16, at: Timestamp(at_ms), kind }
    }

    fn pair(a: &str, b: &str, stat: Option<PairStat>) -> PairEntry {
        PairEntry { a: a.into(), b: b.into(), stat }
    }

    fn view(now: Instant) -> TopologyView {
        let mut view = TopologyView::new(vec!["edge-1".into(), "edge-2".into()]);
        let pairs = vec![
            pair("edge-1", "edge-3", Some(stat(5, 1_000, Kind::Measured))),
            pair("edge-2", "edge-1", Some(stat(7, 60_000, Kind::Estimated))),
            pair("edge-3", "edge-4", Some(stat(9, 60_000, Kind::Measured))),
        ];
        let snapshot = TopologySnapshot { generation: 3, at_ms: 61_000, warm: true, nodes: Vec::new(), pairs };
        assert_eq!(view.apply(StreamEvent::Snapshot(snapshot), now), Changed { rows: true, ..Changed::default() });
        view
    }

    #[test]
    fn keeps_the_rows_of_its_sites_in_either_direction() {
        let now = Instant::now();
        let view = view(now);
        assert_eq!((view.pairs(), view.generation), (3, 3));
        assert_eq!((view.ranking(0, "edge-3"), view.ranking(1, "edge-1")), (Some(Micros(5_000)), Some(Micros(7_000))));
        assert_eq!((view.ranking(0, "edge-1"), view.ranking(0, "edge-4")), (Some(Micros(0)), None));
    }

    #[test]
    fn only_a_fresh_measurement_admits() {
        let now = Instant::now();
        let view = view(now);
        let max_age = Span(90_000);
        assert_eq!(view.admitting(0, "edge-3", max_age, now), Some(Micros(5_500)));
        // 60 s old when heard, and a minute has passed since then.
        assert_eq!(view.admitting(0, "edge-3", max_age, now + Duration::from_secs(60)), None);
        assert_eq!(view.admitting(0, "edge-2", max_age, now), None, "an estimate ranks and never admits");
        assert_eq!(view.admitting(0, "edge-1", max_age, now + Duration::from_secs(9_999)), Some(Micros(0)));
    }

    #[test]
    fn deltas_change_rows_and_load() {
        let now = Instant::now();
        let mut view = view(now);
        let mut check = |delta: TopologyDelta, rows: bool, load: bool| {
            assert_eq!(view.apply(StreamEvent::Delta(delta), now), Changed { rows, load, demand: false });
            (view.pairs(), view.load.len())
        };
        let same = vec![pair("edge-1", "edge-3", Some(stat(5, 1_000, Kind::Measured)))];
        assert_eq!(check(TopologyDelta { pairs: same, ..Default::default() }, false, false), (3, 0));
        let elsewhere = vec![pair("edge-3", "edge-4", None)];
        assert_eq!(check(TopologyDelta { pairs: elsewhere, ..Default::default() }, false, false), (3, 0));
        assert_eq!(check(TopologyDelta { removed: vec!["edge-3".into()], ..Default::default() }, true, false), (2, 0));
        let load = |in_flight| vec![LoadRow { pod: "demo/a".into(), in_flight }];
        assert_eq!(check(TopologyDelta { load: load(2.0), ..Default::default() }, false, true), (2, 1));
        assert_eq!(check(TopologyDelta { load: load(0.0), ..Default::default() }, false, true), (2, 0));
    }
}
