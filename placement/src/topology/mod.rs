//! Round-trip times between nodes.

pub mod matrix;
