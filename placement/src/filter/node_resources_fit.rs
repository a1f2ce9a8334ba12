//! NodeResourcesFit: pod count, then every resource that the pod asks for, against allocatable minus what bound and assumed pods ask for
//! (kube-scheduler 1.37, plugin NodeResourcesFit; unschedulable, unresolvable where the request exceeds allocatable itself).

use crate::cluster::{BASIC, CHUNK, LoadChunk, NodeIx, Pod, Resources, Snapshot, basic};
use crate::plan::Reason;
use smallvec::SmallVec;

/// All reasons at once, as the histogram counts each.
pub fn check(snapshot: &Snapshot, pod: &Pod, ix: NodeIx) -> Vec<Reason> {
    let (chunk, slot) = (&snapshot.load()[ix.at() / CHUNK], ix.at() % CHUNK);
    let mut reasons = Vec::new();
    let (used, allocatable) = (chunk.pods[slot], chunk.pods_allocatable[slot]);
    if used + 1 > allocatable {
        reasons.push(Reason::TooManyPods { used, allocatable });
    }
    let raw = [pod.requests.cpu.0, pod.requests.memory.0, pod.requests.ephemeral_storage.0];
    for (at, requested) in raw.into_iter().enumerate() {
        let (used, allocatable) = (chunk.requested[at][slot], chunk.allocatable[at][slot]);
        if requested > 0 && requested > allocatable - used {
            reasons.push(Reason::Insufficient { resource: BASIC[at].into(), requested, used, allocatable });
        }
    }
    let ignored = &snapshot.profile(pod).fit;
    for (name, &requested) in pod.requests.extended.iter().filter(|(name, requested)| **requested > 0 && !ignored.ignores(name)) {
        let column = snapshot.resource(name).and_then(|resource| chunk.extended(resource));
        let (used, allocatable) = column.map_or((0, 0), |column| (column.requested[slot], column.allocatable[slot]));
        let resource = || name.clone();
        match snapshot.inventory().class_offering(name).filter(|_| allocatable == 0) {
            Some(class) => reasons.push(Reason::OfferedByClass { resource: resource(), class: class.name.clone() }),
            None if requested > allocatable - used => {
                reasons.push(Reason::Insufficient { resource: resource(), requested, used, allocatable });
            }
            None => {}
        }
    }
    reasons
}

/// Whether an empty node of this `allocatable` has room for a pod of these requests.
pub fn fits_empty(requests: &Resources, allocatable: &Resources) -> bool {
    let enough = |(requested, allocatable): (i64, i64)| requested == 0 || requested <= allocatable;
    let extended = |(name, requested): (&String, &i64)| enough((*requested, allocatable.extended.get(name).copied().unwrap_or(0)));
    allocatable.pods > 0 && basic(requests).into_iter().zip(basic(allocatable)).all(enough) && requests.extended.iter().all(extended)
}

/// What a pod asks for, in the form that columns are compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    basic: [i64; 3],
    extended: SmallVec<[(u32, i64); 4]>,
    /// The pod asks for a resource that no node ever had.
    impossible: bool,
}

impl Need {
    pub fn new(snapshot: &Snapshot, pod: &Pod) -> Need {
        let requests = &pod.requests;
        let mut need = Need { basic: basic(requests), extended: SmallVec::new(), impossible: false };
        let ignored = &snapshot.profile(pod).fit;
        for (name, &amount) in requests.extended.iter().filter(|(name, amount)| **amount > 0 && !ignored.ignores(name)) {
            match snapshot.resource(name) {
                Some(resource) => need.extended.push((resource, amount)),
                None => need.impossible = true,
            }
        }
        need
    }

    /// Whether the node has room. What a pod does not ask for is not compared: a node may be over-committed in it.
    #[inline]
    pub fn fits(&self, chunk: &LoadChunk, slot: usize) -> bool {
        let basic = |at: usize| self.basic[at] == 0 || self.basic[at] <= chunk.allocatable[at][slot] - chunk.requested[at][slot];
        chunk.pods[slot] < chunk.pods_allocatable[slot] && basic(0) && basic(1) && basic(2) && self.extended_fits(chunk, slot)
    }

    #[inline]
    fn extended_fits(&self, chunk: &LoadChunk, slot: usize) -> bool {
        let fits = |&(resource, amount): &(u32, i64)| {
            chunk.extended(resource).is_some_and(|column| amount <= column.allocatable[slot] - column.requested[slot])
        };
        !self.impossible && self.extended.iter().all(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, Node, PodKey, Settings};
    use crate::devices::DeviceClass;
    use crate::plan::VerdictCode;
    use crate::units::{Bytes, MilliCpu};

    fn resources(cpu: i64, memory: i64, pods: i64, gpus: i64) -> Resources {
        let extended = if gpus > 0 { [("x.io/gpu".to_owned(), gpus)].into() } else { Default::default() };
        Resources { cpu: MilliCpu(cpu), memory: Bytes(memory), ephemeral_storage: Bytes(0), pods, extended }
    }

    /// One node of 4 CPU, 8 bytes, 2 pods and 1 GPU with a pod of `used`; what is missing for `asked`.
    fn check(used: Resources, asked: Resources, missing: &[&str]) {
        let mut cluster = Cluster::new(Settings::default());
        cluster.apply_node(Node { name: "n".into(), allocatable: resources(4000, 8, 2, 1), ..Node::default() });
        let pod = |requests: &Resources, node: Option<&str>| Pod {
            key: PodKey::new("d", format!("{node:?}")),
            node_name: node.map(Into::into),
            requests: requests.clone(),
            ..Pod::default()
        };
        cluster.apply_pod(pod(&used, Some("n")));
        let asked = pod(&asked, None);
        let ix = cluster.view().node_index("n").unwrap();
        let reasons: Vec<String> = super::check(cluster.view(), &asked, ix).iter().map(ToString::to_string).collect();
        assert_eq!(reasons, missing);
        let need = Need::new(cluster.view(), &asked);
        assert_eq!(need.fits(&cluster.view().load()[0], ix.at()), missing.is_empty(), "columns agree");
    }

    #[test]
    fn every_missing_resource_is_listed() {
        check(resources(1000, 1, 0, 0), resources(3000, 7, 0, 1), &[]);
        check(resources(1000, 1, 0, 1), resources(3001, 8, 0, 1), &["Insufficient cpu", "Insufficient memory", "Insufficient x.io/gpu"]);
        check(resources(9000, 1, 0, 0), resources(0, 7, 0, 0), &[]);
        check(
            resources(0, 0, 0, 0),
            Resources { extended: [("y.io/none".to_owned(), 1)].into(), ..Resources::default() },
            &["Insufficient y.io/none"],
        );
    }

    #[test]
    fn a_resource_that_a_device_class_offers_is_refused_where_the_node_has_none() {
        let offered = |resource: &str, allocatable: i64| {
            let mut cluster = Cluster::new(Settings::default());
            cluster.apply_node(Node { name: "n".into(), allocatable: resources(1, 1, 1, allocatable), ..Node::default() });
            let class = DeviceClass { extended_resource: Some("x.io/gpu".into()), ..DeviceClass::new("gpu") };
            cluster.apply_device_class(class);
            let requests = Resources { extended: [(resource.to_owned(), 2)].into(), ..Resources::default() };
            let ix = cluster.view().node_index("n").unwrap();
            let reasons = super::check(cluster.view(), &Pod { requests, ..Pod::default() }, ix);
            reasons.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let refused =
            |name: &str| [format!("{name} is offered by device class gpu, which is not supported yet: claim a device of it instead")];
        let implicit = "deviceclass.resource.kubernetes.io/gpu";
        assert_eq!((offered("x.io/gpu", 0), offered(implicit, 0)), (refused("x.io/gpu").to_vec(), refused(implicit).to_vec()));
        assert_eq!(
            (offered("x.io/gpu", 1), offered("y.io/gpu", 0)),
            (vec!["Insufficient x.io/gpu".into()], vec!["Insufficient y.io/gpu".into()])
        );
    }

    #[test]
    fn the_pod_count_holds_even_for_pods_that_ask_for_nothing() {
        let mut cluster = Cluster::new(Settings::default());
        cluster.apply_node(Node { name: "n".into(), allocatable: resources(1, 1, 0, 0), ..Node::default() });
        let reasons = super::check(cluster.view(), &Pod::default(), cluster.view().node_index("n").unwrap());
        assert_eq!(reasons, [Reason::TooManyPods { used: 0, allocatable: 0 }]);
        assert_eq!(reasons[0].code(), VerdictCode::Unschedulable);
    }

    #[test]
    fn a_request_above_allocatable_is_unresolvable() {
        let reason = |requested| Reason::Insufficient { resource: "cpu".into(), requested, used: 5, allocatable: 10 };
        assert_eq!((reason(10).code(), reason(11).code()), (VerdictCode::Unschedulable, VerdictCode::Unresolvable));
    }
}
