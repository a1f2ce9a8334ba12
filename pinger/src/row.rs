//! This node's row of the RTT graph: a window for each peer, and what of it is worth reporting.

use crate::method::{MethodChoice, Methods};
use api::protocol::{PairReport, ProbeMethod};
use placement::topology::window::{Figures, Window};
use placement::units::{Micros, Timestamp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A pair is reported when its p50 or p90 moved by more than this share ...
const CHANGE_SHARE: f64 = 0.02;
/// ... and more than this: below, it is noise of the machine rather than of the network.
const CHANGE_FLOOR_US: u32 = 50;
/// An unchanged pair is reported again this often, so that its age at the service stays far below `maxAge` (15 min).
const REFRESH: Duration = Duration::from_secs(60);

struct Pair {
    address: Option<SocketAddr>,
    /// Whether this agent probes the pair.
    probed: bool,
    choice: MethodChoice,
    /// Absent until the first probe: of 490 peers about half are probed from here, and a window is 280 bytes.
    window: Option<Box<Window>>,
    /// Of the window as it is: reports are made far more often than samples come.
    figures: Option<Figures>,
    answered_at: Option<Duration>,
    last_us: Option<u32>,
}

impl Pair {
    /// How it is probed now; `None` where it has no address, or no method for its family.
    fn method(&self, methods: &Methods) -> Option<ProbeMethod> {
        self.choice.current(methods.of(self.address?.ip()))
    }
}

/// One pair as people and metrics see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairView {
    pub peer: String,
    pub address: Option<SocketAddr>,
    pub probed: bool,
    pub method: Option<ProbeMethod>,
    /// Last answered sample.
    pub last_us: Option<u32>,
    pub p50_us: Option<u32>,
    pub p90_us: Option<u32>,
    pub jitter_us: u32,
    pub samples: u16,
    pub lost: u16,
    pub failing: bool,
}

pub struct Row {
    methods: Methods,
    pairs: BTreeMap<String, Pair>,
}

impl Row {
    pub fn new(methods: Methods) -> Row {
        Row { methods, pairs: BTreeMap::new() }
    }

    /// Replaces the set of peers. A peer that stays keeps its window; one whose address changed starts anew.
    pub fn set_peers(&mut self, peers: &BTreeMap<String, (Option<SocketAddr>, bool)>) {
        let mut old = std::mem::take(&mut self.pairs);
        for (name, &(address, probed)) in peers {
            let fresh =
                Pair { address, probed, choice: MethodChoice::first(), window: None, figures: None, answered_at: None, last_us: None };
            let pair = match old.remove(name) {
                Some(pair) if pair.address == address => Pair { probed, ..pair },
                _ => fresh,
            };
            self.pairs.insert(name.clone(), pair);
        }
    }

    /// Where and how to probe a peer now.
    pub fn target(&self, peer: &str) -> Option<(SocketAddr, ProbeMethod)> {
        let pair = self.pairs.get(peer)?;
        Some((pair.address?, pair.method(&self.methods)?))
    }

    pub fn answered(&mut self, peer: &str, method: ProbeMethod, rtt: Duration, now: Duration) {
        let Some(pair) = self.pairs.get_mut(peer) else { return };
        if pair.method(&self.methods) != Some(method) {
            return;
        }
        let us = u32::try_from(rtt.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX);
        pair.choice.answered();
        let window = pair.window.get_or_insert_default();
        window.answered(Micros(us), moment(now));
        pair.figures = window.figures();
        pair.answered_at = Some(now);
        pair.last_us = Some(us);
    }

    pub fn lost(&mut self, peer: &str, method: ProbeMethod, now: Duration) {
        let Some(pair) = self.pairs.get_mut(peer) else { return };
        if pair.method(&self.methods) != Some(method) {
            return;
        }
        pair.window.get_or_insert_default().lost(moment(now));
        // A pair that has answered by this method stays with it through an outage of some rounds; see `MethodChoice`.
        if pair.address.is_some_and(|address| pair.choice.lost(self.methods.of(address.ip()))) && pair.answered_at.is_none() {
            pair.window = None;
        }
        pair.figures = pair.window.as_ref().and_then(|window| window.figures());
    }

    pub fn views(&self) -> Vec<PairView> {
        self.pairs.iter().map(|(name, pair)| self.view(name, pair)).collect()
    }

    fn view(&self, name: &str, pair: &Pair) -> PairView {
        let figures = pair.figures;
        let window = pair.window.as_deref();
        PairView {
            peer: name.to_owned(),
            address: pair.address,
            probed: pair.probed,
            method: pair.method(&self.methods).filter(|_| pair.probed),
            last_us: pair.last_us,
            p50_us: figures.map(|f| f.p50.0),
            p90_us: figures.map(|f| f.p90.0),
            jitter_us: figures.map_or(0, |f| f.jitter.0),
            samples: window.map_or(0, Window::samples),
            lost: window.map_or(0, Window::losses),
            failing: window.is_some_and(Window::failing),
        }
    }

    /// Every pair with enough samples to count, or that fails.
    pub fn report(&self, now: Duration) -> BTreeMap<String, PairReport> {
        let reports = self.pairs.iter().filter(|(_, pair)| pair.probed).filter_map(|(name, pair)| {
            let view = self.view(name, pair);
            let counts = view.p50_us.is_some() || view.failing;
            view.method.filter(|_| counts).map(|method| {
                let report = PairReport {
                    to: name.clone(),
                    method,
                    samples: view.samples,
                    lost: view.lost,
                    p50_us: view.p50_us.unwrap_or(0),
                    p90_us: view.p90_us.unwrap_or(0),
                    jitter_us: view.jitter_us,
                    age_ms: pair.answered_at.map_or(u64::MAX, |at| now.saturating_sub(at).as_millis() as u64),
                    failing: view.failing,
                };
                (name.clone(), report)
            })
        });
        reports.collect()
    }
}

fn moment(now: Duration) -> Timestamp {
    Timestamp(now.as_millis() as u64)
}

/// What one replica has acknowledged, so that it is sent only what changed.
#[derive(Default)]
pub struct Acknowledged {
    pairs: BTreeMap<String, (PairReport, Duration)>,
}

impl Acknowledged {
    /// Pairs worth sending, or `None` when a pair is gone: then the whole row must be sent.
    pub fn changes(&self, row: &BTreeMap<String, PairReport>, now: Duration) -> Option<Vec<PairReport>> {
        if self.pairs.keys().any(|name| !row.contains_key(name)) {
            return None;
        }
        let changed = row.values().filter(|new| match self.pairs.get(&new.to) {
            None => true,
            Some((old, sent)) => {
                differs(old, new)
                    || now.saturating_sub(*sent) >= REFRESH && new.age_ms < old.age_ms.saturating_add(REFRESH.as_millis() as u64)
            }
        });
        Some(changed.cloned().collect())
    }

    pub fn sent(&mut self, pairs: Vec<PairReport>, full: bool, now: Duration) {
        if full {
            self.pairs.clear();
        }
        self.pairs.extend(pairs.into_iter().map(|pair| (pair.to.clone(), (pair, now))));
    }
}

fn differs(old: &PairReport, new: &PairReport) -> bool {
    let moved = |a: u32, b: u32| {
        let by = a.abs_diff(b);
        by > CHANGE_FLOOR_US && f64::from(by) > CHANGE_SHARE * f64::from(a.max(b))
    };
    // From 5 to 15 samples the larger figure is a maximum, from 16 a p90: the service should know which.
    let settled = |r: &PairReport| r.samples >= 16;
    old.failing != new.failing
        || old.method != new.method
        || settled(old) != settled(new)
        || moved(old.p50_us, new.p50_us)
        || moved(old.p90_us, new.p90_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn row(methods: &[ProbeMethod]) -> Row {
        let mut row = Row::new(Methods { v4: methods.to_vec(), v6: Vec::new() });
        row.set_peers(&BTreeMap::from([("b".to_owned(), (Some("10.0.0.2:9444".parse().unwrap()), true))]));
        row
    }

    fn answer(row: &mut Row, times: u32, rtt: Duration) {
        for _ in 0..times {
            row.answered("b", ProbeMethod::Udp, rtt, MS);
        }
    }

    #[test]
    fn fewer_than_five_samples_are_not_reported() {
        let mut row = row(&[ProbeMethod::Udp]);
        answer(&mut row, 4, 2 * MS);
        assert!(row.report(MS).is_empty());
        answer(&mut row, 1, 3 * MS);
        let report = &row.report(MS)["b"];
        assert_eq!((report.p50_us, report.p90_us), (2000, 3000), "the largest of a few samples is what a bound is held against");
    }

    #[test]
    fn three_losses_fail_a_pair_and_a_silent_method_gives_way_to_the_next() {
        let mut row = row(&[ProbeMethod::IcmpDatagram, ProbeMethod::Udp]);
        for _ in 0..3 {
            row.lost("b", ProbeMethod::IcmpDatagram, MS);
        }
        assert_eq!(row.target("b").unwrap().1, ProbeMethod::Udp);
        answer(&mut row, 5, 2 * MS);
        assert_eq!(row.report(MS)["b"].method, ProbeMethod::Udp);
        for _ in 0..3 {
            row.lost("b", ProbeMethod::Udp, MS);
        }
        assert!(row.report(MS)["b"].failing);
    }

    #[test]
    fn a_peer_of_a_family_without_a_method_is_not_probed() {
        let mut row = Row::new(Methods { v4: Vec::new(), v6: vec![ProbeMethod::Udp] });
        let address = |text: &str| (Some(text.parse().unwrap()), true);
        row.set_peers(&BTreeMap::from([("a".to_owned(), address("10.0.0.2:9444")), ("b".to_owned(), address("[fd00::2]:9444"))]));
        assert_eq!(row.target("a"), None);
        assert_eq!(row.target("b").unwrap().1, ProbeMethod::Udp);
        row.lost("a", ProbeMethod::Udp, MS);
        assert!(row.report(MS).is_empty());
    }

    #[test]
    fn only_what_changed_is_sent_again_and_a_lost_pair_asks_for_the_whole_row() {
        let mut row = row(&[ProbeMethod::Udp]);
        answer(&mut row, 20, 2 * MS);
        let mut acknowledged = Acknowledged::default();
        let check = |acknowledged: &Acknowledged, row: &Row, now, expected: Option<usize>| {
            assert_eq!(acknowledged.changes(&row.report(now), now).map(|pairs| pairs.len()), expected);
        };
        check(&acknowledged, &row, MS, Some(1));
        acknowledged.sent(row.report(MS).into_values().collect(), true, MS);
        check(&acknowledged, &row, 2 * MS, Some(0));
        check(&acknowledged, &row, REFRESH + MS, Some(0));
        row.answered("b", ProbeMethod::Udp, 2 * MS, REFRESH);
        check(&acknowledged, &row, REFRESH + MS, Some(1));
        answer(&mut row, 60, 4 * MS);
        check(&acknowledged, &row, 2 * MS, Some(1));
        row.set_peers(&BTreeMap::new());
        check(&acknowledged, &row, 2 * MS, None);
    }
}
