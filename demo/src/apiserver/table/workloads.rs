//! Tables of what owns pods.

use serde_json::Value;

use super::cells::{age, containers, count, duration, joined, labels, name, selector, since, text_or};

/// Columns of Deployments.
pub const DEPLOYMENT: &[&str] = &["Name", "Ready", "Up-to-date", "Available", "Age", "!Containers", "!Images", "!Selector"];
/// Columns of ReplicaSets and ReplicationControllers.
pub const REPLICA_SET: &[&str] = &["Name", "#Desired", "#Current", "#Ready", "Age", "!Containers", "!Images", "!Selector"];
/// Columns of StatefulSets.
pub const STATEFUL_SET: &[&str] = &["Name", "Ready", "Age", "!Containers", "!Images"];
/// Columns of DaemonSets.
pub const DAEMON_SET: &[&str] =
    &["Name", "#Desired", "#Current", "#Ready", "#Up-to-date", "#Available", "Node Selector", "Age", "!Containers", "!Images", "!Selector"];
/// Columns of Jobs.
pub const JOB: &[&str] = &["Name", "Status", "Completions", "Duration", "Age", "!Containers", "!Images", "!Selector"];

/// Columns of CronJobs.
pub const CRON_JOB: &[&str] =
    &["Name", "Schedule", "Timezone", "?Suspend", "#Active", "Last Schedule", "Age", "!Containers", "!Images", "!Selector"];
/// Columns of HorizontalPodAutoscalers.
pub const AUTOSCALER: &[&str] = &["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"];

fn ready_of(object: &Value) -> Value {
    let ready = object["status"]["readyReplicas"].as_i64().unwrap_or_default();
    format!("{ready}/{}", object["spec"]["replicas"].as_i64().unwrap_or_default()).into()
}

fn tail(object: &Value) -> Vec<Value> {
    let [names, images] = containers(&object["spec"]["template"]["spec"]);
    let rule = &object["spec"]["selector"];
    // A ReplicationController's selector is a plain map.
    let structured = rule["matchLabels"].is_object() || rule["matchExpressions"].is_array();
    vec![names, images, if structured { selector(rule) } else { labels(rule) }]
}

/// Cells of one Deployment.
pub fn deployment(object: &Value) -> Vec<Value> {
    let status = &object["status"];
    let head = [name(object), ready_of(object), count(&status["updatedReplicas"]), count(&status["availableReplicas"]), age(object)];
    [&head[..], &tail(object)].concat()
}

/// Cells of one ReplicaSet.
pub fn replica_set(object: &Value) -> Vec<Value> {
    let status = &object["status"];
    let head = [name(object), count(&object["spec"]["replicas"]), count(&status["replicas"]), count(&status["readyReplicas"]), age(object)];
    [&head[..], &tail(object)].concat()
}

/// Cells of one StatefulSet.
pub fn stateful_set(object: &Value) -> Vec<Value> {
    [&[name(object), ready_of(object), age(object)][..], &tail(object)[..2]].concat()
}

/// Cells of one DaemonSet.
pub fn daemon_set(object: &Value) -> Vec<Value> {
    let status = &object["status"];
    let head = [
        name(object),
        count(&status["desiredNumberScheduled"]),
        count(&status["currentNumberScheduled"]),
        count(&status["numberReady"]),
        count(&status["updatedNumberScheduled"]),
        count(&status["numberAvailable"]),
        labels(&object["spec"]["template"]["spec"]["nodeSelector"]),
        age(object),
    ];
    [&head[..], &tail(object)].concat()
}

/// Cells of one Job.
pub fn job(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let holds = |kind: &str| {
        let conditions = status["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == "True")
    };
    let word = if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if spec["suspend"] == true {
        "Suspended"
    } else {
        "Running"
    };
    let done = status["succeeded"].as_i64().unwrap_or_default();
    let wanted = spec["completions"].as_i64().unwrap_or(1);
    let at = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let took = at(&status["startTime"]).map(|start| {
        let end = at(&status["completionTime"]).unwrap_or_else(jiff::Timestamp::now);
        duration(end.as_second() - start.as_second())
    });
    let head = [name(object), word.into(), format!("{done}/{wanted}").into(), took.unwrap_or_default().into(), age(object)];
    [&head[..], &tail(object)].concat()
}

/// Cells of one CronJob.
pub fn cron_job(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let suspended = match spec["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = status["lastScheduleTime"].is_string().then(|| since(&status["lastScheduleTime"]));
    let head = [
        name(object),
        text_or(&spec["schedule"], ""),
        text_or(&spec["timeZone"], "<none>"),
        suspended.into(),
        status["active"].as_array().map_or(0, Vec::len).into(),
        last.unwrap_or_else(|| "<none>".to_owned()).into(),
        age(object),
    ];
    [&head[..], &tail(&spec["jobTemplate"])].concat()
}

/// Cells of one HorizontalPodAutoscaler; nobody measures for it here.
pub fn autoscaler(object: &Value) -> Vec<Value> {
    let (spec, target) = (&object["spec"], &object["spec"]["scaleTargetRef"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metrics = spec["metrics"].as_array().into_iter().flatten().map(|_| "<unknown>".to_owned());
    vec![
        name(object),
        format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
        joined(metrics.collect()),
        text_or(&spec["minReplicas"], "<unset>"),
        count(&spec["maxReplicas"]),
        count(&object["status"]["currentReplicas"]),
        age(object),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_have_a_cell_for_every_column() {
        let object = json!({ "metadata": { "name": "w" }, "spec": { "replicas": 3,
            "selector": { "matchLabels": { "a": "b" } },
            "template": { "spec": { "containers": [{ "name": "c", "image": "i" }] } } },
            "status": { "readyReplicas": 2 } });
        assert_eq!(deployment(&object).len(), DEPLOYMENT.len());
        assert_eq!(replica_set(&object).len(), REPLICA_SET.len());
        assert_eq!(stateful_set(&object).len(), STATEFUL_SET.len());
        assert_eq!(daemon_set(&object).len(), DAEMON_SET.len());
        assert_eq!(job(&object).len(), JOB.len());
        assert_eq!(cron_job(&object).len(), CRON_JOB.len());
        assert_eq!(autoscaler(&object).len(), AUTOSCALER.len());
        assert_eq!(deployment(&object)[1], "2/3");
        assert_eq!(deployment(&object)[7], "a=b");
    }
}
