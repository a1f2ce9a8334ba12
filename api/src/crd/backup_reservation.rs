//! `BackupReservation` (short name `br`): room kept for one protected pod on a host outside its failure domain. Survives restarts of the
//! scheduler; what a host keeps free is the maximum over failing domains of what these objects would bring it.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who is protected, against what, and where the room is.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "edge-scheduler.io",
    version = "v1alpha1",
    kind = "BackupReservation",
    plural = "backupreservations",
    shortname = "br",
    category = "edge",
    namespaced,
    status = "BackupReservationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "BackupReservation keeps room for a protected pod on another failure domain, inside the pod's delay bounds.",
    printcolumn(name = "Pod", type_ = "string", json_path = ".spec.pod.name", description = "Protected pod"),
    printcolumn(
        name = "Against",
        type_ = "string",
        json_path = ".spec.failureDomain.name",
        description = "Node or site whose failure it covers"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host", description = "Node that keeps the room"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Reserved, Claimed or Lost"),
    printcolumn(
        name = "Claimed By",
        type_ = "string",
        json_path = ".status.claimedBy",
        description = "Replacement that took the room",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupReservationSpec {
    /// The protected pod of this namespace.
    pub pod: ReservedFor,

    /// What may fail: the node or site that the pod runs on.
    pub failure_domain: FailureDomain,

    /// Node that keeps the room; outside the failure domain.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,

    /// What the pod requests, by resource name.
    #[schemars(extend("maxProperties" = 32))]
    pub requests: BTreeMap<String, Quantity>,
}

/// A pod by name and UID, and its controller, whose replacement pod takes the room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservedFor {
    /// Name of the pod.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its UID: a pod of the same name that came later has a reservation of its own.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Kind of its controller, such as Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub owner_kind: Option<String>,
    /// Name of its controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub owner_name: Option<String>,
}

/// What fails as one: a node, or the nodes of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureDomain {
    /// Label that the domain's nodes share: kubernetes.io/hostname for a node, topology.kubernetes.io/zone for a site.
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
    /// Its value.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Whether the room is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReservationPhase {
    #[default]
    Reserved,
    Claimed,
    Lost,
}

/// Where the reservation stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupReservationStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Reserved: the host keeps the room. Claimed: the domain failed and a replacement took it. Lost: the host can't keep it any more, and another is being looked for.
    #[serde(default)]
    pub phase: ReservationPhase,

    /// Name of the replacement pod, once it took the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub claimed_by: Option<String>,

    /// Protected: the room is inside the pod's bounds on another domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
