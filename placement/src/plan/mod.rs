//! Decisions: data with a reason for every node, made by the planner, carried out by others.

mod advise;
mod choice;
mod columns;
mod deallocate;
mod decision;
mod explain;
mod group;
mod images;
mod interned;
mod label_column;
mod load_scores;
mod planner;
mod preempt;
mod rank;
mod reason;
mod stopwatch;
mod trial;
mod wake;
mod wake_on_node;
mod wake_on_pods;
mod wake_on_volumes;

#[cfg(test)]
mod tests;

pub use advise::Advice;
pub use choice::{Choice, Warmth};
pub use decision::{Decision, NodeVerdict, Outcome, ScoreLine, Verdict};
pub use group::GroupDecision;
pub use planner::Planner;
pub use preempt::{Eviction, Preemption, referred};
pub use reason::{Hold, Reason, VerdictCode};
pub use stopwatch::Stopwatch;
pub use wake::{RttWait, Topic, Topics, WakeOn};
pub use wake_on_node::NodeWait;
pub use wake_on_pods::PodWait;
pub use wake_on_volumes::VolumeWait;
