//! The pod table: a status that sums up phase, conditions, containers and deletion.

use serde_json::Value;

use super::cells::{age, joined, name, since, text_or};

/// Columns; `!` marks those of wide output.
pub const COLUMNS: &[&str] = &["Name", "Ready", "Status", "Restarts", "Age", "!IP", "!Node", "!Nominated Node", "!Readiness Gates"];

/// Cells of one pod.
pub fn cells(pod: &Value) -> Vec<Value> {
    let statuses = || pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let total = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let ready = statuses().filter(|s| s["ready"] == true && s["state"]["running"].is_object()).count();
    let restarts: i64 = statuses().filter_map(|s| s["restartCount"].as_i64()).sum();
    let last = statuses().filter_map(|s| s["lastState"]["terminated"]["finishedAt"].as_str()).max();
    let restarts = match last {
        Some(at) if restarts > 0 => format!("{restarts} ({} ago)", since(&at.into())),
        _ => restarts.to_string(),
    };
    let ips: Vec<String> =
        pod["status"]["podIPs"].as_array().into_iter().flatten().filter_map(|ip| ip["ip"].as_str().map(str::to_owned)).collect();
    let address = if ips.is_empty() { text_or(&pod["status"]["podIP"], "<none>") } else { joined(ips) };
    vec![
        name(pod),
        format!("{ready}/{total}").into(),
        status(pod).into(),
        restarts.into(),
        age(pod),
        address,
        text_or(&pod["spec"]["nodeName"], "<none>"),
        text_or(&pod["status"]["nominatedNodeName"], "<none>"),
        readiness_gates(pod),
    ]
}

fn readiness_gates(pod: &Value) -> Value {
    let Some(gates) = pod["spec"]["readinessGates"].as_array().filter(|gates| !gates.is_empty()) else {
        return "<none>".into();
    };
    let holds = |gate: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len()).into()
}

fn status(pod: &Value) -> String {
    let text = |value: &Value| value.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let mut reason = text(&pod["status"]["reason"]).or_else(|| text(&pod["status"]["phase"])).unwrap_or_else(|| "Unknown".to_owned());
    for condition in pod["status"]["conditions"].as_array().into_iter().flatten() {
        if condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated" {
            reason = "SchedulingGated".to_owned();
        }
    }
    let inits = pod["status"]["initContainerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
    let total = pod["spec"]["initContainers"].as_array().map_or(0, Vec::len);
    let sidecar = |name: &Value| {
        let containers = pod["spec"]["initContainers"].as_array();
        containers.into_iter().flatten().any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
    };
    for (at, init) in inits.iter().enumerate() {
        let state = &init["state"];
        if state["terminated"]["exitCode"] == 0 || (sidecar(&init["name"]) && init["started"] == true) {
            continue;
        }
        let why = text(&state["terminated"]["reason"]).or_else(|| text(&state["waiting"]["reason"]).filter(|r| r != "PodInitializing"));
        reason = match why {
            Some(why) => format!("Init:{why}"),
            None => format!("Init:{at}/{total}"),
        };
        break;
    }
    if !reason.starts_with("Init:") {
        for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten().rev() {
            let state = &status["state"];
            if let Some(why) = text(&state["waiting"]["reason"]).or_else(|| text(&state["terminated"]["reason"])) {
                reason = why;
            } else if state["terminated"].is_object() {
                reason = format!("ExitCode:{}", state["terminated"]["exitCode"]);
            }
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return if pod["status"]["reason"] == "NodeLost" { "Unknown" } else { "Terminating" }.to_owned();
    }
    reason
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(pod: Value, expected: &str) {
        assert_eq!(status(&pod), expected);
    }

    #[test]
    fn one_word_for_a_pods_state() {
        check(json!({ "status": { "phase": "Pending" } }), "Pending");
        check(json!({ "status": { "phase": "Failed", "reason": "OutOfcpu" } }), "OutOfcpu");
        check(json!({ "status": { "phase": "Running" }, "metadata": { "deletionTimestamp": "x" } }), "Terminating");
        check(
            json!({ "status": { "phase": "Pending", "containerStatuses": [
                { "state": { "waiting": { "reason": "ContainerCreating" } } }] } }),
            "ContainerCreating",
        );
        check(
            json!({ "status": { "phase": "Pending", "conditions": [
                { "type": "PodScheduled", "reason": "SchedulingGated" }] } }),
            "SchedulingGated",
        );
        check(
            json!({ "spec": { "initContainers": [{ "name": "a" }, { "name": "b" }] }, "status": { "phase": "Pending",
                "initContainerStatuses": [{ "name": "a", "state": { "running": {} } }] } }),
            "Init:0/2",
        );
    }
}
