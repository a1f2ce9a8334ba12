//! What each program may do in a cluster: one table, from which configs/rbac is generated. A rule is as narrow as RBAC allows and says in a
//! comment what it is for.

use crate::labels::{
    APP_NAME_LABEL, APP_PART_OF_LABEL, GROUP, PINGER, ROUTER, ROUTER_STATUS_LEASE, SCHEDULER, SYSTEM_NAMESPACE, TOPOLOGY_CA_CONFIG_MAP,
    TOPOLOGY_CA_KEY_SECRET,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

const READ: &[&str] = &["get", "list", "watch"];

/// One rule. `names` narrows it to single objects; `create` can't be narrowed, since the object has no name yet.
struct Rule {
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    names: &'static [&'static str],
    /// Paths of the topology service, instead of resources.
    paths: &'static [&'static str],
}

const fn rule(groups: &'static [&'static str], resources: &'static [&'static str], verbs: &'static [&'static str]) -> Rule {
    Rule { groups, resources, verbs, names: &[], paths: &[] }
}

const fn named(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    names: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { groups, resources, verbs, names, paths: &[] }
}

const fn paths(paths: &'static [&'static str], verbs: &'static [&'static str]) -> Rule {
    Rule { groups: &[], resources: &[], verbs, names: &[], paths }
}

/// What one program may do everywhere, and in the system namespace.
struct Program {
    name: &'static str,
    cluster: &'static [Rule],
    namespace: &'static [Rule],
}

const PROGRAMS: [Program; 3] = [
    Program {
        name: SCHEDULER,
        cluster: &[
            // What is placed, and where.
            rule(&[""], &["nodes", "pods"], READ),
            // A decision is carried out, and an undecided pod says why.
            rule(&[""], &["pods/binding"], &["create"]),
            rule(&[""], &["pods/status"], &["patch"]),
            rule(&["", "events.k8s.io"], &["events"], &["create", "patch", "update"]),
            // Preemption: pods of lower priority leave, as few as possible against their budgets.
            rule(&[""], &["pods"], &["delete"]),
            rule(&["policy"], &["poddisruptionbudgets"], READ),
            // Which pods serve requests, so that they are ranked by the response time of their demand. And pods are spread by the selectors of
            // their Services and controllers.
            rule(&[""], &["services", "replicationcontrollers"], READ),
            rule(&["apps"], &["replicasets", "statefulsets"], READ),
            // Where volumes can be had, and what is bound to them: a pod's claims get their volumes, or the node to provision them for, before the
            // pod is bound.
            rule(&[""], &["persistentvolumes", "persistentvolumeclaims"], &["get", "list", "watch", "patch"]),
            rule(&["storage.k8s.io"], &["storageclasses", "csinodes", "csidrivers", "csistoragecapacities", "volumeattachments"], READ),
            // Devices, and claims for them: a pod's claims get their devices, and are reserved for it, before the pod is bound.
            rule(&["resource.k8s.io"], &["deviceclasses", "devicetaintrules", "resourceslices"], READ),
            rule(&["resource.k8s.io"], &["resourceclaims"], &["get", "list", "watch", "patch"]),
            // The status, and the right that the API server asks for besides where devices are given or taken.
            rule(&["resource.k8s.io"], &["resourceclaims/status", "resourceclaims/binding"], &["patch"]),
            // Affinity between pods may mean namespaces by their labels.
            rule(&[""], &["namespaces"], READ),
            rule(&[GROUP], &["edgeloadbalancers"], READ),
            // Summaries of the topology, and room kept for failures.
            rule(
                &[GROUP],
                &["nodenetworks", "nodenetworks/status", "backupreservations", "backupreservations/status"],
                &["get", "list", "watch", "create", "update", "patch", "delete"],
            ),
            // The topology service knows its callers by their tokens, and asks whether they may read.
            rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
            rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
            // `edge-scheduler explain` asks under the scheduler's own account: who may create its tokens may see why pods are where they are.
            paths(&["/v1/summary", "/v1/explain/*"], &["get"]),
        ],
        namespace: &[
            // One replica binds.
            rule(&["coordination.k8s.io"], &["leases"], &["create"]),
            named(&["coordination.k8s.io"], &["leases"], &[SCHEDULER], &["get", "update", "patch"]),
            // The CA of the topology service: public for agents and routers, its key for the replicas alone.
            rule(&[""], &["configmaps", "secrets"], &["create"]),
            named(&[""], &["configmaps"], &[TOPOLOGY_CA_CONFIG_MAP], &["get", "update", "patch"]),
            named(&[""], &["secrets"], &[TOPOLOGY_CA_KEY_SECRET], &["get", "update", "patch"]),
            rule(&["discovery.k8s.io"], &["endpointslices"], READ),
        ],
    },
    Program {
        name: PINGER,
        // Only its own row: the topology service takes the node from the token.
        cluster: &[paths(&["/v1/peers"], &["get"]), paths(&["/v1/report"], &["post"])],
        namespace: &[
            // Where the topology service's replicas are, and whom they are signed by.
            rule(&["discovery.k8s.io"], &["endpointslices"], READ),
            named(&[""], &["configmaps"], &[TOPOLOGY_CA_CONFIG_MAP], READ),
        ],
    },
    Program {
        name: ROUTER,
        cluster: &[
            // Who serves, where, and on what.
            rule(&[""], &["services", "pods", "nodes"], READ),
            rule(&["discovery.k8s.io"], &["endpointslices"], READ),
            rule(&[GROUP], &["edgeloadbalancers"], READ),
            rule(&[GROUP], &["edgeloadbalancers/status"], &["get", "patch", "update"]),
            // What it follows and feeds back.
            paths(&["/v1/snapshot", "/v1/stream"], &["get"]),
            paths(&["/v1/demand"], &["post"]),
        ],
        namespace: &[
            named(&[""], &["configmaps"], &[TOPOLOGY_CA_CONFIG_MAP], READ),
            // One router writes the status of load balancers.
            rule(&["coordination.k8s.io"], &["leases"], &["create"]),
            named(&["coordination.k8s.io"], &["leases"], &[ROUTER_STATUS_LEASE], &["get", "update", "patch"]),
        ],
    },
];

/// A program's service account, roles and bindings.
pub struct Access {
    pub service_account: ServiceAccount,
    pub cluster_role: ClusterRole,
    pub cluster_role_binding: ClusterRoleBinding,
    pub role: Role,
    pub role_binding: RoleBinding,
}

/// By program name.
pub fn programs() -> impl Iterator<Item = (&'static str, Access)> {
    PROGRAMS.iter().map(|program| (program.name, access(program)))
}

/// For people: who may see and edit our objects (added to the roles view and edit), and who may read the topology and explanations.
pub fn people() -> Vec<ClusterRole> {
    let role = |name: &str, aggregate: Option<&str>, rules: &[Rule]| {
        let mut metadata = metadata(name, None);
        if let Some(role) = aggregate {
            let label = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
            metadata.labels.get_or_insert_default().insert(label, "true".to_owned());
        }
        ClusterRole { metadata, rules: Some(policy(rules)), ..ClusterRole::default() }
    };
    vec![
        role("edge-view", Some("view"), &[rule(&[GROUP], &["edgeloadbalancers", "backupreservations"], READ)]),
        role(
            "edge-edit",
            Some("edit"),
            &[rule(&[GROUP], &["edgeloadbalancers"], &["create", "update", "patch", "delete", "deletecollection"])],
        ),
        role(
            "edge-topology-reader",
            None,
            &[paths(&["/v1/snapshot", "/v1/stream", "/v1/summary", "/v1/explain/*"], &["get"]), rule(&[GROUP], &["nodenetworks"], READ)],
        ),
    ]
}

fn access(program: &Program) -> Access {
    let name = program.name;
    let here = Some(SYSTEM_NAMESPACE);
    let subjects = || {
        Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: name.to_owned(),
            namespace: Some(SYSTEM_NAMESPACE.to_owned()),
            ..Subject::default()
        }])
    };
    let role_ref =
        |kind: &str| RoleRef { api_group: Some("rbac.authorization.k8s.io".to_owned()), kind: kind.to_owned(), name: name.to_owned() };
    Access {
        service_account: ServiceAccount { metadata: metadata(name, here), ..ServiceAccount::default() },
        cluster_role: ClusterRole { metadata: metadata(name, None), rules: Some(policy(program.cluster)), ..ClusterRole::default() },
        cluster_role_binding: ClusterRoleBinding {
            metadata: metadata(name, None),
            role_ref: role_ref("ClusterRole"),
            subjects: subjects(),
        },
        role: Role { metadata: metadata(name, here), rules: Some(policy(program.namespace)) },
        role_binding: RoleBinding { metadata: metadata(name, here), role_ref: role_ref("Role"), subjects: subjects() },
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    let labels = [(APP_NAME_LABEL, name), (APP_PART_OF_LABEL, SCHEDULER)];
    let labels: BTreeMap<_, _> = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    ObjectMeta { name: Some(name.to_owned()), namespace: namespace.map(str::to_owned), labels: Some(labels), ..ObjectMeta::default() }
}

fn policy(rules: &[Rule]) -> Vec<PolicyRule> {
    let list = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
    let some = |texts: &[&str]| (!texts.is_empty()).then(|| list(texts));
    let rules = rules.iter().map(|rule| PolicyRule {
        api_groups: some(rule.groups),
        resources: some(rule.resources),
        resource_names: some(rule.names),
        non_resource_urls: some(rule.paths),
        verbs: list(rule.verbs),
    });
    rules.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_everything_and_names_narrow_no_create() {
        for program in &PROGRAMS {
            for rule in program.cluster.iter().chain(program.namespace) {
                let all = [rule.groups, rule.resources, rule.verbs, rule.names, rule.paths].concat();
                assert!(!all.contains(&"*"), "{}: {all:?}", program.name);
                assert!(rule.names.is_empty() || !rule.verbs.contains(&"create"), "{}: create can't be narrowed by name", program.name);
                assert!(rule.resources.is_empty() != rule.paths.is_empty(), "{}: resources or paths", program.name);
            }
            assert!(program.cluster.iter().all(|rule| rule.paths.is_empty() || rule.names.is_empty()));
            assert!(program.namespace.iter().all(|rule| rule.paths.is_empty()), "paths have no namespace");
            let secrets = program.cluster.iter().any(|rule| rule.resources.contains(&"secrets"));
            assert!(!secrets, "{} would read every secret", program.name);
        }
    }
}
