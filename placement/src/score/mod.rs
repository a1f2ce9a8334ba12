//! Scores. `response_time` is the one function that placing and routing share.

pub mod response_time;
