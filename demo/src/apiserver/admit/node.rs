//! Nodes: their addresses for pods, and their taints.

use serde_json::{Value, json};

use super::metadata::{label_value, qualified_name};
use crate::apiserver::status::FieldError;

/// Keeps the one range of addresses and the list of them in step.
pub fn defaults(node: &mut Value) {
    let Some(spec) = node.get_mut("spec") else { return };
    match (spec["podCIDR"].as_str(), spec["podCIDRs"].as_array()) {
        (Some(range), None) => spec["podCIDRs"] = json!([range]),
        (None, Some(ranges)) if !ranges.is_empty() => spec["podCIDR"] = ranges[0].clone(),
        _ => {}
    }
}

/// What is wrong with a Node.
pub fn validate(node: &Value) -> Vec<FieldError> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let taints = node["spec"]["taints"].as_array().map_or(&[][..], Vec::as_slice);
    let mut errors = Vec::new();
    for (at, taint) in taints.iter().enumerate() {
        // The real server names the taints' former place.
        let here = format!("metadata.taints[{at}]");
        let text = |key: &str| taint[key].as_str().unwrap_or_default();
        if let Some(why) = qualified_name(text("key")) {
            errors.push(FieldError::invalid(format!("{here}.key"), &taint["key"], &why));
        }
        if let Some(why) = label_value(text("value")) {
            errors.push(FieldError::invalid(format!("{here}.value"), &taint["value"], why));
        }
        match text("effect") {
            "" => errors.push(FieldError::required(format!("{here}.effect"), "")),
            effect if !EFFECTS.contains(&effect) => {
                errors.push(FieldError::unsupported(format!("{here}.effect"), &taint["effect"], &EFFECTS.map(str::to_owned)));
            }
            _ => {}
        }
        if taints[..at].iter().any(|other| other["key"] == taint["key"] && other["effect"] == taint["effect"]) {
            errors.push(FieldError::duplicate(here, taint));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(taints: Value, expected: &[&str]) {
        let found: Vec<String> = validate(&json!({ "spec": { "taints": taints } })).into_iter().map(|error| error.field).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn taints() {
        check(json!([{ "key": "k", "effect": "NoSchedule" }, { "key": "k", "value": "v", "effect": "NoExecute" }]), &[]);
        check(json!([{ "key": "k" }, { "key": "k", "effect": "Sometimes" }]), &["metadata.taints[0].effect", "metadata.taints[1].effect"]);
        check(json!([{ "key": "k", "effect": "NoExecute" }, { "key": "k", "effect": "NoExecute" }]), &["metadata.taints[1]"]);
    }

    #[test]
    fn one_range_is_the_first_of_all() {
        let mut node = json!({ "spec": { "podCIDR": "10.9.0.0/24" } });
        defaults(&mut node);
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.9.0.0/24"]));
    }
}
