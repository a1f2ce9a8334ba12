//! What a pod demands of the network: the delay grammar, its references, and what missing data means.

mod annotation;
mod delay;
mod groups;
mod label;
mod milliseconds;
mod resolve;

pub use annotation::{ANNOTATION, parse_annotation};
pub use delay::{DelayBound, DelayError, DelaySource, Missing, Reference, ReplicaRule, Statistic};
pub use groups::mutual_groups;
pub use label::{LABEL_PREFIX, parse_label};
pub use resolve::{BoundVerdict, Position, ReferenceIndex, Referrer, ResolvedBound, pods_behind, resolve};
