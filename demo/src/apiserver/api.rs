//! The state that every request shares.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::auth::pki::Authority;
use super::auth::tokens::Tokens;
use super::faults::Faults;
use super::openapi::Documents;
use super::resource::{Registry, Resource};
use super::schema::Definitions;
use super::store::{Object, Store};

/// The state that every request shares.
#[derive(Debug)]
pub struct Api {
    pub(super) store: Arc<Store>,
    pub(super) registry: Registry,
    pub(super) schemas: Arc<Definitions>,
    pub(super) openapi: Documents,
    pub(super) authority: Authority,
    pub(super) tokens: Tokens,
    pub(super) faults: Faults,
    /// Held while an eviction asks the budgets.
    pub(super) evictions: Mutex<()>,
    pub(super) address: SocketAddr,
    pub(super) bookmark_interval: Duration,
    pub(super) enforce_rbac: bool,
    pub(super) track_fields: bool,
    pub(super) loopback_endpoints: bool,
    /// Cancelled when the server shuts down.
    pub(super) stop: CancellationToken,
}

impl Api {
    /// A built-in resource in its stored version.
    pub(super) fn builtin(&self, group: &str, plural: &str) -> Arc<Resource> {
        self.registry.find(group, "v1", plural).expect("the table of built-in kinds names it")
    }

    /// An object of a built-in resource.
    pub(super) fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.store.get(&self.builtin(group, plural).storage, namespace, name)
    }
}
