//! Names that other people's manifests use: labels, annotations, and the names of our own objects. The only place they are written.

/// API group of the custom resources.
pub const GROUP: &str = "edge-scheduler.io";
/// Their version.
pub const VERSION: &str = "v1alpha1";

/// `spec.schedulerName` of the pods that edge-scheduler binds.
pub const SCHEDULER_NAME: &str = "edge-scheduler";
/// Namespace of the three programs.
pub const SYSTEM_NAMESPACE: &str = "edge-system";
/// Service account, Deployment and Lease of the scheduler.
pub const SCHEDULER: &str = "edge-scheduler";
/// Service account and DaemonSet of the pinger.
pub const PINGER: &str = "edge-pinger";
/// Service account and DaemonSet of the router.
pub const ROUTER: &str = "edge-router";
/// Lease of the router that writes the status of load balancers.
pub const ROUTER_STATUS_LEASE: &str = "edge-router-status";

/// Service (in [`SYSTEM_NAMESPACE`]) of the topology service.
pub const TOPOLOGY_SERVICE: &str = "edge-scheduler";
/// Port of the topology service (HTTPS).
pub const TOPOLOGY_PORT: u16 = 9443;
/// ConfigMap (in [`SYSTEM_NAMESPACE`]) that publishes the CA of the topology service's certificate.
pub const TOPOLOGY_CA_CONFIG_MAP: &str = "edge-topology-ca";
/// Its key.
pub const TOPOLOGY_CA_KEY: &str = "ca.crt";
/// Secret (in [`SYSTEM_NAMESPACE`]) with that CA's key, shared by the replicas of the scheduler.
pub const TOPOLOGY_CA_KEY_SECRET: &str = "edge-topology-ca";
/// Audience of the tokens that agents and routers present to the topology service.
pub use crate::protocol::TOKEN_AUDIENCE;

/// Pod annotation: delay bounds as JSON, with options.
pub use placement::constraint::ANNOTATION as DELAY_ANNOTATION;
/// Pod label: `delay_<from>: "<ms>"`.
pub use placement::constraint::LABEL_PREFIX as DELAY_LABEL_PREFIX;
/// Service annotation: `"false"` opts out of the implicit load balancer.
pub const IMPLICIT_ANNOTATION: &str = "edge-scheduler.io/implicit";
/// Service annotation: the SLA of the implicit load balancer, the largest RTT between client site and endpoint, such as `25ms`.
pub const SLA_MAX_RTT_ANNOTATION: &str = "edge-scheduler.io/sla-max-rtt";

/// Node label and value of cloud nodes, as the default selector has them.
pub const CLOUD_ROLE_LABEL: &str = "kubernetes.io/role";
pub const CLOUD_ROLE_VALUE: &str = "cloud";
/// Node label that names the node's failure domain (site).
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
pub const REGION_LABEL: &str = "topology.kubernetes.io/region";
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// Pod label that a Deployment's ReplicaSet adds; the ReplicaSet's name ends in its value.
pub const POD_TEMPLATE_HASH_LABEL: &str = "pod-template-hash";
/// EndpointSlice label that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Annotation of claims: the scheduler has chosen the node for which a volume is to be provisioned.
pub const SELECTED_NODE_ANNOTATION: &str = "volume.kubernetes.io/selected-node";
/// Annotation of claims whose binding is done.
pub const BIND_COMPLETED_ANNOTATION: &str = "pv.kubernetes.io/bind-completed";
/// Annotation of volumes and claims that were bound to each other by a controller, not by a user.
pub const BOUND_BY_CONTROLLER_ANNOTATION: &str = "pv.kubernetes.io/bound-by-controller";
/// Pod annotation of a static pod's copy in the API.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Labels on what configs/ installs.
pub const APP_NAME_LABEL: &str = "app.kubernetes.io/name";
pub const APP_PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
