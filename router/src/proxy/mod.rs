//! The data plane: HTTP/1.1 and HTTP/2 in, HTTP/1.1 or HTTP/2 out. Knows the table, and nothing of Kubernetes.

mod body;
mod client;
mod connect;
mod error;
mod forward;
mod headers;
mod pool;
mod server;
mod target;
#[cfg(test)]
mod tests;
mod tunnel;

pub use client::Clients;
pub use error::ProxyError;
pub use forward::X_EDGE_ENDPOINT;
pub use pool::PoolSettings;
pub use server::{Listening, ServerSettings, start};

use crate::table::RoutingTable;
use arc_swap::ArcSwap;
use http::StatusCode;
use pool::Pool;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a request's handling depends on, from configuration.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    pub clients: Clients,
    /// Names the endpoint in the response.
    pub expose_endpoint: bool,
    pub pool: PoolSettings,
}

/// What all workers share.
pub struct Shared {
    pub table: ArcSwap<RoutingTable>,
    pub settings: ProxySettings,
    began: Instant,
    /// Client connections open now.
    pub connections: AtomicU64,
    /// Requests that matched no load balancer.
    pub unrouted: AtomicU64,
}

impl Shared {
    pub fn new(settings: ProxySettings) -> Arc<Shared> {
        Arc::new(Shared {
            table: ArcSwap::from_pointee(RoutingTable::default()),
            settings,
            began: Instant::now(),
            connections: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
        })
    }

    /// The router's own clock, in ms: it only runs forward.
    pub fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn unrouted(&self, status: StatusCode) {
        tracing::trace!(%status, "request matched no load balancer");
        self.unrouted.fetch_add(1, Relaxed);
    }
}

/// One worker of the data plane. In thread-per-core operation nothing in it is touched by another thread but `shared`.
pub struct Worker {
    pub shared: Arc<Shared>,
    pool: Arc<Pool>,
    /// State of the pickers that no other worker shares.
    pub pickers: crate::select::Pickers,
    tunnels: TaskTracker,
    /// Asks client connections to end with the request in hand.
    drain: CancellationToken,
    /// Ends tunnels and connections when draining took too long.
    stop: CancellationToken,
}

impl Worker {
    fn new(shared: Arc<Shared>, seed: u64) -> Arc<Worker> {
        let pool = Pool::new(shared.settings.pool.clone());
        let pickers = crate::select::Pickers::new(seed);
        Arc::new(Worker {
            shared,
            pool,
            pickers,
            tunnels: TaskTracker::new(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Drops what nobody needs any more.
    fn sweep(&self) {
        self.pool.sweep();
        let table = self.shared.table.load();
        self.pickers.retain(|id| table.load_balancers.iter().any(|load_balancer| load_balancer.id == id));
    }
}
