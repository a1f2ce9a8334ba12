//! A node as the model sees it.

use super::{Image, Labels, Resources};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: TaintEffect,
}

/// A node at the edge of the model: strings, parsed once from `v1.Node`, interned by the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub uid: String,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    /// The Ready condition is True.
    pub ready: bool,
    pub allocatable: Resources,
    /// The images that the node has, with their size in bytes.
    pub images: Vec<(Image, i64)>,
    /// `status.declaredFeatures`.
    pub declared_features: Vec<String>,
    /// InternalIP addresses; empty when the node has none (agents can't reach it and say so).
    pub addresses: Vec<IpAddr>,
}
