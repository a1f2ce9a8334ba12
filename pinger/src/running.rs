//! Putting the agent together: sockets, admin port, and a link to every replica of the topology service.

use crate::agent::Agent;
use crate::config::Config;
use crate::metrics::RowCollector;
use crate::once::{self, PeerArg};
use crate::prober::{IcmpProber, Prober, TcpProber, UdpEcho, bind_handshakes, serve_handshakes};
use crate::{goldpinger, link};
use api::protocol::{Peers, ProbeMethod};
use axum::routing::get;
use axum::{Json, Router};
use chassis::admin::Admin;
use chassis::serve::BindError;
use chassis::shutdown::Shutdown;
use chassis::tls::CallError;
use chassis::topology::{Service, TopologyError};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the echo on UDP {address}")]
    Echo { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("none of the methods {methods:?} can be used here: {why}")]
    NoMethod { methods: Vec<ProbeMethod>, why: String },
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("cannot get the peers from the topology service")]
    Peers(#[source] CallError),
    #[error("no replica of the topology service is known")]
    NoReplica,
    #[error("{failed} of {peers} peers did not answer")]
    Unanswered { failed: usize, peers: usize },
}

/// A started agent.
pub struct Running {
    pub admin: SocketAddr,
    pub echo: SocketAddr,
    pub agent: Arc<Agent>,
    links: JoinHandle<Result<(), Error>>,
    shutdown: Shutdown,
}

impl Running {
    /// Waits until shutdown has been signalled and everything has ended; an error where the topology service can never be reached as configured.
    pub async fn join(self) -> Result<(), Error> {
        self.shutdown.signalled().await;
        if let Err(error) = self.shutdown.wait_all(std::time::Duration::from_secs(10)).await {
            tracing::warn!(node = self.agent.node, %error, "not everything ended");
            return Ok(());
        }
        // A panic has been counted and told.
        self.links.await.unwrap_or(Ok(()))
    }
}

/// Serves until shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    start(config, shutdown).await?.join().await
}

struct Sockets {
    echo: Arc<UdpEcho>,
    handshakes: tokio::net::TcpListener,
    probers: Vec<Arc<dyn Prober>>,
}

/// Opens what can be opened. A method that the machine does not allow is left out and said; none at all is an error.
async fn open(config: &Config, echo_port: u16) -> Result<Sockets, Error> {
    let (echo, handshakes) = open_ports(config.listen_address, echo_port, bind_handshakes)?;
    let mut probers: Vec<Arc<dyn Prober>> = Vec::new();
    let mut refused = Vec::new();
    for &method in &config.methods {
        match method {
            // One socket of a family serves both: it is a datagram socket where the kernel allows one, else a raw one.
            ProbeMethod::IcmpDatagram | ProbeMethod::IcmpRaw if probers.iter().any(|p| is_icmp(p.method())) => {}
            ProbeMethod::IcmpDatagram | ProbeMethod::IcmpRaw => {
                for source in icmp_sources(config.listen_address) {
                    match IcmpProber::open(source) {
                        Ok(prober) if config.methods.contains(&prober.method()) => probers.push(Arc::new(prober)),
                        Ok(prober) => refused.push(format!("{method:?} from {source}: the kernel offers {:?} only", prober.method())),
                        Err(error) => refused.push(format!("{method:?} from {source}: {error}")),
                    }
                }
            }
            ProbeMethod::Udp => probers.push(echo.clone()),
            ProbeMethod::Tcp => probers.push(Arc::new(TcpProber { source: config.listen_address })),
        }
    }
    let why = refused.join("; ");
    if probers.is_empty() {
        return Err(Error::NoMethod { methods: config.methods.clone(), why });
    }
    if !refused.is_empty() {
        tracing::info!(node = config.node_name, why, "a probe method is not available; the next one serves");
    }
    Ok(Sockets { echo, handshakes, probers })
}

/// How often another port is looked for, where any port will do.
const PORTS_TRIED: usize = 16;

/// The echo and the port for handshakes, which have one number. Where any will do (`port` is 0), the number that the kernel has
/// free for UDP may be taken for TCP: then the next one is tried.
fn open_ports<T>(
    listen: IpAddr,
    port: u16,
    bind_handshakes: impl Fn(SocketAddr) -> Result<T, BindError>,
) -> Result<(Arc<UdpEcho>, T), Error> {
    let mut tried = Vec::new();
    loop {
        let echo = open_echo(listen, port)?;
        match bind_handshakes(echo.local_addr()) {
            Ok(handshakes) => return Ok((echo, handshakes)),
            // Held until another is found, lest the kernel gives the same again.
            Err(BindError::InUse { .. }) if port == 0 && tried.len() < PORTS_TRIED => tried.push(echo),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The echo. For all addresses it is one socket of both families, or of IPv4 alone where the machine has no IPv6.
fn open_echo(listen: IpAddr, port: u16) -> Result<Arc<UdpEcho>, Error> {
    let nonce = uuid::Uuid::new_v4().as_fields().0;
    let bind = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        UdpEcho::bind(address, nonce).map_err(|source| Error::Echo { address, source })
    };
    if !listen.is_unspecified() {
        return bind(listen);
    }
    match bind(Ipv6Addr::UNSPECIFIED.into()) {
        Err(Error::Echo { source, .. }) if source.kind() != io::ErrorKind::AddrInUse => bind(Ipv4Addr::UNSPECIFIED.into()),
        other => other,
    }
}

/// One address of each family that is to be probed.
fn icmp_sources(listen: IpAddr) -> Vec<IpAddr> {
    match listen.is_unspecified() {
        true => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        false => vec![listen],
    }
}

fn is_icmp(method: ProbeMethod) -> bool {
    matches!(method, ProbeMethod::IcmpDatagram | ProbeMethod::IcmpRaw)
}

/// Starts the agent; errors are those of this machine (ports, configuration). An unreachable API server or topology service is waited for.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Running, Error> {
    let sockets = open(&config, config.echo_port).await?;
    let echo = sockets.echo.local_addr();
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let agent = Arc::new(Agent::new(&config, epoch, sockets.probers));

    let admin = Admin::new();
    admin.register(|registry| registry.register_collector(Box::new(RowCollector::new(&agent))));
    if let Err(error) = admin.show_config(&config) {
        tracing::warn!(%error, "the configuration cannot be shown at /configz");
    }
    let reader = agent.clone();
    admin.ready_check("peers", move || match reader.has_peers() {
        true => Ok(()),
        false => Err("no replica of the topology service has named the peers yet".into()),
    });
    let admin = admin.bind(config.admin_address, goldpinger_routes(&agent, echo), &shutdown).await?;

    let (echo_socket, handshakes) = (sockets.echo, sockets.handshakes);
    spawn_until_shutdown(&shutdown, async move { echo_socket.serve().await });
    spawn_until_shutdown(&shutdown, serve_handshakes(handshakes));
    let (prober, until) = (agent.clone(), shutdown.clone());
    shutdown.spawn(async move { prober.probe(&until).await });
    let (watcher, until, interval) = (agent.clone(), shutdown.clone(), *config.device_interval);
    shutdown.spawn(async move { watcher.watch_devices(interval, &until).await });
    let (linker, until) = (agent.clone(), shutdown.clone());
    let links = shutdown.spawn(async move {
        let ended = keep_links(linker, config, echo, until.clone()).await;
        if ended.is_err() {
            until.trigger();
        }
        ended
    });
    Ok(Running { admin, echo, agent, links, shutdown })
}

fn spawn_until_shutdown(shutdown: &Shutdown, future: impl Future<Output = ()> + Send + 'static) {
    let until = shutdown.clone();
    shutdown.spawn(async move { until.interrupt(future).await });
}

fn goldpinger_routes(agent: &Arc<Agent>, echo: SocketAddr) -> Router {
    let (one, all) = (agent.clone(), agent.clone());
    Router::new().route("/check", get(async move || Json(goldpinger::check(&one.with_row(|row| row.views()))))).route(
        "/check_all",
        get(async move || Json(goldpinger::check_all(&all.node, &echo.ip().to_string(), &all.with_row(|row| row.views())))),
    )
}

/// One link to each replica, as replicas come and go.
async fn keep_links(agent: Arc<Agent>, config: Config, echo: SocketAddr, shutdown: Shutdown) -> Result<(), Error> {
    let Some(mut service) = find(&config, &shutdown).await? else { return Ok(()) };
    let mut links: BTreeMap<String, Shutdown> = BTreeMap::new();
    // Unspecified: the service takes the node's InternalIP.
    let advertised = SocketAddr::new(config.advertise_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), echo.port());
    loop {
        let wanted = service.replicas.borrow_and_update().clone();
        links.retain(|base, link| {
            let keep = wanted.contains(base);
            if !keep {
                link.trigger();
                agent.replica_gone(base);
            }
            keep
        });
        for base in wanted {
            links.entry(base).or_insert_with_key(|base| {
                let link = shutdown.child();
                let replica = service.replica(base);
                shutdown.spawn(link::run(agent.clone(), replica, Some(advertised), *config.report_interval, link.clone()));
                link
            });
        }
        match shutdown.interrupt(service.replicas.changed()).await {
            Some(Ok(())) => {}
            _ => return Ok(()),
        }
    }
}

/// The topology service as this agent reaches it; `None` when shutdown comes first.
async fn find(config: &Config, shutdown: &Shutdown) -> Result<Option<Service>, Error> {
    Ok(Service::find(&config.topology, &config.client, concat!("edge-pinger/", env!("CARGO_PKG_VERSION")), shutdown).await?)
}

/// `--once`: prints a table; an error when a peer did not answer.
pub async fn once(config: Config, given: Vec<PeerArg>, shutdown: &Shutdown) -> Result<(), Error> {
    let sockets = open(&config, 0).await?;
    let peers = match given.is_empty() {
        false => given.into_iter().map(|peer| (peer.name, SocketAddr::new(peer.address, config.echo_port))).collect(),
        true => {
            let Some(mut service) = find(&config, shutdown).await? else { return Ok(()) };
            let any = |replicas: &std::collections::BTreeSet<String>| !replicas.is_empty();
            let base = match shutdown.interrupt(service.replicas.wait_for(any)).await {
                Some(Ok(replicas)) => replicas.first().cloned().ok_or(Error::NoReplica)?,
                _ => return Err(Error::NoReplica),
            };
            let replica = service.replica(&base);
            let peers: Peers = replica.get("/v1/peers").await.map_err(Error::Peers)?;
            peers.peers.into_iter().filter_map(|peer| Some((peer.node.to_string(), peer.address?))).collect()
        }
    };
    let echo = sockets.echo.clone();
    let serving = tokio::spawn(async move { echo.serve().await });
    let lines = shutdown.interrupt(once::measure(peers, &sockets.probers)).await;
    serving.abort();
    let Some(lines) = lines else { return Ok(()) };
    println!("{}", once::table(&lines));
    let failed = lines.iter().filter(|line| line.outcome.is_err()).count();
    if failed > 0 { Err(Error::Unanswered { failed, peers: lines.len() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn in_use(address: SocketAddr) -> BindError {
        BindError::of(address, io::ErrorKind::AddrInUse.into())
    }

    #[tokio::test]
    async fn any_port_is_one_that_is_free_for_udp_and_tcp() {
        let taken = RefCell::new(Vec::new());
        let bind = |address: SocketAddr| {
            let mut taken = taken.borrow_mut();
            if taken.len() == 2 {
                return Ok(address.port());
            }
            taken.push(address.port());
            Err(in_use(address))
        };
        let (echo, handshakes) = open_ports(LOOPBACK, 0, bind).expect("the third is free");
        assert_eq!(echo.local_addr().port(), handshakes);
        assert!(!taken.borrow().contains(&handshakes), "{taken:?} are in use");
    }

    #[tokio::test]
    async fn a_port_that_was_named_is_not_replaced_by_another_and_the_search_for_any_ends() {
        let asked = RefCell::new(0);
        let bind = |address: SocketAddr| {
            *asked.borrow_mut() += 1;
            Err::<(), _>(in_use(address))
        };
        assert!(matches!(open_ports(LOOPBACK, 0, bind), Err(Error::Bind(BindError::InUse { .. }))));
        assert_eq!(asked.replace(0), PORTS_TRIED + 1);
        let free = open_echo(LOOPBACK, 0).unwrap().local_addr().port();
        assert!(open_ports(LOOPBACK, free, bind).is_err());
        assert_eq!(asked.take(), 1);
    }
}
