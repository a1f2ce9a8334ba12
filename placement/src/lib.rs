//! The model that places pods and steers requests: one cluster index, one topology, one scoring function.
//!
//! A pure library. Nothing in here does I/O, awaits, reads a clock or draws random numbers of its own: time, seeds and
//! ids are parameters, iteration order is deterministic, and the same events give the same plan, byte for byte.

pub mod balance;
pub mod cluster;
pub mod constraint;
pub mod devices;
pub mod filter;
pub mod lint;
pub mod plan;
pub mod score;
pub mod topology;
pub mod units;
