//! Agents push their rows to the service; what is left to do here is to see when enough have.

use super::Source;
use crate::state::now;
use crate::topology::board::Board;
use chassis::shutdown::Shutdown;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

pub struct AgentSource;

impl Source for AgentSource {
    fn run(self: Box<Self>, board: Arc<Board>, shutdown: Shutdown) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Reports and nodes make it warm as they come; the clock does it when they stay away.
            while !board.is_warm() && shutdown.sleep(Duration::from_millis(500)).await {
                board.refresh_warm(now());
            }
        })
    }
}
