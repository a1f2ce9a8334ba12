//! The event table.

use serde_json::Value;

use super::cells::{since, text_or};

/// Columns; `!` marks those of wide output.
pub const COLUMNS: &[&str] =
    &["Last Seen", "Type", "Reason", "Object", "!Subobject", "!Source", "Message", "!First Seen", "!Count", "!Name"];

/// Cells of one event, in its core form.
pub fn cells(event: &Value) -> Vec<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let earliest = |times: &[&Value]| times.iter().find(|time| time.is_string()).map_or_else(|| "<unknown>".to_owned(), |time| since(time));
    let (series, object) = (&event["series"], &event["involvedObject"]);
    let first = [&event["firstTimestamp"], &event["eventTime"]];
    let last = [&series["lastObservedTime"], &event["lastTimestamp"], first[0], first[1]];
    let kind = text(&object["kind"]).to_lowercase();
    let named = match text(&object["name"]) {
        name if name.is_empty() => kind,
        name => format!("{kind}/{name}"),
    };
    let either = |one: &Value, other: &Value| if text(one).is_empty() { text(other) } else { text(one) };
    let component = either(&event["source"]["component"], &event["reportingComponent"]);
    let source = match either(&event["source"]["host"], &event["reportingInstance"]) {
        instance if instance.is_empty() => component,
        instance => format!("{component}, {instance}"),
    };
    let seen = [&series["count"], &event["count"]].into_iter().find_map(Value::as_i64).filter(|count| *count > 0);
    vec![
        earliest(&last).into(),
        text_or(&event["type"], ""),
        text_or(&event["reason"], ""),
        named.into(),
        text_or(&object["fieldPath"], ""),
        source.into(),
        text(&event["message"]).trim().into(),
        earliest(&first).into(),
        seen.unwrap_or(1).into(),
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
