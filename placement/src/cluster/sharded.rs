//! A hash table whose clone is one reference count, and whose change after a clone copies one shard.
//!
//! Two levels of 64: a change under a held snapshot copies 64 + 64 pointers and one 4096th of the entries, about 50 of 200,000 pods. A plain map copies all.
//! Iteration order follows the hashes; where order matters, the caller sorts.

use hashbrown::HashTable;
use std::sync::Arc;

const FANOUT: usize = 64;

/// What the table holds knows its own hash.
pub(super) trait Keyed: Clone {
    fn hash(&self) -> u64;
}

type Leaf<T> = Arc<HashTable<T>>;
type Branch<T> = Arc<Vec<Leaf<T>>>;

#[derive(Clone, Debug)]
pub(super) struct Sharded<T> {
    root: Arc<Vec<Branch<T>>>,
    len: usize,
}

impl<T: Keyed> Default for Sharded<T> {
    fn default() -> Self {
        let leaf: Leaf<T> = Arc::new(HashTable::new());
        let branch: Branch<T> = Arc::new(vec![leaf; FANOUT]);
        Sharded { root: Arc::new(vec![branch; FANOUT]), len: 0 }
    }
}

/// FxHasher leaves its best bits lowest; the table inside uses the lowest and the top seven, so the shard takes bits 14 to 25.
fn shard(hash: u64) -> (usize, usize) {
    ((hash >> 14) as usize % FANOUT, (hash >> 20) as usize % FANOUT)
}

impl<T: Keyed> Sharded<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        let (branch, leaf) = shard(hash);
        self.root[branch][leaf].find(hash, eq)
    }

    fn leaf_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        let (branch, leaf) = shard(hash);
        Arc::make_mut(&mut Arc::make_mut(&mut Arc::make_mut(&mut self.root)[branch])[leaf])
    }

    /// The entry, to be changed in place. Copies only when there is one.
    pub fn find_mut(&mut self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.find(hash, &mut eq)?;
        self.leaf_mut(hash).find_mut(hash, eq)
    }

    /// Adds an entry; the caller knows that there is none of that key.
    pub fn insert(&mut self, value: T) {
        let hash = value.hash();
        self.leaf_mut(hash).insert_unique(hash, value, T::hash);
        self.len += 1;
    }

    pub fn remove(&mut self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<T> {
        self.find(hash, &mut eq)?;
        let (value, _) = self.leaf_mut(hash).find_entry(hash, eq).ok()?.remove();
        self.len -= 1;
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.root.iter().flat_map(|branch| branch.iter().flat_map(|leaf| leaf.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustc_hash::FxHasher;
    use std::hash::Hasher;

    impl Keyed for (u64, u64) {
        fn hash(&self) -> u64 {
            hash(self.0)
        }
    }

    fn hash(key: u64) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write_u64(key);
        hasher.finish()
    }

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut table = Sharded::default();
        for key in 0..10_000 {
            table.insert((key, 0));
        }
        let before = table.clone();
        table.find_mut(hash(7), |e| e.0 == 7).unwrap().1 = 1;
        table.remove(hash(8), |e| e.0 == 8).unwrap();
        let at = |t: &Sharded<(u64, u64)>, key| t.find(hash(key), |e| e.0 == key).copied();
        assert_eq!((at(&before, 7), at(&before, 8), before.len()), (Some((7, 0)), Some((8, 0)), 10_000));
        assert_eq!((at(&table, 7), at(&table, 8), table.len()), (Some((7, 1)), None, 9_999));
        assert_eq!(table.iter().count(), 9_999);
        assert!(table.find_mut(hash(10_001), |e| e.0 == 10_001).is_none());
    }
}
