//! In-tree volumes in the words of the CSI drivers that took over from them (csi-translation-lib, of those that kube-scheduler 1.37 counts as migrated).

use k8s_openapi::api::core::v1;
use placement::cluster::{CsiVolume, Labels, Migration, NodeSelectorTerm, Operator, Requirement};

/// What an in-tree plugin became.
struct Plugin {
    name: &'static str,
    driver: &'static str,
    /// The node label by which the driver knows zones; `None`: the volume's affinity stays as it is.
    zone_key: Option<&'static str>,
}

const AWS_EBS: Plugin =
    Plugin { name: "kubernetes.io/aws-ebs", driver: "ebs.csi.aws.com", zone_key: Some("topology.ebs.csi.aws.com/zone") };
const GCE_PD: Plugin = Plugin { name: "kubernetes.io/gce-pd", driver: "pd.csi.storage.gke.io", zone_key: Some("topology.gke.io/zone") };
const CINDER: Plugin =
    Plugin { name: "kubernetes.io/cinder", driver: "cinder.csi.openstack.org", zone_key: Some("topology.cinder.csi.openstack.org/zone") };
const AZURE_DISK: Plugin = Plugin { name: "kubernetes.io/azure-disk", driver: "disk.csi.azure.com", zone_key: None };
const PORTWORX: Plugin = Plugin { name: "kubernetes.io/portworx-volume", driver: "pxd.portworx.com", zone_key: None };
const MIGRATED: [&Plugin; 5] = [&AWS_EBS, &GCE_PD, &CINDER, &AZURE_DISK, &PORTWORX];
/// There are drivers for these too, and their volumes are not counted.
const UNCOUNTED: [&str; 2] = ["kubernetes.io/azure-file", "kubernetes.io/vsphere-volume"];

impl Plugin {
    fn volume(&self, handle: String) -> CsiVolume {
        CsiVolume { driver: self.driver.to_owned(), handle, migrated: true }
    }
}

/// Why a volume can't be a driver's: a sentence after the field's name.
type Untranslatable = String;

/// The driver that volumes of this provisioner are attached by; without a handle. `None`: they are not counted.
pub(super) fn attached_by(provisioner: &str) -> Option<CsiVolume> {
    if provisioner.is_empty() || UNCOUNTED.contains(&provisioner) {
        return None;
    }
    let migrated = MIGRATED.iter().find(|plugin| plugin.name == provisioner);
    let other = || CsiVolume { driver: provisioner.to_owned(), handle: String::new(), migrated: false };
    Some(migrated.map_or_else(other, |plugin| plugin.volume(String::new())))
}

/// A volume of a pod's spec, as it is attached. `None`: it is not attached by a driver.
///
/// # Errors
/// The field that the driver can't make sense of, and why.
pub(super) fn inline(volume: &v1::Volume) -> Result<Option<CsiVolume>, (&'static str, Untranslatable)> {
    if let Some(source) = &volume.aws_elastic_block_store {
        let handle = ebs_handle(&source.volume_id).map_err(|why| ("awsElasticBlockStore.volumeID", why))?;
        return Ok(Some(AWS_EBS.volume(handle)));
    }
    if let Some(source) = &volume.azure_disk {
        return azure_disk(source).map(Some).map_err(|why| ("azureDisk.kind", why));
    }
    let gce = volume.gce_persistent_disk.as_ref().map(|source| GCE_PD.volume(gce_handle("zones", UNSPECIFIED, &source.pd_name)));
    let cinder = || volume.cinder.as_ref().map(|source| CINDER.volume(source.volume_id.clone()));
    let portworx = || volume.portworx_volume.as_ref().map(|source| PORTWORX.volume(source.volume_id.clone()));
    Ok(gce.or_else(cinder).or_else(portworx))
}

/// An in-tree PersistentVolume: as it is attached, and what it is on nodes where the driver took over. A volume that can't be translated is not counted,
/// and no such node is right for it.
pub(super) fn persistent(
    spec: &v1::PersistentVolumeSpec,
    labels: &Labels,
    affinity: &Option<Vec<NodeSelectorTerm>>,
) -> (Option<CsiVolume>, Option<Box<Migration>>) {
    let (plugin, volume) = if let Some(source) = &spec.aws_elastic_block_store {
        (&AWS_EBS, ebs_handle(&source.volume_id).map(|handle| AWS_EBS.volume(handle)))
    } else if let Some(source) = &spec.gce_persistent_disk {
        (&GCE_PD, gce_volume_handle(labels, &source.pd_name).map(|handle| GCE_PD.volume(handle)))
    } else if let Some(source) = &spec.cinder {
        (&CINDER, Ok(CINDER.volume(source.volume_id.clone())))
    } else if let Some(source) = &spec.azure_disk {
        (&AZURE_DISK, azure_disk(source))
    } else if let Some(source) = &spec.portworx_volume {
        (&PORTWORX, Ok(PORTWORX.volume(source.volume_id.clone())))
    } else {
        return (None, None);
    };
    let node_affinity = match (&volume, plugin.zone_key) {
        (Err(_), _) => Some(Vec::new()),
        (Ok(_), None) => affinity.clone(),
        (Ok(_), Some(key)) => driver_affinity(affinity, labels, key),
    };
    (volume.ok(), Some(Box::new(Migration { plugin: plugin.name.to_owned(), node_affinity })))
}

/// `aws://<zone>/<id>` or `<id>`.
fn ebs_handle(id: &str) -> Result<String, Untranslatable> {
    let Some(rest) = id.strip_prefix("aws://") else { return Ok(id.to_owned()) };
    let path = rest.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
    match path.starts_with("vol-") && !path.contains('/') {
        true => Ok(path.to_owned()),
        false => Err(format!("{id:?} is not of the form aws://<zone>/vol-<id>")),
    }
}

fn azure_disk(source: &v1::AzureDiskVolumeSource) -> Result<CsiVolume, Untranslatable> {
    match &source.kind {
        Some(kind) if !kind.eq_ignore_ascii_case("Managed") => {
            Err(format!("{kind:?} is not supported: the CSI driver knows Managed alone"))
        }
        _ => Ok(AZURE_DISK.volume(source.disk_uri.clone())),
    }
}

const UNSPECIFIED: &str = "UNSPECIFIED";

fn gce_handle(kind: &str, place: &str, disk: &str) -> String {
    format!("projects/{UNSPECIFIED}/{kind}/{place}/disks/{disk}")
}

fn gce_volume_handle(labels: &Labels, disk: &str) -> Result<String, Untranslatable> {
    let label = |key: &str| labels.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let zones: Vec<&str> = label(ZONE_BETA).or_else(|| label(ZONE)).unwrap_or_default().split("__").collect();
    match &zones[..] {
        [""] => Ok(gce_handle("zones", UNSPECIFIED, disk)),
        [zone] => Ok(gce_handle("zones", zone, disk)),
        several => gce_region(several).map(|region| gce_handle("regions", region, disk)),
    }
}

/// The region that all the zones are of: `europe-west1` of `europe-west1-b`.
fn gce_region<'a>(zones: &[&'a str]) -> Result<&'a str, Untranslatable> {
    let region = |zone: &&'a str| zone.rsplit_once('-').map(|(region, _)| region).filter(|region| region.split('-').count() == 2);
    let regions: Option<Vec<&str>> = zones.iter().map(region).collect();
    match regions.as_deref() {
        Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => Ok(first),
        _ => Err(format!("{zones:?} are not zones of one region")),
    }
}

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const ZONE_BETA: &str = "failure-domain.beta.kubernetes.io/zone";
const REGION_BETA: &str = "failure-domain.beta.kubernetes.io/region";

/// The affinity by the driver's own zone label in the place of Kubernetes', or added from the volume's labels where it names no zone.
fn driver_affinity(affinity: &Option<Vec<NodeSelectorTerm>>, labels: &Labels, key: &str) -> Option<Vec<NodeSelectorTerm>> {
    let names = |key: &str| affinity.iter().flatten().flat_map(|term| &term.match_expressions).any(|r| r.key == key);
    let beta = !names(ZONE) && (names(ZONE_BETA) || !labels.contains_key(ZONE) && labels.contains_key(ZONE_BETA));
    let zone = if beta { ZONE_BETA } else { ZONE };
    let valued = |key: &str| {
        let mut requirements = affinity.iter().flatten().flat_map(|term| &term.match_expressions);
        requirements.any(|r| r.key == key && !r.values.is_empty())
    };
    let mut terms = affinity.clone();
    let mut rename = |from: &str, to: &str| {
        let requirements = terms.iter_mut().flatten().flat_map(|term| &mut term.match_expressions);
        requirements.filter(|r| r.key == from).for_each(|r| r.key = to.to_owned());
    };
    let by_zone = valued(zone);
    if by_zone {
        rename(zone, key);
    }
    if beta && valued(REGION_BETA) {
        rename(REGION_BETA, REGION);
    }
    if by_zone {
        return terms;
    }
    let mut zones: Vec<String> = labels.get(zone).into_iter().flat_map(|label| label.split("__")).map(|of| of.trim().to_owned()).collect();
    zones.retain(|zone| !zone.is_empty());
    zones.sort();
    zones.dedup();
    if zones.is_empty() {
        return terms;
    }
    let within = Requirement { key: key.to_owned(), operator: Operator::In, values: zones };
    let mut terms = terms.filter(|terms| !terms.is_empty()).unwrap_or_else(|| vec![NodeSelectorTerm::default()]);
    terms.iter_mut().for_each(|term| term.match_expressions.push(within.clone()));
    Some(terms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn handles_are_the_drivers() {
        let check = |volume: Value, expected: Result<Option<&str>, &str>| {
            let mut volume = volume;
            volume["name"] = json!("v");
            let found = inline(&serde_json::from_value(volume).unwrap());
            let found = found.map(|volume| volume.map(|volume| format!("{} {}", volume.driver, volume.handle))).map_err(|(field, _)| field);
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(|field| *field), expected);
        };
        check(json!({"emptyDir": {}}), Ok(None));
        check(json!({"awsElasticBlockStore": {"volumeID": "vol-1"}}), Ok(Some("ebs.csi.aws.com vol-1")));
        check(json!({"awsElasticBlockStore": {"volumeID": "aws://us-east-1a/vol-1"}}), Ok(Some("ebs.csi.aws.com vol-1")));
        check(json!({"awsElasticBlockStore": {"volumeID": "aws:///vol-1"}}), Ok(Some("ebs.csi.aws.com vol-1")));
        check(json!({"awsElasticBlockStore": {"volumeID": "aws://us-east-1a/x"}}), Err("awsElasticBlockStore.volumeID"));
        let gce = "pd.csi.storage.gke.io projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d";
        check(json!({"gcePersistentDisk": {"pdName": "d"}}), Ok(Some(gce)));
        check(json!({"azureDisk": {"diskName": "d", "diskURI": "uri", "kind": "Managed"}}), Ok(Some("disk.csi.azure.com uri")));
        check(json!({"azureDisk": {"diskName": "d", "diskURI": "uri", "kind": "Shared"}}), Err("azureDisk.kind"));
        check(json!({"cinder": {"volumeID": "c"}}), Ok(Some("cinder.csi.openstack.org c")));
        check(json!({"portworxVolume": {"volumeID": "p"}}), Ok(Some("pxd.portworx.com p")));
    }

    #[test]
    fn zones_become_the_drivers() {
        let term = |key: &str| {
            let requirement = Requirement { key: key.to_owned(), operator: Operator::In, values: vec!["a".into()] };
            NodeSelectorTerm { match_expressions: vec![requirement], match_fields: vec![] }
        };
        let labels = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
        let check = |affinity: Option<&str>, labels: Labels, expected: Option<Vec<NodeSelectorTerm>>| {
            assert_eq!(driver_affinity(&affinity.map(|key| vec![term(key)]), &labels, "driver/zone"), expected);
        };
        check(None, Labels::new(), None);
        check(Some(ZONE), Labels::new(), Some(vec![term("driver/zone")]));
        check(Some(ZONE_BETA), labels(ZONE, "b"), Some(vec![term("driver/zone")]));
        check(None, labels(ZONE_BETA, "a"), Some(vec![term("driver/zone")]));
        check(None, labels(ZONE, " a__a"), Some(vec![term("driver/zone")]));
        check(Some("disk"), Labels::new(), Some(vec![term("disk")]));
        let both = NodeSelectorTerm {
            match_expressions: [term("disk"), term("driver/zone")].into_iter().flat_map(|term| term.match_expressions).collect(),
            match_fields: vec![],
        };
        check(Some("disk"), labels(ZONE, "a"), Some(vec![both]));
    }

    #[test]
    fn a_regional_disk_is_of_one_region() {
        let handle = |zones: &str| gce_volume_handle(&Labels::from([(ZONE.to_owned(), zones.to_owned())]), "d");
        assert_eq!(handle("europe-west1-b").unwrap(), "projects/UNSPECIFIED/zones/europe-west1-b/disks/d");
        assert_eq!(handle("europe-west1-b__europe-west1-c").unwrap(), "projects/UNSPECIFIED/regions/europe-west1/disks/d");
        assert!(handle("europe-west1-b__us-east1-c").is_err() && handle("a__b").is_err());
    }
}
