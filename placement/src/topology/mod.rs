//! The measured network: RTT per pair with what is known about each figure, and views of it.

pub mod matrix;
mod pair;

pub use pair::{Kind, PairStat};
