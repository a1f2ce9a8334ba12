//! Values derived from a key, found again by the key's content without building a key.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

#[derive(Debug)]
pub(super) struct Interned<K, V> {
    table: HashTable<u32>,
    entries: Vec<(u64, K, V)>,
}

impl<K, V> Default for Interned<K, V> {
    fn default() -> Self {
        Interned { table: HashTable::new(), entries: Vec::new() }
    }
}

pub(super) fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

impl<K, V> Interned<K, V> {
    pub fn find(&self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<usize> {
        let same = |&at: &u32| {
            let (known, key, _) = &self.entries[at as usize];
            *known == hash && eq(key)
        };
        self.table.find(hash, same).map(|&at| at as usize)
    }

    /// Adds what `find` did not find.
    pub fn insert(&mut self, hash: u64, key: K, value: V) -> usize {
        let at = self.entries.len();
        self.entries.push((hash, key, value));
        let entries = &self.entries;
        self.table.insert_unique(hash, at as u32, |&at| entries[at as usize].0);
        at
    }

    pub fn get(&self, at: usize) -> &V {
        &self.entries[at].2
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(_, key, value)| (&*key, value))
    }

    /// Starts anew when `limit` is reached: simpler than choosing a victim, and a full set is cheap to build again at the rate at which it fills.
    pub fn trim(&mut self, limit: usize) {
        if self.entries.len() >= limit {
            *self = Interned::default();
        }
    }
}
