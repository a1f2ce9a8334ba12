//! ICMP echo through surge-ping, on a thread and a current-thread runtime of its own: a busy agent must not add to what it measures.

use super::{ProbeError, Prober};
use api::protocol::ProbeMethod;
use async_trait::async_trait;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence, SurgeError};
use tokio::sync::{mpsc, oneshot};

/// A probe that waits for its turn on the ICMP thread.
struct Order {
    target: IpAddr,
    sequence: u16,
    identifier: u16,
    timeout: Duration,
    answer: oneshot::Sender<Result<Duration, ProbeError>>,
}

/// As many orders may wait as one agent has peers.
const ORDERS: usize = 4096;
/// See `udp_echo`: answers of a whole round fit.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
const PAYLOAD: [u8; 24] = *b"edge-pinger echo request";

/// One address family's ICMP socket and its thread.
pub struct IcmpProber {
    orders: mpsc::Sender<Order>,
    method: ProbeMethod,
    source: IpAddr,
    counter: AtomicU32,
    /// Ends by itself when the last sender is dropped.
    _thread: JoinHandle<()>,
}

impl IcmpProber {
    /// Opens the socket of `source`'s family: a datagram one (sysctl `net.ipv4.ping_group_range`), else a raw one (NET_RAW). Fails with the kernel's reason when neither is allowed.
    pub fn open(source: IpAddr) -> io::Result<IcmpProber> {
        let (orders, queue) = mpsc::channel(ORDERS);
        let (opened_tx, opened) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("icmp".into()).spawn(move || run(source, queue, opened_tx))?;
        let method = opened.recv().map_err(|_| io::Error::other("the ICMP thread ended before it was ready"))??;
        Ok(IcmpProber { orders, method, source, counter: AtomicU32::new(0), _thread: thread })
    }
}

/// The thread's priority, where the agent may raise it (CAP_SYS_NICE): on a node at full load it would wait for milliseconds, and call them RTT.
const NICE: i32 = -20;

fn run(source: IpAddr, mut queue: mpsc::Receiver<Order>, opened: std::sync::mpsc::SyncSender<io::Result<ProbeMethod>>) {
    // Without the right to it, the priority stays as it is.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(opened.send(Err(error))),
    };
    runtime.block_on(async move {
        let client = match open(source) {
            Ok((client, method)) => {
                drop(opened.send(Ok(method)));
                client
            }
            Err(error) => return drop(opened.send(Err(error))),
        };
        while let Some(order) = queue.recv().await {
            let client = client.clone();
            tokio::spawn(async move {
                let mut pinger = client.pinger(order.target, PingIdentifier(order.identifier)).await;
                pinger.timeout(order.timeout);
                let result = match pinger.ping(PingSequence(order.sequence), &PAYLOAD).await {
                    Ok((_, rtt)) => Ok(rtt),
                    Err(SurgeError::Timeout { .. }) => Err(ProbeError::Timeout(order.timeout)),
                    Err(SurgeError::IOError(error)) => Err(ProbeError::Send(error)),
                    Err(error) => Err(ProbeError::Send(io::Error::other(error))),
                };
                // The asker may have been cancelled.
                drop(order.answer.send(result));
            });
        }
    });
}

fn open(source: IpAddr) -> io::Result<(Client, ProbeMethod)> {
    let mut config = Config::builder().kind(if source.is_ipv4() { ICMP::V4 } else { ICMP::V6 });
    if !source.is_unspecified() {
        config = config.bind(SocketAddr::new(source, 0));
    }
    // surge-ping falls back from the datagram socket to the raw one by itself.
    let client = Client::new(&config.build())?;
    let socket = client.get_socket();
    let raw = socket.get_type() == socket2::Type::RAW;
    enlarge_receive_buffer(socket.get_native_sock());
    Ok((client, if raw { ProbeMethod::IcmpRaw } else { ProbeMethod::IcmpDatagram }))
}

/// surge-ping lends its socket as a raw descriptor only.
#[allow(unsafe_code)]
fn enlarge_receive_buffer(descriptor: std::os::fd::RawFd) {
    // SAFETY: the descriptor belongs to the client, which outlives this call on this very thread.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    // A smaller buffer only loses probes under load, so the kernel's own limit is no error.
    drop(socket2::SockRef::from(&borrowed).set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
}

#[async_trait]
impl Prober for IcmpProber {
    fn method(&self) -> ProbeMethod {
        self.method
    }

    fn reaches(&self, target: IpAddr) -> bool {
        self.source.is_ipv4() == target.is_ipv4()
    }

    async fn probe(&self, target: SocketAddr, timeout: Duration) -> Result<Duration, ProbeError> {
        // Sequence and identifier together count 32 bits, so that a late answer never meets a newer probe.
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let order = Order { target: target.ip(), sequence: count as u16, identifier: (count >> 16) as u16, timeout, answer };
        self.orders.send(order).await.map_err(|_| ProbeError::Stopped)?;
        answered.await.map_err(|_| ProbeError::Stopped)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(address: &str) {
        let address: IpAddr = address.parse().unwrap();
        let prober = match IcmpProber::open(address) {
            Ok(prober) => prober,
            Err(error) => return println!("SKIPPED icmp: the kernel allows no ICMP socket on {address} here: {error}"),
        };
        let rtt = prober.probe(SocketAddr::new(address, 0), Duration::from_secs(5)).await.unwrap();
        assert!(rtt > Duration::ZERO && rtt < Duration::from_secs(5), "{rtt:?}");
    }

    #[tokio::test]
    async fn loopback_answers_where_the_kernel_lets_us_ask() {
        check("127.0.0.1").await;
        check("::1").await;
    }
}
