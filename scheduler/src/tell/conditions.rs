//! Writes the condition `PodScheduled` and the nominated node: of each pod the last one asked for, never two at once.

use crate::state::{Shared, State, Told};
use chassis::backoff::Backoff;
use chassis::client::tell;
use chassis::shutdown::Shutdown;
use futures::{StreamExt as _, future, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, Request};
use kube::{Client, Error, Resource as _};
use placement::cluster::PodKey;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Patches under way at once.
const PARALLEL: usize = 16;
/// Times that one condition is tried.
const TRIES: u32 = 10;
/// Between tries. Conditions of other pods wait with it: what refuses one write mostly refuses all.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Conditions yet to be written. Clones are the same.
#[derive(Clone, Default)]
pub struct ConditionWriter {
    pending: Arc<Mutex<BTreeMap<PodKey, Pending>>>,
    wake: Arc<Notify>,
}

struct Pending {
    told: Told,
    tries: u32,
}

impl ConditionWriter {
    /// Asks for the condition; it replaces one that waits for the same pod.
    pub fn write(&self, pod: PodKey, told: Told) {
        self.lock().insert(pod, Pending { told, tries: 0 });
        self.wake.notify_one();
    }

    /// Somebody else writes the nominated node: a condition that waits for the pod comes with the same.
    pub fn nominated(&self, pod: &placement::cluster::Pod, node: &str) {
        if let Some(pending) = self.lock().get_mut(&pod.key).filter(|pending| pending.told.uid == pod.uid) {
            pending.told.nominated = Some(node.to_owned());
        }
    }

    /// Writes until shutdown.
    pub async fn run(self, client: Client, shared: Arc<Shared>, shutdown: Shutdown) {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        while shutdown.interrupt(self.wake.notified()).await.is_some() {
            // Taken as a whole, and the next batch only after this one: so no pod is patched twice at once.
            let batch = std::mem::take(&mut *self.lock());
            let writes = stream::iter(batch).map(|(pod, pending)| {
                let client = &client;
                async move { patch(client, &pod, &pending.told).await.err().map(|error| (pod, pending, error)) }
            });
            let writes = writes.buffer_unordered(PARALLEL).filter_map(future::ready).collect::<Vec<_>>();
            let Some(failed) = shutdown.interrupt(writes).await else { return };
            if failed.is_empty() {
                backoff.reset();
                continue;
            }
            for (pod, pending, error) in failed {
                self.failed(pod, pending, &error, &shared);
            }
            if !shutdown.sleep(backoff.delay()).await {
                return;
            }
            self.wake.notify_one();
        }
    }

    /// Keeps a condition that was not written for another try, unless there is a newer one or nobody left to tell.
    fn failed(&self, pod: PodKey, pending: Pending, error: &Error, shared: &Shared) {
        let waits = |state: &State| {
            let known = state.cluster.view().pod(&pod);
            known.is_some_and(|view| view.pod.uid == pending.told.uid && view.node.is_none() && !view.pod.terminating)
        };
        let mut state = shared.lock();
        if !waits(&state) {
            return;
        }
        let tries = pending.tries + 1;
        tracing::warn!(%pod, tries, error = chassis::program::chain(error), "cannot write the condition PodScheduled");
        if tries < TRIES {
            self.lock().entry(pod).or_insert(Pending { tries, ..pending });
        } else if state.told.get(&pod) == Some(&pending.told) {
            // As if it had never been asked for: the next attempt writes it again.
            state.told.remove(&pod);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PodKey, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strategic merge, so that other conditions stay; the UID makes it fail for a pod of the same name.
async fn patch(client: &Client, pod: &PodKey, told: &Told) -> Result<(), Error> {
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
    let pods = Request::new(Pod::url_path(&(), Some(&pod.namespace)));
    match tell(client, pods.patch_subresource("status", &pod.name, &PatchParams::default(), &Patch::Strategic(body))).await {
        // Nobody is left to tell. 409 may mean a pod of the same name, or that others were writing.
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        told => told,
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

    /// A state in which these pods wait, and a client whose PATCHes are logged and answered so.
    fn world(pods: &[&str], answer: fn(&str, usize) -> u16) -> (Arc<Shared>, Client, mpsc::UnboundedReceiver<String>) {
        let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
        for name in pods {
            let pod = placement::cluster::Pod { key: PodKey::new("default", *name), uid: "u".into(), ..Default::default() };
            shared.change(|state| state.apply_pod(Arc::new(pod), None, crate::state::now()));
            shared.lock().told.insert(PodKey::new("default", *name), told("x"));
        }
        let (sender, requests) = mpsc::unbounded_channel();
        let asked = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
        let client = mock_api::client(move |request| {
            let path = request.uri().path().to_owned();
            sender.send(format!("{} {path} {}", request.method(), String::from_utf8_lossy(request.body()))).unwrap();
            let mut asked = asked.lock().unwrap();
            let times = asked.entry(path.clone()).or_default();
            *times += 1;
            let status = answer(&path, *times);
            async move {
                match status {
                    200 => Ok(json_response(200, &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}))),
                    status => Ok(failure(status, "Whatever", "no")),
                }
            }
        });
        (shared, client, requests)
    }

    /// The requests within two minutes, in which all that is tried again has been.
    async fn sent(requests: &mut mpsc::UnboundedReceiver<String>) -> Vec<String> {
        tokio::time::sleep(Duration::from_secs(120)).await;
        std::iter::from_fn(|| requests.try_recv().ok()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_condition_of_each_pod_is_patched() {
        let (shared, client, mut requests) = world(&["a"], |_, _| 200);
        let (shutdown, writer) = (Shutdown::new(), ConditionWriter::default());
        writer.write(PodKey::new("default", "a"), told("first"));
        writer.write(PodKey::new("default", "a"), told("last"));
        shutdown.spawn(writer.clone().run(client, shared, shutdown.clone()));
        let [line] = &sent(&mut requests).await[..] else { panic!("one patch") };
        assert!(line.starts_with("PATCH /api/v1/namespaces/default/pods/a/status "), "{line}");
        assert!(line.contains("\"message\":\"last\"") && line.contains("\"uid\":\"u\""), "{line}");
        shutdown.trigger();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_written_is_tried_again_and_given_up_in_the_end() {
        // Conflicts may come from others that write; a pod that is gone gets no second try.
        let (shared, client, mut requests) = world(&["late", "never"], |path, times| match path {
            path if path.contains("/late/") && times > 3 => 200,
            path if path.contains("/late/") => [500, 409, 503][times - 1],
            path if path.contains("/never/") => 403,
            _ => 409,
        });
        let (shutdown, writer) = (Shutdown::new(), ConditionWriter::default());
        for name in ["late", "never", "gone"] {
            writer.write(PodKey::new("default", name), told("x"));
        }
        shutdown.spawn(writer.clone().run(client, shared.clone(), shutdown.clone()));
        let lines = sent(&mut requests).await;
        let times = |name: &str| lines.iter().filter(|line| line.contains(&format!("/pods/{name}/"))).count();
        assert_eq!((times("late"), times("never"), times("gone")), (4, TRIES as usize, 1));
        let told = |name: &str| shared.lock().told.contains_key(&PodKey::new("default", name));
        assert!(told("late") && !told("never"), "what was given up is not taken for told");
        shutdown.trigger();
    }
}
