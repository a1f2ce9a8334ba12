//! Objects by key, one resourceVersion counter, a bounded history per resource, and their watchers.
//!
//! A write happens under one lock: check, number, serialise, remember, publish. Reads hand out shared,
//! already serialised objects.

mod hub;
mod object;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;
use tokio::sync::mpsc;

pub use hub::Trigger;
pub use object::{Change, ChangeKind, Field, Object, Storage, frame};

use hub::Hub;

/// What the observers of a server see, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum Observation {
    /// An object was created, updated or removed.
    Change(Arc<Change>),
    /// A pod was bound through the binding subresource; the change it made comes just before.
    Bound(Arc<Binding>),
}

/// An accepted binding.
#[derive(Debug)]
pub struct Binding {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The node it was bound to.
    pub node: String,
    /// Who asked.
    pub user: String,
    /// The pod's resourceVersion afterwards.
    pub rv: u64,
    /// When.
    pub at: jiff::Timestamp,
}

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// An object of that key exists.
    Exists,
    /// No object has that key.
    Missing,
    /// The object is not at the expected resourceVersion.
    Conflict,
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: this creates.
    Absent,
    /// The object at this resourceVersion.
    Version(u64),
}

/// The history asked for is gone; `oldest` is the first resourceVersion that can still be resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// First resourceVersion that can be resumed from.
    pub oldest: u64,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<(Box<str>, Box<str>), Arc<Object>>,
    history: VecDeque<Arc<Change>>,
    /// resourceVersion of the newest change that left the history.
    compacted: u64,
    hub: Mutex<Hub>,
}

#[derive(Debug, Default)]
struct State {
    rv: u64,
    /// resourceVersion up to which everything is forgotten, of resources too that have no collection yet.
    compacted: u64,
    collections: HashMap<Box<str>, Collection>,
    observers: Vec<mpsc::UnboundedSender<Observation>>,
}

/// The store. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Store {
    state: RwLock<State>,
    history: usize,
    queue: usize,
}

/// An open watch: what was there, what has happened since, and what will.
#[derive(Debug)]
pub struct Watch {
    /// Objects at the start, when the watch began from the present.
    pub initial: Vec<Arc<Object>>,
    /// Changes between the asked and the present resourceVersion.
    pub backlog: Vec<Arc<Change>>,
    /// The present resourceVersion.
    pub rv: u64,
    /// Changes from here on; closed when the watcher was too slow.
    pub changes: mpsc::Receiver<Arc<Change>>,
    store: Arc<Store>,
    storage: Arc<Storage>,
    trigger: Trigger,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(collection) = self.store.read().collections.get(&self.storage.id) {
            hub(collection).remove(&self.trigger, self.id);
        }
    }
}

fn hub(collection: &Collection) -> MutexGuard<'_, Hub> {
    collection.hub.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// An empty store that remembers `history` changes per resource and lets `queue` changes wait per watcher.
    pub fn new(history: usize, queue: usize) -> Arc<Self> {
        Arc::new(Self { state: RwLock::default(), history: history.max(1), queue: queue.max(1) })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resourceVersion of the last change.
    pub fn resource_version(&self) -> u64 {
        self.read().rv
    }

    /// One object.
    pub fn get(&self, storage: &Storage, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let state = self.read();
        state.collections.get(&storage.id)?.objects.get(&(namespace.into(), name.into())).cloned()
    }

    /// Every object of the resource, of one namespace when given, in key order, with the present resourceVersion.
    pub fn list(&self, storage: &Storage, namespace: Option<&str>) -> (Vec<Arc<Object>>, u64) {
        let state = self.read();
        (state.collections.get(&storage.id).map(|c| c.list(namespace)).unwrap_or_default(), state.rv)
    }

    /// The list as it was at `rv`, rebuilt from the history.
    pub fn list_at(&self, storage: &Storage, namespace: Option<&str>, rv: u64) -> Result<Vec<Arc<Object>>, Expired> {
        let state = self.read();
        let Some(collection) = state.collections.get(&storage.id) else { return Ok(Vec::new()) };
        if rv < collection.compacted {
            return Err(Expired { oldest: collection.compacted });
        }
        let mut objects: BTreeMap<(&str, &str), &Arc<Object>> =
            collection.objects.iter().map(|((ns, name), o)| ((&**ns, &**name), o)).collect();
        for change in collection.history.iter().rev().take_while(|change| change.object.rv > rv) {
            let key = (&*change.object.namespace, &*change.object.name);
            match &change.previous {
                Some(previous) => objects.insert(key, previous),
                None => objects.remove(&key),
            };
        }
        let wanted = |(ns, _): &(&str, &str)| namespace.is_none_or(|namespace| namespace == *ns);
        Ok(objects.into_iter().filter(|(key, _)| wanted(key)).map(|(_, o)| o.clone()).collect())
    }

    /// Stores `value` under its key; the resourceVersion is written into it.
    pub fn put(
        &self,
        storage: &Arc<Storage>,
        namespace: &str,
        name: &str,
        expect: Expect,
        value: Value,
    ) -> Result<Arc<Object>, WriteError> {
        let mut state = self.write();
        let rv = state.rv + 1;
        let collection = state.collection(storage);
        let key = (namespace.into(), name.into());
        let previous = collection.objects.get(&key).cloned();
        match (expect, &previous) {
            (Expect::Absent, Some(_)) => return Err(WriteError::Exists),
            (Expect::Version(_), None) => return Err(WriteError::Missing),
            (Expect::Version(version), Some(found)) if found.rv != version => return Err(WriteError::Conflict),
            _ => {}
        }
        let object = Arc::new(Object::new(storage, namespace, name, value, rv));
        collection.objects.insert(key, object.clone());
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        state.publish(Change::new(kind, object.clone(), previous), self.history);
        Ok(object)
    }

    /// Removes an object, returning its last state under the deletion's resourceVersion.
    pub fn remove(&self, storage: &Arc<Storage>, namespace: &str, name: &str, version: Option<u64>) -> Result<Arc<Object>, WriteError> {
        let mut state = self.write();
        let rv = state.rv + 1;
        let collection = state.collections.get_mut(&storage.id).ok_or(WriteError::Missing)?;
        let key = (namespace.into(), name.into());
        let previous = collection.objects.get(&key).cloned().ok_or(WriteError::Missing)?;
        if version.is_some_and(|version| version != previous.rv) {
            return Err(WriteError::Conflict);
        }
        collection.objects.remove(&key);
        let object = Arc::new(Object::new(storage, namespace, name, previous.value(), rv));
        state.publish(Change::new(ChangeKind::Deleted, object.clone(), Some(previous)), self.history);
        Ok(object)
    }

    /// Opens a watch after `from`, or from the present with the objects that are there when `from` is `None`.
    pub fn watch(self: &Arc<Self>, storage: &Arc<Storage>, from: Option<u64>, trigger: Trigger) -> Result<Watch, Expired> {
        // A resource that nobody wrote yet still needs its hub.
        if !self.read().collections.contains_key(&storage.id) {
            self.write().collection(storage);
        }
        let state = self.read();
        let collection = state.collections.get(&storage.id).expect("collections are never removed");
        let (mut initial, mut backlog) = (Vec::new(), Vec::new());
        match from {
            None => {
                let namespace = match &trigger {
                    Trigger::Namespace(namespace) => Some(&**namespace),
                    _ => None,
                };
                initial = collection.list(namespace);
            }
            Some(rv) if rv < collection.compacted => return Err(Expired { oldest: collection.compacted }),
            Some(rv) => {
                let start = collection.history.partition_point(|change| change.object.rv <= rv);
                backlog = collection.history.range(start..).cloned().collect();
            }
        }
        let (id, changes) = hub(collection).add(trigger.clone(), self.queue);
        let rv = state.rv;
        drop(state);
        Ok(Watch { initial, backlog, rv, changes, store: self.clone(), storage: storage.clone(), trigger, id })
    }

    /// How many watches are open, over all resources.
    pub fn watchers(&self) -> usize {
        self.read().collections.values().map(|c| hub(c).len()).sum()
    }

    /// Forgets every resource's history, so that any earlier resourceVersion is too old.
    pub fn compact(&self) {
        let mut state = self.write();
        let rv = state.rv;
        state.compacted = rv;
        for collection in state.collections.values_mut() {
            collection.history.clear();
            collection.compacted = rv;
        }
    }

    /// Follows everything that happens from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Observation> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.write().observers.push(sender);
        receiver
    }

    /// Tells the observers of an accepted binding.
    pub fn report_bound(&self, bound: Binding) {
        let bound = Arc::new(bound);
        self.write().observe(&Observation::Bound(bound));
    }
}

impl Collection {
    fn list(&self, namespace: Option<&str>) -> Vec<Arc<Object>> {
        match namespace {
            None => self.objects.values().cloned().collect(),
            Some(namespace) => {
                let from: (Box<str>, Box<str>) = (namespace.into(), "".into());
                self.objects
                    .range((Bound::Included(from), Bound::Unbounded))
                    .take_while(|((ns, _), _)| &**ns == namespace)
                    .map(|(_, object)| object.clone())
                    .collect()
            }
        }
    }
}

impl State {
    fn collection(&mut self, storage: &Storage) -> &mut Collection {
        let compacted = self.compacted;
        self.collections.entry(storage.id.clone()).or_insert_with(|| Collection { compacted, ..Collection::default() })
    }

    fn publish(&mut self, change: Change, history: usize) {
        let change = Arc::new(change);
        self.rv = change.object.rv;
        if let Some(collection) = self.collections.get_mut(&change.object.storage.id) {
            collection.history.push_back(change.clone());
            if collection.history.len() > history
                && let Some(dropped) = collection.history.pop_front()
            {
                collection.compacted = dropped.object.rv;
            }
            hub(collection).publish(&change);
        }
        self.observe(&Observation::Change(change));
    }

    fn observe(&mut self, observation: &Observation) {
        self.observers.retain(|observer| observer.send(observation.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods() -> Arc<Storage> {
        let fields = vec![Field { label: "spec.nodeName".into(), pointer: "/spec/nodeName".into(), default: "" }];
        Arc::new(Storage { id: "pods".into(), fields })
    }

    fn pod(name: &str, node: &str) -> Value {
        json!({ "metadata": { "name": name, "uid": name }, "spec": { "nodeName": node } })
    }

    fn names(list: &[Arc<Object>]) -> Vec<&str> {
        list.iter().map(|o| &*o.name).collect()
    }

    #[test]
    fn writes_check_what_they_expect() {
        let (store, pods) = (Store::new(10, 10), pods());
        let put = |expect| store.put(&pods, "a", "p", expect, pod("p", "")).map(|o| o.rv);
        assert_eq!(put(Expect::Version(1)), Err(WriteError::Missing));
        assert_eq!(put(Expect::Absent), Ok(1));
        assert_eq!(put(Expect::Absent), Err(WriteError::Exists));
        assert_eq!(put(Expect::Version(7)), Err(WriteError::Conflict));
        assert_eq!(put(Expect::Version(1)), Ok(2));
        assert_eq!(store.remove(&pods, "a", "p", Some(1)).map(|o| o.rv), Err(WriteError::Conflict));
        assert_eq!(store.remove(&pods, "a", "p", Some(2)).map(|o| o.rv), Ok(3));
        assert_eq!(store.remove(&pods, "a", "p", None).map(|o| o.rv), Err(WriteError::Missing));
    }

    #[test]
    fn history_is_bounded_and_replays_what_it_has() {
        let (store, pods) = (Store::new(2, 10), pods());
        for name in ["a", "b", "c", "d"] {
            store.put(&pods, "ns", name, Expect::Absent, pod(name, "")).unwrap();
        }
        assert_eq!(store.watch(&pods, Some(1), Trigger::All).unwrap_err(), Expired { oldest: 2 });
        let watch = store.watch(&pods, Some(2), Trigger::All).unwrap();
        assert_eq!(watch.backlog.iter().map(|c| &*c.object.name).collect::<Vec<_>>(), ["c", "d"]);
        store.compact();
        assert!(store.watch(&pods, Some(3), Trigger::All).is_err());
        assert!(store.watch(&pods, Some(4), Trigger::All).is_ok());
    }

    #[test]
    fn an_old_list_is_rebuilt_from_history() {
        let (store, pods) = (Store::new(10, 10), pods());
        store.put(&pods, "ns", "a", Expect::Absent, pod("a", "")).unwrap();
        store.put(&pods, "ns", "b", Expect::Absent, pod("b", "")).unwrap();
        store.remove(&pods, "ns", "a", None).unwrap();
        store.put(&pods, "ns", "b", Expect::Version(2), pod("b", "n")).unwrap();
        let at = |rv| store.list_at(&pods, None, rv).unwrap();
        assert_eq!(names(&at(1)), ["a"]);
        assert_eq!(names(&at(2)), ["a", "b"]);
        assert_eq!(at(2)[1].rv, 2);
        assert_eq!(names(&at(4)), ["b"]);
        assert_eq!(names(&store.list(&pods, Some("other")).0), Vec::<&str>::new());
    }

    #[test]
    fn a_node_watch_hears_only_of_its_node() {
        let (store, pods) = (Store::new(10, 10), pods());
        let mut watch = store.watch(&pods, None, Trigger::Node("n1".into())).unwrap();
        store.put(&pods, "ns", "a", Expect::Absent, pod("a", "n2")).unwrap();
        store.put(&pods, "ns", "b", Expect::Absent, pod("b", "")).unwrap();
        store.put(&pods, "ns", "b", Expect::Version(2), pod("b", "n1")).unwrap();
        let heard = watch.changes.try_recv().unwrap();
        assert_eq!((&*heard.object.name, heard.object.rv), ("b", 3));
        assert!(watch.changes.try_recv().is_err());
        drop(watch);
        assert_eq!(store.watchers(), 0);
    }

    #[test]
    fn a_watcher_that_falls_behind_is_dropped() {
        let (store, pods) = (Store::new(10, 1), pods());
        let mut watch = store.watch(&pods, None, Trigger::All).unwrap();
        for name in ["a", "b"] {
            store.put(&pods, "ns", name, Expect::Absent, pod(name, "")).unwrap();
        }
        assert!(watch.changes.try_recv().is_ok());
        assert_eq!(watch.changes.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
    }

    #[test]
    fn observers_see_every_change_in_order() {
        let (store, pods) = (Store::new(1, 1), pods());
        let mut seen = store.subscribe();
        store.put(&pods, "ns", "a", Expect::Absent, pod("a", "")).unwrap();
        store.remove(&pods, "ns", "a", None).unwrap();
        let mut kinds = Vec::new();
        while let Ok(Observation::Change(change)) = seen.try_recv() {
            kinds.push((change.object.rv, change.kind));
        }
        assert_eq!(kinds, [(1, ChangeKind::Added), (2, ChangeKind::Deleted)]);
    }
}
