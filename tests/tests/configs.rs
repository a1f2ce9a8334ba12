//! The default configuration that configs/ installs is one that each program takes, with the environment that its manifest sets.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use chassis::config::{Configuration, Layers};
use k8s_openapi::api::core::v1::{Container, EnvVar};
use std::path::{Path, PathBuf};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// Loads `configs/<folder>/config.yaml` under the variables, as the program's pod does. Fields of the pod get a plausible value.
fn load<C: Configuration>(prefix: &str, folder: &str, variables: &[EnvVar]) -> C {
    let mut layers = Layers::new(prefix);
    layers.file(&configs().join(folder).join("config.yaml"));
    layers.env(variables.iter().map(|variable| {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref()).map(|field| field.field_path.as_str());
        let value = match field {
            Some("spec.nodeName") => "edge-1",
            Some("status.podIP") => "10.0.0.1",
            other => panic!("no value for {other:?}"),
        };
        (variable.name.clone(), value.to_owned())
    }));
    layers.load().unwrap_or_else(|errors| panic!("{folder}: {errors}"))
}

fn container(workload: &str) -> Container {
    let text = std::fs::read_to_string(configs().join(workload)).unwrap();
    let object: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    serde_json::from_value(object["spec"]["template"]["spec"]["containers"][0].clone()).unwrap()
}

fn port(container: &Container, name: &str) -> u16 {
    let port = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
    port.unwrap_or_else(|| panic!("no port {name}")).container_port.try_into().unwrap()
}

#[test]
fn the_scheduler_takes_its_file_and_listens_where_the_manifest_says() {
    let container = container("scheduler/deployment.yaml");
    let config: edge_scheduler::Config = load("EDGE_SCHEDULER", "scheduler", container.env.as_deref().unwrap_or_default());
    assert!(config.leader_election.leader_elect, "there are two replicas");
    let lease = (config.leader_election.resource_namespace.as_str(), config.leader_election.resource_name.as_str());
    assert_eq!(lease, (api::labels::SYSTEM_NAMESPACE, api::labels::SCHEDULER), "as its Role allows");
    assert_eq!(config.topology.address.port(), port(&container, "topology"));
    assert_eq!(config.admin_address.port(), port(&container, "admin"));
}

#[test]
fn the_pinger_takes_its_file_and_listens_where_the_manifest_says() {
    let container = container("pinger/daemonset.yaml");
    let config: edge_pinger::Config = load("EDGE_PINGER", "pinger", container.env.as_deref().unwrap_or_default());
    assert_eq!((config.node_name.as_str(), config.advertise_address), ("edge-1", Some([10, 0, 0, 1].into())));
    assert_eq!((config.echo_port, config.echo_port), (port(&container, "echo-udp"), port(&container, "echo-tcp")));
    assert_eq!(config.admin_address.port(), port(&container, "admin"));
    let mounted = container.volume_mounts.iter().flatten().any(|mount| config.topology.token_file.starts_with(&mount.mount_path));
    assert!(mounted, "the token is where it is looked for");
}

#[test]
fn the_router_takes_its_file_and_listens_where_the_manifest_says() {
    let container = container("router/daemonset.yaml");
    let config: edge_router::Config = load("EDGE_ROUTER", "router", container.env.as_deref().unwrap_or_default());
    assert_eq!(config.node_name, "edge-1");
    assert_eq!((config.listen_address.port(), config.admin_address.port()), (port(&container, "http"), port(&container, "admin")));
    let lease = (config.leader_election.resource_namespace.as_str(), config.leader_election.resource_name.as_str());
    assert_eq!(lease, (api::labels::SYSTEM_NAMESPACE, api::labels::ROUTER_STATUS_LEASE), "as its Role allows");
    let mounted = container.volume_mounts.iter().flatten().any(|mount| config.topology.token_file.starts_with(&mount.mount_path));
    assert!(mounted, "the token is where it is looked for");
}
