//! What a pod demands of the network: the delay grammar, its references, and what missing data means.

mod delay;

pub use delay::{DelayBound, DelayError, DelaySource, Missing, Reference, ReplicaRule, Statistic};
