//! Everything that pods may ask for, and nodes that lack it.

use super::draft::push;
use super::{Draft, Draw};
use serde_json::{Value, json};

const GPU: &str = "example.com/gpu";
const FPGA: &str = "example.com/fpga";
const HUGE_PAGES: &str = "hugepages-2Mi";

pub fn apply(draft: &mut Draft) {
    let tight = draft.draw.chance(70);
    for node in &mut draft.nodes {
        let allocatable = &mut node["status"]["allocatable"];
        if tight && draft.draw.chance(60) {
            allocatable["cpu"] = json!(draft.draw.pick(&["1", "1500m", "2"]));
            allocatable["memory"] = json!(draft.draw.pick(&["1Gi", "2Gi", "4Gi"]));
            allocatable["pods"] = json!(draft.draw.pick(&["2", "5", "10"]));
        }
        for (resource, amounts) in [(GPU, ["1", "2", "8"]), (FPGA, ["0", "1", "2"]), (HUGE_PAGES, ["0", "4Mi", "64Mi"])] {
            if draft.draw.chance(55) {
                allocatable[resource] = json!(draft.draw.pick(&amounts));
            }
        }
        // A node without memory or CPU is left out of means.
        if draft.draw.chance(3) {
            allocatable["memory"] = json!("0");
        }
        if draft.draw.chance(2) {
            allocatable["cpu"] = json!("0");
        }
    }
    let mut pods = std::mem::take(&mut draft.pods);
    for pod in &mut pods {
        if draft.draw.chance(40) {
            vary(draft, pod);
        }
    }
    draft.pods = pods;
    let mut pod = std::mem::take(&mut draft.pod);
    vary(draft, &mut pod);
    if draft.draw.chance(10) {
        pod["spec"]["containers"] = json!([{"name": "idle", "image": "registry.test/idle:1", "resources": {}}]);
    }
    draft.pod = pod;
}

fn vary(draft: &mut Draft, pod: &mut Value) {
    let spec = &mut pod["spec"];
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        extend(&mut draft.draw, container);
    }
    let init_containers = draft.draw.pick(&[0, 0, 1, 2, 3]);
    for at in 0..init_containers {
        let mut container = draft.container(&format!("i{at}"));
        if draft.draw.chance(50) {
            container["restartPolicy"] = json!("Always");
        }
        extend(&mut draft.draw, &mut container);
        push(&mut spec["initContainers"], container);
    }
    let draw = &mut draft.draw;
    if draw.chance(15) {
        spec["overhead"] = draw.pick(&[json!({"cpu": "120m", "memory": "64Mi"}), json!({"cpu": "1m"}), json!({"memory": "1500m"})]);
    }
    if draw.chance(15) {
        let requests = draw.pick(&[json!({"cpu": "6"}), json!({"memory": "12Gi"}), json!({"cpu": "5500m", "memory": "10Gi"})]);
        spec["resources"] = json!({"requests": requests});
    }
}

/// More than CPU and memory, and amounts that do not come out even.
fn extend(draw: &mut Draw, container: &mut Value) {
    let requests = &mut container["resources"]["requests"];
    if draw.chance(12) {
        requests[GPU] = json!(draw.pick(&["0", "1", "2", "9"]));
    }
    if draw.chance(6) {
        requests[FPGA] = json!(draw.pick(&["1", "3"]));
    }
    if draw.chance(6) {
        requests[HUGE_PAGES] = json!(draw.pick(&["2Mi", "16Mi"]));
    }
    if draw.chance(15) {
        requests["ephemeral-storage"] = json!(draw.pick(&["1Gi", "9Gi", "100Gi"]));
    }
    if draw.chance(15) {
        requests["memory"] = json!(draw.pick(&["0.1", "1e3", "1500m", "123456789", "1.5Gi"]));
    }
    if draw.chance(10) {
        requests["cpu"] = json!(draw.pick(&["0.1m", "1u", "333m", "1e-1", "7"]));
    }
}
