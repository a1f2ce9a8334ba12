//! The floor: binds every pod of its name to the next node and tells of it in an event, as fast as the API server takes them. No scheduler is faster.

use anyhow::{Context as _, Result};
use edge_tests::control_plane::client;
use futures::channel::mpsc;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use std::path::Path;
use std::process::Command;

pub const SCHEDULER_NAME: &str = "floor";

/// Bindings under way at once, and events; more than any scheduler here has.
const PARALLEL: usize = 128;

/// This program, as the floor.
pub fn command(kubeconfig: &Path, events: bool) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--floor").arg(kubeconfig).args(events.then_some("--events"));
    Ok(command)
}

/// Learns of nodes, waits for a line, then of pods, binds them, and waits to be ended.
pub async fn run(kubeconfig: &Path, with_events: bool) -> Result<()> {
    let client = client(kubeconfig).await?;
    let nodes: Vec<String> = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.iter().map(Node::name_any).collect();
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await?.context("nobody said when to begin")?;
    let waiting =
        Api::<Pod>::all(client.clone()).list(&ListParams::default().fields("spec.schedulerName=floor,spec.nodeName=")).await?.items;
    let (bound, told) = mpsc::unbounded();
    let bind = async |(pod, node): (Pod, String)| -> Result<()> {
        let target = ObjectReference { kind: Some("Node".into()), name: Some(node.clone()), ..ObjectReference::default() };
        let metadata = ObjectMeta { name: Some(pod.name_any()), uid: pod.uid(), ..ObjectMeta::default() };
        let body = Binding { metadata, target };
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let _: serde_json::Value = pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &body).await?;
        Ok(bound.unbounded_send((pod, node))?)
    };
    let tell = async |(pod, node): (Pod, String)| if with_events { tell(&client, &pod, &node).await } else { Ok(()) };
    let calls = futures::stream::iter(waiting.into_iter().zip(nodes.into_iter().cycle()).map(anyhow::Ok));
    // As schedulers do: an event follows its binding and holds up none. The channel stays open, and this goes on until it is ended.
    let bindings = calls.try_for_each_concurrent(PARALLEL, bind);
    let events = told.map(anyhow::Ok).try_for_each_concurrent(PARALLEL, tell);
    futures::try_join!(bindings, events).map(drop)
}

async fn tell(client: &Client, pod: &Pod, node: &str) -> Result<()> {
    let namespace = pod.namespace().unwrap_or_default();
    let regarding = ObjectReference {
        kind: Some("Pod".into()),
        name: Some(pod.name_any()),
        namespace: Some(namespace.clone()),
        uid: pod.uid(),
        api_version: Some("v1".into()),
        ..ObjectReference::default()
    };
    let event = Event {
        metadata: ObjectMeta { name: Some(format!("{}.floor", pod.name_any())), ..ObjectMeta::default() },
        event_time: Some(MicroTime(k8s_openapi::jiff::Timestamp::now())),
        type_: Some("Normal".into()),
        reason: Some("Scheduled".into()),
        action: Some("Binding".into()),
        note: Some(format!("Successfully assigned {namespace}/{} to {node}", pod.name_any())),
        regarding: Some(regarding),
        reporting_controller: Some(SCHEDULER_NAME.into()),
        reporting_instance: Some(SCHEDULER_NAME.into()),
        ..Event::default()
    };
    Api::<Event>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &event).await?;
    Ok(())
}
