//! Before a new leader decides: it sees every pod that its predecessor placed, and every device that it gave away.
//!
//! A replica that waits keeps its caches warm, but a watch may be late, or broken and waiting to be tried again, at the very moment that it comes to
//! lead; it would then give away room that the last leader gave away a second ago. So it asks the API server once for the pods that are on nodes (their
//! metadata alone, as of now rather than from a cache that may be old) and waits until its own watch has told it of each.

use crate::intake::POD_FIELDS;
use crate::state::{Shared, now};
use chassis::program::chain;
use chassis::shutdown::Shutdown;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::api::{Api, ListParams, ObjectList};
use kube::{Client, ResourceExt as _};
use placement::cluster::PodKey;
use std::time::Duration;
use tokio::time::Instant;

/// Between looks at the state.
const LOOK: Duration = Duration::from_millis(20);
/// Pods that stay unseen so long may be gone again: the list is asked for anew. Also the wait after a failure.
const ASK: Duration = Duration::from_secs(1);
/// Objects come with their `managedFields`: 10 KB of memory each, until the page is read.
const PAGE: u32 = 250;

/// Waits until every pod that is on a node now is on it in the state too, or is gone. False on shutdown.
pub async fn see_placed_pods(client: &Client, shared: &Shared, shutdown: &Shutdown) -> bool {
    loop {
        let mut unseen = match shutdown.interrupt(placed(client)).await {
            Some(Ok(pods)) => pods,
            Some(Err(error)) => {
                tracing::warn!(error = chain(&error), "cannot list the pods that a predecessor placed; nothing is placed before");
                if !shutdown.sleep(ASK).await {
                    return false;
                }
                continue;
            }
            None => return false,
        };
        let asked = Instant::now();
        loop {
            drop_seen(&mut unseen, shared);
            if unseen.is_empty() {
                return true;
            }
            if asked.elapsed() > ASK {
                tracing::info!(pods = unseen.len(), first = %unseen[0].0, "waiting to see pods that a predecessor placed");
                break;
            }
            if !shutdown.sleep(LOOK).await {
                return false;
            }
        }
    }
}

/// Takes in the claims as they are now, whatever their watch has told so far. False on shutdown.
pub async fn see_allocations(client: &Client, shared: &Shared, shutdown: &Shutdown) -> bool {
    loop {
        let error = match shutdown.interrupt(claims(client)).await {
            Some(Ok(claims)) => {
                shared.change(|state| {
                    for claim in &claims {
                        let changes = state.cluster.apply_claim(api::convert::claim(claim));
                        state.note(&changes, now());
                    }
                });
                return true;
            }
            // There are no claims where nobody serves them.
            Some(Err(kube::Error::Api(status))) if status.code == 404 => return true,
            Some(Err(error)) => error,
            None => return false,
        };
        tracing::warn!(error = chain(&error), "cannot list the claims that a predecessor gave devices to; nothing is placed before");
        if !shutdown.sleep(ASK).await {
            return false;
        }
    }
}

fn drop_seen(unseen: &mut Vec<(PodKey, String)>, shared: &Shared) {
    let cluster = shared.lock().cluster.snapshot();
    unseen.retain(|(key, uid)| !cluster.pod(key).is_some_and(|view| view.pod.uid == *uid && view.node.is_some()));
}

/// Names and UIDs of the pods on nodes, as the API server has them now.
async fn placed(client: &Client) -> Result<Vec<(PodKey, String)>, kube::Error> {
    let pods: Api<v1::Pod> = Api::all(client.clone());
    let params = ListParams::default().fields(&format!("spec.nodeName!=,{POD_FIELDS}"));
    let page = |params: ListParams| {
        let pods = pods.clone();
        async move { pods.list_metadata(&params).await }
    };
    pages(params, page, |pod| (PodKey::new(pod.namespace().unwrap_or_default(), pod.name_any()), pod.uid().unwrap_or_default())).await
}

/// All claims, likewise.
async fn claims(client: &Client) -> Result<Vec<ResourceClaim>, kube::Error> {
    let claims: Api<ResourceClaim> = Api::all(client.clone());
    let page = |params: ListParams| {
        let claims = claims.clone();
        async move { claims.list(&params).await }
    };
    pages(ListParams::default(), page, std::convert::identity).await
}

/// What `convert` makes of all objects, asked for a page at a time.
pub async fn pages<K: Clone, T, F>(
    params: ListParams,
    list: impl Fn(ListParams) -> F,
    convert: impl Fn(K) -> T,
) -> Result<Vec<T>, kube::Error>
where
    F: Future<Output = Result<ObjectList<K>, kube::Error>>,
{
    let mut params = params.limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = list(params.clone()).await?;
        found.extend(page.items.into_iter().map(&convert));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mock_api::{self, failure, json_response};
    use placement::cluster::{Node, Pod};
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};

    fn listed(names: &[&str], next: &str) -> Value {
        let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name, "namespace": "default", "uid": name}})).collect();
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"continue": next}, "items": items})
    }

    /// Answers with these in turn, the last one again and again.
    fn api(answers: Vec<(u16, Value)>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let client = mock_api::client(move |request| {
            let mut log = log.lock().unwrap();
            let (status, body) = answers[log.len().min(answers.len() - 1)].clone();
            log.push(request.uri().query().unwrap_or_default().to_owned());
            async move { Ok(if status == 200 { json_response(200, &body) } else { failure(status, "Forbidden", "not yet") }) }
        });
        (client, asked)
    }

    fn state() -> Arc<Shared> {
        let shared = Shared::new(Default::default(), Default::default(), true);
        let _ = shared.lock().cluster.apply_node(Node { name: "edge-1".into(), ..Node::default() });
        Arc::new(shared)
    }

    fn told(shared: &Shared, name: &str, node: Option<&str>) {
        let pod = Pod { key: PodKey::new("default", name), uid: name.into(), node_name: node.map(str::to_owned), ..Pod::default() };
        shared.change(|state| state.apply_pod(Arc::new(pod), None, now()));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_decides_before_what_a_predecessor_placed_is_seen() {
        let (client, asked) = api(vec![(403, Value::Null), (200, listed(&["a"], "more")), (200, listed(&["b"], ""))]);
        let (shared, shutdown) = (state(), Shutdown::new());
        told(&shared, "a", None);
        told(&shared, "b", Some("a node that is no more"));
        let mut waiting = Box::pin(see_placed_pods(&client, &shared, &shutdown));
        // The watch is late: the pod is known, but not that it has a node.
        assert!(tokio::time::timeout(Duration::from_millis(1_900), &mut waiting).await.is_err());
        told(&shared, "a", Some("edge-1"));
        assert!(waiting.await);
        let asked = asked.lock().unwrap().clone();
        assert!(asked[1].contains("spec.nodeName") && !asked[1].contains("resourceVersion"), "{asked:?}: not from a cache");
        assert!(asked[2].contains("continue=more"), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_is_gone_again_holds_nobody_up() {
        let (client, asked) = api(vec![(200, listed(&["a"], "")), (200, listed(&[], ""))]);
        assert!(see_placed_pods(&client, &state(), &Shutdown::new()).await);
        assert_eq!(asked.lock().unwrap().len(), 2);
        let (client, _) = api(vec![(200, listed(&["a"], ""))]);
        let (shared, shutdown) = (state(), Shutdown::new());
        let mut waiting = Box::pin(see_placed_pods(&client, &shared, &shutdown));
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut waiting).await.is_err());
        shutdown.trigger();
        assert!(!waiting.await);
    }
}
