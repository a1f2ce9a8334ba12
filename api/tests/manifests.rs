//! `kubectl apply -k configs/` installs what the programs need: the result of kustomize is sound Kubernetes objects that fit each other.

#![allow(clippy::unwrap_used)]

use api::labels::{PINGER, ROUTER, SCHEDULER, SYSTEM_NAMESPACE, TOKEN_AUDIENCE, TOPOLOGY_PORT, TOPOLOGY_SERVICE};
use k8s_openapi::Resource;
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, policy::v1 as policy, rbac::v1 as rbac};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::process::Command;

/// What kustomize makes of configs/. `None` without kubectl.
fn installed() -> Option<Vec<Value>> {
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let output = match Command::new("kubectl").args(["kustomize", configs]).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: kubectl is needed to judge configs/ ({error})");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap())
}

fn of_kind<T: Resource + DeserializeOwned>(objects: &[Value]) -> Vec<T> {
    let ours = objects.iter().filter(|object| object["kind"] == T::KIND && object["apiVersion"] == T::API_VERSION);
    ours.map(|object| serde_json::from_value(object.clone()).unwrap()).collect()
}

/// Paths that the manifest has and its type does not: misspelt fields.
fn lost(written: &Value, read: &Value, path: &str, found: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let path = format!("{path}.{key}");
                match read.get(key) {
                    Some(read) => lost(value, read, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            for (i, (written, read)) in written.iter().zip(read).enumerate() {
                lost(written, read, &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}

fn check_fields<T: Resource + DeserializeOwned + Serialize>(objects: &[Value]) -> usize {
    let ours: Vec<&Value> = objects.iter().filter(|object| object["kind"] == T::KIND && object["apiVersion"] == T::API_VERSION).collect();
    for object in &ours {
        let typed: T = serde_json::from_value((*object).clone()).unwrap();
        let mut unknown = Vec::new();
        lost(object, &serde_json::to_value(&typed).unwrap(), T::KIND, &mut unknown);
        assert_eq!(unknown, Vec::<String>::new(), "fields that {} does not have", T::KIND);
    }
    ours.len()
}

#[test]
fn every_object_is_of_a_known_kind_and_every_field_of_its_type() {
    let Some(objects) = installed() else { return };
    let known = check_fields::<core::Namespace>(&objects)
        + check_fields::<core::ServiceAccount>(&objects)
        + check_fields::<core::ConfigMap>(&objects)
        + check_fields::<core::Service>(&objects)
        + check_fields::<rbac::ClusterRole>(&objects)
        + check_fields::<rbac::ClusterRoleBinding>(&objects)
        + check_fields::<rbac::Role>(&objects)
        + check_fields::<rbac::RoleBinding>(&objects)
        + check_fields::<apps::Deployment>(&objects)
        + check_fields::<apps::DaemonSet>(&objects)
        + check_fields::<policy::PodDisruptionBudget>(&objects)
        + check_fields::<CustomResourceDefinition>(&objects);
    assert_eq!(known, objects.len());
    let crds = of_kind::<CustomResourceDefinition>(&objects);
    assert_eq!(crds.len(), api::crd::definitions().len(), "every custom resource is installed");
}

fn pods(objects: &[Value]) -> Vec<(String, core::PodTemplateSpec)> {
    let deployments = of_kind::<apps::Deployment>(objects).into_iter().map(|d| (d.metadata.name, d.spec.template));
    let daemons = of_kind::<apps::DaemonSet>(objects).into_iter().map(|d| (d.metadata.name, d.spec.template));
    deployments.chain(daemons).map(|(name, template)| (name.unwrap(), template)).collect()
}

#[test]
fn the_three_programs_run_unprivileged_and_find_what_they_mount() {
    let Some(objects) = installed() else { return };
    let accounts: Vec<String> = of_kind::<core::ServiceAccount>(&objects).into_iter().filter_map(|a| a.metadata.name).collect();
    let maps: Vec<String> = of_kind::<core::ConfigMap>(&objects).into_iter().filter_map(|m| m.metadata.name).collect();
    let pods = pods(&objects);
    let mut names: Vec<&str> = pods.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, [PINGER, ROUTER, SCHEDULER]);
    for (name, template) in &pods {
        let spec = template.spec.as_ref().unwrap();
        assert!(accounts.contains(spec.service_account_name.as_ref().unwrap()), "{name}");
        assert_eq!(spec.security_context.as_ref().unwrap().run_as_non_root, Some(true), "{name}");
        let container = &spec.containers[0];
        assert_eq!(container.image.as_deref(), Some(concat!("edge-scheduler:", env!("CARGO_PKG_VERSION"))), "{name}");
        assert_eq!(container.command.as_deref(), Some(&[name.clone()][..]), "the image has a binary of that name");
        let context = container.security_context.as_ref().unwrap();
        assert_eq!((context.allow_privilege_escalation, context.read_only_root_filesystem), (Some(false), Some(true)), "{name}");
        for volume in spec.volumes.iter().flatten() {
            if let Some(map) = &volume.config_map {
                assert!(maps.contains(&map.name), "{name} mounts ConfigMap {}, which is not there", map.name);
            }
        }
        let tokens =
            spec.volumes.iter().flatten().filter_map(|v| v.projected.as_ref()?.sources.as_ref()?[0].service_account_token.as_ref());
        let audiences: Vec<_> = tokens.filter_map(|token| token.audience.as_deref()).collect();
        let expected: &[&str] = if name == SCHEDULER { &[] } else { &[TOKEN_AUDIENCE] };
        assert_eq!(audiences, expected, "{name}");
    }
}

#[test]
fn services_reach_ports_that_exist() {
    let Some(objects) = installed() else { return };
    let pods = pods(&objects);
    for service in of_kind::<core::Service>(&objects) {
        let name = service.metadata.name.as_deref().unwrap();
        assert_eq!(service.metadata.namespace.as_deref(), Some(SYSTEM_NAMESPACE));
        let spec = service.spec.unwrap();
        let selector = spec.selector.unwrap();
        let labels = |template: &core::PodTemplateSpec| template.metadata.as_ref().unwrap().labels.clone().unwrap();
        let (_, template) = pods
            .iter()
            .find(|(_, template)| selector.iter().all(|(key, value)| labels(template).get(key) == Some(value)))
            .unwrap_or_else(|| panic!("{name} selects no pod"));
        let ports: Vec<_> = template.spec.as_ref().unwrap().containers[0].ports.iter().flatten().collect();
        for port in spec.ports.unwrap() {
            let Some(IntOrString::String(target)) = &port.target_port else { panic!("{name}: targetPort by name") };
            let container = ports.iter().find(|p| p.name.as_ref() == Some(target)).unwrap_or_else(|| panic!("{name}: no port {target}"));
            if name == TOPOLOGY_SERVICE {
                assert_eq!((port.port, container.container_port), (i32::from(TOPOLOGY_PORT), i32::from(TOPOLOGY_PORT)));
            }
        }
    }
}
