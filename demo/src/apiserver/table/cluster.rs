//! Tables of nodes, namespaces and the small kinds around them.

use serde_json::Value;

use super::cells::{age, count, joined, name, text_or};

/// Columns of nodes.
pub const NODE: &[&str] =
    &["Name", "Status", "Roles", "Age", "Version", "!Internal-IP", "!External-IP", "!OS-Image", "!Kernel-Version", "!Container-Runtime"];

/// Cells of one node.
pub fn node(node: &Value) -> Vec<Value> {
    let conditions = || node["status"]["conditions"].as_array().into_iter().flatten();
    let mut status = match conditions().find(|c| c["type"] == "Ready") {
        Some(ready) if ready["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles = Vec::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.push(role.to_owned());
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().map(str::to_owned));
        }
    }
    roles.sort();
    let address = |kind: &str| {
        let addresses = node["status"]["addresses"].as_array();
        let found = addresses.into_iter().flatten().find(|a| a["type"] == kind);
        text_or(found.map_or(&Value::Null, |a| &a["address"]), "<none>")
    };
    let info = &node["status"]["nodeInfo"];
    vec![
        name(node),
        status.into(),
        joined(roles),
        age(node),
        text_or(&info["kubeletVersion"], ""),
        address("InternalIP"),
        address("ExternalIP"),
        text_or(&info["osImage"], "<unknown>"),
        text_or(&info["kernelVersion"], "<unknown>"),
        text_or(&info["containerRuntimeVersion"], "<unknown>"),
    ]
}

/// Cells of one namespace.
pub fn namespace(object: &Value) -> Vec<Value> {
    vec![name(object), text_or(&object["status"]["phase"], ""), age(object)]
}

fn entries(value: &Value) -> i64 {
    value.as_object().map_or(0, |map| i64::try_from(map.len()).unwrap_or(i64::MAX))
}

/// Cells of one ConfigMap.
pub fn config_map(object: &Value) -> Vec<Value> {
    vec![name(object), (entries(&object["data"]) + entries(&object["binaryData"])).into(), age(object)]
}

/// Cells of one Secret.
pub fn secret(object: &Value) -> Vec<Value> {
    vec![name(object), text_or(&object["type"], ""), entries(&object["data"]).into(), age(object)]
}

/// Cells of one ServiceAccount.
pub fn service_account(object: &Value) -> Vec<Value> {
    vec![name(object), age(object)]
}

/// Cells of one Lease.
pub fn lease(object: &Value) -> Vec<Value> {
    vec![name(object), text_or(&object["spec"]["holderIdentity"], ""), age(object)]
}

/// Columns of PriorityClasses.
pub const PRIORITY_CLASS: &[&str] = &["Name", "#Value", "?Global-Default", "Age", "PreemptionPolicy"];

/// Cells of one PriorityClass.
pub fn priority_class(object: &Value) -> Vec<Value> {
    vec![
        name(object),
        count(&object["value"]),
        (object["globalDefault"] == true).into(),
        age(object),
        text_or(&object["preemptionPolicy"], ""),
    ]
}

/// Columns of PodDisruptionBudgets.
pub const DISRUPTION_BUDGET: &[&str] = &["Name", "Min Available", "Max Unavailable", "#Allowed Disruptions", "Age"];

/// Cells of one PodDisruptionBudget.
pub fn disruption_budget(object: &Value) -> Vec<Value> {
    vec![
        name(object),
        text_or(&object["spec"]["minAvailable"], "N/A"),
        text_or(&object["spec"]["maxUnavailable"], "N/A"),
        count(&object["status"]["disruptionsAllowed"]),
        age(object),
    ]
}

/// Columns of CustomResourceDefinitions.
pub const DEFINITION: &[&str] = &["Name", "Scope", "Versions", "@Created At", "!Group", "!Kind", "!ShortNames", "!?Established"];

/// Cells of one CustomResourceDefinition.
pub fn definition(object: &Value) -> Vec<Value> {
    let (spec, names) = (&object["spec"], &object["spec"]["names"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let served = spec["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
    let stored = |version: &Value| if version["storage"] == true { "(storage)" } else { "" };
    let mut versions: Vec<String> = served.map(|version| format!("{}{}", text(&version["name"]), stored(version))).collect();
    versions.sort();
    let short: Vec<String> = names["shortNames"].as_array().into_iter().flatten().map(text).collect();
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    vec![
        name(object),
        text_or(&spec["scope"], ""),
        versions.join(",").into(),
        object["metadata"]["creationTimestamp"].clone(),
        text_or(&spec["group"], ""),
        text_or(&names["kind"], ""),
        short.join(",").into(),
        conditions.any(|condition| condition["type"] == "Established" && condition["status"] == "True").into(),
    ]
}

/// Columns of RoleBindings and ClusterRoleBindings.
pub const ROLE_BINDING: &[&str] = &["Name", "Role", "Age", "!Users", "!Groups", "!ServiceAccounts"];

/// Cells of one binding of a role.
pub fn role_binding(object: &Value) -> Vec<Value> {
    let role = &object["roleRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let subjects = |kind: &str| -> Value {
        let named = object["subjects"].as_array().into_iter().flatten().filter(|subject| subject["kind"] == kind).map(|subject| {
            let name = text(&subject["name"]);
            if kind == "ServiceAccount" { format!("{}/{name}", text(&subject["namespace"])) } else { name }
        });
        named.collect::<Vec<_>>().join(", ").into()
    };
    let role = format!("{}/{}", text(&role["kind"]), text(&role["name"]));
    vec![name(object), role.into(), age(object), subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_row() {
        let cells = node(&json!({ "metadata": { "name": "n", "labels": { "kubernetes.io/role": "cloud" } },
            "spec": { "unschedulable": true },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }],
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] } }));
        assert_eq!(cells[..3], [json!("n"), json!("Ready,SchedulingDisabled"), json!("cloud")]);
        assert_eq!(cells[5..7], [json!("10.0.0.1"), json!("<none>")]);
        assert_eq!(cells.len(), NODE.len());
    }
}
