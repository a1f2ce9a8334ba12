//! What the network does to a packet: one-way delay, jitter, loss and cuts per ordered pair of nodes, changeable while it runs.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::random::Random;

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Base one-way delay in microseconds; no packet is faster.
    pub delay_us: u32,
    /// The most that jitter adds, in microseconds; drawn uniformly.
    pub jitter_us: u32,
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Nothing passes.
    pub cut: bool,
}

/// A change to the network that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinksError {
    #[error("the delay matrix has {found} values; {nodes} nodes need {expected}")]
    NotSquare { nodes: usize, expected: usize, found: usize },
    #[error("there is no node {node}; the network has {nodes}")]
    NoNode { node: usize, nodes: usize },
    #[error("a loss of {0} is no share; expected 0 to 1")]
    Loss(f64),
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    After(Duration),
    Lost,
    Cut,
}

/// The network between all nodes. Shared by the switch, which reads it per packet, and by whoever changes it.
#[derive(Debug)]
pub struct Links {
    nodes: usize,
    table: RwLock<Table>,
    /// Bumped at every change, so that what waits behind a cut looks again.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Table {
    /// Row-major one-way delays in microseconds: 490 nodes take under 1 MB, so only unusual pairs pay for more.
    delay_us: Vec<u32>,
    unusual: HashMap<(usize, usize), Link>,
    down: Vec<bool>,
    /// Jitter of pairs that have none of their own, in thousandths of their delay.
    jitter_permille: u32,
}

impl Table {
    fn link(&self, nodes: usize, from: usize, to: usize) -> Link {
        if let Some(link) = self.unusual.get(&(from, to)) {
            return *link;
        }
        let delay_us = self.delay_us[from * nodes + to];
        let jitter_us = u64::from(delay_us) * u64::from(self.jitter_permille) / 1000;
        Link { delay_us, jitter_us: jitter_us.min(u64::from(u32::MAX)) as u32, ..Link::default() }
    }

    fn is_cut(&self, link: &Link, from: usize, to: usize) -> bool {
        link.cut || self.down[from] || self.down[to]
    }
}

impl Links {
    /// A network of `nodes` nodes with these one-way delays (row-major, row = from, microseconds); every pair's jitter is up to
    /// `jitter_permille` thousandths of its delay.
    pub fn new(nodes: usize, delay_us: Vec<u32>, jitter_permille: u32) -> Result<Links, LinksError> {
        let expected = nodes * nodes;
        if delay_us.len() != expected {
            return Err(LinksError::NotSquare { nodes, expected, found: delay_us.len() });
        }
        let table = Table { delay_us, unusual: HashMap::new(), down: vec![false; nodes], jitter_permille };
        Ok(Links { nodes, table: RwLock::new(table), changed: watch::Sender::new(0) })
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes
    }

    /// Whether the network has no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes == 0
    }

    /// The link in this direction, as it is now.
    pub fn link(&self, from: usize, to: usize) -> Result<Link, LinksError> {
        self.check_node(from.max(to))?;
        Ok(self.read(|table| table.link(self.nodes, from, to)))
    }

    /// Changes both directions between two nodes; each keeps what `change` leaves alone.
    pub fn set_pair(&self, a: usize, b: usize, change: impl Fn(&mut Link)) -> Result<(), LinksError> {
        self.set_link(a, b, &change)?;
        self.set_link(b, a, &change)
    }

    /// Changes one direction.
    pub fn set_link(&self, from: usize, to: usize, change: impl Fn(&mut Link)) -> Result<(), LinksError> {
        let mut link = self.link(from, to)?;
        change(&mut link);
        if !(0.0..=1.0).contains(&link.loss) {
            return Err(LinksError::Loss(link.loss));
        }
        self.write(|table| table.unusual.insert((from, to), link));
        Ok(())
    }

    /// Cuts a node off from all others and itself, or brings it back.
    pub fn set_node_down(&self, node: usize, down: bool) -> Result<(), LinksError> {
        self.check_node(node)?;
        self.write(|table| table.down[node] = down);
        Ok(())
    }

    /// The round trip that no measurement can undercut: both base delays, in microseconds; 0 to itself.
    pub fn true_rtt_us(&self, a: usize, b: usize) -> Result<u32, LinksError> {
        self.check_node(a.max(b))?;
        if a == b {
            return Ok(0);
        }
        Ok(self.read(|table| table.link(self.nodes, a, b).delay_us.saturating_add(table.link(self.nodes, b, a).delay_us)))
    }

    /// Whether packets pass from one node to the other.
    pub fn is_up(&self, from: usize, to: usize) -> Result<bool, LinksError> {
        self.check_node(from.max(to))?;
        Ok(self.read(|table| !table.is_cut(&table.link(self.nodes, from, to), from, to)))
    }

    /// Draws what becomes of one packet. Both indexes must be within the network.
    pub(super) fn draw(&self, from: usize, to: usize, random: &mut Random) -> Passage {
        let (link, cut) = self.read(|table| {
            let link = table.link(self.nodes, from, to);
            (link, table.is_cut(&link, from, to))
        });
        if cut {
            return Passage::Cut;
        }
        // No draw where nothing depends on it keeps seeds comparable.
        if link.loss > 0.0 && random.share() < link.loss {
            return Passage::Lost;
        }
        let jitter_us = match link.jitter_us {
            0 => 0,
            most => random.below(u64::from(most) + 1),
        };
        Passage::After(Duration::from_micros(u64::from(link.delay_us) + jitter_us))
    }

    /// Resolves when packets pass from one node to the other.
    pub(super) async fn up(&self, from: usize, to: usize) {
        let mut changes = self.changed.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = changes.wait_for(|_| self.is_up(from, to).unwrap_or(false)).await;
    }

    fn check_node(&self, node: usize) -> Result<(), LinksError> {
        if node < self.nodes { Ok(()) } else { Err(LinksError::NoNode { node, nodes: self.nodes }) }
    }

    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        // No code under the lock leaves the table half changed, so a poisoned one is as good.
        read(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Table) -> T) {
        write(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|generation| *generation += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Links {
        Links::new(3, vec![0, 1000, 2000, 1500, 0, 300, 2000, 300, 0], 0).unwrap()
    }

    fn draws(links: &Links, from: usize, to: usize, seed: u64) -> Vec<Passage> {
        let mut random = Random::new(seed);
        (0..1000).map(|_| links.draw(from, to, &mut random)).collect()
    }

    #[test]
    fn the_true_rtt_is_both_directions() {
        let links = network();
        let check = |a, b, expected| assert_eq!(links.true_rtt_us(a, b), expected);
        check(0, 1, Ok(2500));
        check(1, 0, Ok(2500));
        check(1, 1, Ok(0));
        check(1, 3, Err(LinksError::NoNode { node: 3, nodes: 3 }));
        links.set_link(0, 1, |link| link.delay_us = 4000).unwrap();
        check(0, 1, Ok(5500));
    }

    #[test]
    fn jitter_only_adds_and_follows_the_seed() {
        let links = network();
        links.set_pair(0, 1, |link| link.jitter_us = 200).unwrap();
        let delays = draws(&links, 0, 1, 7);
        let within = |passage: &Passage| matches!(passage, Passage::After(delay) if (1000..=1200).contains(&delay.as_micros()));
        assert!(delays.iter().all(within));
        assert!(delays.iter().any(|passage| *passage != delays[0]));
        assert_eq!(delays, draws(&links, 0, 1, 7));
        assert_ne!(delays, draws(&links, 0, 1, 8));
    }

    #[test]
    fn jitter_of_all_pairs_is_a_share_of_their_delay() {
        let links = Links::new(2, vec![0, 1000, 1000, 0], 50).unwrap();
        assert_eq!(links.link(0, 1).unwrap().jitter_us, 50);
    }

    #[test]
    fn loss_is_the_share_asked_for() {
        let links = network();
        let lost = |loss: f64| {
            links.set_pair(0, 2, |link| link.loss = loss).unwrap();
            draws(&links, 0, 2, 1).iter().filter(|passage| **passage == Passage::Lost).count()
        };
        assert_eq!(lost(0.0), 0);
        assert_eq!(lost(1.0), 1000);
        assert!((250..350).contains(&lost(0.3)), "{}", lost(0.3));
        assert_eq!(links.set_pair(0, 2, |link| link.loss = 1.5), Err(LinksError::Loss(1.5)));
    }

    #[tokio::test]
    async fn cuts_hold_until_healed() {
        let links = network();
        links.set_node_down(1, true).unwrap();
        assert_eq!(draws(&links, 0, 1, 1)[0], Passage::Cut);
        assert_eq!(draws(&links, 1, 2, 1)[0], Passage::Cut);
        assert_eq!(links.is_up(0, 2), Ok(true));
        let (_, ()) = tokio::join!(links.up(0, 1), async {
            links.set_node_down(1, false).unwrap();
        });
        links.set_link(0, 1, |link| link.cut = true).unwrap();
        assert_eq!((links.is_up(0, 1), links.is_up(1, 0)), (Ok(false), Ok(true)));
    }

    #[test]
    fn a_matrix_of_another_size_is_refused() {
        assert_eq!(Links::new(2, vec![0; 3], 0).unwrap_err(), LinksError::NotSquare { nodes: 2, expected: 4, found: 3 });
    }
}
