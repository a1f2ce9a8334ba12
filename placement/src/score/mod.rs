//! Scores. `response_time` is the one function that placing and routing share.

pub mod demand;
pub mod response_time;
