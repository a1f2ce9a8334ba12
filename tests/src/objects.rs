//! Objects of any kind, as JSON has them, at an API server.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Objects made at once.
const PARALLEL: usize = 64;
const ADMITTED_WITHIN: Duration = Duration::from_secs(30);

/// Reads an object with apiVersion and kind.
pub fn object(value: Value) -> Result<DynamicObject> {
    serde_json::from_value(value).context("this is no Kubernetes object")
}

/// The API of the object's kind, in its namespace.
pub fn api(client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let types = object.types.as_ref().context("an object has no apiVersion or kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    Ok(match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

/// Makes one, and returns it as it is stored.
pub async fn make(client: &Client, object: &DynamicObject) -> Result<DynamicObject> {
    let kind = object.types.as_ref().map_or("object", |types| &types.kind);
    let made = api(client, object)?.create(&PostParams::default(), object).await;
    made.with_context(|| format!("cannot make the {kind} {}", object.name_any()))
}

/// Makes many at once.
pub async fn make_all(client: &Client, objects: Vec<DynamicObject>) -> Result<()> {
    let made = stream::iter(objects).map(async |object| make(client, &object).await.map(drop));
    made.buffer_unordered(PARALLEL).try_collect().await
}

/// Makes one unless it is there.
pub async fn ensure(client: &Client, object: &DynamicObject) -> Result<()> {
    let there = |error: &anyhow::Error| matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 409);
    make(client, object).await.map(drop).or_else(|error| if there(&error) { Ok(()) } else { Err(error) })
}

/// Makes a priority class unless it is there, and waits until pods may be of it: the API server's admission learns of classes a moment later.
///
/// `preemption` is `PreemptLowerPriority` or `Never`.
pub async fn priority_class(client: &Client, name: &str, value: i32, preemption: &str) -> Result<()> {
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, "preemptionPolicy": preemption,
    });
    ensure(client, &object(class)?).await?;
    let pod = object(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "of-class-", "namespace": "default"},
        "spec": {"priorityClassName": name, "containers": [{"name": "main", "image": "none"}]},
    }))?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        match api(client, &pod)?.create(&dry_run, &pod).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 403 && start.elapsed() < ADMITTED_WITHIN => {}
            Err(error) => return Err(error).with_context(|| format!("no pod may be of the priority class {name}")),
        }
    }
}
