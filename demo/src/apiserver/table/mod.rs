//! `meta.k8s.io/v1` Tables: what `kubectl get` prints.

mod cells;
mod cluster;
mod events;
mod network;
mod pods;
mod workloads;

use serde_json::{Value, json};

use super::negotiate::IncludeObject;
use super::render::row_object;
use super::resource::{Resource, Shape};

/// One column: heading, JSON type, and whether only wide output shows it.
#[derive(Debug, Clone)]
pub struct Heading {
    name: String,
    kind: String,
    format: String,
    description: String,
    wide: bool,
}

/// Columns of a kind and the cells of one object.
struct Layout {
    headings: Vec<Heading>,
    cells: fn(&Value) -> Vec<Value>,
}

/// Columns by their headings: `!` marks what only wide output shows; after it `#` marks whole numbers, `?` booleans, `@` dates.
fn layout(columns: &[&str], cells: fn(&Value) -> Vec<Value>) -> Layout {
    let headings = columns
        .iter()
        .map(|column| {
            let marked = column.trim_start_matches('!');
            let name = marked.trim_start_matches(['#', '?', '@']);
            let kind = match marked.chars().next() {
                Some('#') => "integer",
                Some('?') => "boolean",
                Some('@') => "date",
                _ => "string",
            };
            Heading {
                name: name.to_owned(),
                kind: kind.to_owned(),
                format: if name == "Name" { "name" } else { "" }.to_owned(),
                description: name.to_owned(),
                wide: column.starts_with('!'),
            }
        })
        .collect();
    Layout { headings, cells }
}

fn builtin(id: &str) -> Layout {
    match id {
        "pods" => layout(pods::COLUMNS, pods::cells),
        "nodes" => layout(cluster::NODE, cluster::node),
        "namespaces" => layout(&["Name", "Status", "Age"], cluster::namespace),
        "configmaps" => layout(&["Name", "Data", "Age"], cluster::config_map),
        "secrets" => layout(&["Name", "Type", "Data", "Age"], cluster::secret),
        "serviceaccounts" => layout(&["Name", "Age"], cluster::service_account),
        "leases.coordination.k8s.io" => layout(&["Name", "Holder", "Age"], cluster::lease),
        "priorityclasses.scheduling.k8s.io" => layout(cluster::PRIORITY_CLASS, cluster::priority_class),
        "poddisruptionbudgets.policy" => layout(cluster::DISRUPTION_BUDGET, cluster::disruption_budget),
        "customresourcedefinitions.apiextensions.k8s.io" => layout(cluster::DEFINITION, cluster::definition),
        "clusterroles.rbac.authorization.k8s.io" | "roles.rbac.authorization.k8s.io" => {
            layout(&["Name", "@Created At"], cells::name_and_creation)
        }
        "clusterrolebindings.rbac.authorization.k8s.io" | "rolebindings.rbac.authorization.k8s.io" => {
            layout(cluster::ROLE_BINDING, cluster::role_binding)
        }
        "deployments.apps" => layout(workloads::DEPLOYMENT, workloads::deployment),
        "replicasets.apps" | "replicationcontrollers" => layout(workloads::REPLICA_SET, workloads::replica_set),
        "statefulsets.apps" => layout(workloads::STATEFUL_SET, workloads::stateful_set),
        "daemonsets.apps" => layout(workloads::DAEMON_SET, workloads::daemon_set),
        "jobs.batch" => layout(workloads::JOB, workloads::job),
        "cronjobs.batch" => layout(workloads::CRON_JOB, workloads::cron_job),
        "horizontalpodautoscalers.autoscaling" => layout(workloads::AUTOSCALER, workloads::autoscaler),
        "services" => layout(network::SERVICE, network::service),
        "endpoints" => layout(&["Name", "Endpoints", "Age"], network::endpoints),
        "endpointslices.discovery.k8s.io" => layout(network::ENDPOINT_SLICE, network::endpoint_slice),
        "events" => layout(events::COLUMNS, events::cells),
        _ => layout(&["Name", "Age"], cells::name_and_age),
    }
}

/// A table of served objects.
pub fn render(resource: &Resource, objects: &[Value], include: IncludeObject, metadata: &Value) -> Value {
    let (headings, rows): (Vec<Heading>, Vec<Vec<Value>>) = match &resource.shape {
        Shape::Builtin(_) => {
            let layout = builtin(&resource.storage.id);
            // The columns of both event views are made from the stored form.
            let rows = objects.iter().map(|object| (layout.cells)(&resource.to_stored(object.clone()))).collect();
            (layout.headings, rows)
        }
        Shape::Custom(custom) => {
            let headings = cells::custom_headings(&custom.columns);
            (headings, objects.iter().map(|object| cells::custom(&custom.columns, object)).collect())
        }
    };
    let columns: Vec<Value> = headings
        .iter()
        .map(|heading| {
            json!({ "name": heading.name, "type": heading.kind, "format": heading.format,
                "description": heading.description,
                "priority": i32::from(heading.wide) })
        })
        .collect();
    let rows: Vec<Value> =
        rows.into_iter().zip(objects).map(|(cells, object)| json!({ "cells": cells, "object": row_object(object, include) })).collect();
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns,
        "rows": rows })
}

/// A label selector in one line, empty for none.
pub fn selector_text(selector: &Value) -> String {
    match cells::selector(selector) {
        Value::String(text) if text != "<none>" => text,
        _ => String::new(),
    }
}

/// A table of a stream: only its first one names the columns.
pub fn only_rows(mut table: Value, first: bool) -> Value {
    if !first {
        table["columnDefinitions"] = Value::Null;
    }
    table
}
