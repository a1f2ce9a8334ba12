//! What a kubelet says about its node: the Node object and the lease in `kube-node-lease`.

use std::collections::BTreeMap;

use api::labels::{CLOUD_ROLE_LABEL, CLOUD_ROLE_VALUE, HOSTNAME_LABEL, REGION_LABEL, ZONE_LABEL};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use placement::cluster::Resources;

use super::CITY_LABEL;
use crate::wan::address;
use crate::world::{Role, WorldNode};

/// Namespace of the nodes' leases.
pub(super) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The Node that the kubelet of the node with this index registers.
pub(super) fn node(index: usize, node: &WorldNode, now: Timestamp) -> Node {
    let mut labels = node.labels.clone();
    let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
    label(HOSTNAME_LABEL, &node.name);
    label("kubernetes.io/os", "linux");
    label("kubernetes.io/arch", "amd64");
    label(ZONE_LABEL, &node.zone);
    let role = match node.role {
        Role::Cloud => CLOUD_ROLE_VALUE,
        Role::Edge => "edge",
    };
    label(CLOUD_ROLE_LABEL, role);
    if let Some(region) = &node.region {
        label(REGION_LABEL, region);
    }
    if let Some(city) = &node.city {
        label(CITY_LABEL, &label_value(city));
    }
    let taint = |taint: &placement::cluster::Taint| Taint {
        key: taint.key.clone(),
        value: Some(taint.value.clone()).filter(|value| !value.is_empty()),
        effect: format!("{:?}", taint.effect),
        time_added: None,
    };
    let taints: Vec<Taint> = node.taints.iter().map(taint).collect();
    Node {
        metadata: ObjectMeta { name: Some(node.name.clone()), labels: Some(labels), ..Default::default() },
        spec: Some(NodeSpec {
            provider_id: Some(format!("edge-demo://{}", node.name)),
            taints: Some(taints).filter(|taints| !taints.is_empty()),
            ..Default::default()
        }),
        status: Some(status(index, node, now)),
    }
}

/// The status of a healthy node.
pub(super) fn status(index: usize, node: &WorldNode, now: Timestamp) -> NodeStatus {
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let condition = |kind: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    NodeStatus {
        addresses: Some(vec![address("InternalIP", address::public(index).to_string()), address("Hostname", node.name.clone())]),
        capacity: Some(quantities(&node.allocatable)),
        allocatable: Some(quantities(&node.allocatable)),
        conditions: Some(vec![
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ]),
        node_info: Some(NodeSystemInfo {
            architecture: "amd64".to_owned(),
            operating_system: "linux".to_owned(),
            kubelet_version: "v1.37.0".to_owned(),
            container_runtime_version: format!("edge-demo://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: "simulated".to_owned(),
            os_image: "edge-demo".to_owned(),
            machine_id: format!("{index:032x}"),
            system_uuid: format!("{index:032x}"),
            boot_id: format!("{index:032x}"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A node's lease, renewed now.
pub(super) fn lease(name: &str, duration_s: i32, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), namespace: Some(LEASE_NAMESPACE.to_owned()), ..Default::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(duration_s),
            renew_time: Some(MicroTime(now)),
            ..Default::default()
        }),
    }
}

fn quantities(resources: &Resources) -> BTreeMap<String, Quantity> {
    let mut quantities: BTreeMap<String, Quantity> =
        resources.extended.iter().map(|(name, count)| (name.clone(), Quantity(count.to_string()))).collect();
    let cpu = match resources.cpu.0 {
        milli if milli % 1000 == 0 => (milli / 1000).to_string(),
        milli => format!("{milli}m"),
    };
    quantities.insert("cpu".to_owned(), Quantity(cpu));
    quantities.insert("memory".to_owned(), Quantity(binary(resources.memory.0)));
    quantities.insert("ephemeral-storage".to_owned(), Quantity(binary(resources.ephemeral_storage.0)));
    quantities.insert("pods".to_owned(), Quantity(resources.pods.to_string()));
    quantities
}

fn binary(bytes: i64) -> String {
    let suffixes = [("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let exact = suffixes.into_iter().find(|(_, shift)| bytes > 0 && bytes % (1 << shift) == 0);
    exact.map_or_else(|| bytes.to_string(), |(suffix, shift)| format!("{}{suffix}", bytes >> shift))
}

/// A city as a label's value: letters, digits and `-_.`, at most 63, starting and ending with a letter or digit.
fn label_value(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let value: String = text.chars().map(allowed).take(63).collect();
    value.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn a_node_says_what_the_world_says() {
        let world = World::built_in();
        let check = |name: &str, role: &str, memory: &str, address: &str| {
            let index = world.index_of(name).unwrap();
            let object = node(index, &world.nodes[index], Timestamp::UNIX_EPOCH);
            let model = api::convert::node(&object).unwrap();
            assert_eq!(model.allocatable, world.nodes[index].allocatable);
            assert!(model.ready);
            assert_eq!((model.labels["kubernetes.io/role"].as_str(), model.addresses[0].to_string().as_str()), (role, address));
            assert_eq!(object.status.unwrap().allocatable.unwrap()["memory"].0, memory);
        };
        check("edge-1", "edge", "8Gi", "127.128.0.1");
        check("cloud-1", "cloud", "256Gi", "127.128.0.13");
    }

    #[test]
    fn amounts_are_written_shortly_and_exactly() {
        let check = |bytes: i64, expected: &str| assert_eq!(binary(bytes), expected);
        check(8 << 30, "8Gi");
        check(1536 << 20, "1536Mi");
        check(1000, "1000");
        check(0, "0");
    }

    #[test]
    fn cities_become_label_values() {
        let check = |city: &str, expected: &str| assert_eq!(label_value(city), expected);
        check("Amsterdam", "Amsterdam");
        check("São Paulo", "S-o-Paulo");
        check(" Łódź ", "d");
    }
}
