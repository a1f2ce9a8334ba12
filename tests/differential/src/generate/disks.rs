//! Disks that pods of one node share only to read, and a claim that is for one pod alone.

use super::draft::{Draft, push};
use super::storage::DRIVER;
use super::storage::{add_once, bind, claim, class, mounted, namespace, standing, volume};
use serde_json::{Value, json};

pub fn apply(draft: &mut Draft) {
    draft.stand(4);
    for at in 0..draft.pods.len() {
        if draft.draw.chance(85) && standing(&draft.pods[at]) {
            let disk = disk(draft, &format!("d{at}"));
            push(&mut draft.pods[at]["spec"]["volumes"], disk);
        }
    }
    for at in 0..1 + draft.draw.below(2) {
        let disk = disk(draft, &format!("incoming-{at}"));
        push(&mut draft.pod["spec"]["volumes"], disk);
    }
    if draft.draw.chance(10) {
        share_a_claim_for_one(draft);
    }
}

fn disk(draft: &mut Draft, name: &str) -> Value {
    let draw = &mut draft.draw;
    let read_only = draw.chance(25);
    let id = draw.pick(&["1", "2"]);
    let source = match draw.below(9) {
        0 | 1 => json!({"gcePersistentDisk": {"pdName": id, "readOnly": read_only}}),
        2 | 3 => json!({"awsElasticBlockStore": {"volumeID": format!("vol-{id}"), "readOnly": read_only}}),
        4 | 5 => json!({"iscsi": {"targetPortal": "p", "iqn": format!("iqn-{id}"), "lun": 0, "readOnly": read_only}}),
        6 | 7 => json!({"rbd": {"monitors": draw.some(&["m1", "m2", "m3"], 2), "pool": "rbd", "image": id, "readOnly": read_only}}),
        _ => json!({"cinder": {"volumeID": id}}),
    };
    let mut volume = source;
    volume["name"] = json!(name);
    volume
}

/// A claim for one pod alone, which one standing pod of the namespace uses perhaps. Names tell namespaces apart, since kube-scheduler's preemption does not.
fn share_a_claim_for_one(draft: &mut Draft) {
    add_once(draft, class("attached", DRIVER, "WaitForFirstConsumer"));
    let namespace = namespace(&draft.pod);
    let name = format!("alone-{namespace}");
    let (mut claim, mut volume) = (claim(&namespace, &name, "attached", 5), volume("alone", "attached", 5));
    claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    volume["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    bind(&mut claim, &mut volume);
    draft.objects.extend([claim, volume]);
    push(&mut draft.pod["spec"]["volumes"], mounted(&name));
    let mut users = draft.pods.iter_mut().filter(|pod| standing(pod) && pod["metadata"]["namespace"] == namespace);
    if let Some(user) = users.next() {
        push(&mut user["spec"]["volumes"], mounted(&name));
    }
}
