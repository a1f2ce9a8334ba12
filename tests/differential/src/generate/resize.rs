//! Bound pods between what their spec asks for, what the kubelet allocated, and what the runtime was told.

use super::{Draft, Draw};
use serde_json::{Value, json};

pub fn apply(draft: &mut Draft) {
    let mut draw = std::mem::replace(&mut draft.draw, Draw::new(0, 0));
    for pod in draft.bound_pods() {
        if draw.chance(70) {
            resize(&mut draw, pod);
        }
    }
    draft.draw = draw;
}

fn resize(draw: &mut Draw, pod: &mut Value) {
    for (containers, statuses) in [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")] {
        let names: Vec<Value> = pod["spec"][containers].as_array().into_iter().flatten().map(|c| c["name"].clone()).collect();
        // A kubelet tells of all containers or, before it has seen the pod, of none.
        if !names.is_empty() && draw.chance(90) {
            pod["status"][statuses] = names.into_iter().map(|name| status(draw, name)).collect();
        }
    }
    if pod["spec"]["resources"].is_object() {
        if draw.chance(50) {
            pod["status"]["allocatedResources"] = amounts(draw);
        }
        if draw.chance(50) {
            pod["status"]["resources"] = json!({"requests": amounts(draw)});
        }
    }
    if draw.chance(40) {
        let reason = draw.pick(&["Infeasible", "Infeasible", "Deferred"]);
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
    }
}

fn status(draw: &mut Draw, name: Value) -> Value {
    let mut status = json!({"name": name, "image": "i", "imageID": "i", "ready": true, "restartCount": 0});
    if draw.chance(70) {
        status["allocatedResources"] = amounts(draw);
    }
    if draw.chance(70) {
        status["resources"] = json!({"requests": amounts(draw)});
    }
    status
}

fn amounts(draw: &mut Draw) -> Value {
    let mut amounts = json!({});
    if draw.chance(85) {
        amounts["cpu"] = json!(draw.pick(&["20m", "100m", "700m", "2"]));
    }
    if draw.chance(85) {
        amounts["memory"] = json!(draw.pick(&["10Mi", "300Mi", "2Gi"]));
    }
    amounts
}
