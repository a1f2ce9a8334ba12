//! Volumes of a pod that bind it to nodes.

use super::{Unreadable, csi_migration};
use k8s_openapi::api::core::v1;
use placement::cluster::{Disk, DiskKind, ExclusiveDisk, PodVolume};

pub(super) fn pod_volumes(spec: &v1::PodSpec, pod: &str, unreadable: &mut Unreadable) -> Vec<PodVolume> {
    let volumes = spec.volumes.iter().flatten().enumerate();
    volumes.filter_map(|(i, volume)| pod_volume(volume, pod, |field| format!("spec.volumes[{i}].{field}"), unreadable)).collect()
}

fn pod_volume(volume: &v1::Volume, pod: &str, path: impl Fn(&str) -> String, unreadable: &mut Unreadable) -> Option<PodVolume> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(PodVolume::Claim(source.claim_name.clone()));
    }
    if volume.ephemeral.is_some() {
        return Some(PodVolume::Ephemeral(format!("{pod}-{}", volume.name)));
    }
    let attached = csi_migration::inline(volume).unwrap_or_else(|(field, why)| {
        unreadable.add(path(field), why);
        None
    });
    let exclusive = exclusive(volume);
    (attached.is_some() || exclusive.is_some()).then_some(PodVolume::Disk(Disk { exclusive, attached }))
}

fn exclusive(volume: &v1::Volume) -> Option<ExclusiveDisk> {
    let disk = |kind, id: &str, read_only: Option<bool>| {
        Some(ExclusiveDisk { kind, id: id.to_owned(), monitors: Vec::new(), read_only: read_only == Some(true) })
    };
    if let Some(source) = &volume.gce_persistent_disk {
        return disk(DiskKind::GcePersistentDisk, &source.pd_name, source.read_only);
    }
    if let Some(source) = &volume.aws_elastic_block_store {
        return disk(DiskKind::AwsElasticBlockStore, &source.volume_id, None);
    }
    if let Some(source) = &volume.iscsi {
        return disk(DiskKind::Iscsi, &source.iqn, source.read_only);
    }
    let source = volume.rbd.as_ref()?;
    let image = format!("{}/{}", source.pool.as_deref().unwrap_or_default(), source.image);
    Some(ExclusiveDisk { monitors: source.monitors.clone(), ..disk(DiskKind::Rbd, &image, source.read_only)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(volumes: Value) -> (Vec<PodVolume>, Vec<String>) {
        let spec = serde_json::from_value(json!({"containers": [], "volumes": volumes})).unwrap();
        let mut unreadable = Unreadable::default();
        let volumes = pod_volumes(&spec, "web-0", &mut unreadable);
        (volumes, unreadable.refusals.into_iter().map(|refusal| refusal.field).collect())
    }

    #[test]
    fn claims_go_by_name_and_those_made_for_the_pod_by_its_own() {
        let (volumes, _) = read(json!([
            {"name": "tmp", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0", "readOnly": true}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            {"name": "nfs", "nfs": {"server": "s", "path": "/"}},
        ]));
        assert_eq!(volumes, [PodVolume::Claim("data-web-0".into()), PodVolume::Ephemeral("web-0-scratch".into())]);
    }

    #[test]
    fn disks_say_who_may_share_them() {
        let check = |volume: Value, kind: DiskKind, id: &str, read_only: bool| {
            let (volumes, _) = read(json!([volume]));
            let [PodVolume::Disk(Disk { exclusive: Some(disk), .. })] = &volumes[..] else { panic!("{volumes:?}") };
            assert_eq!((disk.kind, disk.id.as_str(), disk.read_only), (kind, id, read_only));
        };
        check(json!({"name": "v", "gcePersistentDisk": {"pdName": "d", "readOnly": true}}), DiskKind::GcePersistentDisk, "d", true);
        check(
            json!({"name": "v", "awsElasticBlockStore": {"volumeID": "vol-1", "readOnly": true}}),
            DiskKind::AwsElasticBlockStore,
            "vol-1",
            false,
        );
        check(json!({"name": "v", "iscsi": {"iqn": "iqn", "lun": 0, "targetPortal": "p"}}), DiskKind::Iscsi, "iqn", false);
        check(json!({"name": "v", "rbd": {"monitors": ["m"], "pool": "p", "image": "i"}}), DiskKind::Rbd, "p/i", false);
    }

    #[test]
    fn a_disk_that_no_driver_knows_is_named() {
        let (_, unreadable) = read(json!([
            {"name": "tmp", "emptyDir": {}},
            {"name": "v", "azureDisk": {"diskName": "d", "diskURI": "u", "kind": "Shared"}},
        ]));
        assert_eq!(unreadable, ["spec.volumes[1].azureDisk.kind"]);
    }
}
