//! Where RTTs come from: the agents that report to the service, or files that an operator keeps.

mod files;
mod poll;

pub use files::{FileError, FileRows, MetadataError, read};
pub use poll::{Poll, Polled};
