//! Volumes on nodes that attach no more than so many of each driver.

use super::draft::{Draft, push};
use super::storage::{DRIVER, add_once, bind, claim, class, mounted, namespace, standing, volume};
use serde_json::{Value, json};

const EBS: &str = "ebs.csi.aws.com";

pub fn apply(draft: &mut Draft) {
    add_once(draft, class("attached", DRIVER, "WaitForFirstConsumer"));
    add_once(draft, class("in-tree", "kubernetes.io/aws-ebs", "WaitForFirstConsumer"));
    add_csi_nodes(draft);
    draft.stand(6);
    for at in 0..draft.pods.len() {
        if draft.draw.chance(70) && standing(&draft.pods[at]) {
            let mut pod = draft.pods[at].take();
            use_volumes(draft, &mut pod, at);
            draft.pods[at] = pod;
        }
    }
    let mut pod = draft.pod.take();
    use_volumes(draft, &mut pod, 1000);
    draft.pod = pod;
    add_attachments(draft);
}

fn add_csi_nodes(draft: &mut Draft) {
    let names: Vec<Value> = draft.nodes.iter().map(|node| node["metadata"]["name"].clone()).collect();
    for name in names {
        if draft.draw.chance(15) {
            continue;
        }
        let mut drivers = Vec::new();
        for driver in [DRIVER, EBS] {
            match draft.draw.below(10) {
                0 => {}
                1 => drivers.push(json!({"name": driver, "nodeID": name})),
                _ => drivers.push(json!({"name": driver, "nodeID": name, "allocatable": {"count": 1 + draft.draw.below(4)}})),
            }
        }
        let mut node = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name, "uid": format!("csi-{name}")},
            "spec": {"drivers": drivers}});
        if draft.draw.chance(30) {
            node["metadata"]["annotations"] = json!({"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs"});
        }
        draft.objects.push(node);
    }
    if draft.draw.chance(25) {
        let spec = json!({"preventPodSchedulingIfMissing": true, "attachRequired": true});
        let driver =
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER, "uid": "driver-a"}, "spec": spec});
        add_once(draft, driver);
    }
}

fn use_volumes(draft: &mut Draft, pod: &mut Value, at: usize) {
    for n in 0..1 + draft.draw.below(2) {
        let name = format!("a{at}-{n}");
        let namespace = namespace(pod);
        let volume = match draft.draw.below(10) {
            0..4 => {
                let mut claim = claim(&namespace, &name, "attached", 5);
                // Few handles: several claims may be of one volume.
                let mut volume = volume(&name, "attached", 5);
                volume["spec"]["csi"]["volumeHandle"] = json!(format!("h{}", draft.draw.below(12)));
                if draft.draw.chance(25) {
                    in_tree(draft, &mut volume, &name);
                }
                bind(&mut claim, &mut volume);
                draft.objects.extend([claim, volume]);
                mounted(&name)
            }
            4 | 5 => {
                let class = draft.draw.pick(&["attached", "attached", "in-tree"]);
                draft.objects.push(claim(&namespace, &name, class, 5));
                mounted(&name)
            }
            6 | 7 => json!({"name": name, "awsElasticBlockStore": {"volumeID": format!("vol-{}", draft.draw.below(20))}}),
            8 => json!({"name": name, "azureDisk": {"diskName": "d", "diskURI": format!("uri-{at}"), "kind": "Managed"}}),
            _ => json!({"name": name, "emptyDir": {}}),
        };
        push(&mut pod["spec"]["volumes"], volume);
    }
}

fn in_tree(draft: &mut Draft, volume: &mut Value, name: &str) {
    volume["spec"].as_object_mut().and_then(|spec| spec.shift_remove("csi"));
    let id = draft.draw.pick(&["vol-1", "aws://a/vol-2", "aws:///vol-3"]);
    volume["spec"]["awsElasticBlockStore"] = json!({"volumeID": id});
    if draft.draw.chance(40) {
        volume["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("a");
    }
    volume["metadata"]["name"] = json!(name);
}

/// Volumes that are attached for whatever reason.
fn add_attachments(draft: &mut Draft) {
    let volumes: Vec<Value> =
        draft.objects.iter().filter(|of| of["kind"] == "PersistentVolume").map(|of| of["metadata"]["name"].clone()).collect();
    for (at, volume) in volumes.iter().enumerate() {
        if draft.draw.chance(25) {
            let name = format!("attachment-{at}");
            let node = draft.node_name();
            draft
                .objects
                .push(json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": name, "uid": name},
                "spec": {"attacher": DRIVER, "nodeName": node, "source": {"persistentVolumeName": volume}}}));
        }
    }
}
