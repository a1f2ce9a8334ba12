//! What only nodes that declare a feature can do.

use super::Draft;
use super::draft::push;
use serde_json::{Value, json};

const RESTART_ALL: &str = "RestartAllContainersOnContainerExits";
const USER_NAMESPACES: &str = "UserNamespacesHostNetworkSupport";
const MOUNT_OPTIONS: &str = "VolumeBindMountOptions";

pub fn apply(draft: &mut Draft) {
    for node in &mut draft.nodes {
        let count = draft.draw.below(4);
        // Also one that no release knows.
        let declared = draft.draw.some(&[RESTART_ALL, USER_NAMESPACES, MOUNT_OPTIONS, "SomethingElse"], count + 1);
        node["status"]["declaredFeatures"] = json!(declared);
    }
    let spec = &mut draft.pod["spec"];
    let draw = &mut draft.draw;
    if draw.chance(50) {
        let action = draw.pick(&["RestartAllContainers", "RestartAllContainers", "Restart"]);
        let rule = json!({"action": action, "exitCodes": {"operator": "In", "values": [42]}});
        spec["containers"][0]["restartPolicy"] = json!("Never");
        spec["containers"][0]["restartPolicyRules"] = json!([rule]);
    }
    if draw.chance(30) {
        spec["hostNetwork"] = json!(true);
        spec["hostUsers"] = json!(draw.chance(20));
    }
    if draw.chance(30) {
        let options: &[&str] = if draw.chance(80) { &["noexec"] } else { &[] };
        let mount: Value = json!({"name": "scratch", "mountPath": "/scratch", "bindMountOptions": options});
        push(&mut spec["volumes"], json!({"name": "scratch", "emptyDir": {}}));
        push(&mut spec["containers"][0]["volumeMounts"], mount);
    }
}
