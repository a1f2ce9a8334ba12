//! Host ports on every address and on some, of containers and sidecars. No two pods of one node share a port.

use super::draft::push;
use super::{Draft, Draw};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PORTS: [u16; 2] = [8080, 9100];

pub fn apply(draft: &mut Draft) {
    draft.stand(8);
    let mut draw = std::mem::replace(&mut draft.draw, Draw::new(0, 0));
    let mut taken = BTreeSet::new();
    for pod in draft.bound_pods() {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        if draw.chance(80) && taken.insert(node) {
            add(&mut draw, pod);
        }
    }
    add(&mut draw, &mut draft.pod);
    draft.draw = draw;
}

/// One port a pod: two of a pod, or of a node, could be one, which kube-scheduler would forget with the first of them.
fn add(draw: &mut Draw, pod: &mut Value) {
    let number = draw.pick(&PORTS);
    let mut port =
        json!({"containerPort": number, "hostPort": number, "protocol": draw.pick(&["TCP", "TCP", "TCP", "TCP", "UDP", "SCTP"])});
    match draw.below(4) {
        0 => port["hostIP"] = json!(draw.pick(&["10.0.0.1", "10.0.0.2", "fd00::1"])),
        1 => port["hostIP"] = json!(draw.pick(&["0.0.0.0", "::"])),
        _ => {}
    }
    if draw.chance(20) {
        let mut container = json!({"name": "proxy", "image": "registry.test/proxy:1", "resources": {}, "ports": [port]});
        // Of an init container that ends, a port means nothing.
        if draw.chance(60) {
            container["restartPolicy"] = json!("Always");
        }
        push(&mut pod["spec"]["initContainers"], container);
    } else {
        pod["spec"]["containers"][0]["ports"] = json!([port]);
    }
}
