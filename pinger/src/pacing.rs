//! When to probe whom: paced over the interval, never in bursts, joining pairs first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

/// A joining pair is probed this often ...
pub const JOINING_PROBES: u32 = 5;
/// ... at this distance: 5 samples in 5 s.
const JOINING_GAP: Duration = Duration::from_secs(1);

/// What the pacer wants at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    Probe(Arc<str>),
    /// Nothing before this moment.
    WaitUntil(Duration),
    /// No peer to probe.
    Idle,
}

struct Peer {
    probes: u32,
    due: Duration,
}

/// Moments are durations since the agent's start.
pub struct Pacer {
    interval: Duration,
    /// Smallest distance between any two probes of this agent.
    gap: Duration,
    next_free: Duration,
    peers: BTreeMap<Arc<str>, Peer>,
    due: BinaryHeap<Reverse<(Duration, Arc<str>)>>,
}

impl Pacer {
    pub fn new(interval: Duration, probes_per_second: u32) -> Pacer {
        let gap = Duration::from_secs(1) / probes_per_second.max(1);
        Pacer { interval, gap, next_free: Duration::ZERO, peers: BTreeMap::new(), due: BinaryHeap::new() }
    }

    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Replaces the set of peers. Known ones keep their place; new ones start spread over one joining gap, by a hash of both names, so that agents that
    /// start together do not probe in step.
    pub fn set_peers<'a>(&mut self, own: &str, names: impl Iterator<Item = &'a Arc<str>>, now: Duration) {
        let mut old = std::mem::take(&mut self.peers);
        for name in names {
            let peer = old.remove(name).unwrap_or_else(|| {
                let due = now + JOINING_GAP.mul_f64(phase(own, name));
                self.due.push(Reverse((due, name.clone())));
                Peer { probes: 0, due }
            });
            self.peers.insert(name.clone(), peer);
        }
    }

    pub fn next(&mut self, now: Duration) -> Turn {
        while let Some(Reverse((due, name))) = self.due.peek() {
            let current = self.peers.get(name).is_some_and(|peer| peer.due == *due);
            if !current {
                self.due.pop();
                continue;
            }
            let at = (*due).max(self.next_free);
            if at > now {
                return Turn::WaitUntil(at);
            }
            let Some(Reverse((_, name))) = self.due.pop() else { break };
            if let Some(peer) = self.peers.get_mut(&name) {
                peer.probes = peer.probes.saturating_add(1);
                peer.due = now + if peer.probes < JOINING_PROBES { JOINING_GAP.min(self.interval) } else { self.interval };
                self.due.push(Reverse((peer.due, name.clone())));
            }
            self.next_free = now + self.gap;
            return Turn::Probe(name);
        }
        Turn::Idle
    }
}

/// 0 to 1, from both names (FNV-1a): stable and different for each pair.
fn phase(own: &str, peer: &str) -> f64 {
    let hash =
        own.bytes().chain([0]).chain(peer.bytes()).fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Vec<Arc<str>> {
        names.into_iter().map(|name| name.as_ref().into()).collect()
    }

    /// Probes per peer in each second of a run.
    fn run(peers: usize, rate: u32, seconds: u64) -> Vec<BTreeMap<Arc<str>, u32>> {
        let names = names((0..peers).map(|i| format!("n{i}")));
        let mut pacer = Pacer::new(Duration::from_secs(10), rate);
        pacer.set_peers("me", names.iter(), Duration::ZERO);
        let mut seen = vec![BTreeMap::new(); seconds as usize];
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(seconds) {
            match pacer.next(now) {
                Turn::Probe(name) => *seen[now.as_secs() as usize].entry(name).or_default() += 1,
                Turn::WaitUntil(at) => now = at,
                Turn::Idle => break,
            }
        }
        seen
    }

    #[test]
    fn a_joining_pair_is_probed_five_times_in_five_seconds_then_once_an_interval() {
        let seen = run(3, 1000, 30);
        let first: u32 = seen[..6].iter().filter_map(|s| s.get("n1")).sum();
        let later: u32 = seen[6..].iter().filter_map(|s| s.get("n1")).sum();
        assert_eq!((first, later), (5, 2));
    }

    #[test]
    fn the_rate_is_never_exceeded() {
        let seen = run(200, 20, 60);
        assert!(seen.iter().all(|s| s.values().sum::<u32>() <= 21), "{seen:?}");
        let probed: std::collections::BTreeSet<_> = seen.iter().flat_map(BTreeMap::keys).collect();
        assert_eq!(probed.len(), 200, "everyone gets a turn");
    }

    #[test]
    fn a_peer_that_left_is_not_probed_and_one_that_stays_keeps_its_place() {
        let mut pacer = Pacer::new(Duration::from_secs(10), 1000);
        pacer.set_peers("me", names(["a", "b"]).iter(), Duration::ZERO);
        pacer.set_peers("me", names(["b"]).iter(), Duration::ZERO);
        let at = Duration::from_secs(2);
        assert_eq!(pacer.next(at), Turn::Probe("b".into()));
        assert!(matches!(pacer.next(at), Turn::WaitUntil(_)));
        pacer.set_peers("me", std::iter::empty(), at);
        assert_eq!(pacer.next(Duration::from_secs(60)), Turn::Idle);
    }
}
