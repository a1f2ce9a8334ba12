//! The switch: one thread that reads every device, holds packets back, and writes them to the device they are for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tun_rs::SyncDevice;

use super::packet::destination;
use super::port::{MTU, Port};
use crate::random::Random;
use crate::wan::lateness::Lateness;
use crate::wan::links::{Links, Passage};
use crate::wan::timer::Timer;

/// Packets read from one device before the others get their turn: a bulk transfer must not hold back the probes of all others.
const BATCH: usize = 64;
/// The thread's priority, where it may be raised: what runs on the network must not slow it down.
const NICE: i32 = -20;

/// Why the switch does not work.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TunSwitchError {
    #[error("the network has {nodes} nodes, and {ports} ports were given")]
    Ports { nodes: usize, ports: usize },
    #[error("{address} is given to node {first} and to node {second}")]
    SameAddress { address: IpAddr, first: usize, second: usize },
    #[error("this machine cannot carry the network of TUN devices")]
    Machine(#[source] io::Error),
    #[error("the network of TUN devices has stopped")]
    Stopped,
}

/// What has passed so far, in packets.
#[derive(Debug, Default)]
pub struct TunCounts {
    /// Taken in.
    pub received: AtomicU64,
    /// Handed out.
    pub delivered: AtomicU64,
    /// Dropped by loss, or because the device would not take it.
    pub lost: AtomicU64,
    /// Dropped because link or node was cut.
    pub cut: AtomicU64,
    /// Dropped because no node has the destination.
    pub stray: AtomicU64,
    /// Of those handed out.
    pub lateness: Lateness,
    /// Handed out, row-major by source and destination.
    by_direction: Vec<AtomicU64>,
}

/// A running switch; dropping it stops it and removes the devices.
pub struct TunSwitch {
    links: Arc<Links>,
    counts: Arc<TunCounts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TunSwitch {
    /// Starts to switch between the ports, the first of which is node 0's. `seed` is that of jitter and loss.
    pub fn start(links: Arc<Links>, ports: Vec<Port>, seed: u64) -> Result<TunSwitch, TunSwitchError> {
        if ports.len() != links.len() {
            return Err(TunSwitchError::Ports { nodes: links.len(), ports: ports.len() });
        }
        let mut nodes = HashMap::new();
        for (second, address) in
            ports.iter().enumerate().flat_map(|(node, port)| port.addresses.iter().map(move |address| (node, *address)))
        {
            if let Some(first) = nodes.insert(address, second) {
                return Err(TunSwitchError::SameAddress { address, first, second });
            }
        }
        let by_direction = std::iter::repeat_with(AtomicU64::default).take(links.len() * links.len()).collect();
        let counts = Arc::new(TunCounts { by_direction, ..TunCounts::default() });
        let (stop, stopped) = oneshot::channel();
        let (started, ready) = std::sync::mpsc::sync_channel(1);
        let (thread_links, thread_counts) = (links.clone(), counts.clone());
        let devices: Vec<SyncDevice> = ports.into_iter().map(|port| port.device).collect();
        let serve = move || {
            // Without the right to it, the priority stays as it is.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            let local = LocalSet::new();
            runtime.block_on(local.run_until(async move {
                match Shared::new(thread_links, thread_counts, nodes, devices, seed) {
                    Ok(shared) => {
                        spawn_all(&Rc::new(shared));
                        drop(started.send(Ok(())));
                        // Dropped without a word is as good.
                        let _ = stopped.await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            }));
        };
        let thread = std::thread::Builder::new().name("wan-tun".to_owned()).spawn(serve).map_err(TunSwitchError::Machine)?;
        ready.recv().map_err(|_| TunSwitchError::Stopped)?.map_err(TunSwitchError::Machine)?;
        Ok(TunSwitch { links, counts, stop: Some(stop), thread: Some(thread) })
    }

    /// The network, to look at and to change.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Packets handed out in this direction. Panics where there is no such node.
    pub fn delivered(&self, from: usize, to: usize) -> u64 {
        self.counts.by_direction[from * self.links.len() + to].load(Relaxed)
    }

    /// What has passed so far; lives on when the switch is gone.
    pub fn counts(&self) -> &Arc<TunCounts> {
        &self.counts
    }
}

impl Drop for TunSwitch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet on its way.
struct Packet {
    from: usize,
    to: usize,
    data: Box<[u8]>,
}

/// What everything on the switch's thread uses.
struct Shared {
    links: Arc<Links>,
    counts: Arc<TunCounts>,
    nodes: HashMap<IpAddr, usize>,
    devices: Vec<AsyncFd<SyncDevice>>,
    timer: Timer<Packet>,
    random: RefCell<Random>,
    /// When the last packet of each direction is due, row-major: no other of it may come earlier.
    last_due: RefCell<Vec<Option<Instant>>>,
}

impl Shared {
    fn new(
        links: Arc<Links>,
        counts: Arc<TunCounts>,
        nodes: HashMap<IpAddr, usize>,
        devices: Vec<SyncDevice>,
        seed: u64,
    ) -> io::Result<Shared> {
        #[expect(deprecated, reason = "its replacement is unsafe for types whose descriptor may change; a device's cannot")]
        let devices: io::Result<Vec<_>> = devices.into_iter().map(|device| AsyncFd::with_interest(device, Interest::READABLE)).collect();
        let last_due = RefCell::new(vec![None; links.len() * links.len()]);
        Ok(Shared { links, counts, nodes, devices: devices?, timer: Timer::new()?, random: RefCell::new(Random::new(seed)), last_due })
    }

    /// Takes a packet that came out of `from`'s namespace at `now`.
    fn take_in(&self, from: usize, data: &[u8], now: Instant) -> io::Result<()> {
        self.counts.received.fetch_add(1, Relaxed);
        let Some(&to) = destination(data).and_then(|address| self.nodes.get(&address)) else {
            self.counts.stray.fetch_add(1, Relaxed);
            return Ok(());
        };
        match self.links.draw(from, to, &mut self.random.borrow_mut()) {
            Passage::Lost => drop(self.counts.lost.fetch_add(1, Relaxed)),
            Passage::Cut => drop(self.counts.cut.fetch_add(1, Relaxed)),
            Passage::After(delay) => {
                let mut last_due = self.last_due.borrow_mut();
                let last = &mut last_due[from * self.links.len() + to];
                let due = last.map_or(now + delay, |last| last.max(now + delay));
                *last = Some(due);
                self.timer.push(due, Packet { from, to, data: data.into() })?;
            }
        }
        Ok(())
    }

    fn hand_out(&self, packet: &Packet, lateness: std::time::Duration) {
        // A device that is down or full is a router's queue that overflows: the packet is gone, and counted.
        match self.devices[packet.to].get_ref().send(&packet.data) {
            Ok(_) => {
                self.counts.delivered.fetch_add(1, Relaxed);
                self.counts.by_direction[packet.from * self.links.len() + packet.to].fetch_add(1, Relaxed);
                self.counts.lateness.note(lateness);
            }
            Err(_) => drop(self.counts.lost.fetch_add(1, Relaxed)),
        }
    }
}

fn spawn_all(shared: &Rc<Shared>) {
    for node in 0..shared.devices.len() {
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = read(&shared, node).await {
                tracing::error!(node, %error, "the network has lost a TUN device");
            }
        });
    }
    let shared = shared.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = shared.timer.run(|packet, lateness| shared.hand_out(&packet, lateness)).await {
            tracing::error!(%error, "the timer of the TUN network failed");
        }
    });
}

/// Takes in what one namespace sends, for ever.
async fn read(shared: &Shared, node: usize) -> io::Result<()> {
    let device = &shared.devices[node];
    let mut buffer = vec![0; usize::from(MTU)];
    loop {
        let mut ready = device.readable().await?;
        for _ in 0..BATCH {
            match device.get_ref().recv(&mut buffer) {
                Ok(length) => shared.take_in(node, &buffer[..length], Instant::now())?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        tokio::task::yield_now().await;
    }
}
