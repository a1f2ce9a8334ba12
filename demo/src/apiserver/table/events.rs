//! The event table.

use serde_json::Value;

use super::cells::{count, since, text_or};

/// Columns; `!` marks those of wide output.
pub const COLUMNS: &[&str] =
    &["Last Seen", "Type", "Reason", "Object", "!Subobject", "!Source", "Message", "!First Seen", "!Count", "!Name"];

/// Cells of one event, in its core form.
pub fn cells(event: &Value) -> Vec<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let series = &event["series"];
    let first = [&event["firstTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
    let last = [&series["lastObservedTime"], &event["lastTimestamp"], first[0], first[1], first[2]];
    let pick = |of: &[&Value]| of.iter().find(|v| v.is_string()).map_or_else(|| "<unknown>".into(), |v| since(v));
    let object = &event["involvedObject"];
    let mut source = text(&event["source"]["component"]);
    if source.is_empty() {
        source = text(&event["reportingComponent"]);
    }
    let host = text(&event["source"]["host"]);
    if !host.is_empty() {
        source = format!("{source}, {host}");
    }
    let seen = [&series["count"], &event["count"]].into_iter().find(|v| v.is_i64() || v.is_u64());
    vec![
        pick(&last).into(),
        text_or(&event["type"], ""),
        text_or(&event["reason"], ""),
        format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["name"])).into(),
        text_or(&object["fieldPath"], ""),
        source.into(),
        text(&event["message"]).trim().into(),
        pick(&first).into(),
        seen.map_or_else(|| 1.into(), count),
        event["metadata"]["name"].clone(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row() {
        let cells = cells(&json!({ "metadata": { "name": "e" }, "type": "Normal", "reason": "Scheduled",
            "involvedObject": { "kind": "Pod", "name": "p" }, "message": "m", "reportingComponent": "edge-scheduler",
            "series": { "count": 3 } }));
        assert_eq!(cells[1..4], ["Normal", "Scheduled", "pod/p"]);
        assert_eq!(cells[5..7], ["edge-scheduler", "m"]);
        assert_eq!(cells[8], 3);
        assert_eq!(cells.len(), COLUMNS.len());
    }
}
