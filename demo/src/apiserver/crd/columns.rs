//! Printer columns and the part of JSONPath that they use.

use serde_json::Value;

/// One `additionalPrinterColumns` entry.
#[derive(Debug, Clone)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Format, may be empty.
    pub format: String,
    /// Description.
    pub description: String,
    /// Above 0 only in wide output.
    pub priority: i64,
    /// Where the value is.
    pub path: JsonPath,
}

impl Column {
    /// Reads the list; an entry whose path cannot be read prints nothing.
    pub fn list(source: &Value) -> Vec<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        source
            .as_array()
            .into_iter()
            .flatten()
            .map(|column| Self {
                name: text(&column["name"]),
                kind: text(&column["type"]),
                format: text(&column["format"]),
                description: text(&column["description"]),
                priority: column["priority"].as_i64().unwrap_or_default(),
                path: JsonPath::parse(column["jsonPath"].as_str().unwrap_or_default()),
            })
            .collect()
    }
}

/// A path of fields, indexes, wildcards and equality filters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Where(Vec<String>, String),
}

impl JsonPath {
    /// Reads `.spec.a`, `.metadata.labels['x.y/z']`, `.status.conditions[?(@.type=="Ready")].status`, `[*]`, `[0]`.
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let Some(end) = closing(inner) else { break };
                steps.extend(bracket(&inner[..end]));
                rest = &inner[end + 1..];
                continue;
            }
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let mut end = rest.len();
            let mut escaped = false;
            for (at, c) in rest.char_indices() {
                if !escaped && (c == '.' || c == '[') {
                    end = at;
                    break;
                }
                escaped = c == '\\';
            }
            match &rest[..end] {
                "" => {}
                "*" => steps.push(Step::All),
                field => steps.push(Step::Field(field.replace('\\', ""))),
            }
            if end == 0 && !rest.starts_with('[') {
                break;
            }
            rest = &rest[end..];
        }
        Self(steps)
    }

    /// The values that the path leads to.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        }
        found
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Self::Index(at), Value::Array(list)) => {
                let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
                let at = if *at < 0 { length + at } else { *at };
                usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect()
            }
            (Self::All, Value::Array(list)) => list.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Where(path, wanted), Value::Array(list)) => list
                .iter()
                .filter(|item| {
                    let found = path.iter().try_fold(*item, |value, key| value.get(key));
                    found.is_some_and(|v| text_of(v) == *wanted)
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// A value as a filter compares it.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    let unquoted = |s: &str| s.trim().trim_matches(|c| c == '\'' || c == '"').to_owned();
    let text = text.trim();
    if text == "*" {
        Some(Step::All)
    } else if let Some(filter) = text.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let (path, value) = filter.split_once("==")?;
        let path = path.trim().strip_prefix("@.")?;
        Some(Step::Where(path.split('.').map(str::to_owned).collect(), unquoted(value)))
    } else if let Ok(index) = text.parse() {
        Some(Step::Index(index))
    } else {
        Some(Step::Field(unquoted(text)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expected: &[Value]) {
        let value = json!({ "metadata": { "labels": { "a.b/c": "x" } }, "spec": { "list": [1, 2, 3] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "Old", "status": "False" }] } });
        let found: Vec<Value> = JsonPath::parse(path).find(&value).into_iter().cloned().collect();
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths() {
        check(".spec.list[1]", &[json!(2)]);
        check(".spec.list[-1]", &[json!(3)]);
        check("{.spec.list[*]}", &[json!(1), json!(2), json!(3)]);
        check(".metadata.labels['a.b/c']", &[json!("x")]);
        check(".metadata.labels.a\\.b/c", &[json!("x")]);
        check(".status.conditions[?(@.type==\"Ready\")].status", &[json!("True")]);
        check(".spec.absent.deep", &[]);
        check(
            "",
            &[json!({ "metadata": { "labels": { "a.b/c": "x" } }, "spec": { "list": [1, 2, 3] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "Old", "status": "False" }] } })],
        );
    }
}
