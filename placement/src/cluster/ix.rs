//! Dense indexes. Inside the model nodes are numbers; names appear at the edge alone.

use serde::{Deserialize, Serialize};

/// A node's place in every column of the model: topology rows, bitsets, endpoint tables. Given by the [`super::Cluster`] to a node *name*; it
/// persists while a node object, a pod or topology rows of that name exist, and may be given to another name afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIx(pub u32);

impl NodeIx {
    /// The index as a position in a column.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}
