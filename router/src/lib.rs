//! edge-router: steers requests to the placed pods with the scoring function that placed them, and reports what is asked for.

pub mod proxy;
pub mod reconcile;
pub mod select;
pub mod table;
#[cfg(test)]
mod testing;
pub mod topology;
