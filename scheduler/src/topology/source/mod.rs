//! Where RTTs come from: the agents that report to the service, or files that an operator keeps.

mod agents;
mod file_watch;
mod files;
mod poll;

pub use agents::AgentSource;
pub use file_watch::FileSource;
pub use files::{FileError, FileRows, MetadataError, read};
pub use poll::{Poll, Polled};

use super::board::Board;
use chassis::shutdown::Shutdown;
use futures::future::BoxFuture;
use std::sync::Arc;

/// A source of RTTs. It feeds the board, and says when what it gave may be judged by.
pub trait Source: Send {
    /// Runs until shutdown.
    fn run(self: Box<Self>, board: Arc<Board>, shutdown: Shutdown) -> BoxFuture<'static, ()>;
}
