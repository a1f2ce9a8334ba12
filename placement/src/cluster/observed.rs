//! What is observed from outside: RTTs between nodes, and the demand on workloads.

use super::columns::{CHUNK, FixedSlot};
use super::live::Cluster;
use super::{Changes, ClusterEvent, NodeIx, Workload};
use crate::constraint::Statistic;
use crate::score::demand::Demand;
use crate::topology::{PairChange, PairStat};
use crate::units::{Micros, Span, Timestamp};
use smallvec::smallvec;
use std::sync::Arc;

impl Cluster {
    /// Takes in what `from` reports of its pair with `to`. The names need not be nodes (yet).
    pub fn report_rtt(&mut self, from: &str, to: &str, stat: PairStat) -> Changes {
        let (a, b) = (self.intern(from), self.intern(to));
        let state = self.change();
        for ix in [a, b] {
            let slot = state.slot(ix).map_or(0, |slot| slot.measured);
            if slot < stat.at.0.max(1) {
                Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK].measured = stat.at.0.max(1);
            }
        }
        let PairChange { before, after } = state.rtt.set(a, b, stat);
        match after {
            Some(new) if before.is_none_or(|old| matters(&old, &new, stat.at, state.settings.max_age)) => {
                smallvec![ClusterEvent::RttChanged { a: from.to_owned(), b: to.to_owned(), old: before, new, at: stat.at }]
            }
            _ => Changes::new(),
        }
    }

    /// What `from` reported of its pair with `to` holds no longer (a file without that pair, say).
    pub fn retract_rtt(&mut self, from: &str, to: &str) {
        if let (Some(a), Some(b)) = (self.state.index(from), self.state.index(to)) {
            self.change().rtt.remove(a, b);
        }
    }

    /// Drops the rows of names that have neither node object nor pods and were last measured before `now - max_age`.
    pub fn expire(&mut self, now: Timestamp, max_age: Span) {
        let stale = |slot: &FixedSlot| slot.name.is_some() && slot.node.is_none() && now.since(Timestamp(slot.measured)) > max_age;
        let gone: Vec<NodeIx> =
            (0..self.state.index_len() as u32).map(NodeIx).filter(|&ix| self.state.slot(ix).is_some_and(stale)).collect();
        for ix in gone {
            let state = self.change();
            state.rtt.remove_row(ix);
            Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK].measured = 0;
            self.release_unused(ix);
        }
    }

    /// Sets or, with `None`, takes back what routers observe of the demand on a workload's pods.
    pub fn set_demand(&mut self, namespace: &str, owner: &Workload, demand: Option<Vec<(String, f64)>>, service: Micros) {
        let before: Vec<NodeIx> = self.state.demand(namespace, owner).into_iter().flat_map(|d| d.sites.iter().map(|site| site.0)).collect();
        let sites = demand.map(|sites| sites.iter().map(|(site, rate)| (self.intern(site), *rate)).collect());
        let all = Arc::make_mut(&mut self.change().demand);
        let of_namespace = all.entry(namespace.to_owned()).or_default();
        match sites {
            Some(sites) => drop(of_namespace.insert(owner.clone(), Demand::new(sites, service))),
            None => drop(of_namespace.remove(owner)),
        }
        all.retain(|_, workloads| !workloads.is_empty());
        before.into_iter().for_each(|ix| self.release_unused(ix));
    }
}

/// Whether a verdict may differ at `at`: other figures, or the same ones while the old have expired, or the new (those of the other end, when this one's hold
/// no longer). A pair that is merely confirmed is no event.
fn matters(old: &PairStat, new: &PairStat, at: Timestamp, max_age: Span) -> bool {
    let figures = |stat: &PairStat| (stat.p50, stat.p90, stat.admissible(Statistic::P90, at, max_age).is_some());
    figures(old) != figures(new)
}
