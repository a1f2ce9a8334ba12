//! `spec.nodeName` of the pod itself. kube-scheduler never gets such a pod, and its plugin NodeName judges it all the same.

use super::Draft;
use serde_json::json;

pub fn apply(draft: &mut Draft) {
    if draft.draw.chance(40) {
        let known = draft.draw.chance(90);
        let name = if known { draft.node_name() } else { "nowhere".to_owned() };
        draft.pod["spec"]["nodeName"] = json!(name);
    }
}
