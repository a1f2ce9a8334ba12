//! Putting the scheduler together, in the order in which things must be there, and taking it apart in the reverse.

use crate::bind::{Binder, Clients, Patience};
use crate::bounds;
use crate::config::{self, Config, span};
use crate::cycle::{self, Cycle};
use crate::evict::Evictor;
use crate::extender;
use crate::intake;
use crate::metrics::Metrics;
use crate::state::{Shared, now};
use crate::tell::{ConditionWriter, Teller};
use crate::topology::agents::Settings;
use crate::topology::authority::{AuthorityError, authority};
use crate::topology::board::Board;
use crate::topology::demand::DemandBoard;
use crate::topology::node_networks;
use crate::topology::service::{self, Explainer, Service};
use crate::topology::source::{AgentSource, FileSource, Poll, Source};
use crate::topology::summary::found_sites;
use api::convert;
use chassis::admin::Admin;
use chassis::authn::{Authenticator, Authorizer, TOPOLOGY_AUDIENCE, require_access};
use chassis::client::{self, ClientConfig, ConnectError, Connection, Interrupted};
use chassis::events::{Recorder, RecorderConfig};
use chassis::lease::{self, Leadership};
use chassis::serve::{self, BindError, Limits};
use chassis::shutdown::Shutdown;
use chassis::tls::{ServingCertificate, TlsError};
use chassis::watches::{Change, WatchStatus, Watches};
use futures::stream::BoxStream;
use kube::runtime::watcher;
use kube::{Api, Resource};
use placement::cluster::ControllerKind;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot look at a listening socket")]
    Socket(#[source] std::io::Error),
    #[error(transparent)]
    Explain(#[from] crate::explain::AskError),
    #[error("lost the lease {lease}; another may lead, and a new start knows nothing that has become wrong meanwhile")]
    LeaseLost { lease: String },
}

/// A started scheduler.
pub struct Running {
    pub admin: SocketAddr,
    /// Of the topology service (HTTPS).
    pub topology: SocketAddr,
    /// Of the extender, where one is configured.
    pub extender: Option<SocketAddr>,
    /// What it knows, for tests and tools in the same process.
    pub shared: Arc<Shared>,
    pub board: Arc<Board>,
    acting: Shutdown,
    /// What only the leader does; a child of `acting`.
    leading: Shutdown,
    last: Shutdown,
    /// The lease's name once it was lost.
    lost: Arc<OnceLock<String>>,
}

/// What tests of faults change; nothing that a configuration reaches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deviations {
    /// The negative control: bindings are sent without asking whether the lease is held.
    pub lease_unchecked: bool,
    /// How far the clock is ahead whose times are written into the lease.
    pub clock_ahead: jiff::SignedDuration,
}

/// What acts as the leader may take this long to end: a binding that was sent is seen to its end.
const ACTING: Duration = Duration::from_secs(10);
/// Then the lease is released and the last events are written.
const LAST: Duration = Duration::from_secs(5);
/// Serving certificates; replaced after two thirds.
const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(30 * 86_400);

impl Running {
    /// Waits until shutdown has been signalled, or the lease is lost, and everything has ended.
    ///
    /// Whoever loses the lease ends and starts anew, as kube-scheduler does: what it assumed, queued and knew as the leader may be wrong by now, and no
    /// task of that time can outlive it.
    pub async fn join(self) -> Result<(), Error> {
        self.acting.signalled().await;
        end(&self.leading, ACTING).await;
        // Now another may lead: it need not wait until the last caller of the topology service has gone.
        self.last.trigger();
        end(&self.acting, ACTING).await;
        end(&self.last, LAST).await;
        self.lost.get().map_or(Ok(()), |lease| Err(Error::LeaseLost { lease: lease.clone() }))
    }
}

async fn end(shutdown: &Shutdown, limit: Duration) {
    if let Err(error) = shutdown.wait_all(limit).await {
        tracing::warn!(%error, "not everything ended");
    }
}

/// Serves until shutdown. Errors when it cannot start, and when it loses the lease.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    match start(config, shutdown).await? {
        Some(running) => running.join().await,
        None => Ok(()),
    }
}

/// [`run`] with deviations.
#[cfg(feature = "unsafe-fault-tests")]
pub async fn run_deviating(config: Config, deviations: Deviations, shutdown: Shutdown) -> Result<(), Error> {
    match start_deviating(config, deviations, shutdown).await? {
        Some(running) => running.join().await,
        None => Ok(()),
    }
}

/// Starts everything. Ports are opened first, so that a wrong one is known at once; then the API server is waited for. `None` when shutdown comes
/// before it answers.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Option<Running>, Error> {
    start_deviating(config, Deviations::default(), shutdown).await
}

async fn start_deviating(config: Config, deviations: Deviations, shutdown: Shutdown) -> Result<Option<Running>, Error> {
    let acting = shutdown.child();
    let listener = serve::bind(config.topology.address).await?;
    let topology = listener.local_addr().map_err(Error::Socket)?;
    let extending = match config.extender.address {
        Some(address) => Some(serve::bind(address).await?),
        None => None,
    };
    let extender = extending.as_ref().map(TcpListener::local_addr).transpose().map_err(Error::Socket)?;
    let admin = Admin::new();
    if let Err(error) = admin.show_config(&config.effective()) {
        tracing::warn!(%error, "the configuration cannot be shown at /configz");
    }
    let shared = Arc::new(Shared::new(config.model(), config.queue.settings(), false));
    let board = Arc::new(Board::new(shared.clone(), agent_settings(&config), now()));
    let watches = Watches::new();
    let metrics = Metrics::default();
    metrics.attach(&admin, &shared, &board);
    watches.attach(&admin);
    let troubled = board.clone();
    let starting = Starting::default();
    let started = starting.clone();
    admin.ready_check("started", move || started.ready());
    admin.ready_check("topology-source", move || troubled.trouble().map_or(Ok(()), Err));
    let admin_address = admin.bind(config.admin_address, axum::Router::new(), &acting).await?;
    let lost = Arc::new(OnceLock::new());
    let leading = acting.child();
    let parts = parts(
        &config,
        deviations,
        &acting,
        &leading,
        &lost,
        listener,
        topology,
        extending,
        shared.clone(),
        board.clone(),
        watches,
        metrics,
        &admin,
        &starting,
    );
    let started = match parts.await {
        Ok(started) => started,
        Err(error) => {
            acting.trigger();
            end(&acting, ACTING).await;
            return Err(error);
        }
    };
    match started {
        Some(last) => Ok(Some(Running { admin: admin_address, topology, extender, shared, board, acting, leading, last, lost })),
        None => {
            end(&acting, ACTING).await;
            Ok(None)
        }
    }
}

/// What the start waits for, for readiness. Clones share it.
#[derive(Clone)]
struct Starting(Arc<Mutex<Option<String>>>);

impl Default for Starting {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("waits for the API server".to_owned()))))
    }
}

impl Starting {
    fn waits(&self, why: String) {
        *self.lock() = Some(why);
    }

    fn done(&self) {
        *self.lock() = None;
    }

    fn ready(&self) -> Result<(), String> {
        self.lock().clone().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that needs the API server. Returns what ends last.
#[allow(clippy::too_many_arguments)] // One call, of the function above.
async fn parts(
    config: &Config,
    deviations: Deviations,
    acting: &Shutdown,
    leading: &Shutdown,
    lost: &Arc<OnceLock<String>>,
    listener: TcpListener,
    topology: SocketAddr,
    extending: Option<TcpListener>,
    shared: Arc<Shared>,
    board: Arc<Board>,
    watches: Watches,
    metrics: Metrics,
    admin: &Admin,
    starting: &Starting,
) -> Result<Option<Shutdown>, Error> {
    if !config.placement.delay_filter {
        tracing::warn!("placement.delayFilter is off: DELAY BOUNDS ARE IGNORED; this is for negative controls in demonstrations only");
    }
    for key in &config.without_effect {
        tracing::info!("without effect: {key}");
    }
    let connection = client::connect(&config.client, USER_AGENT).await?;
    let reached = client::wait_until_reachable(&connection, acting).await;
    if reached == Err(Interrupted) {
        return Ok(None);
    }
    let client = connection.client.clone();
    let Some(authority) = authority(&client, &config.namespace, |why| starting.waits(why), acting).await? else { return Ok(None) };
    let names = server_names(config, &connection, topology);
    let serving = ServingCertificate::new(&authority.issue(&names, CERTIFICATE_VALIDITY)?)?;

    // Connections of their own, so that a renewal does not wait behind bindings, nor a binding behind what is said about it or behind questions
    // about callers, which come by the thousand (the API server's own fairness bounds those).
    let binding = client::connect_departing(&config.client, USER_AGENT).await?;
    let telling = client::connect(&config.client, USER_AGENT).await?.client;
    let renewing = client::connect(&config.client, USER_AGENT).await?.client;
    let reviewing = client::connect(&ClientConfig { qps: 0.0, ..config.client.clone() }, USER_AGENT).await?.client;
    let tls = serving.server_config()?;
    if let Some(listener) = extending {
        let routes = extender::routes(shared.clone(), board.clone(), watches.clone());
        match &config.extender.client_ca_file {
            Some(file) => {
                let tls = serving.server_config_for_clients_of(file)?;
                acting.spawn(serve::serve_tls(listener, tls, routes, Limits::default(), acting.clone()))
            }
            None => acting.spawn(serve::serve(listener, routes, Limits::default(), acting.clone())),
        };
    }

    // What acts must have ended before the lease is given back and the last events are written.
    let last = Shutdown::new();
    let identity = lease::identity();
    let ahead = deviations.clock_ahead;
    let clock = move || jiff::Timestamp::now().saturating_add(ahead).unwrap_or(jiff::Timestamp::MAX);
    let leadership = lease::elect_once(renewing, &config.leader_election, &identity, clock, &last);
    acting.spawn(end_with_the_lease(leadership.clone(), config.leader_election.resource_name.clone(), lost.clone(), acting.clone()));
    // The client's rate is the limit: bindings are held to the same, so that events keep up with them.
    let events = RecorderConfig { queue: EVENTS_QUEUE, qps: 0, writers: EVENT_WRITERS };
    let profiles = config.model().profiles;
    let events = Recorder::start(telling.clone(), &profiles.first().scheduler_name, &identity, &events, &last);
    let recorder = events.clone();
    admin.register(move |registry| registry.register_collector(Box::new(recorder)));

    let demand = Arc::new(DemandBoard::default());
    let all = WholeCluster { client: &client, watches: &watches, config: config.watches.watcher(), shutdown: acting };
    watch(&all, &shared, &board, &demand);
    acting.spawn(source(config).run(board.clone(), acting.clone()));
    acting.spawn(upkeep(shared.clone(), board.clone(), demand.clone(), acting.clone()));

    let explainer = Arc::new(Explainer::default());
    let service = Service { shared: shared.clone(), board: board.clone(), demand, explainer, shutdown: acting.clone() };
    let authenticator = Authenticator::new(reviewing.clone(), TOPOLOGY_AUDIENCE);
    let routes = require_access(service::routes(service), &authenticator, &Authorizer::new(reviewing));
    acting.spawn(serve::serve_tls(listener, tls, routes, Limits::default(), acting.clone()));
    let rotating = acting.clone();
    acting.spawn(async move {
        let renew = || authority.issue(&names, CERTIFICATE_VALIDITY);
        serving.rotate(CERTIFICATE_VALIDITY * 2 / 3, renew, rotating).await;
    });
    tracing::info!(address = %topology, "topology service open");

    let conditions = ConditionWriter::default();
    leading.spawn(conditions.clone().run(telling.clone(), shared.clone(), leading.clone()));
    let teller = Arc::new(Teller::new(events, conditions, shared.clone()));
    let lease = &config.leader_election;
    let binder = Arc::new(Binder {
        clients: Clients { binding, reading: client.clone() },
        leadership: if deviations.lease_unchecked { Leadership::always() } else { leadership.clone() },
        // What the lease leaves between the deadline for acting and another leader, less a tenth.
        patience: Patience { call: (*lease.lease_duration - *lease.renew_deadline).mul_f64(0.9), look: *lease.lease_duration },
        slots: Arc::new(Semaphore::new(config.binding.parallelism)),
        shared: shared.clone(),
        teller: teller.clone(),
        metrics: metrics.clone(),
        shutdown: leading.clone(),
    });
    let evictor = Evictor::new(telling.clone(), leadership.clone(), shared.clone(), teller.clone(), metrics.clone(), leading.clone());
    let evictor = Arc::new(evictor);
    // Where bounds are ignored on purpose, nobody wants to hear of them.
    if config.placement.delay_filter {
        let watching = leading.clone();
        leading.spawn(bounds::watch(shared.clone(), teller.clone(), metrics.clone(), leadership.clone(), watching));
    }
    let writer = node_networks::Writer {
        client: telling,
        shared: shared.clone(),
        board: board.clone(),
        leadership: leadership.clone(),
        interval: *config.topology.object_interval,
    };
    leading.spawn(writer.run(leading.clone()));
    let cycle =
        Cycle { shared, planner: cycle::planner(), attempts: 0, board, binder, evictor, teller, metrics, leadership, watches, client };
    leading.spawn(cycle.run(leading.clone()));
    starting.done();
    Ok(Some(last))
}

/// Ends everything that acts as soon as the lease that was held is lost.
async fn end_with_the_lease(leadership: Leadership, lease: String, lost: Arc<OnceLock<String>>, acting: Shutdown) {
    let loss = async {
        // No term: the election has stopped.
        let Some(term) = leadership.acquired().await else { return false };
        leadership.lost(term).await;
        true
    };
    if acting.interrupt(loss).await == Some(true) {
        // Set once, here.
        let _ = lost.set(lease);
        acting.trigger();
    }
}

/// Events that wait to be written, about 1 KiB each: a burst of so many bindings loses none.
const EVENTS_QUEUE: usize = 16_384;
/// Where the API server answers after 5 ms, 800 events a second can be written.
const EVENT_WRITERS: usize = 4;
const USER_AGENT: &str = concat!("edge-scheduler/", env!("CARGO_PKG_VERSION"));

fn agent_settings(config: &Config) -> Settings {
    let topology = &config.topology;
    Settings {
        probe_interval: *topology.probe_interval,
        max_probes_per_second: topology.max_probes_per_second,
        probe_timeout: *topology.probe_timeout,
        grace: span(topology.warm_up),
        probing: topology.source == config::Source::Agents,
    }
}

fn source(config: &Config) -> Box<dyn Source> {
    let topology = &config.topology;
    match (topology.source, &topology.matrix) {
        (config::Source::Files, Some(matrix)) => Box::new(FileSource {
            poll: Poll::new(matrix.clone(), topology.metadata.clone()),
            interval: *topology.poll_interval,
            max_age: *config.placement.max_age,
        }),
        // Files without a matrix do not pass the configuration's check.
        (config::Source::Agents, _) | (config::Source::Files, None) => Box::new(AgentSource),
    }
}

/// What every watch of the whole cluster has in common.
struct WholeCluster<'a> {
    client: &'a kube::Client,
    watches: &'a Watches,
    config: watcher::Config,
    shutdown: &'a Shutdown,
}

impl WholeCluster<'_> {
    /// Changes of all objects of a kind; `resource` is the watch's name.
    fn of<K>(&self, resource: &str) -> BoxStream<'static, Change<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.converted(resource, self.config.clone(), std::convert::identity)
    }

    /// Of a kind that the API server need not serve.
    fn if_served<K>(&self, resource: &str) -> (Arc<WatchStatus>, BoxStream<'static, Change<K>>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.watches.watch_if_served(Api::all(self.client.clone()), self.config.clone(), resource, self.shutdown)
    }

    /// Objects as `convert` makes them: of those there are many of, more than that is never held.
    fn converted<K, T>(&self, resource: &str, config: watcher::Config, convert: fn(K) -> T) -> BoxStream<'static, Change<T>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        T: Send + 'static,
    {
        self.watches.watch_as(Api::all(self.client.clone()), config, resource, convert, self.shutdown)
    }
}

fn watch(all: &WholeCluster<'_>, shared: &Arc<Shared>, board: &Arc<Board>, demand: &Arc<DemandBoard>) {
    let shared = || shared.clone();
    let start = all.shutdown;
    let pods = all.converted("pods", all.config.clone().fields(intake::POD_FIELDS), intake::SeenPod::of);
    start.spawn(intake::pods(pods, shared()));
    let nodes = all.converted("nodes", all.config.clone(), intake::SeenNode::of);
    start.spawn(intake::nodes(nodes, shared(), board.clone()));
    start.spawn(intake::services(all.of("services"), shared(), demand.clone()));
    start.spawn(intake::budgets(all.of("poddisruptionbudgets"), shared()));
    start.spawn(intake::namespaces(all.of("namespaces"), shared()));
    let (kind, selector) = (ControllerKind::ReplicaSet, convert::replica_set_selector);
    start.spawn(intake::controllers(all.of("replicasets"), kind, selector, shared()));
    let (kind, selector) = (ControllerKind::StatefulSet, convert::stateful_set_selector);
    start.spawn(intake::controllers(all.of("statefulsets"), kind, selector, shared()));
    let (kind, selector) = (ControllerKind::ReplicationController, convert::replication_controller_selector);
    start.spawn(intake::controllers(all.of("replicationcontrollers"), kind, selector, shared()));
    start.spawn(intake::storage(all.of("persistentvolumes"), convert::persistent_volume, shared()));
    start.spawn(intake::storage(all.of("persistentvolumeclaims"), convert::persistent_volume_claim, shared()));
    start.spawn(intake::storage(all.of("storageclasses"), convert::storage_class, shared()));
    start.spawn(intake::storage(all.of("csinodes"), convert::csi_node, shared()));
    start.spawn(intake::storage(all.of("csidrivers"), convert::csi_driver, shared()));
    start.spawn(intake::storage(all.of("csistoragecapacities"), convert::csi_storage_capacity, shared()));
    start.spawn(intake::storage(all.of("volumeattachments"), convert::volume_attachment, shared()));
    let (_, slices) = all.if_served("resourceslices");
    start.spawn(intake::resource_slices(slices, shared()));
    let (_, classes) = all.if_served("deviceclasses");
    start.spawn(intake::device_classes(classes, shared()));
    let (_, rules) = all.if_served("devicetaintrules");
    start.spawn(intake::device_taint_rules(rules, shared()));
    let (status, claims) = all.if_served("resourceclaims");
    start.spawn(intake::device_claims(claims, status, shared()));
}

/// Sends readers what changed, finds sites, and forgets what is too old.
async fn upkeep(shared: Arc<Shared>, board: Arc<Board>, demand: Arc<DemandBoard>, shutdown: Shutdown) {
    const FLUSH: Duration = Duration::from_millis(200);
    /// Every 30 s.
    const CLEAN_EVERY: u32 = 150;
    let mut turn: u32 = 0;
    let mut sites_of = None;
    while shutdown.sleep(FLUSH).await {
        board.flush(now());
        turn += 1;
        let clean = turn.is_multiple_of(CLEAN_EVERY);
        if clean {
            demand.expire(&shared, &board, now());
            let mut state = shared.lock();
            let max_age = state.cluster.view().settings().max_age;
            state.cluster.expire(now(), max_age);
        }
        if board.is_warm() && (clean || sites_of.is_none()) {
            let cluster = shared.lock().cluster.snapshot();
            if sites_of.replace(cluster.generation()) != Some(cluster.generation()) {
                let found = tokio::task::spawn_blocking(move || found_sites(&cluster, now())).await;
                board.set_found_sites(found.unwrap_or_default());
            }
        }
    }
}

/// What the certificate is for: the Service's names, the addresses we can be reached at, and what the configuration adds.
fn server_names(config: &Config, connection: &Connection, topology: SocketAddr) -> Vec<String> {
    let service = format!("{}.{}.svc", api::labels::TOPOLOGY_SERVICE, config.namespace);
    let mut names = vec![service.clone(), format!("{service}.cluster.local"), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    if !topology.ip().is_unspecified() {
        names.push(topology.ip().to_string());
    }
    names.extend(own_address(connection).map(|address| address.to_string()));
    names.extend(config.topology.server_names.iter().cloned());
    names.sort();
    names.dedup();
    names
}

/// The address that the route to the API server leaves by: in a pod, the pod's. Nothing is sent.
fn own_address(connection: &Connection) -> Option<IpAddr> {
    let host = connection.server.host()?.trim_matches(['[', ']']).parse::<IpAddr>().ok()?;
    let any: SocketAddr = if host.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((host, connection.server.port_u16().unwrap_or(443))).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
