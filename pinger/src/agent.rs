//! The agent at work: peers in, probes out, rows to every replica of the topology service.

use crate::config::Config;
use crate::device;
use crate::method::Methods;
use crate::pacing::{Pacer, Turn};
use crate::prober::{ProbeError, Prober};
use crate::row::Row;
use api::protocol::{DeviceReport, Peers};
use chassis::shutdown::Shutdown;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How long a probe may take before a replica has said otherwise.
const FIRST_TIMEOUT: Duration = Duration::from_secs(2);
/// Probes in flight at once; at 100 a second with a timeout of 2 s there are never more.
const IN_FLIGHT_LIMIT: usize = 1024;

/// What one replica wants of this agent.
#[derive(Default)]
struct Wants {
    peers: Option<Peers>,
    also_probe: BTreeSet<String>,
}

struct State {
    row: Row,
    pacer: Pacer,
    timeout: Duration,
    wants: BTreeMap<String, Wants>,
}

/// Shared by the probe loop, the links to the replicas and the admin port.
pub struct Agent {
    pub node: String,
    /// Start in milliseconds since the Unix epoch: tells restarts apart.
    pub epoch: u64,
    started: Instant,
    state: Mutex<State>,
    /// The set of peers changed, so the pacer must look again.
    peers_changed: Notify,
    pub devices: watch::Sender<DeviceReport>,
    probers: Vec<Arc<dyn Prober>>,
}

impl Agent {
    pub fn new(config: &Config, epoch: u64, probers: Vec<Arc<dyn Prober>>) -> Agent {
        let usable = |address: IpAddr| probers.iter().filter(|p| p.reaches(address)).map(|p| p.method()).collect();
        let methods = Methods { v4: usable(Ipv4Addr::UNSPECIFIED.into()), v6: usable(Ipv6Addr::UNSPECIFIED.into()) };
        Agent {
            node: config.node_name.clone(),
            epoch,
            started: Instant::now(),
            state: Mutex::new(State {
                row: Row::new(methods),
                pacer: Pacer::new(Duration::from_secs(10), config.max_probes_per_second),
                timeout: FIRST_TIMEOUT,
                wants: BTreeMap::new(),
            }),
            peers_changed: Notify::new(),
            devices: watch::Sender::new(DeviceReport::default()),
            probers,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the agent's start; every moment in the row is one of these.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads the row.
    pub fn with_row<T>(&self, read: impl FnOnce(&Row) -> T) -> T {
        read(&self.state().row)
    }

    /// Whether any replica has named the peers.
    pub fn has_peers(&self) -> bool {
        self.state().wants.values().any(|want| want.peers.is_some())
    }

    /// A replica's list of peers. The agent probes what any replica asks for.
    pub fn peers(&self, replica: &str, peers: Peers) {
        self.change_wants(|wants| wants.entry(replica.to_owned()).or_default().peers = Some(peers));
    }

    /// Pairs that a replica wants probed from this side as well, because the other side fails.
    pub fn also_probe(&self, replica: &str, names: Vec<String>) {
        let names: BTreeSet<String> = names.into_iter().collect();
        if self.state().wants.get(replica).is_some_and(|w| w.also_probe == names) {
            return;
        }
        self.change_wants(|wants| wants.entry(replica.to_owned()).or_default().also_probe = names);
    }

    /// A replica is gone; what it wanted stays until another one answers, so that losing all of them changes nothing.
    pub fn replica_gone(&self, replica: &str) {
        if self.state().wants.len() > 1 {
            self.change_wants(|wants| drop(wants.remove(replica)));
        }
    }

    fn change_wants(&self, change: impl FnOnce(&mut BTreeMap<String, Wants>)) {
        let now = self.now();
        let mut state = self.state();
        change(&mut state.wants);
        let State { row, pacer, timeout, wants } = &mut *state;
        let mut peers: BTreeMap<Arc<str>, (Option<SocketAddr>, bool)> = BTreeMap::new();
        for want in wants.values() {
            for peer in want.peers.iter().flat_map(|p| &p.peers).filter(|p| *p.node != *self.node) {
                let entry = peers.entry(peer.node.clone()).or_default();
                entry.0 = peer.address.or(entry.0);
                entry.1 |= peer.probe || want.also_probe.contains(&*peer.node);
            }
            if let Some(peers) = &want.peers {
                pacer.set_interval(Duration::from_millis(peers.interval_ms.max(1)));
                *timeout = Duration::from_millis(peers.timeout_ms.max(1));
            }
        }
        row.set_peers(&peers);
        let probed = peers.iter().filter(|(_, (address, probe))| *probe && address.is_some()).map(|(name, _)| name);
        pacer.set_peers(&self.node, probed, now);
        drop(state);
        self.peers_changed.notify_one();
    }

    /// Probes peers as the pacer says, until shutdown.
    pub async fn probe(self: &Arc<Self>, shutdown: &Shutdown) {
        let mut in_flight = JoinSet::new();
        while !shutdown.is_signalled() {
            while in_flight.try_join_next().is_some() {}
            let now = self.now();
            let turn = self.state().pacer.next(now);
            match turn {
                Turn::Probe(peer) if in_flight.len() < IN_FLIGHT_LIMIT => {
                    let agent = self.clone();
                    in_flight.spawn(async move { agent.probe_once(peer).await });
                }
                Turn::Probe(peer) => tracing::warn!(%peer, "too many probes in flight; this one is left out"),
                Turn::WaitUntil(at) => {
                    tokio::select! {
                        () = tokio::time::sleep(at - now) => {}
                        () = self.peers_changed.notified() => {}
                        () = shutdown.signalled() => {}
                    }
                }
                Turn::Idle => {
                    shutdown.interrupt(self.peers_changed.notified()).await;
                }
            }
        }
        in_flight.shutdown().await;
    }

    async fn probe_once(&self, peer: Arc<str>) {
        let (target, timeout) = {
            let state = self.state();
            (state.row.target(&peer), state.timeout)
        };
        let Some((address, method)) = target else { return };
        let Some(prober) = self.probers.iter().find(|p| p.method() == method && p.reaches(address.ip())) else { return };
        let outcome = prober.probe(address, timeout).await;
        let now = self.now();
        let mut state = self.state();
        match outcome {
            Ok(rtt) => state.row.answered(&peer, method, rtt, now),
            Err(ProbeError::Stopped) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "probe lost");
                state.row.lost(&peer, method, now);
            }
        }
    }

    /// Looks at the devices again and again, until shutdown.
    pub async fn watch_devices(&self, interval: Duration, shutdown: &Shutdown) {
        loop {
            // NVML calls block.
            match tokio::task::spawn_blocking(device::discover).await {
                Ok(report) => drop(self.devices.send_if_modified(|old| {
                    let changed = *old != report;
                    *old = report;
                    changed
                })),
                Err(error) => tracing::warn!(%error, "device discovery failed"),
            }
            if !shutdown.sleep(interval).await {
                return;
            }
        }
    }
}
