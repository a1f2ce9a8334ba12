//! Pools as one node sees them: the slices of their newest generation that reach it, if all of the pool's slices are there.

use super::device::{ResourceSlice, device_id};
use crate::cluster::Node;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Slices, found by the node that they belong to.
pub(super) struct Slices<'a> {
    of_node: FxHashMap<&'a str, Vec<&'a ResourceSlice>>,
    shared: Vec<&'a ResourceSlice>,
    all: &'a BTreeMap<String, Arc<ResourceSlice>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolState {
    Usable,
    /// The driver has not published all of it yet.
    Incomplete,
    /// Two devices have one name.
    Invalid,
}

pub(super) struct Pool<'a> {
    pub driver: &'a str,
    pub name: &'a str,
    pub state: PoolState,
    /// In the order of their names; a search takes the first device that will do.
    pub slices: Vec<&'a ResourceSlice>,
    /// By slice and device, whether a claim has it.
    pub allocated: Vec<Vec<bool>>,
}

impl<'a> Slices<'a> {
    pub fn new(all: &'a BTreeMap<String, Arc<ResourceSlice>>) -> Slices<'a> {
        let (mut of_node, mut shared) = (FxHashMap::<&str, Vec<&ResourceSlice>>::default(), Vec::new());
        for slice in all.values() {
            match &slice.reach {
                super::Reach::Node(name) => of_node.entry(name).or_default().push(slice),
                _ => shared.push(&**slice),
            }
        }
        Slices { of_node, shared, all }
    }

    /// The pools of which devices reach the node, by driver and name.
    pub fn pools(&self, node: &Node, allocated: &FxHashMap<String, u32>) -> Vec<Pool<'a>> {
        let mut found: BTreeMap<(&str, &str), Vec<&ResourceSlice>> = BTreeMap::new();
        let local = self.of_node.get(&*node.name).into_iter().flatten();
        let relevant = local.chain(&self.shared).filter(|slice| !slice.ignored && slice.reaches(node));
        for &slice in relevant {
            let slices = found.entry((&slice.driver, &slice.pool)).or_default();
            match slices.first().map(|first| first.generation.cmp(&slice.generation)) {
                Some(std::cmp::Ordering::Greater) => {}
                Some(std::cmp::Ordering::Less) => *slices = vec![slice],
                _ => slices.push(slice),
            }
        }
        found.into_iter().filter_map(|((driver, name), slices)| self.pool(driver, name, slices, allocated)).collect()
    }

    /// `None`: a newer generation has begun, of which nothing reaches the node so far.
    fn pool(
        &self,
        driver: &'a str,
        name: &'a str,
        mut slices: Vec<&'a ResourceSlice>,
        allocated: &FxHashMap<String, u32>,
    ) -> Option<Pool<'a>> {
        let (generation, wanted) = (slices[0].generation, slices[0].slice_count);
        let mut state = PoolState::Usable;
        if slices.len() as i64 != wanted {
            let whole: Vec<&Arc<ResourceSlice>> = self.all.values().filter(|slice| slice.driver == driver && slice.pool == name).collect();
            if whole.iter().any(|slice| slice.generation > generation) {
                return None;
            }
            let count = whole.iter().filter(|slice| slice.generation == generation && !slice.ignored).count();
            if count as i64 != wanted {
                state = PoolState::Incomplete;
            }
        }
        slices.sort_by(|a, b| a.name.cmp(&b.name));
        let mut names = FxHashSet::default();
        if state == PoolState::Usable && !slices.iter().flat_map(|slice| &slice.devices).all(|device| names.insert(&device.name)) {
            state = PoolState::Invalid;
        }
        let has = |slice: &ResourceSlice| {
            let has = |device: &super::Device| allocated.contains_key(&device_id(driver, name, &device.name));
            slice.devices.iter().map(has).collect()
        };
        let allocated = if allocated.is_empty() {
            slices.iter().map(|slice| vec![false; slice.devices.len()]).collect()
        } else {
            slices.iter().map(|slice| has(slice)).collect()
        };
        Some(Pool { driver, name, state, slices, allocated })
    }
}
