//! The differential test: the same cluster and pod put to kube-scheduler's own code and to this project's planner, whose answers must agree node by
//! node, reason by reason and score by score.
//!
//! ```text
//! generate(seed, index) -> Case --> oracle (Go, a pipe) ----> Answer --.
//!                               `-> ours (api, placement) --> Answer ---+-> compare -> shrink where they differ
//! ```
//!
//! What has to agree, and what is not covered yet, stands in [`generate::COVERED`] and [`generate::OPEN`].

pub mod case;
pub mod compare;
pub mod figures;
pub mod generate;
pub mod golden;
pub mod objects;
pub mod oracle;
pub mod ours;
pub mod shrink;
#[cfg(test)]
mod waking;
