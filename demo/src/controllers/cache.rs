//! What the controllers know of one kind: the last version of every object, by namespace and name.
//!
//! Versions never go back: the answer to our own write is put in at once, so that no controller acts twice on what it has just done,
//! and the watch, which tells of it later, changes nothing then.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::watches::Change;
use kube::ResourceExt;

/// Namespace (empty for cluster-scoped kinds) and name.
pub(super) type Key = (String, String);

pub(super) struct Cache<K> {
    objects: BTreeMap<Key, Arc<K>>,
    pub is_synced: bool,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Cache { objects: BTreeMap::new(), is_synced: false }
    }
}

pub(super) fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl<K: ResourceExt> Cache<K> {
    /// Takes in a change; the objects it concerns, before and after.
    pub fn apply(&mut self, change: Change<K>) -> Vec<Arc<K>> {
        match change {
            Change::Apply(object) => self.put(object),
            Change::Delete(object) => self.objects.remove(&key(&object)).into_iter().collect(),
            Change::Reset(objects) => {
                self.is_synced = true;
                let mut concerned: Vec<Arc<K>> = std::mem::take(&mut self.objects).into_values().collect();
                for object in objects {
                    concerned.extend(self.put(object));
                }
                concerned
            }
        }
    }

    /// Puts an object in unless a newer version is there.
    pub fn put(&mut self, mut object: K) -> Vec<Arc<K>> {
        object.managed_fields_mut().clear();
        let key = key(&object);
        let old = self.objects.get(&key);
        if let Some(old) = old
            && old.uid() == object.uid()
            && version(old.as_ref()) >= version(&object)
        {
            return Vec::new();
        }
        let new = Arc::new(object);
        let old = self.objects.insert(key, new.clone());
        old.into_iter().chain([new]).collect()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        // A pair of owned strings is the key; these are two small copies a look-up.
        self.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    /// All of one namespace.
    pub fn within<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        let first = (namespace.to_owned(), String::new());
        self.objects.range(first..).take_while(move |((of, _), _)| of == namespace).map(|(_, object)| object)
    }
}

/// Resource versions are numbers that grow (Kubernetes promises it since 1.35).
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn pod(namespace: &str, name: &str, uid: &str, version: u64) -> Pod {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_string()),
            ..Default::default()
        };
        Pod { metadata, ..Default::default() }
    }

    #[test]
    fn versions_do_not_go_back() {
        let mut cache = Cache::default();
        let mut check = |change: Change<Pod>, concerned: usize, expected: Option<&str>| {
            assert_eq!(cache.apply(change).len(), concerned);
            assert_eq!(cache.get("a", "x").and_then(|pod| pod.resource_version()).as_deref(), expected);
        };
        check(Change::Apply(pod("a", "x", "1", 10)), 1, Some("10"));
        check(Change::Apply(pod("a", "x", "1", 9)), 0, Some("10"));
        check(Change::Apply(pod("a", "x", "1", 11)), 2, Some("11"));
        check(Change::Apply(pod("a", "x", "2", 7)), 2, Some("7"));
        check(Change::Delete(pod("a", "x", "2", 12)), 1, None);
        check(Change::Reset(vec![pod("a", "x", "3", 20), pod("b", "y", "4", 21)]), 2, Some("20"));
        check(Change::Reset(vec![pod("b", "y", "4", 21)]), 3, None);
    }

    #[test]
    fn namespaces_are_apart() {
        let mut cache = Cache::default();
        cache.apply(Change::Reset(vec![pod("a", "x", "1", 1), pod("ab", "y", "2", 2), pod("b", "z", "3", 3)]));
        let within = |namespace| cache.within(namespace).map(|pod| pod.name_any()).collect::<Vec<_>>();
        assert_eq!((within("a"), within("ab"), within("c")), (vec!["x".to_owned()], vec!["y".to_owned()], vec![]));
        assert_eq!(cache.all().count(), 3);
    }
}
