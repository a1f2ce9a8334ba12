//! Putting the router together.

use crate::{
    config::Config,
    demand::{self, Meter, Reported},
    metrics::RouterCollector,
    proxy::{self, Shared},
    reconcile::{self, Controller, Published, Writer},
    topology::{self, FollowStatus},
};
use api::protocol::StreamEvent;
use axum::{Json, Router, routing::get};
use chassis::{
    admin::Admin,
    client::{self, ConnectError},
    lease,
    serve::BindError,
    shutdown::Shutdown,
    topology::{Service, TopologyError},
    watches::Watches,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, watch};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

/// A started router.
pub struct Running {
    /// Where clients connect to.
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub shared: Arc<Shared>,
    shutdown: Shutdown,
    drain: Duration,
    /// What ended the router, when it was not asked to end.
    failure: Arc<Mutex<Option<Error>>>,
}

/// Beyond the time to drain, for what ends after it.
const END: Duration = Duration::from_secs(10);

impl Running {
    /// Waits until shutdown has been signalled and everything has ended. An error is what ended the router by itself.
    pub async fn join(self) -> Result<(), Error> {
        self.shutdown.signalled().await;
        if let Err(error) = self.shutdown.wait_all(self.drain + END).await {
            tracing::warn!(%error, "not everything ended");
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }
}

/// Serves until shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    start(config, shutdown).await?.join().await
}

const USER_AGENT: &str = concat!("edge-router/", env!("CARGO_PKG_VERSION"));

/// Starts the router; errors are those of this machine and its configuration. An unreachable API server or topology service is waited for.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Running, Error> {
    // A part that fails later must not take the caller's other programs with it.
    let shutdown = shutdown.child();
    let connection = client::connect(&config.client, USER_AGENT).await?;
    let shared = Shared::new(config.proxy());
    let admin = Admin::new();
    let watches = Watches::new();
    watches.attach(&admin);
    let following = Arc::new(FollowStatus::default());
    let status = Arc::clone(&following);
    admin.ready_check("topology", move || status.ready());
    let reader = Arc::clone(&shared);
    admin.ready_check("table", move || match reader.table.load().generation {
        0 => Err("not made yet".to_owned()),
        _ => Ok(()),
    });
    let collector = RouterCollector { shared: Arc::clone(&shared), following: Arc::clone(&following) };
    admin.register(|registry| registry.register_collector(Box::new(collector)));
    if let Err(error) = admin.show_config(&config) {
        tracing::warn!(%error, "the configuration cannot be shown at /configz");
    }
    let listening = proxy::start(Arc::clone(&shared), config.server(), &shutdown).await?;
    let reader = Arc::clone(&shared);
    let extra = Router::new().route("/v1/table", get(async move || Json(reader.table.load().dump(reader.now_ms()))));
    let admin = match admin.bind(config.admin_address, extra, &shutdown).await {
        Ok(address) => address,
        Err(error) => {
            shutdown.trigger();
            return Err(error.into());
        }
    };
    let failure = Arc::default();
    tracing::info!(node = config.node_name, address = %listening.address, "requests are served");

    let running = Running {
        address: listening.address,
        admin,
        shared: Arc::clone(&shared),
        shutdown: shutdown.clone(),
        drain: *config.drain_timeout,
        failure: Arc::clone(&failure),
    };
    let parts = Parts { config, shared, watches, following };
    let until = shutdown.clone();
    shutdown.spawn(async move {
        if let Err(error) = parts.follow(connection, until.clone()).await {
            tracing::error!("{}", chassis::program::chain(&error));
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            until.trigger();
        }
    });
    Ok(running)
}

struct Parts {
    config: Config,
    shared: Arc<Shared>,
    watches: Watches,
    following: Arc<FollowStatus>,
}

impl Parts {
    /// Everything behind the data plane: watches, topology, demand, status.
    async fn follow(self, connection: client::Connection, shutdown: Shutdown) -> Result<(), Error> {
        let Parts { config, shared, watches, following } = self;
        if client::wait_until_reachable(&connection, &shutdown).await.is_err() {
            return Ok(());
        }
        let (published, published_reader) = watch::channel(Published::default());
        let (events, received) = mpsc::channel::<StreamEvent>(64);
        let reported = Arc::new(Reported::default());
        let (rates, rates_reader) = watch::channel(Arc::default());
        let objects = reconcile::watch_all(&connection.client, &config, &watches, &shutdown);
        let controller =
            Controller { config: config.clone(), shared: Arc::clone(&shared), watches, published, reported: Arc::clone(&reported), rates };
        shutdown.spawn(controller.run(objects, received, shutdown.clone()));

        // Renewals must not wait behind anything else: a client of their own.
        let election = client::connect(&config.client, USER_AGENT).await?;
        let identity = format!("{}_{}", config.node_name, uuid::Uuid::new_v4());
        let writer = Writer {
            client: connection.client,
            shared: Arc::clone(&shared),
            published: published_reader,
            rates: rates_reader,
            following: Arc::clone(&following),
            leadership: lease::elect(election.client, &config.leader_election, &identity, &shutdown),
            interval: *config.status_interval,
        };
        shutdown.spawn(reconcile::write_statuses(writer, shutdown.clone()));

        let Some(service) = Service::find(&config.topology, &config.client, USER_AGENT, &shutdown).await? else { return Ok(()) };
        let service = Arc::new(service);
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let meter = Meter::new(&config.node_name, epoch, Instant::now());
        let interval = *config.report_interval;
        let sites = shared.settings.clients.sites.clone();
        shutdown.spawn(demand::report(meter, shared, reported, Arc::clone(&service), interval, shutdown.clone()));
        topology::follow(&service, &sites, service.replicas.clone(), events, &following, &shutdown).await;
        Ok(())
    }
}
