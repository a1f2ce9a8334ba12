//! The refusal rule: a pod that uses what the scheduler does not implement stays Pending with a reason that names the field; it is never bound
//! by ignoring it. `fields` puts every field of metadata and spec into one of three classes, and its test fails for one that is in none.

mod fields;

pub use fields::{HONOURED, IRRELEVANT};

use k8s_openapi::api::core::v1::{PodSpec, Volume};
use placement::cluster::Refusal;

const DEVICES: &str = "is not supported yet: the kubelet can't start the pod on a node without the claimed devices";
const POD_GROUP: &str = "is not supported: pods of a group would be placed one by one; leave the field out, or let a scheduler with gang scheduling place the group";
const OTHER_SYSTEM: &str = "is not supported yet other than \"linux\": the kubelet of another system would reject the pod";
const VOLUME: &str = "is not supported yet: the node might not reach the volume";

/// A refused field of the spec or of a volume, and what counts as using it.
type Rule<F> = (&'static str, F, &'static str);
type PodRule = Rule<fn(&PodSpec) -> bool>;
type VolumeRule = Rule<fn(&Volume) -> bool>;

const POD_RULES: &[PodRule] = &[
    ("resourceClaims", |spec| some(&spec.resource_claims), DEVICES),
    ("schedulingGroup", |spec| spec.scheduling_group.is_some(), POD_GROUP),
    ("os", |spec| spec.os.as_ref().is_some_and(|os| os.name != "linux"), OTHER_SYSTEM),
];

/// What binds a pod to the nodes that can attach or reach a volume, or has a limit per node.
const VOLUME_RULES: &[VolumeRule] = &[
    ("awsElasticBlockStore", |volume| volume.aws_elastic_block_store.is_some(), VOLUME),
    ("azureDisk", |volume| volume.azure_disk.is_some(), VOLUME),
    ("azureFile", |volume| volume.azure_file.is_some(), VOLUME),
    ("cinder", |volume| volume.cinder.is_some(), VOLUME),
    ("csi", |volume| volume.csi.is_some(), VOLUME),
    ("ephemeral", |volume| volume.ephemeral.is_some(), VOLUME),
    ("fc", |volume| volume.fc.is_some(), VOLUME),
    ("flexVolume", |volume| volume.flex_volume.is_some(), VOLUME),
    ("flocker", |volume| volume.flocker.is_some(), VOLUME),
    ("gcePersistentDisk", |volume| volume.gce_persistent_disk.is_some(), VOLUME),
    ("iscsi", |volume| volume.iscsi.is_some(), VOLUME),
    ("persistentVolumeClaim", |volume| volume.persistent_volume_claim.is_some(), VOLUME),
    ("photonPersistentDisk", |volume| volume.photon_persistent_disk.is_some(), VOLUME),
    ("portworxVolume", |volume| volume.portworx_volume.is_some(), VOLUME),
    ("rbd", |volume| volume.rbd.is_some(), VOLUME),
    ("scaleIO", |volume| volume.scale_io.is_some(), VOLUME),
    ("storageos", |volume| volume.storageos.is_some(), VOLUME),
    ("vsphereVolume", |volume| volume.vsphere_volume.is_some(), VOLUME),
];

/// What the spec asks for that the scheduler does not implement, by path: `spec.volumes[1].csi`. What admission sets by default is not among it.
pub fn refusals(spec: &PodSpec) -> Vec<Refusal> {
    let refused = |field: String, why: &str| Refusal { field, why: why.to_owned() };
    let mut found: Vec<Refusal> =
        POD_RULES.iter().filter(|(_, uses, _)| uses(spec)).map(|(field, _, why)| refused(format!("spec.{field}"), why)).collect();
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        for (field, _, why) in VOLUME_RULES.iter().filter(|(_, uses, _)| uses(volume)) {
            found.push(refused(format!("spec.volumes[{i}].{field}"), why));
        }
    }
    found
}

/// Set and not empty.
fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}
