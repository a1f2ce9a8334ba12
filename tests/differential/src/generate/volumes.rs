//! Claims that are bound to volumes which some nodes reach, and claims in every state in which they hold the pod back.

use super::Draft;
use super::draft::moment;
use super::storage::{BETA_ZONE, REGION, ZONE, add_classes, bind, claim, mount, namespace, place, unmounted, volume};
use serde_json::json;

pub fn apply(draft: &mut Draft) {
    label_nodes(draft);
    add_classes(draft);
    for at in 0..1 + draft.draw.below(2) {
        if draft.draw.chance(92) { bound(draft, at) } else { troubled(draft, at) }
    }
}

/// Some clusters have regions, or labels of the old form.
fn label_nodes(draft: &mut Draft) {
    let (regions, old) = (draft.draw.chance(30), draft.draw.chance(15));
    for node in &mut draft.nodes {
        let labels = &mut node["metadata"]["labels"];
        if regions {
            labels[REGION] = json!(draft.draw.pick(&["north", "south"]));
        }
        if old && labels[ZONE].is_string() {
            labels[BETA_ZONE] = labels[ZONE].take();
            labels.as_object_mut().and_then(|labels| labels.shift_remove(ZONE));
        }
    }
}

/// Bound to a volume that says where it is by its affinity, or by labels alone.
fn bound(draft: &mut Draft, at: usize) {
    let mut claim = claim(&namespace(&draft.pod), &format!("bound-{at}"), "fast", 5);
    let mut volume = volume(&format!("bound-{at}"), "fast", 5);
    match draft.draw.below(10) {
        0..3 => place(draft, &mut volume),
        3..9 => {
            let key = draft.draw.pick(&[ZONE, ZONE, BETA_ZONE]);
            volume["metadata"]["labels"][key] = json!(draft.draw.pick(&["a", "b", "a__b", "b__c", "a__"]));
        }
        _ => volume["metadata"]["labels"][REGION] = json!("north"),
    }
    bind(&mut claim, &mut volume);
    mount(draft, claim);
    draft.objects.push(volume);
}

/// A claim that holds the pod back whatever the nodes say.
fn troubled(draft: &mut Draft, at: usize) {
    let mut claim = claim(&namespace(&draft.pod), &format!("bad-{at}"), "now", 5);
    let mut there = true;
    match draft.draw.below(7) {
        0 => there = false,
        1 => claim["metadata"]["deletionTimestamp"] = json!(moment(1)),
        2 => {
            claim["spec"]["volumeName"] = json!("gone");
            claim["status"]["phase"] = json!("Lost");
        }
        3 => claim["spec"]["volumeName"] = json!("elsewhere"),
        4 => claim["spec"]["storageClassName"] = json!("unknown"),
        5 => bind(&mut claim, &mut volume("gone", "now", 5)),
        _ => {}
    }
    if there {
        mount(draft, claim);
    } else {
        unmounted(draft, &format!("bad-{at}"));
    }
}
