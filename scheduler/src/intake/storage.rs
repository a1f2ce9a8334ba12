//! Storage objects of every kind: what pods with volumes are placed by.

use super::{name, namespace};
use crate::state::{Shared, now};
use chassis::watches::Change;
use futures::{Stream, StreamExt as _};
use kube::Resource;
use placement::cluster::{Changes, Cluster, StorageObject};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Feeds objects of one kind until the watch ends.
pub async fn storage<K: Resource, T: StorageObject>(
    mut changes: impl Stream<Item = Change<K>> + Unpin,
    convert: fn(&K) -> T,
    shared: Arc<Shared>,
) {
    let apply = |object: &K| {
        let object = convert(object);
        change(&shared, |cluster| cluster.apply_stored(object));
    };
    let delete = |namespace: &str, name: &str| change(&shared, |cluster| cluster.delete_stored::<T>(namespace, name));
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(object) => apply(&object),
            Change::Delete(object) => delete(namespace(object.meta()), name(object.meta())),
            Change::Reset(objects) => {
                let listed: BTreeSet<(&str, &str)> = objects.iter().map(|object| (namespace(object.meta()), name(object.meta()))).collect();
                let known = shared.lock().cluster.snapshot();
                for gone in known.all_stored::<T>().filter(|known| !listed.contains(&(known.namespace(), known.name()))) {
                    delete(gone.namespace(), gone.name());
                }
                objects.iter().for_each(apply);
            }
        }
    }
}

fn change(shared: &Shared, change: impl FnOnce(&mut Cluster) -> Changes) {
    shared.change(|state| {
        let changes = change(&mut state.cluster);
        state.note(&changes, now());
    });
    shared.storage.send_replace(());
}
