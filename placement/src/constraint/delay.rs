//! Delay bounds as data. Labels `delay_<from>: "<ms>"` and annotation `edge-scheduler.io/delay` both become these.

use crate::cluster::WorkloadKind;
use crate::units::Micros;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a bound is measured from, as written by the user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reference {
    /// From a label: a node, else a workload or pod of the pod's namespace, by exact name.
    Name(String),
    /// `node/<name>`.
    Node(String),
    /// `deployment/<name>`, `statefulset/<name>`, `daemonset/<name>`, `job/<name>`.
    Workload(WorkloadKind, String),
    /// `pod/<name>`.
    Pod(String),
}

impl Reference {
    /// The bare name, as messages print it.
    pub fn name(&self) -> &str {
        match self {
            Reference::Name(name) | Reference::Node(name) | Reference::Workload(_, name) | Reference::Pod(name) => name,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which figure of the window a bound is held against. Admission uses `P90` unless the annotation says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Statistic {
    P50,
    #[default]
    P90,
}

/// Of a workload with several replicas: how many must be within the bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaRule {
    #[default]
    Any,
    All,
}

/// What an unmeasured pair means for this bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The node is rejected until the pair is measured.
    #[default]
    Deny,
    /// The bound does not apply to a node whose pair is unmeasured.
    Allow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DelaySource {
    Label,
    Annotation,
}

/// One bound: the RTT between the pod's node and the reference is at most `max` (inclusive).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DelayBound {
    pub from: Reference,
    pub max: Micros,
    pub statistic: Statistic,
    pub replicas: ReplicaRule,
    pub missing: Missing,
    pub source: DelaySource,
}

/// A label or annotation entry that is not a bound. Names the key, the value, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[error("{key}: {value:?} {why}")]
pub struct DelayError {
    /// `label delay_edge-1` or `annotation edge-scheduler.io/delay, "node/edge-1"`.
    pub key: String,
    pub value: String,
    /// e.g. `is not a number of milliseconds such as "25" or "0.5"`.
    pub why: String,
}
