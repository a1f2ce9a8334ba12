//! Storage objects of every kind: what pods with volumes are placed by.

use super::{feed, note};
use crate::state::Shared;
use chassis::watches::Change;
use futures::Stream;
use kube::Resource;
use placement::cluster::{Changes, Cluster, PodKey, StorageObject};
use std::sync::Arc;

/// Feeds objects of one kind until the watch ends.
pub async fn storage<K: Resource, T: StorageObject>(
    changes: impl Stream<Item = Change<K>> + Unpin,
    convert: fn(&K) -> T,
    shared: Arc<Shared>,
) {
    let apply = |object: &K| {
        let object = convert(object);
        change(&shared, |cluster| cluster.apply_stored(object));
    };
    let delete = |key: &PodKey| change(&shared, |cluster| cluster.delete_stored::<T>(&key.namespace, &key.name));
    let known = || shared.lock().cluster.view().all_stored::<T>().map(|object| PodKey::new(object.namespace(), object.name())).collect();
    feed(changes, apply, delete, known).await;
}

fn change(shared: &Shared, change: impl FnOnce(&mut Cluster) -> Changes) {
    note(shared, change);
    shared.storage.send_replace(());
}
