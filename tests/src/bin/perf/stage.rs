//! The cluster as a contender finds it: nodes, and pods that are bound already, spread round robin, so that all begin with the same.

use crate::workload::{Churn, LabelStrategy, Step};
use anyhow::{Context as _, Result};
use edge_tests::control_plane::{ControlPlane, Kubelets, Options};
use edge_tests::objects::{api, ensure, make, make_all, object, priority_class};
use kube::api::{DeleteParams, DynamicObject};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub struct Stage {
    pub plane: ControlPlane,
    pub admin: Client,
    /// Pods that are not made yet: those to measure.
    pub measured: Vec<DynamicObject>,
    churns: Vec<Churn>,
}

impl Stage {
    /// A control plane of its own. All pods are `scheduler`'s.
    pub async fn set(steps: &[Step], scheduler: &str) -> Result<Stage> {
        let options = Options { nodes: 0, kubelets: Kubelets::None, controllers: false, scheduler: false, audit: false };
        let plane = ControlPlane::start(options).await?;
        plane.install().await?;
        let admin = plane.client().await?;
        let mut stage = Stage { plane, admin, measured: Vec::new(), churns: Vec::new() };
        let mut nodes = 0;
        for step in steps {
            match step {
                Step::Nodes { count, template, labels } => {
                    let made = (nodes..nodes + count).map(|index| node(template, index, labels.as_ref())).collect::<Result<_>>()?;
                    make_all(&stage.admin, made).await?;
                    nodes += count;
                }
                Step::Namespaces(names) => stage.namespaces(names).await?,
                Step::Pods { count, template, namespace, measured } => {
                    stage.namespaces([namespace]).await?;
                    let template = stage.pod(template, namespace, scheduler).await?;
                    let pods = (0..*count).map(|index| {
                        let mut pod = template.clone();
                        pod["metadata"]["name"] = json!(format!("{}{index}", generate_name(&pod)));
                        if !measured {
                            pod["spec"]["nodeName"] = json!(node_name(index % nodes));
                        }
                        object(pod)
                    });
                    let pods = pods.collect::<Result<Vec<_>>>()?;
                    if *measured { stage.measured.extend(pods) } else { make_all(&stage.admin, pods).await? }
                }
                Step::Churn(churn) => {
                    stage.namespaces([&churn.namespace]).await?;
                    let mut churn = churn.clone();
                    for template in &mut churn.templates {
                        if template["kind"] == "Pod" {
                            *template = stage.pod(template, &churn.namespace, scheduler).await?;
                        }
                    }
                    stage.churns.push(churn);
                }
            }
        }
        Ok(stage)
    }

    /// Makes the pods that are to be measured, once.
    pub async fn make_measured(&mut self) -> Result<()> {
        make_all(&self.admin, std::mem::take(&mut self.measured)).await
    }

    /// Whether objects come and go while pods are measured.
    pub fn churns(&self) -> bool {
        !self.churns.is_empty()
    }

    /// Makes and deletes objects until it is dropped.
    pub async fn churn(&self) -> Result<()> {
        let all = self.churns.iter().map(async |churn| {
            let mut last: Vec<Option<DynamicObject>> = vec![None; churn.templates.len()];
            let mut ticks = tokio::time::interval(churn.interval);
            loop {
                for (template, last) in churn.templates.iter().zip(&mut last) {
                    ticks.tick().await;
                    if let Some(old) = last.take().filter(|_| churn.recreate) {
                        api(&self.admin, &old)?.delete(&old.name_any(), &DeleteParams::default().grace_period(0)).await?;
                    }
                    let mut new = object(template.clone())?;
                    if new.types.as_ref().is_some_and(|types| types.kind != "Node") {
                        new.metadata.namespace = Some(churn.namespace.clone());
                    }
                    *last = Some(make(&self.admin, &new).await?);
                }
            }
        });
        futures::future::try_join_all(all).await.map(|_: Vec<std::convert::Infallible>| ())
    }

    async fn namespaces(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        for name in names {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name.as_ref()}});
            ensure(&self.admin, &object(namespace)?).await?;
        }
        Ok(())
    }

    /// The template as a pod of this namespace and scheduler. A priority becomes a class, by which alone a pod may have one.
    async fn pod(&self, template: &Value, namespace: &str, scheduler: &str) -> Result<Value> {
        let mut pod = template.clone();
        pod["metadata"]["namespace"] = json!(namespace);
        pod["spec"]["schedulerName"] = json!(scheduler);
        if let Some(value) = pod["spec"].as_object_mut().and_then(|spec| spec.remove("priority")).and_then(|value| value.as_i64()) {
            let name = format!("priority-{value}");
            priority_class(&self.admin, &name, i32::try_from(value)?, "PreemptLowerPriority").await?;
            pod["spec"]["priorityClassName"] = json!(name);
        }
        Ok(pod)
    }
}

/// Namespaces of these objects.
pub fn namespaces(objects: &[DynamicObject]) -> BTreeSet<String> {
    objects.iter().filter_map(kube::ResourceExt::namespace).collect()
}

/// As the matrix of [`edge_tests::load::World`] has it, by an index from 0.
fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

fn node(template: &Value, index: usize, labels: Option<&LabelStrategy>) -> Result<DynamicObject> {
    let (mut node, name) = (template.clone(), node_name(index));
    node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
    if let Some(labels) = labels {
        let value = labels.label_values.get(index % labels.label_values.len().max(1)).context("labelValues is empty")?;
        node["metadata"]["labels"][&labels.label_key] = json!(value);
    }
    node["metadata"]["name"] = json!(name);
    object(node)
}

fn generate_name(object: &Value) -> &str {
    object["metadata"]["generateName"].as_str().unwrap_or("pod-")
}
