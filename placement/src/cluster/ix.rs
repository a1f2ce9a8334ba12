//! Dense indexes. Inside the model nodes are numbers; names appear at the edge alone.

use serde::{Deserialize, Serialize};

/// Index of a node *name*, given by the [`super::Cluster`]. It persists while a node object, a pod or topology rows of that name exist, and may be
/// given to another name afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIx(pub u32);

impl NodeIx {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
