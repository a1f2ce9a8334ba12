//! The lines of a run, read into memory (format: demo/OUTPUT.md).

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::BufRead;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct World {
    pub nodes: Vec<WorldNode>,
    /// Microseconds, row by row in the order of `nodes`.
    pub true_rtt_us: Vec<Vec<f64>>,
}

#[derive(Debug, Deserialize)]
pub struct WorldNode {
    pub name: String,
}

impl World {
    pub fn true_rtt_us(&self, a: &str, b: &str) -> Option<f64> {
        let at = |name| self.nodes.iter().position(|n: &WorldNode| n.name == name);
        let (a, b) = (at(a)?, at(b)?);
        if a == b {
            return Some(0.0);
        }
        Some(self.true_rtt_us[a][b].max(self.true_rtt_us[b][a]))
    }
}

#[derive(Debug, Deserialize)]
pub struct Binding {
    pub pod: String,
    pub uid: String,
    pub node: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub from: String,
    pub load_balancer: String,
    pub max_rtt_us: Option<f64>,
    pub status: u16,
    pub endpoint_pod: Option<String>,
    pub endpoint_node: Option<String>,
}

/// What happened to a stored object.
#[derive(Debug)]
pub struct Change {
    pub deleted: bool,
    pub object: Value,
}

#[derive(Debug)]
pub enum Step {
    Object(Change),
    Binding(Binding),
    Request(Request),
}

#[derive(Debug, Default)]
pub struct Record {
    pub world: World,
    pub steps: Vec<Step>,
    /// Every pod that was ever stored, by uid, as first seen.
    pub pods: BTreeMap<String, Value>,
}

impl Record {
    pub fn read(input: impl BufRead) -> Result<Record> {
        let mut record = Record::default();
        for (number, line) in input.lines().enumerate() {
            let line = line?;
            let value: Value = serde_json::from_str(&line).with_context(|| format!("line {} is not JSON", number + 1))?;
            let wrong = || format!("line {} is no {} line of the format", number + 1, value["event"]);
            match value["event"].as_str() {
                Some("world") => record.world = serde_json::from_value(value.clone()).with_context(wrong)?,
                Some("binding") => record.steps.push(Step::Binding(serde_json::from_value(value.clone()).with_context(wrong)?)),
                Some("request") => record.steps.push(Step::Request(serde_json::from_value(value.clone()).with_context(wrong)?)),
                Some("object") => {
                    let object = value["object"].clone();
                    if object["kind"] == "Pod" {
                        record.pods.entry(text(&object, "/metadata/uid").to_owned()).or_insert_with(|| object.clone());
                    }
                    record.steps.push(Step::Object(Change { deleted: value["verb"] == "DELETED", object }));
                }
                _ => {}
            }
        }
        Ok(record)
    }

    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.steps.iter().filter_map(|step| match step {
            Step::Binding(binding) => Some(binding),
            _ => None,
        })
    }
}

/// The string at a JSON pointer, empty when there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
