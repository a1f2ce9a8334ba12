//! Tables of storage objects: by name, and by whatever else they are looked up by.

use super::super::index::pod_hash;
use super::super::sharded::{Keyed, Sharded};
use super::StorageObject;
use std::sync::Arc;

/// Objects of one kind by namespace and name.
#[derive(Clone, Debug)]
pub struct Table<T>(Sharded<Row<T>>);

#[derive(Debug)]
struct Row<T>(Arc<T>);

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        Row(Arc::clone(&self.0))
    }
}

impl<T: StorageObject> Keyed for Row<T> {
    fn hash(&self) -> u64 {
        pod_hash(self.0.namespace(), self.0.name())
    }
}

impl<T: StorageObject> Default for Table<T> {
    fn default() -> Self {
        Table(Sharded::default())
    }
}

impl<T: StorageObject> Table<T> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.0.find(pod_hash(namespace, name), is(namespace, name)).map(|row| &row.0)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter().map(|row| &row.0)
    }

    /// Puts the object in the place of the one of its name, if there is one.
    pub fn set(&mut self, object: Arc<T>) {
        let hash = pod_hash(object.namespace(), object.name());
        match self.0.find_mut(hash, is(object.namespace(), object.name())) {
            Some(row) => row.0 = object,
            None => self.0.insert(Row(object)),
        }
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        self.0.remove(pod_hash(namespace, name), is(namespace, name));
    }
}

fn is<'a, T: StorageObject>(namespace: &'a str, name: &'a str) -> impl Fn(&Row<T>) -> bool + 'a {
    move |row| row.0.name() == name && row.0.namespace() == namespace
}

/// Objects filed under a hash that several may have. Two keys of one hash share a file: who reads it looks at the objects.
#[derive(Clone, Debug)]
pub struct Files<T>(Sharded<File<T>>);

#[derive(Debug)]
struct File<T> {
    hash: u64,
    objects: Vec<Arc<T>>,
}

impl<T> Clone for File<T> {
    fn clone(&self) -> Self {
        File { hash: self.hash, objects: self.objects.clone() }
    }
}

impl<T> Keyed for File<T> {
    fn hash(&self) -> u64 {
        self.hash
    }
}

impl<T> Default for Files<T> {
    fn default() -> Self {
        Files(Sharded::default())
    }
}

impl<T> Files<T> {
    pub fn get(&self, hash: u64) -> &[Arc<T>] {
        self.0.find(hash, |file| file.hash == hash).map_or(&[], |file| &file.objects)
    }

    /// Files the object in the order of `key`, which no other object of the file has.
    pub fn add<K: Ord>(&mut self, hash: u64, object: Arc<T>, key: impl Fn(&T) -> K) {
        let Some(file) = self.0.find_mut(hash, |file| file.hash == hash) else {
            return self.0.insert(File { hash, objects: vec![object] });
        };
        let at = file.objects.partition_point(|other| key(other) < key(&object));
        file.objects.insert(at, object);
    }

    pub fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) {
        let Some(file) = self.0.find_mut(hash, |file| file.hash == hash) else { return };
        file.objects.retain(|object| !is(object));
        if file.objects.is_empty() {
            self.0.remove(hash, |file| file.hash == hash);
        }
    }
}
