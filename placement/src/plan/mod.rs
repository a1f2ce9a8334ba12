//! Decisions: data with a reason for every node, made by the planner, carried out by others.

mod decision;
mod reason;

pub use decision::{Decision, NodeVerdict, Outcome, ScoreLine, Verdict};
pub use reason::{Hold, Reason, VerdictCode};
