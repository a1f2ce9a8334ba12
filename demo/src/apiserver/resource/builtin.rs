//! The built-in kinds, as data.

use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::NameRule;

/// One built-in kind.
#[derive(Debug)]
pub struct Builtin {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural name.
    pub plural: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Short names for kubectl.
    pub short: &'static [&'static str],
    /// Categories for kubectl.
    pub categories: &'static [&'static str],
    /// Whether `status` is a subresource.
    pub status: bool,
    /// Whether `scale` is a subresource.
    pub scale: bool,
    /// Whether `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Whether a created object keeps the status it came with.
    pub keeps_status: bool,
    /// Whether objects are kept, or only answered.
    pub stored: bool,
    /// Whether an update must say which resourceVersion it replaces.
    pub needs_version: bool,
    /// Which names are valid.
    pub names: NameRule,
    /// Selectable fields as (label, default).
    pub fields: &'static [(&'static str, &'static str)],
    /// The JSON schema of the type.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Builtin {
    const fn new(
        (group, version): (&'static str, &'static str),
        plural: &'static str,
        kind: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
    ) -> Self {
        Self {
            group,
            version,
            plural,
            kind,
            namespaced: true,
            short: &[],
            categories: &[],
            status: false,
            scale: false,
            generation: false,
            keeps_status: false,
            stored: true,
            needs_version: false,
            names: NameRule::Subdomain,
            fields: &[],
            schema,
        }
    }

    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short = names;
        self
    }

    const fn in_all(self) -> Self {
        self.categories(&["all"])
    }

    const fn categories(mut self, names: &'static [&'static str]) -> Self {
        self.categories = names;
        self
    }

    const fn status(mut self) -> Self {
        self.status = true;
        self
    }

    const fn scale(mut self) -> Self {
        self.scale = true;
        self
    }

    const fn generation(mut self) -> Self {
        self.generation = true;
        self
    }

    const fn keeps_status(mut self) -> Self {
        self.keeps_status = true;
        self
    }

    const fn answered(mut self) -> Self {
        self.stored = false;
        self
    }

    const fn needs_version(mut self) -> Self {
        self.needs_version = true;
        self
    }

    const fn names(mut self, rule: NameRule) -> Self {
        self.names = rule;
        self
    }

    const fn fields(mut self, fields: &'static [(&'static str, &'static str)]) -> Self {
        self.fields = fields;
        self
    }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const STORAGE: (&str, &str) = ("storage.k8s.io", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const RESOURCE: (&str, &str) = ("resource.k8s.io", "v1");
const AUTHORIZATION: (&str, &str) = ("authorization.k8s.io", "v1");

const POD_FIELDS: &[(&str, &str)] = &[
    ("spec.nodeName", ""),
    ("spec.schedulerName", ""),
    ("spec.serviceAccountName", ""),
    ("spec.restartPolicy", ""),
    ("spec.hostNetwork", "false"),
    ("status.phase", ""),
    ("status.podIP", ""),
    ("status.nominatedNodeName", ""),
];
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject.kind", ""),
    ("involvedObject.namespace", ""),
    ("involvedObject.name", ""),
    ("involvedObject.uid", ""),
    ("involvedObject.apiVersion", ""),
    ("involvedObject.resourceVersion", ""),
    ("involvedObject.fieldPath", ""),
    ("reason", ""),
    ("reportingComponent", ""),
    ("source.component", ""),
    ("type", ""),
];

/// Every built-in kind, in the order of discovery.
pub static BUILTIN: &[Builtin] = &[
    Builtin::new(CORE, "configmaps", "ConfigMap", of::<api::core::v1::ConfigMap>).short(&["cm"]),
    Builtin::new(CORE, "endpoints", "Endpoints", of::<api::core::v1::Endpoints>).short(&["ep"]),
    Builtin::new(CORE, "events", "Event", of::<api::core::v1::Event>).short(&["ev"]).fields(EVENT_FIELDS),
    Builtin::new(CORE, "namespaces", "Namespace", of::<api::core::v1::Namespace>)
        .cluster()
        .short(&["ns"])
        .status()
        .names(NameRule::Label)
        .fields(&[("status.phase", "")]),
    Builtin::new(CORE, "nodes", "Node", of::<api::core::v1::Node>)
        .cluster()
        .short(&["no"])
        .status()
        .keeps_status()
        .fields(&[("spec.unschedulable", "false")]),
    Builtin::new(CORE, "persistentvolumeclaims", "PersistentVolumeClaim", of::<api::core::v1::PersistentVolumeClaim>)
        .short(&["pvc"])
        .status(),
    Builtin::new(CORE, "persistentvolumes", "PersistentVolume", of::<api::core::v1::PersistentVolume>).cluster().short(&["pv"]).status(),
    Builtin::new(CORE, "pods", "Pod", of::<api::core::v1::Pod>).short(&["po"]).in_all().status().generation().fields(POD_FIELDS),
    Builtin::new(CORE, "replicationcontrollers", "ReplicationController", of::<api::core::v1::ReplicationController>)
        .short(&["rc"])
        .in_all()
        .status()
        .scale()
        .generation(),
    Builtin::new(CORE, "secrets", "Secret", of::<api::core::v1::Secret>).fields(&[("type", "")]),
    Builtin::new(CORE, "serviceaccounts", "ServiceAccount", of::<api::core::v1::ServiceAccount>).short(&["sa"]),
    Builtin::new(CORE, "services", "Service", of::<api::core::v1::Service>).short(&["svc"]).in_all().status().names(NameRule::Label),
    Builtin::new(APPS, "daemonsets", "DaemonSet", of::<api::apps::v1::DaemonSet>).short(&["ds"]).in_all().status().generation(),
    Builtin::new(APPS, "deployments", "Deployment", of::<api::apps::v1::Deployment>)
        .short(&["deploy"])
        .in_all()
        .status()
        .scale()
        .generation(),
    Builtin::new(APPS, "replicasets", "ReplicaSet", of::<api::apps::v1::ReplicaSet>)
        .short(&["rs"])
        .in_all()
        .status()
        .scale()
        .generation()
        .fields(&[("status.replicas", "0")]),
    Builtin::new(APPS, "statefulsets", "StatefulSet", of::<api::apps::v1::StatefulSet>)
        .short(&["sts"])
        .in_all()
        .status()
        .scale()
        .generation(),
    Builtin::new(
        ("autoscaling", "v2"),
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        of::<api::autoscaling::v2::HorizontalPodAutoscaler>,
    )
    .short(&["hpa"])
    .in_all()
    .status(),
    Builtin::new(("batch", "v1"), "cronjobs", "CronJob", of::<api::batch::v1::CronJob>).short(&["cj"]).in_all().status().generation(),
    Builtin::new(("batch", "v1"), "jobs", "Job", of::<api::batch::v1::Job>).in_all().status().generation(),
    Builtin::new(("discovery.k8s.io", "v1"), "endpointslices", "EndpointSlice", of::<api::discovery::v1::EndpointSlice>).generation(),
    Builtin::new(("events.k8s.io", "v1"), "events", "Event", of::<api::events::v1::Event>).short(&["ev"]).fields(EVENT_FIELDS),
    Builtin::new(("coordination.k8s.io", "v1"), "leases", "Lease", of::<api::coordination::v1::Lease>).needs_version(),
    Builtin::new(("policy", "v1"), "poddisruptionbudgets", "PodDisruptionBudget", of::<api::policy::v1::PodDisruptionBudget>)
        .short(&["pdb"])
        .status()
        .generation(),
    Builtin::new(("scheduling.k8s.io", "v1"), "priorityclasses", "PriorityClass", of::<api::scheduling::v1::PriorityClass>)
        .cluster()
        .short(&["pc"])
        .generation(),
    Builtin::new(STORAGE, "csidrivers", "CSIDriver", of::<api::storage::v1::CSIDriver>).cluster().generation(),
    Builtin::new(STORAGE, "csinodes", "CSINode", of::<api::storage::v1::CSINode>).cluster(),
    Builtin::new(STORAGE, "csistoragecapacities", "CSIStorageCapacity", of::<api::storage::v1::CSIStorageCapacity>),
    Builtin::new(STORAGE, "storageclasses", "StorageClass", of::<api::storage::v1::StorageClass>).cluster().short(&["sc"]),
    Builtin::new(STORAGE, "volumeattachments", "VolumeAttachment", of::<api::storage::v1::VolumeAttachment>).cluster().status(),
    Builtin::new(RBAC, "clusterrolebindings", "ClusterRoleBinding", of::<api::rbac::v1::ClusterRoleBinding>)
        .cluster()
        .names(NameRule::PathSegment),
    Builtin::new(RBAC, "clusterroles", "ClusterRole", of::<api::rbac::v1::ClusterRole>).cluster().names(NameRule::PathSegment),
    Builtin::new(RBAC, "rolebindings", "RoleBinding", of::<api::rbac::v1::RoleBinding>).names(NameRule::PathSegment),
    Builtin::new(RBAC, "roles", "Role", of::<api::rbac::v1::Role>).names(NameRule::PathSegment),
    Builtin::new(("apiextensions.k8s.io", "v1"), "customresourcedefinitions", "CustomResourceDefinition", of::<CustomResourceDefinition>)
        .cluster()
        .short(&["crd", "crds"])
        .categories(&["api-extensions"])
        .status()
        .generation(),
    Builtin::new(("authentication.k8s.io", "v1"), "tokenreviews", "TokenReview", of::<api::authentication::v1::TokenReview>)
        .cluster()
        .answered(),
    Builtin::new(
        ("authentication.k8s.io", "v1"),
        "selfsubjectreviews",
        "SelfSubjectReview",
        of::<api::authentication::v1::SelfSubjectReview>,
    )
    .cluster()
    .answered(),
    Builtin::new(AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", of::<api::authorization::v1::SelfSubjectRulesReview>)
        .cluster()
        .answered(),
    Builtin::new(AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", of::<api::authorization::v1::SubjectAccessReview>)
        .cluster()
        .answered(),
    Builtin::new(
        AUTHORIZATION,
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        of::<api::authorization::v1::SelfSubjectAccessReview>,
    )
    .cluster()
    .answered(),
    Builtin::new(RESOURCE, "deviceclasses", "DeviceClass", of::<api::resource::v1::DeviceClass>).cluster().generation(),
    Builtin::new(RESOURCE, "devicetaintrules", "DeviceTaintRule", of::<api::resource::v1::DeviceTaintRule>).cluster().status().generation(),
    Builtin::new(RESOURCE, "resourceclaims", "ResourceClaim", of::<api::resource::v1::ResourceClaim>).status(),
    Builtin::new(RESOURCE, "resourceclaimtemplates", "ResourceClaimTemplate", of::<api::resource::v1::ResourceClaimTemplate>),
    Builtin::new(RESOURCE, "resourceslices", "ResourceSlice", of::<api::resource::v1::ResourceSlice>)
        .cluster()
        .generation()
        .fields(&[("spec.nodeName", ""), ("spec.driver", "")]),
];
