//! Writes the condition `PodScheduled` and the nominated node: of each pod the last one asked for, never two at once.

use crate::state::{Shared, Told};
use chassis::shutdown::Shutdown;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use placement::cluster::PodKey;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Patches under way at once.
const PARALLEL: usize = 16;

/// Conditions yet to be written. Clones are the same.
#[derive(Clone, Default)]
pub struct ConditionWriter {
    pending: Arc<Mutex<BTreeMap<PodKey, Told>>>,
    wake: Arc<Notify>,
}

impl ConditionWriter {
    /// Asks for the condition; it replaces one that waits for the same pod.
    pub fn write(&self, pod: PodKey, told: Told) {
        self.lock().insert(pod, told);
        self.wake.notify_one();
    }

    /// Writes until shutdown.
    pub async fn run(self, client: Client, shared: Arc<Shared>, shutdown: Shutdown) {
        while shutdown.interrupt(self.wake.notified()).await.is_some() {
            // Taken as a whole, and the next batch only after this one: so no pod is patched twice at once.
            let batch = std::mem::take(&mut *self.lock());
            let writes = stream::iter(batch).for_each_concurrent(PARALLEL, |(pod, told)| {
                let (client, shared) = (client.clone(), shared.clone());
                async move {
                    if let Err(error) = patch(&client, &pod, &told).await {
                        tracing::warn!(%pod, error = chassis::program::chain(&error), "cannot write the condition PodScheduled");
                        // As if it had never been asked for: the next attempt writes it again.
                        let mut state = shared.lock();
                        if state.told.get(&pod) == Some(&told) {
                            state.told.remove(&pod);
                        }
                    }
                }
            });
            if shutdown.interrupt(writes).await.is_none() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PodKey, Told>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strategic merge, so that other conditions stay; the UID makes it fail for a pod of the same name.
async fn patch(client: &Client, pod: &PodKey, told: &Told) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let body = json!({
        "metadata": {"uid": told.uid},
        "status": {"nominatedNodeName": told.nominated, "conditions": [{
            "type": "PodScheduled",
            "status": told.status,
            "reason": told.reason,
            "message": told.message,
            "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]},
    });
    match api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(body)).await {
        Ok(_) => Ok(()),
        // Gone, or replaced by a pod of the same name: nobody is left to tell.
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock_api::{self, failure, json_response};
    use std::time::Duration;
    use tokio::sync::mpsc;

    fn told(message: &str) -> Told {
        Told { uid: "u".into(), nominated: None, status: "False".into(), reason: "Unschedulable".into(), message: message.into() }
    }

    #[tokio::test]
    async fn the_last_condition_of_each_pod_is_patched_and_a_failure_is_forgotten() {
        let (sender, mut requests) = mpsc::unbounded_channel();
        let client = mock_api::client(move |request| {
            let body = String::from_utf8_lossy(request.body()).into_owned();
            let line = format!("{} {} {}", request.method(), request.uri().path(), body);
            sender.send(line.clone()).unwrap();
            async move {
                match line.contains("/bad/status") {
                    true => Ok(failure(403, "Forbidden", "no")),
                    false => Ok(json_response(200, &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}))),
                }
            }
        });
        let (shared, shutdown) = (Arc::new(Shared::new(Default::default(), Default::default(), true)), Shutdown::new());
        let writer = ConditionWriter::default();
        let bad = PodKey::new("default", "bad");
        shared.lock().told.insert(bad.clone(), told("x"));
        writer.write(PodKey::new("default", "a"), told("first"));
        writer.write(PodKey::new("default", "a"), told("last"));
        writer.write(bad.clone(), told("x"));
        shutdown.spawn(writer.clone().run(client, shared.clone(), shutdown.clone()));
        let mut lines = Vec::new();
        for _ in 0..2 {
            lines.push(tokio::time::timeout(Duration::from_secs(5), requests.recv()).await.expect("in time").unwrap());
        }
        lines.sort();
        assert!(lines[0].starts_with("PATCH /api/v1/namespaces/default/pods/a/status "), "{lines:?}");
        assert!(lines[0].contains("\"message\":\"last\"") && lines[0].contains("\"uid\":\"u\""), "{lines:?}");
        let forgotten = async {
            while shared.lock().told.contains_key(&bad) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), forgotten).await.expect("a failed patch is not taken for told");
        shutdown.trigger();
        shutdown.wait_all(Duration::from_secs(5)).await.unwrap();
        assert!(requests.try_recv().is_err(), "nothing else was sent");
    }
}
