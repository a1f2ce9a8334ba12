//! What the server's own controllers do: garbage collection by owner, emptying namespaces, counting budgets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::api::Api;
use super::auth::Identity;
use super::path::Query;
use super::resource::Resource;
use super::store::{Change, ChangeKind, Object, Observation, Storage};
use super::subresource::disruption::figures;
use super::verbs::Call;
use super::verbs::delete::DeleteOptions;

/// Who writes, as `managedFields` names it.
const AGENT: &str = "kube-controller-manager";

/// Storage id, namespace and name of an object.
type Key = (Box<str>, Box<str>, Box<str>);

/// Where an object is.
type Place = (Arc<Storage>, Box<str>, Box<str>);

/// Follows every change until the server stops.
pub async fn run(api: Arc<Api>, mut seen: mpsc::UnboundedReceiver<Observation>) {
    let mut keeper = Keeper::new(api);
    loop {
        let observation = tokio::select! {
            () = keeper.api.stop.cancelled() => return,
            observation = seen.recv() => observation,
        };
        match observation {
            Some(Observation::Change(change)) => keeper.handle(&change),
            Some(Observation::Bound(_)) => {}
            None => return,
        }
        // Budgets are counted once for all that came together.
        if seen.is_empty() {
            keeper.count_budgets();
        }
    }
}

/// Whether the object's owner may not go before it.
fn blocks(dependent: &Object, owner: &str) -> bool {
    let value = dependent.value();
    let mut owners = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.any(|reference| reference["uid"] == owner && reference["blockOwnerDeletion"] == true)
}

struct Keeper {
    api: Arc<Api>,
    user: Identity,
    query: Query,
    alive: HashMap<Box<str>, Place>,
    dependents: HashMap<Box<str>, HashSet<Key>>,
    storages: HashMap<Box<str>, Arc<Storage>>,
    budgets_due: HashSet<Box<str>>,
    ending: HashSet<Box<str>>,
}

impl Keeper {
    fn new(api: Arc<Api>) -> Self {
        Self {
            api,
            user: Identity::new("system:kube-controller-manager", vec!["system:masters".to_owned()]),
            query: Query::default(),
            alive: HashMap::new(),
            dependents: HashMap::new(),
            storages: HashMap::new(),
            budgets_due: HashSet::new(),
            ending: HashSet::new(),
        }
    }

    fn handle(&mut self, change: &Change) {
        let object = &*change.object;
        let id = &object.storage.id;
        if matches!(&**id, "pods" | "poddisruptionbudgets.policy") {
            self.budgets_due.insert(object.namespace.clone());
        }
        if let Some(previous) = &change.previous
            && (previous.owners != object.owners || change.kind == ChangeKind::Deleted)
        {
            self.unlink(previous);
        }
        match change.kind {
            ChangeKind::Deleted => {
                self.alive.remove(&object.uid);
                for dependent in self.dependents.remove(&object.uid).unwrap_or_default() {
                    self.collect(&dependent);
                }
                for owner in &object.owners {
                    self.finish_foreground(owner);
                }
                if self.ending.contains(&object.namespace) {
                    self.end_namespace(&object.namespace.clone());
                }
            }
            ChangeKind::Added | ChangeKind::Modified => {
                let storage = self.storages.entry(id.clone()).or_insert_with(|| object.storage.clone()).clone();
                self.alive.insert(object.uid.clone(), (storage, object.namespace.clone(), object.name.clone()));
                let key = (id.clone(), object.namespace.clone(), object.name.clone());
                for owner in &object.owners {
                    self.dependents.entry(owner.clone()).or_default().insert(key.clone());
                }
                if change.kind == ChangeKind::Added && !object.owners.is_empty() {
                    self.collect(&key);
                }
                if **id == *"namespaces" && object.field("status.phase") == Some("Terminating") {
                    self.end_namespace(&object.name.clone());
                }
                if change.kind == ChangeKind::Modified {
                    self.propagate(object);
                }
            }
        }
    }

    fn unlink(&mut self, object: &Object) {
        let key = (object.storage.id.clone(), object.namespace.clone(), object.name.clone());
        for owner in &object.owners {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(&key);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    /// Deletes an object none of whose owners is left.
    fn collect(&mut self, (id, namespace, name): &Key) {
        let Some(storage) = self.storages.get(id) else { return };
        let Some(object) = self.api.store.get(storage, namespace, name) else { return };
        if object.owners.is_empty() || object.owners.iter().any(|owner| self.alive.contains_key(owner)) {
            return;
        }
        // An owner of a kind that is not served here cannot be judged.
        let tables = self.api.registry.tables();
        let value = object.value();
        let known = value["metadata"]["ownerReferences"].as_array().into_iter().flatten().all(|owner| {
            let group = owner["apiVersion"].as_str().and_then(|v| v.split_once('/')).map_or("", |(group, _)| group);
            tables.by_kind(group, owner["kind"].as_str().unwrap_or_default()).is_some()
        });
        if known {
            self.delete(&object, "Background");
        }
    }

    fn resource(&self, id: &str) -> Option<Arc<Resource>> {
        self.api.registry.tables().resources.iter().find(|r| *r.storage.id == *id).cloned()
    }

    fn call<'a>(&'a self, resource: &'a Resource, namespace: &'a str) -> Call<'a> {
        Call {
            api: &self.api,
            resource,
            namespace,
            query: &self.query,
            user: &self.user,
            agent: AGENT,
            subresource: "",
            warnings: Default::default(),
        }
    }

    fn delete(&self, object: &Object, propagation: &str) {
        let Some(resource) = self.resource(&object.storage.id) else { return };
        let options =
            DeleteOptions { uid: Some(object.uid.to_string()), propagation: Some(propagation.to_owned()), ..DeleteOptions::default() };
        if let Err(error) = self.call(&resource, &object.namespace).delete(&object.name, &options) {
            tracing::debug!(object = %object.name, %error, "garbage collection found nothing to delete");
        }
    }

    /// Acts on the finalizers that a deletion's propagation policy left behind.
    fn propagate(&mut self, object: &Object) {
        if !object.deleting {
            return;
        }
        let value = object.value();
        let has = |finalizer: &str| value["metadata"]["finalizers"].as_array().is_some_and(|list| list.iter().any(|f| f == finalizer));
        if has("orphan") {
            for (id, namespace, name) in self.dependents.get(&object.uid).cloned().unwrap_or_default() {
                let Some(resource) = self.resource(&id) else { continue };
                // One that is gone meanwhile needs no orphaning.
                let _gone = self.call(&resource, &namespace).change(&name, |_, mut value| {
                    let metadata = &mut value["metadata"];
                    if let Some(owners) = metadata["ownerReferences"].as_array_mut() {
                        owners.retain(|owner| owner["uid"] != *object.uid);
                    }
                    if metadata["ownerReferences"] == json!([])
                        && let Some(metadata) = metadata.as_object_mut()
                    {
                        metadata.shift_remove("ownerReferences");
                    }
                    Ok(Some(value))
                });
            }
            self.remove_finalizer(object, "orphan");
        } else if has("foregroundDeletion") {
            for (id, namespace, name) in self.dependents.get(&object.uid).cloned().unwrap_or_default() {
                if let Some(storage) = self.storages.get(&id)
                    && let Some(dependent) = self.api.store.get(storage, &namespace, &name)
                {
                    // What has dependents of its own goes after them, too.
                    let holds = self.dependents.contains_key(&dependent.uid);
                    self.delete(&dependent, if holds { "Foreground" } else { "Background" });
                }
            }
            self.finish_foreground(&object.uid.clone());
        }
    }

    /// Lets an owner go when the last of its dependents has gone.
    fn finish_foreground(&mut self, owner: &str) {
        let waiting = self.dependents.get(owner).is_some_and(|dependents| {
            let found = dependents.iter().filter_map(|(id, namespace, name)| self.api.store.get(self.storages.get(id)?, namespace, name));
            found.into_iter().any(|dependent| blocks(&dependent, owner))
        });
        if waiting {
            return;
        }
        let Some((storage, namespace, name)) = self.alive.get(owner) else { return };
        if let Some(object) = self.api.store.get(storage, namespace, name) {
            self.remove_finalizer(&object, "foregroundDeletion");
        }
    }

    fn remove_finalizer(&self, object: &Object, finalizer: &str) {
        let Some(resource) = self.resource(&object.storage.id) else { return };
        let call = self.call(&resource, &object.namespace);
        while let Some(current) = self.api.store.get(&resource.storage, &object.namespace, &object.name) {
            let mut value = resource.to_served(current.value());
            let Some(list) = value["metadata"]["finalizers"].as_array_mut() else { return };
            if !list.iter().any(|f| f == finalizer) {
                return;
            }
            list.retain(|f| f != finalizer);
            if !matches!(call.replace(&current, value, super::verbs::update::Part::Main), Ok(Err(()))) {
                return;
            }
        }
    }

    /// Deletes what a namespace contains, and the namespace when nothing is left.
    fn end_namespace(&mut self, namespace: &str) {
        let first = self.ending.insert(namespace.into());
        let tables = self.api.registry.tables();
        let mut left = false;
        for resource in tables.resources.iter().filter(|r| r.namespaced && r.stored()) {
            let (objects, _) = self.api.store.list(&resource.storage, Some(namespace));
            left |= !objects.is_empty();
            if first {
                for object in &objects {
                    self.delete(object, "Background");
                }
            }
        }
        if left && !first {
            return;
        }
        let still =
            tables.resources.iter().any(|r| r.namespaced && r.stored() && !self.api.store.list(&r.storage, Some(namespace)).0.is_empty());
        if !still && let Some(object) = self.api.find("", "namespaces", "", namespace) {
            self.finalize_namespace(&object);
            self.ending.remove(namespace);
        }
    }

    /// Takes the server's own finalizer off an empty namespace, which goes unless someone else's is left.
    fn finalize_namespace(&self, namespace: &Object) {
        let namespaces = self.api.builtin("", "namespaces");
        let call = Call { subresource: "finalize", ..self.call(&namespaces, "") };
        while let Some(current) = self.api.store.get(&namespaces.storage, "", &namespace.name) {
            let mut value = current.value();
            let Some(finalizers) = value["spec"]["finalizers"].as_array_mut() else { return };
            finalizers.retain(|finalizer| finalizer != "kubernetes");
            if !matches!(call.replace(&current, value, super::verbs::update::Part::Main), Ok(Err(()))) {
                return;
            }
        }
    }

    fn count_budgets(&mut self) {
        let resource = self.api.builtin("policy", "poddisruptionbudgets");
        for namespace in std::mem::take(&mut self.budgets_due) {
            let (budgets, _) = self.api.store.list(&resource.storage, Some(&namespace));
            for budget in budgets {
                // A budget that is gone meanwhile needs no figures.
                let _gone = self.call(&resource, &namespace).change(&budget.name, |_, mut value| {
                    let status = figures(&self.api, &namespace, &value).status(&value);
                    let same = value["status"] == status;
                    value["status"] = status;
                    Ok::<Option<Value>, _>((!same).then_some(value))
                });
            }
        }
    }
}
