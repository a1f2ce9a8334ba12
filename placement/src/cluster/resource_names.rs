//! Extended resources are known to columns by number. Anybody may make names up, so those that no column has any more are forgotten; a number is never
//! given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names that are not worth looking through.
const FEW: usize = 64;

#[derive(Clone, Debug, Default)]
pub struct ResourceNames {
    numbers: BTreeMap<Arc<str>, u32>,
    next: u32,
    /// How many were left when they were looked through last.
    left: usize,
}

impl ResourceNames {
    pub fn get(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub fn add(&mut self, name: &str) -> u32 {
        let number = self.next;
        self.next += 1;
        self.numbers.insert(name.into(), number);
        number
    }

    /// So many have come since the last look that it pays to look again.
    pub fn are_many(&self) -> bool {
        self.numbers.len() > FEW.max(2 * self.left)
    }

    pub fn retain(&mut self, used: &BTreeSet<u32>) {
        self.numbers.retain(|_, number| used.contains(number));
        self.left = self.numbers.len();
    }
}
