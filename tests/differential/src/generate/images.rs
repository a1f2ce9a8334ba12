//! Images on nodes, of one size wherever they are, and pods that need them, with a tag and without.

use super::Draft;
use super::draft::push;
use serde_json::{Value, json};

/// Names without a tag, sizes in MiB.
const IMAGES: [(&str, i64); 5] = [
    ("registry.test/small", 10),
    ("registry.test/web", 120),
    ("registry.test:5000/model", 2800),
    ("registry.test/db", 700),
    ("registry.test/base@sha256:1f", 400),
];

pub fn apply(draft: &mut Draft) {
    let percent = draft.draw.pick(&[20, 50, 80]);
    for node in &mut draft.nodes {
        for (name, mib) in IMAGES {
            if draft.draw.chance(percent) {
                push(&mut node["status"]["images"], json!({"names": [tagged(name), format!("{name}-alias:1")], "sizeBytes": mib << 20}));
            }
        }
    }
    let draw = &mut draft.draw;
    let mut image = || {
        let (name, _) = draw.pick(&IMAGES);
        if draw.chance(50) { tagged(name) } else { name.to_owned() }
    };
    for container in draft.pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        container["image"] = json!(image());
    }
    let (init, volume): (Value, Value) = (
        json!({"name": "fetch", "image": image(), "resources": {}}),
        json!({"name": "weights", "image": {"reference": image(), "pullPolicy": "IfNotPresent"}}),
    );
    if draft.draw.chance(30) {
        push(&mut draft.pod["spec"]["initContainers"], init);
    }
    if draft.draw.chance(30) {
        push(&mut draft.pod["spec"]["volumes"], volume);
    }
}

fn tagged(name: &str) -> String {
    if name.contains('@') { name.to_owned() } else { format!("{name}:latest") }
}
