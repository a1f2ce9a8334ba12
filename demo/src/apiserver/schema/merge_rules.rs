//! How the lists and maps of the built-in types merge and are owned: one table for strategic merge patches,
//! server-side apply and the `x-kubernetes-` extensions of the OpenAPI documents.
//!
//! The types themselves come without these facts; they are those of Kubernetes 1.37's own OpenAPI document. What is
//! not named here is a list that is replaced (and owned) as a whole, or a map that merges key by key.

use serde_json::{Value, json};

/// How one field merges.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// `x-kubernetes-list-type`.
    list: &'static str,
    /// `x-kubernetes-list-map-keys`.
    keys: &'static [&'static str],
    /// `x-kubernetes-map-type`.
    map: &'static str,
    /// `x-kubernetes-patch-strategy`.
    strategy: &'static str,
    /// `x-kubernetes-patch-merge-key`.
    merge_key: &'static str,
}

const PLAIN: Rule = Rule { list: "", keys: &[], map: "", strategy: "", merge_key: "" };
const ATOMIC_MAP: Rule = Rule { map: "atomic", ..PLAIN };
const GRANULAR_MAP: Rule = Rule { map: "granular", ..PLAIN };
const REPLACE: Rule = Rule { strategy: "replace", ..PLAIN };
const RETAIN_KEYS: Rule = Rule { strategy: "retainKeys", ..PLAIN };
const SET: Rule = Rule { list: "set", ..PLAIN };
const MERGED_SET: Rule = Rule { strategy: "merge", ..SET };

/// A list of objects that are told apart by `keys`; a strategic merge patch knows the first one alone.
const fn keyed(keys: &'static [&'static str]) -> Rule {
    Rule { list: "map", keys, strategy: "merge", merge_key: keys[0], ..PLAIN }
}

/// The same, but a strategic merge patch replaces the list.
const fn owned(keys: &'static [&'static str]) -> Rule {
    Rule { list: "map", keys, ..PLAIN }
}

/// A list that a strategic merge patch merges by `key`, and that is owned as a whole.
const fn patched(key: &'static str) -> Rule {
    Rule { list: "atomic", strategy: "merge", merge_key: key, ..PLAIN }
}

impl Rule {
    const fn retaining_keys(mut self) -> Self {
        self.strategy = "merge,retainKeys";
        self
    }
}

/// (definition, field, rule). Definitions are named without their package's prefix.
const FIELDS: &[(&str, &str, Rule)] = &[
    ("apiextensions.v1.CustomResourceDefinitionStatus", "conditions", owned(&["type"])),
    ("apps.v1.DaemonSetStatus", "conditions", keyed(&["type"])),
    ("apps.v1.DeploymentSpec", "strategy", RETAIN_KEYS),
    ("apps.v1.DeploymentStatus", "conditions", keyed(&["type"])),
    ("apps.v1.ReplicaSetStatus", "conditions", keyed(&["type"])),
    ("apps.v1.StatefulSetStatus", "conditions", keyed(&["type"])),
    ("batch.v1.JobSchedulingConfiguration", "resourceClaims", keyed(&["name"])),
    ("batch.v1.JobStatus", "conditions", patched("type")),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values", SET),
    ("batch.v1.UncountedTerminatedPods", "failed", SET),
    ("batch.v1.UncountedTerminatedPods", "succeeded", SET),
    ("core.v1.Container", "env", keyed(&["name"])),
    ("core.v1.Container", "ports", keyed(&["containerPort", "protocol"])),
    ("core.v1.Container", "volumeDevices", keyed(&["devicePath"])),
    ("core.v1.Container", "volumeMounts", keyed(&["mountPath"])),
    ("core.v1.ContainerRestartRuleOnExitCodes", "values", SET),
    ("core.v1.ContainerStatus", "allocatedResourcesStatus", keyed(&["name"])),
    ("core.v1.ContainerStatus", "volumeMounts", keyed(&["mountPath"])),
    ("core.v1.EphemeralContainer", "env", keyed(&["name"])),
    ("core.v1.EphemeralContainer", "ports", keyed(&["containerPort", "protocol"])),
    ("core.v1.EphemeralContainer", "volumeDevices", keyed(&["devicePath"])),
    ("core.v1.EphemeralContainer", "volumeMounts", keyed(&["mountPath"])),
    ("core.v1.NamespaceStatus", "conditions", keyed(&["type"])),
    ("core.v1.NodeAllocatableResourceClaimStatus", "containers", SET),
    ("core.v1.NodeAllocatableResourceClaimStatus", "mapping", keyed(&["name"])),
    ("core.v1.NodeAllocatableResourceClaimStatus", "overhead", keyed(&["name"])),
    ("core.v1.NodePodPreemptionPolicy", "disableResizePreemption", SET),
    ("core.v1.NodeSpec", "podCIDRs", MERGED_SET),
    ("core.v1.NodeStatus", "addresses", keyed(&["type"])),
    ("core.v1.NodeStatus", "conditions", keyed(&["type"])),
    ("core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses", GRANULAR_MAP),
    ("core.v1.PersistentVolumeClaimStatus", "conditions", keyed(&["type"])),
    ("core.v1.PersistentVolumeSpec", "claimRef", GRANULAR_MAP),
    ("core.v1.PodSpec", "containers", keyed(&["name"])),
    ("core.v1.PodSpec", "ephemeralContainers", keyed(&["name"])),
    ("core.v1.PodSpec", "evictionResponders", keyed(&["name"])),
    ("core.v1.PodSpec", "hostAliases", keyed(&["ip"])),
    ("core.v1.PodSpec", "imagePullSecrets", keyed(&["name"])),
    ("core.v1.PodSpec", "initContainers", keyed(&["name"])),
    ("core.v1.PodSpec", "nodeSelector", ATOMIC_MAP),
    ("core.v1.PodSpec", "resourceClaims", keyed(&["name"]).retaining_keys()),
    ("core.v1.PodSpec", "schedulingGates", keyed(&["name"])),
    ("core.v1.PodSpec", "topologySpreadConstraints", keyed(&["topologyKey", "whenUnsatisfiable"])),
    ("core.v1.PodSpec", "volumes", keyed(&["name"]).retaining_keys()),
    ("core.v1.PodStatus", "conditions", keyed(&["type"])),
    ("core.v1.PodStatus", "hostIPs", patched("ip")),
    ("core.v1.PodStatus", "nodeAllocatableResourceClaimStatuses", keyed(&["resourceClaimName"])),
    ("core.v1.PodStatus", "podIPs", keyed(&["ip"])),
    ("core.v1.PodStatus", "resourceClaimStatuses", keyed(&["name"]).retaining_keys()),
    ("core.v1.PodStatus", "volumeHealth", owned(&["name"])),
    ("core.v1.PodVolumeHealth", "healthConditions", keyed(&["status", "reason"])),
    ("core.v1.ReplicationControllerSpec", "selector", ATOMIC_MAP),
    ("core.v1.ReplicationControllerStatus", "conditions", keyed(&["type"])),
    ("core.v1.ResourceRequirements", "claims", owned(&["name"])),
    ("core.v1.ResourceStatus", "resources", owned(&["resourceID"])),
    ("core.v1.ServiceAccount", "secrets", keyed(&["name"])),
    ("core.v1.ServiceSpec", "ports", keyed(&["port", "protocol"])),
    ("core.v1.ServiceSpec", "selector", ATOMIC_MAP),
    ("core.v1.ServiceStatus", "conditions", keyed(&["type"])),
    ("core.v1.VolumeHealthStatus", "healthConditions", keyed(&["status", "reason"])),
    ("core.v1.VolumeMount", "bindMountOptions", SET),
    ("discovery.v1.Endpoint", "addresses", SET),
    ("meta.v1.ObjectMeta", "finalizers", MERGED_SET),
    ("meta.v1.ObjectMeta", "ownerReferences", keyed(&["uid"])),
    ("policy.v1.PodDisruptionBudgetSpec", "selector", REPLACE),
    ("policy.v1.PodDisruptionBudgetStatus", "conditions", keyed(&["type"])),
    ("resource.v1.AllocatedDeviceStatus", "conditions", owned(&["type"])),
    ("resource.v1.DeviceRequestAllocationResult", "skipNodeOperations", SET),
    ("resource.v1.ResourceClaimStatus", "devices", owned(&["driver", "device", "pool", "shareID"])),
    ("resource.v1.ResourceClaimStatus", "reservedFor", keyed(&["uid"])),
    ("resource.v1.ResourceSliceSpec", "skipNodeOperations", SET),
    ("storage.v1.CSIDriverSpec", "volumeLifecycleModes", SET),
    ("storage.v1.CSINodeSpec", "drivers", keyed(&["name"])),
    ("storage.v1.CSINodeStatus", "storageHealth", keyed(&["name"])),
];

/// Structs that are owned as a whole.
const ATOMIC: &[&str] = &[
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.EvictionResponder",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
];

/// Structs that an object holds by value, so that even an empty object has them; besides the `metadata`, `spec` and
/// `status` of every kind.
const BY_VALUE: &[(&str, &str)] = &[
    ("apiextensions.v1.CustomResourceDefinitionSpec", "names"),
    ("apiextensions.v1.CustomResourceDefinitionStatus", "acceptedNames"),
    ("apps.v1.DaemonSetSpec", "template"),
    ("apps.v1.DaemonSetSpec", "updateStrategy"),
    ("apps.v1.DeploymentSpec", "strategy"),
    ("apps.v1.DeploymentSpec", "template"),
    ("apps.v1.ReplicaSetSpec", "template"),
    ("apps.v1.StatefulSetSpec", "template"),
    ("apps.v1.StatefulSetSpec", "updateStrategy"),
    ("authentication.v1.TokenReviewStatus", "user"),
    ("batch.v1.JobSpec", "template"),
    ("core.v1.Event", "involvedObject"),
    ("core.v1.Event", "source"),
    ("core.v1.Container", "resources"),
    ("core.v1.ContainerStatus", "lastState"),
    ("core.v1.ContainerStatus", "state"),
    ("core.v1.NodeDaemonEndpoints", "kubeletEndpoint"),
    ("core.v1.NodeStatus", "daemonEndpoints"),
    ("core.v1.NodeStatus", "nodeInfo"),
    ("core.v1.PersistentVolumeClaimSpec", "resources"),
    ("core.v1.PodTemplateSpec", "metadata"),
    ("core.v1.PodTemplateSpec", "spec"),
    ("core.v1.ServiceStatus", "loadBalancer"),
    ("discovery.v1.Endpoint", "conditions"),
    ("events.v1.Event", "deprecatedSource"),
    ("events.v1.Event", "regarding"),
    ("core.v1.PreferredSchedulingTerm", "preference"),
    ("core.v1.WeightedPodAffinityTerm", "podAffinityTerm"),
    ("rbac.v1.ClusterRoleBinding", "roleRef"),
    ("rbac.v1.RoleBinding", "roleRef"),
    ("resource.v1.ResourceClaimSpec", "devices"),
    ("resource.v1.ResourceClaimTemplateSpec", "metadata"),
    ("resource.v1.ResourceClaimTemplateSpec", "spec"),
    ("resource.v1.ResourceSliceSpec", "pool"),
    ("storage.v1.VolumeAttachmentSpec", "source"),
];

/// Fields that are written without a value though they are neither required nor structs: times, and what the types do not leave out.
const WRITTEN_UNSET: &[(&str, &str)] = &[
    ("apps.v1.DaemonSetCondition", "lastTransitionTime"),
    ("apps.v1.DeploymentCondition", "lastTransitionTime"),
    ("apps.v1.DeploymentCondition", "lastUpdateTime"),
    ("apps.v1.ReplicaSetCondition", "lastTransitionTime"),
    ("apps.v1.StatefulSetCondition", "lastTransitionTime"),
    ("apps.v1.StatefulSetSpec", "serviceName"),
    ("apps.v1.StatefulSetStatus", "availableReplicas"),
    ("authentication.v1.TokenRequestSpec", "boundObjectRef"),
    ("batch.v1.JobCondition", "lastProbeTime"),
    ("batch.v1.JobCondition", "lastTransitionTime"),
    ("core.v1.ContainerStateRunning", "startedAt"),
    ("core.v1.ContainerStateTerminated", "finishedAt"),
    ("core.v1.ContainerStateTerminated", "startedAt"),
    ("core.v1.Event", "eventTime"),
    ("core.v1.Event", "firstTimestamp"),
    ("core.v1.Event", "lastTimestamp"),
    ("core.v1.Event", "reportingComponent"),
    ("core.v1.Event", "reportingInstance"),
    ("core.v1.EventSeries", "lastObservedTime"),
    ("core.v1.NamespaceCondition", "lastTransitionTime"),
    ("core.v1.NodeCondition", "lastHeartbeatTime"),
    ("core.v1.NodeCondition", "lastTransitionTime"),
    ("core.v1.PersistentVolumeClaimCondition", "lastProbeTime"),
    ("core.v1.PersistentVolumeClaimCondition", "lastTransitionTime"),
    ("core.v1.PodCondition", "lastProbeTime"),
    ("core.v1.PodCondition", "lastTransitionTime"),
    ("core.v1.ProjectedVolumeSource", "sources"),
    ("core.v1.ReplicationControllerCondition", "lastTransitionTime"),
    ("core.v1.ResourceFieldSelector", "divisor"),
    ("core.v1.TypedLocalObjectReference", "apiGroup"),
    ("discovery.v1.EndpointSlice", "endpoints"),
    ("discovery.v1.EndpointSlice", "ports"),
    ("events.v1.Event", "deprecatedFirstTimestamp"),
    ("events.v1.Event", "deprecatedLastTimestamp"),
    ("policy.v1.PodDisruptionBudgetStatus", "currentHealthy"),
    ("policy.v1.PodDisruptionBudgetStatus", "desiredHealthy"),
    ("policy.v1.PodDisruptionBudgetStatus", "disruptionsAllowed"),
    ("policy.v1.PodDisruptionBudgetStatus", "expectedPods"),
    ("rbac.v1.ClusterRole", "rules"),
    ("rbac.v1.Role", "rules"),
    ("resource.v1.DeviceClaim", "requests"),
    ("storage.v1.CSINodeDriver", "topologyKeys"),
    ("storage.v1.VolumeError", "time"),
];

/// Values that a key of a list has where an item leaves it out.
const KEY_DEFAULTS: &[(&str, &str, &str)] = &[("core.v1.ContainerPort", "protocol", "TCP"), ("core.v1.ServicePort", "protocol", "TCP")];

/// Adds what the table knows to the schema of a definition.
pub fn annotate(definition: &str, schema: &mut Value) {
    let name = short(definition);
    if ATOMIC.contains(&name) {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let is_kind = properties.contains_key("kind") && properties.contains_key("metadata");
    for (field, property) in properties.iter_mut() {
        let here = |row: &(&str, &str)| row.0 == name && row.1 == field.as_str();
        if BY_VALUE.iter().any(here) || (is_kind && matches!(field.as_str(), "metadata" | "spec" | "status")) {
            property["default"] = json!({});
        }
        if let Some((_, _, value)) = KEY_DEFAULTS.iter().find(|row| here(&(row.0, row.1))) {
            property["default"] = (*value).into();
        }
        let Some((_, _, rule)) = FIELDS.iter().find(|row| here(&(row.0, row.1))) else { continue };
        for (extension, value) in
            [("list-type", rule.list), ("map-type", rule.map), ("patch-strategy", rule.strategy), ("patch-merge-key", rule.merge_key)]
        {
            if !value.is_empty() {
                property[format!("x-kubernetes-{extension}")] = value.into();
            }
        }
        if !rule.keys.is_empty() {
            property["x-kubernetes-list-map-keys"] = json!(rule.keys);
        }
    }
}

/// The rows about a definition of fields that are written without a value.
pub fn written_unset(definition: &str) -> Vec<(&'static str, &'static str)> {
    WRITTEN_UNSET.iter().filter(|row| row.0 == short(definition)).copied().collect()
}

/// `core.v1.Container` of `io.k8s.api.core.v1.Container`.
fn short(definition: &str) -> &str {
    ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apiextensions-apiserver.pkg.apis."]
        .iter()
        .find_map(|prefix| definition.strip_prefix(prefix))
        .unwrap_or(definition)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::apiserver::schema::definitions::Sources;

    #[test]
    fn every_row_names_a_field_that_exists() {
        let sources = Sources::builtin();
        let fields: BTreeSet<(&str, &str)> = sources
            .named
            .iter()
            .flat_map(|(name, schema)| {
                let properties = schema["properties"].as_object();
                properties.into_iter().flatten().map(move |(field, _)| (short(name), field.as_str()))
            })
            .collect();
        let rows = FIELDS
            .iter()
            .map(|row| (row.0, row.1))
            .chain(BY_VALUE.iter().copied())
            .chain(WRITTEN_UNSET.iter().copied())
            .chain(KEY_DEFAULTS.iter().map(|row| (row.0, row.1)));
        for row in rows {
            assert!(fields.contains(&row), "{row:?}");
        }
        for name in ATOMIC {
            assert!(sources.named.keys().any(|known| short(known) == *name), "{name}");
        }
    }
}
