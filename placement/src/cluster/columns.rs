//! Per-node columns in chunks: what a decision walks.
//!
//! Two kinds of chunk, because they change at different rates: `Load` (numbers, changed by every assume, copied as plain memory) and `Fixed` (labels, taints;
//! changed by node updates). 256 nodes a chunk: a change under a held snapshot copies 22 kB of numbers, and 20,000 nodes are 79 pointers.

use super::{HostPort, Node, Resources};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nodes per chunk; four words of a bitset.
pub const CHUNK: usize = 256;

/// Amounts are kept below 2^53: sums over a node's pods can't overflow, and every one is exact as a float. 9 PB, or 9 * 10^12 cores.
const LIMIT: i64 = 1 << 53;

/// A resource's amount as it is kept.
pub fn amount(raw: i64) -> i64 {
    raw.clamp(0, LIMIT)
}

/// The resources that every node has, in the order in which an Insufficient is reported.
pub const BASIC: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// `cpu` in milli, `memory` and `ephemeral-storage` in bytes.
pub fn basic(resources: &Resources) -> [i64; 3] {
    [amount(resources.cpu.0), amount(resources.memory.0), amount(resources.ephemeral_storage.0)]
}

/// One extended resource on the nodes of one chunk.
#[derive(Clone, Debug)]
pub struct ExtendedColumn {
    /// As [`super::Snapshot::resource`] says.
    pub resource: u32,
    pub allocatable: Box<[i64]>,
    pub requested: Box<[i64]>,
}

impl ExtendedColumn {
    fn is_used(&self) -> bool {
        self.allocatable.iter().chain(&self.requested).any(|amount| *amount != 0)
    }
}

#[derive(Clone, Debug)]
pub struct LoadChunk {
    version: u64,
    pub allocatable: [[i64; CHUNK]; 3],
    /// Sum over bound and assumed pods that have not ended.
    pub requested: [[i64; CHUNK]; 3],
    /// CPU and memory with the defaults that scoring gives to containers without a request.
    pub scoring: [[i64; CHUNK]; 2],
    pub pods_allocatable: [i64; CHUNK],
    pub pods: [i64; CHUNK],
    /// Only resources that some node of the chunk has or some pod on it asks for.
    pub extended: Vec<ExtendedColumn>,
    /// Host ports in use, in no particular order.
    pub ports: Vec<PortUse>,
}

/// A host port on one node of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct PortUse {
    pub slot: u16,
    pub port: HostPort,
    /// More than one where the kubelet, or another scheduler, is yet to find out.
    pub pods: u16,
}

impl Default for LoadChunk {
    fn default() -> Self {
        LoadChunk {
            version: 0,
            allocatable: [[0; CHUNK]; 3],
            requested: [[0; CHUNK]; 3],
            scoring: [[0; CHUNK]; 2],
            pods_allocatable: [0; CHUNK],
            pods: [0; CHUNK],
            extended: Vec::new(),
            ports: Vec::new(),
        }
    }
}

/// What one pod takes, with its extended resources by index.
pub struct Take<'a> {
    pub requests: &'a Resources,
    pub scoring: &'a Resources,
    pub extended: &'a [(u32, i64)],
    pub ports: &'a [HostPort],
}

/// Of all chunks of the process: equal versions have equal content, in whatever cluster or snapshot.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

impl LoadChunk {
    /// Another with every change: what was found out of a chunk of this version holds for every chunk of this version.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn changed(&mut self) {
        self.version = VERSIONS.fetch_add(1, Ordering::Relaxed);
    }

    pub fn extended(&self, resource: u32) -> Option<&ExtendedColumn> {
        self.extended.iter().find(|column| column.resource == resource)
    }

    fn extended_mut(&mut self, resource: u32) -> &mut ExtendedColumn {
        let at = self.extended.iter().position(|column| column.resource == resource).unwrap_or_else(|| {
            let empty = || vec![0; CHUNK].into_boxed_slice();
            self.extended.push(ExtendedColumn { resource, allocatable: empty(), requested: empty() });
            self.extended.len() - 1
        });
        &mut self.extended[at]
    }

    pub fn set_allocatable(&mut self, slot: usize, allocatable: &Resources, extended: &[(u32, i64)]) {
        self.changed();
        for (column, value) in self.allocatable.iter_mut().zip(basic(allocatable)) {
            column[slot] = value;
        }
        self.pods_allocatable[slot] = amount(allocatable.pods);
        for column in &mut self.extended {
            column.allocatable[slot] = 0;
        }
        for &(resource, value) in extended {
            self.extended_mut(resource).allocatable[slot] = amount(value);
        }
        self.extended.retain(ExtendedColumn::is_used);
    }

    /// A pod comes (`sign` 1) or goes (-1).
    pub fn add(&mut self, slot: usize, take: &Take<'_>, sign: i64) {
        self.changed();
        for (column, value) in self.requested.iter_mut().zip(basic(take.requests)) {
            column[slot] += sign * value;
        }
        for (column, value) in self.scoring.iter_mut().zip(basic(take.scoring)) {
            column[slot] += sign * value;
        }
        self.pods[slot] += sign;
        for &(resource, value) in take.extended {
            let column = self.extended_mut(resource);
            column.requested[slot] += sign * amount(value);
            if !column.is_used() {
                self.extended.retain(|column| column.resource != resource);
            }
        }
        for &port in take.ports {
            self.use_port(slot as u16, port, sign);
        }
    }

    fn use_port(&mut self, slot: u16, port: HostPort, sign: i64) {
        let known = self.ports.iter().position(|used| used.slot == slot && used.port == port);
        match known {
            None if sign > 0 => self.ports.push(PortUse { slot, port, pods: 1 }),
            None => {}
            Some(at) => {
                let used = &mut self.ports[at];
                used.pods = if sign > 0 { used.pods.saturating_add(1) } else { used.pods - 1 };
                if used.pods == 0 {
                    self.ports.swap_remove(at);
                }
            }
        }
    }
}

/// What is known of one node name besides numbers.
#[derive(Clone, Debug, Default)]
pub struct FixedSlot {
    /// `None`: the index is free.
    pub name: Option<Arc<str>>,
    /// `None`: only pods or topology rows of that name are known.
    pub node: Option<Arc<Node>>,
    /// Of the name; the same in every process.
    pub name_hash: u64,
    /// The node has the cloud role.
    pub cloud: bool,
    /// Key of the control-plane taint that the node lacks and is treated as if it had.
    pub implied_taint: Option<Arc<str>>,
    /// Price times its weight, in microseconds.
    pub price_us: f64,
    /// Static generation at which anything above changed.
    pub touched: u64,
    /// Newest measurement to or from this name, in milliseconds since the epoch.
    pub measured: u64,
}

#[derive(Clone, Debug, Default)]
pub struct FixedChunk {
    /// The newest `touched` within.
    pub touched: u64,
    pub slots: Vec<FixedSlot>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, MilliCpu};

    #[test]
    fn what_comes_and_goes_leaves_nothing_even_when_absurd() {
        let mut chunk = LoadChunk::default();
        let absurd = Resources { cpu: MilliCpu(i64::MAX), memory: Bytes(-5), ..Resources::default() };
        let take = Take { requests: &absurd, scoring: &absurd, extended: &[(0, i64::MAX)], ports: &[] };
        for _ in 0..500 {
            chunk.add(3, &take, 1);
        }
        assert!(chunk.requested[0][3] > 0 && chunk.requested[1][3] == 0);
        for _ in 0..500 {
            chunk.add(3, &take, -1);
        }
        assert_eq!((chunk.requested[0][3], chunk.scoring[0][3], chunk.pods[3], chunk.extended.len()), (0, 0, 0, 0));
    }
}
