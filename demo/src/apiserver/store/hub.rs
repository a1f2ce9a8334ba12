//! Who watches a resource. A change goes only to watchers whose name, node or namespace it can concern, so that
//! five hundred kubelets watching their own pods cost one delivery per change and not five hundred.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::object::{Change, Object};

/// The cheapest exact condition in a watch request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Everything of the resource.
    All,
    /// `metadata.name=…`, in any namespace.
    Name(Box<str>),
    /// `spec.nodeName=…`.
    Node(Box<str>),
    /// Everything of one namespace.
    Namespace(Box<str>),
}

/// The watchers of one resource.
#[derive(Debug, Default)]
pub(super) struct Hub {
    watchers: HashMap<u64, mpsc::Sender<Arc<Change>>>,
    by_trigger: HashMap<Trigger, Vec<u64>>,
    next: u64,
}

impl Hub {
    /// Adds a watcher; `capacity` changes may wait for it before it is dropped as too slow.
    pub(super) fn add(&mut self, trigger: Trigger, capacity: usize) -> (u64, mpsc::Receiver<Arc<Change>>) {
        let (sender, receiver) = mpsc::channel(capacity);
        self.next += 1;
        self.watchers.insert(self.next, sender);
        self.by_trigger.entry(trigger).or_default().push(self.next);
        (self.next, receiver)
    }

    /// Forgets a watcher.
    pub(super) fn remove(&mut self, trigger: &Trigger, id: u64) {
        self.watchers.remove(&id);
        if let Some(ids) = self.by_trigger.get_mut(trigger) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_trigger.remove(trigger);
            }
        }
    }

    /// How many watch now.
    pub(super) fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Hands the change to those it may concern. One whose queue is full loses its stream and lists again,
    /// as it would on a real server.
    pub(super) fn publish(&mut self, change: &Arc<Change>) {
        if self.watchers.is_empty() {
            return;
        }
        let mut triggers = vec![Trigger::All];
        for object in [Some(&change.object), change.previous.as_ref()].into_iter().flatten() {
            for trigger in triggers_of(object) {
                if !triggers.contains(&trigger) {
                    triggers.push(trigger);
                }
            }
        }
        let mut overflowed = Vec::new();
        for trigger in &triggers {
            for id in self.by_trigger.get(trigger).into_iter().flatten() {
                if let Some(sender) = self.watchers.get(id)
                    && sender.try_send(change.clone()).is_err()
                {
                    overflowed.push(*id);
                }
            }
        }
        for id in overflowed {
            self.watchers.remove(&id);
        }
    }
}

fn triggers_of(object: &Object) -> impl Iterator<Item = Trigger> + '_ {
    let node = object.field("spec.nodeName").map(|node| Trigger::Node(node.into()));
    [Some(Trigger::Name(object.name.clone())), Some(Trigger::Namespace(object.namespace.clone())), node].into_iter().flatten()
}
