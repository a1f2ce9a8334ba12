//! Features that a pod needs its node to declare (kube-scheduler 1.37, NodeDeclaredFeatures).

use k8s_openapi::api::core::v1;

pub(super) fn required(spec: &v1::PodSpec) -> Vec<String> {
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut rules = containers().flat_map(|container| container.restart_policy_rules.iter().flatten());
    let mut mounts = containers().flat_map(|container| container.volume_mounts.iter().flatten());
    let needs = [
        ("RestartAllContainersOnContainerExits", rules.any(|rule| rule.action == "RestartAllContainers")),
        ("UserNamespacesHostNetworkSupport", spec.host_network == Some(true) && spec.host_users == Some(false)),
        ("VolumeBindMountOptions", mounts.any(|mount| mount.bind_mount_options.as_ref().is_some_and(|options| !options.is_empty()))),
    ];
    needs.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_only_some_nodes_can_do_is_required() {
        let check = |spec: Value, expected: &[&str]| assert_eq!(required(&serde_json::from_value(spec).unwrap()), expected);
        let container = |more: Value| json!({"containers": [more]});
        check(container(json!({"name": "c"})), &[]);
        let rules = |action: &str| json!({"name": "c", "restartPolicyRules": [{"action": action}]});
        check(container(rules("RestartAllContainers")), &["RestartAllContainersOnContainerExits"]);
        check(container(rules("Restart")), &[]);
        check(json!({"containers": [], "initContainers": [rules("RestartAllContainers")]}), &["RestartAllContainersOnContainerExits"]);
        check(json!({"containers": [], "hostNetwork": true, "hostUsers": false}), &["UserNamespacesHostNetworkSupport"]);
        check(json!({"containers": [], "hostUsers": false}), &[]);
        let mount = |options: Value| json!({"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "bindMountOptions": options}]});
        check(container(mount(json!(["noexec"]))), &["VolumeBindMountOptions"]);
        check(container(mount(json!([]))), &[]);
    }
}
