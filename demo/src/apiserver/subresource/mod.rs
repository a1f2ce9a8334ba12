//! Subresources that are more than a part of the object.

pub mod binding;
pub mod disruption;
pub mod eviction;
pub mod scale;
