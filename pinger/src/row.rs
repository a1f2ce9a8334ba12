//! This node's row of the RTT graph: a window for each peer, and what of it is worth reporting.

use crate::method::{MethodChoice, Methods};
use api::protocol::{PairReport, ProbeMethod};
use placement::topology::window::{Figures, Window};
use placement::units::{Micros, Timestamp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
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
    pub peer: Arc<str>,
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
    pairs: BTreeMap<Arc<str>, Pair>,
}

impl Row {
    pub fn new(methods: Methods) -> Row {
        Row { methods, pairs: BTreeMap::new() }
    }

    /// Replaces the set of peers. A peer that stays keeps its window; one whose address changed starts anew.
    pub fn set_peers(&mut self, peers: &BTreeMap<Arc<str>, (Option<SocketAddr>, bool)>) {
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

    fn view(&self, name: &Arc<str>, pair: &Pair) -> PairView {
        let figures = pair.figures;
        let window = pair.window.as_deref();
        PairView {
            peer: name.clone(),
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

    /// Peers with enough samples to count, and the p50 to each in microseconds.
    pub fn measured(&self) -> impl Iterator<Item = (&str, u32)> {
        self.pairs.iter().filter_map(|(name, pair)| Some((&**name, pair.figures?.p50.0)))
    }

    /// p90 to a peer in microseconds, where there are enough samples.
    pub fn p90_us(&self, peer: &str) -> Option<u32> {
        Some(self.pairs.get(peer)?.figures?.p90.0)
    }

    /// Every pair with enough samples to count, or that fails.
    pub fn report(&self, now: Duration) -> impl Iterator<Item = PairReport> {
        self.pairs.iter().filter(|(_, pair)| pair.probed).filter_map(move |(name, pair)| {
            let view = self.view(name, pair);
            let counts = view.p50_us.is_some() || view.failing;
            view.method.filter(|_| counts).map(|method| PairReport {
                to: view.peer,
                method,
                samples: view.samples,
                lost: view.lost,
                p50_us: view.p50_us.unwrap_or(0),
                p90_us: view.p90_us.unwrap_or(0),
                jitter_us: view.jitter_us,
                age_ms: pair.answered_at.map_or(u64::MAX, |at| now.saturating_sub(at).as_millis() as u64),
                failing: view.failing,
            })
        })
    }
}

fn moment(now: Duration) -> Timestamp {
    Timestamp(now.as_millis() as u64)
}

/// What one replica has acknowledged, so that it is sent only what changed.
#[derive(Default)]
pub struct Acknowledged {
    pairs: BTreeMap<Arc<str>, Told>,
}

/// Of a pair that was sent: what decides whether it is sent again.
struct Told {
    at: Duration,
    age_ms: u64,
    p50_us: u32,
    p90_us: u32,
    method: ProbeMethod,
    failing: bool,
    settled: bool,
}

/// What a replica is to be sent.
#[derive(Debug, PartialEq)]
pub struct Changes {
    /// Whether these are all pairs: what is missing is gone.
    pub full: bool,
    pub pairs: Vec<PairReport>,
}

impl Acknowledged {
    /// Pairs worth sending; all of them when one is gone.
    pub fn changes(&self, row: &Row, now: Duration) -> Changes {
        let mut known = 0;
        let mut pairs = Vec::new();
        for pair in row.report(now) {
            let told = self.pairs.get(&pair.to);
            known += usize::from(told.is_some());
            if told.is_none_or(|told| told.is_old(&pair, now)) {
                pairs.push(pair);
            }
        }
        match known == self.pairs.len() {
            true => Changes { full: false, pairs },
            false => Changes::all(row, now),
        }
    }

    pub fn sent(&mut self, changes: Changes, now: Duration) {
        if changes.full {
            self.pairs.clear();
        }
        self.pairs.extend(changes.pairs.into_iter().map(|pair| (pair.to.clone(), Told::of(&pair, now))));
    }
}

impl Changes {
    /// The whole row.
    pub fn all(row: &Row, now: Duration) -> Changes {
        Changes { full: true, pairs: row.report(now).collect() }
    }
}

impl Told {
    fn of(pair: &PairReport, at: Duration) -> Told {
        let PairReport { age_ms, p50_us, p90_us, method, failing, .. } = *pair;
        Told { at, age_ms, p50_us, p90_us, method, failing, settled: settled(pair) }
    }

    /// Whether the pair has moved since, or a refresh is due and there is something to refresh with.
    fn is_old(&self, new: &PairReport, now: Duration) -> bool {
        let moved = |a: u32, b: u32| {
            let by = a.abs_diff(b);
            by > CHANGE_FLOOR_US && f64::from(by) > CHANGE_SHARE * f64::from(a.max(b))
        };
        self.failing != new.failing
            || self.method != new.method
            || self.settled != settled(new)
            || moved(self.p50_us, new.p50_us)
            || moved(self.p90_us, new.p90_us)
            || now.saturating_sub(self.at) >= REFRESH && new.age_ms < self.age_ms.saturating_add(REFRESH.as_millis() as u64)
    }
}

/// From 5 to 15 samples the larger figure is a maximum, from 16 a p90: the service should know which.
fn settled(pair: &PairReport) -> bool {
    pair.samples >= 16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn row(methods: &[ProbeMethod]) -> Row {
        let mut row = Row::new(Methods { v4: methods.to_vec(), v6: Vec::new() });
        row.set_peers(&BTreeMap::from([("b".into(), (Some("10.0.0.2:9444".parse().unwrap()), true))]));
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
        assert!(row.report(MS).next().is_none());
        answer(&mut row, 1, 3 * MS);
        let report = row.report(MS).next().unwrap();
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
        assert_eq!(row.report(MS).next().unwrap().method, ProbeMethod::Udp);
        for _ in 0..3 {
            row.lost("b", ProbeMethod::Udp, MS);
        }
        assert!(row.report(MS).next().unwrap().failing);
    }

    #[test]
    fn a_peer_of_a_family_without_a_method_is_not_probed() {
        let mut row = Row::new(Methods { v4: Vec::new(), v6: vec![ProbeMethod::Udp] });
        let address = |text: &str| (Some(text.parse().unwrap()), true);
        row.set_peers(&BTreeMap::from([("a".into(), address("10.0.0.2:9444")), ("b".into(), address("[fd00::2]:9444"))]));
        assert_eq!(row.target("a"), None);
        assert_eq!(row.target("b").unwrap().1, ProbeMethod::Udp);
        row.lost("a", ProbeMethod::Udp, MS);
        assert!(row.report(MS).next().is_none());
    }

    #[test]
    fn only_what_changed_is_sent_again_and_a_lost_pair_asks_for_the_whole_row() {
        let mut row = row(&[ProbeMethod::Udp]);
        answer(&mut row, 20, 2 * MS);
        let mut acknowledged = Acknowledged::default();
        let check = |acknowledged: &Acknowledged, row: &Row, now, pairs: usize, full: bool| {
            let changes = acknowledged.changes(row, now);
            assert_eq!((changes.pairs.len(), changes.full), (pairs, full));
        };
        check(&acknowledged, &row, MS, 1, false);
        acknowledged.sent(Changes::all(&row, MS), MS);
        check(&acknowledged, &row, 2 * MS, 0, false);
        check(&acknowledged, &row, REFRESH + MS, 0, false);
        row.answered("b", ProbeMethod::Udp, 2 * MS, REFRESH);
        check(&acknowledged, &row, REFRESH + MS, 1, false);
        answer(&mut row, 60, 4 * MS);
        check(&acknowledged, &row, 2 * MS, 1, false);
        row.set_peers(&BTreeMap::new());
        check(&acknowledged, &row, 2 * MS, 0, true);
    }
}
