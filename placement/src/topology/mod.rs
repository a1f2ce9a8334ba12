//! The measured network: RTT per pair with what is known about each figure, and views of it.

mod code;
pub mod matrix;
mod pair;
mod row;
mod store;
pub mod window;

pub use pair::{Kind, PairStat};
pub use row::Row;
pub use store::{PairChange, RttStore};
