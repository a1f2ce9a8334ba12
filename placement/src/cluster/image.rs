//! Names of container images.

use super::name_hash;
use serde::{Deserialize, Serialize};

/// An image by the hash of its name: nodes tell of a hundred names each, which are compared and never printed. Two names of one hash would cost a node
/// some points in one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Image(u64);

impl Image {
    pub fn named(name: &str) -> Image {
        Image(name_hash(name))
    }
}
