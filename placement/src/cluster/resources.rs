//! Amounts of what a node offers and a pod asks for.

use crate::units::{Bytes, MilliCpu};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node's allocatable or a pod's requests. `pods` is the number of pods a node takes; it is unused in requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub cpu: MilliCpu,
    pub memory: Bytes,
    pub ephemeral_storage: Bytes,
    pub pods: i64,
    /// Extended resources, huge pages and attachable volumes by full name, in whole units.
    pub extended: BTreeMap<String, i64>,
}
