//! The switch: one thread that owns all public addresses and moves everything between the nodes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet};

use crate::random::Random;

use super::lateness::Lateness;
use super::links::Links;
use super::timer::Timer;
use super::{address, tcp, udp};

/// What the switch needs to know besides the network itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP port that is switched for every node; `None` for none. The same at both ends.
    pub echo_port: Option<u16>,
    /// Seed of jitter and loss.
    pub seed: u64,
}

/// Why the switch, or one of its ports, does not work.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SwitchError {
    #[error("the WAN cannot bind {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("this machine cannot carry the simulated WAN")]
    Machine(#[source] io::Error),
    #[error("the WAN has stopped")]
    Stopped,
}

/// A running switch; dropping it stops it and frees its addresses.
pub struct Switch {
    links: Arc<Links>,
    counts: Arc<Counts>,
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What has passed so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Datagrams taken in.
    pub udp_received: AtomicU64,
    /// Datagrams handed out.
    pub udp_delivered: AtomicU64,
    /// Datagrams dropped by loss or by a full buffer.
    pub udp_lost: AtomicU64,
    /// Datagrams dropped because link or node was cut.
    pub udp_cut: AtomicU64,
    /// Datagrams from addresses that are no node's.
    pub udp_stray: AtomicU64,
    /// Connections taken in.
    pub tcp_accepted: AtomicU64,
    /// Connections whose server did not answer.
    pub tcp_refused: AtomicU64,
    /// Connections from addresses that are no node's.
    pub tcp_stray: AtomicU64,
    /// Bytes handed out over TCP, both directions.
    pub tcp_bytes: AtomicU64,
    /// Of datagrams and chunks.
    pub lateness: Lateness,
}

enum Command {
    Listen { node: usize, port: u16, reply: oneshot::Sender<Result<(), SwitchError>> },
    Close { node: usize, port: u16, reply: oneshot::Sender<()> },
}

/// What everything on the switch's thread uses.
pub(super) struct Shared {
    pub links: Arc<Links>,
    pub counts: Arc<Counts>,
    pub timer: Timer<udp::Datagram>,
    pub random: RefCell<Random>,
}

impl Switch {
    /// Binds all public addresses and starts to switch; returns when it does.
    pub async fn start(links: Arc<Links>, options: Options) -> Result<Switch, SwitchError> {
        // Beside one socket per node: two per connection, and what the programs of the same process open.
        address::raise_open_files(4 * links.len() as u64 + 1024).map_err(SwitchError::Machine)?;
        if let Some(last) = links.len().checked_sub(1) {
            address::probe(last).map_err(SwitchError::Machine)?;
        }
        let counts = Arc::new(Counts::default());
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ready_sender, ready) = oneshot::channel();
        let (thread_links, thread_counts) = (links.clone(), counts.clone());
        let thread = std::thread::Builder::new()
            .name("wan".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = ready_sender.send(Err(SwitchError::Machine(error)));
                        return;
                    }
                };
                let local = LocalSet::new();
                runtime.block_on(local.run_until(serve(thread_links, thread_counts, options, receiver, ready_sender)));
            })
            .map_err(SwitchError::Machine)?;
        let switch = Switch { links, counts, commands: Some(commands), thread: Some(thread) };
        ready.await.map_err(|_| SwitchError::Stopped)??;
        Ok(switch)
    }

    /// The network, to look at and to change.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// What has passed so far; lives on when the switch is gone.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Makes a TCP port of a node reachable for the others: pubNode:port is spliced to privNode:port. Twice is once.
    pub async fn listen_tcp(&self, node: usize, port: u16) -> Result<(), SwitchError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Listen { node, port, reply })?;
        answer.await.map_err(|_| SwitchError::Stopped)?
    }

    /// Takes the port away again; connections that exist go on. Returns when the port is free.
    pub async fn close_tcp(&self, node: usize, port: u16) -> Result<(), SwitchError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close { node, port, reply })?;
        answer.await.map_err(|_| SwitchError::Stopped)
    }

    fn send(&self, command: Command) -> Result<(), SwitchError> {
        let commands = self.commands.as_ref().ok_or(SwitchError::Stopped)?;
        commands.send(command).map_err(|_| SwitchError::Stopped)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Closing the channel ends the thread's loop, which never blocks for long.
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    links: Arc<Links>,
    counts: Arc<Counts>,
    options: Options,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: oneshot::Sender<Result<(), SwitchError>>,
) {
    let nodes = links.len();
    let set_up = || -> Result<_, SwitchError> {
        let timer = Timer::new().map_err(SwitchError::Machine)?;
        let sockets = match options.echo_port {
            Some(port) => udp::bind(nodes, port).map_err(|(address, source)| SwitchError::Bind { address, source })?,
            None => Vec::new(),
        };
        Ok((timer, sockets))
    };
    let (timer, sockets) = match set_up() {
        Ok(set_up) => set_up,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let random = RefCell::new(Random::new(options.seed));
    let shared = Rc::new(Shared { links, counts, timer, random });
    let sockets = Rc::new(sockets);
    if let Some(port) = options.echo_port {
        let scratch = Rc::new(RefCell::new(vec![0; 65_536]));
        for node in 0..nodes {
            tokio::task::spawn_local(udp::receive(shared.clone(), sockets.clone(), port, node, scratch.clone()));
        }
    }
    let (timer_shared, port) = (shared.clone(), options.echo_port.unwrap_or_default());
    tokio::task::spawn_local(async move {
        let served = timer_shared.timer.run(|datagram, lateness| udp::deliver(&timer_shared, &sockets, port, datagram, lateness));
        if let Err(error) = served.await {
            tracing::error!(%error, "WAN timer failed");
        }
    });
    if ready.send(Ok(())).is_err() {
        return;
    }

    let mut listeners: HashMap<(usize, u16), (AbortHandle, oneshot::Receiver<()>)> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen { node, port, reply } => {
                if listeners.contains_key(&(node, port)) {
                    let _ = reply.send(Ok(()));
                    continue;
                }
                let address = SocketAddr::from(SocketAddrV4::new(address::public(node), port));
                let result = match TcpListener::bind(address).await {
                    Ok(listener) => {
                        let shared = shared.clone();
                        // Dropped with the task, so its receiver tells when the port is free.
                        let (alive, gone) = oneshot::channel::<()>();
                        let task = tokio::task::spawn_local(async move {
                            let _alive = alive;
                            tcp::accept(shared, listener, node, port).await;
                        });
                        listeners.insert((node, port), (task.abort_handle(), gone));
                        Ok(())
                    }
                    Err(source) => Err(SwitchError::Bind { address, source }),
                };
                let _ = reply.send(result);
            }
            Command::Close { node, port, reply } => {
                if let Some((task, gone)) = listeners.remove(&(node, port)) {
                    task.abort();
                    let _ = gone.await;
                }
                let _ = reply.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpSocket, TcpStream, UdpSocket};

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    /// A network of two nodes, 3 ms there and 2 ms back. Tests run side by side, so each takes nodes and a port of its own.
    async fn start(first: usize, echo_port: Option<u16>) -> Switch {
        let nodes = first + 2;
        let mut delay_us = vec![0; nodes * nodes];
        delay_us[first * nodes + first + 1] = 3000;
        delay_us[(first + 1) * nodes + first] = 2000;
        let links = Arc::new(Links::new(nodes, delay_us, 0).unwrap());
        Switch::start(links, Options { echo_port, seed: 1 }).await.unwrap()
    }

    async fn within<F: Future>(future: F) -> F::Output {
        tokio::time::timeout(BOUND, future).await.expect("nothing happened within the bound")
    }

    /// The switch counts after it has sent, so a receiver may look too early.
    async fn counted(count: &AtomicU64, expected: u64) {
        within(async {
            while count.load(Relaxed) < expected {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(count.load(Relaxed), expected);
    }

    async fn agent(node: usize, port: u16) -> UdpSocket {
        UdpSocket::bind((address::private(node), port)).await.unwrap()
    }

    async fn connect(from: usize, to: usize, port: u16) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((address::private(from), 0).into_socket())?;
        within(socket.connect((address::public(to), port).into_socket())).await
    }

    trait IntoSocket {
        fn into_socket(self) -> SocketAddr;
    }

    impl IntoSocket for (std::net::Ipv4Addr, u16) {
        fn into_socket(self) -> SocketAddr {
            SocketAddrV4::new(self.0, self.1).into()
        }
    }

    #[tokio::test]
    async fn datagrams_take_their_way_and_keep_their_source() {
        let switch = start(0, Some(30_101)).await;
        let (a, b) = (agent(0, 30_101).await, agent(1, 30_101).await);
        let start = Instant::now();
        a.send_to(b"ping", (address::public(1), 30_101)).await.unwrap();
        let mut buffer = [0; 16];
        let (length, source) = within(b.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((&buffer[..length], source), (&b"ping"[..], (address::public(0), 30_101).into_socket()));
        assert!(start.elapsed() >= Duration::from_micros(3000));
        b.send_to(b"pong", source).await.unwrap();
        let (length, source) = within(a.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((&buffer[..length], source), (&b"pong"[..], (address::public(1), 30_101).into_socket()));
        assert!(start.elapsed() >= Duration::from_micros(5000));
        counted(&switch.counts().udp_delivered, 2).await;
    }

    #[tokio::test]
    async fn cut_nodes_get_nothing_until_they_heal() {
        let switch = start(2, Some(30_102)).await;
        let (a, b) = (agent(2, 30_102).await, agent(3, 30_102).await);
        switch.links().set_node_down(3, true).unwrap();
        a.send_to(b"one", (address::public(3), 30_102)).await.unwrap();
        counted(&switch.counts().udp_cut, 1).await;
        switch.links().set_node_down(3, false).unwrap();
        a.send_to(b"two", (address::public(3), 30_102)).await.unwrap();
        let mut buffer = [0; 16];
        let (length, _) = within(b.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..length], b"two");
    }

    #[tokio::test]
    async fn datagrams_from_no_node_are_dropped() {
        let switch = start(4, Some(30_103)).await;
        let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        stranger.send_to(b"x", (address::public(5), 30_103)).await.unwrap();
        counted(&switch.counts().udp_stray, 1).await;
    }

    #[tokio::test]
    async fn streams_are_delayed_both_ways_and_end_in_order() {
        let switch = start(6, None).await;
        switch.listen_tcp(7, 30_104).await.unwrap();
        switch.listen_tcp(7, 30_104).await.unwrap();
        let server = tokio::net::TcpListener::bind((address::private(7), 30_104)).await.unwrap();
        let sent: Vec<u8> = (0..300_000u32).map(|index| index as u8).collect();
        let echo = async {
            let (mut stream, source) = server.accept().await.unwrap();
            assert_eq!(source.ip(), address::public(6));
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            stream.write_all(&received).await.unwrap();
        };
        let start = Instant::now();
        let client = async {
            let mut stream = connect(6, 7, 30_104).await.unwrap();
            let (mut reading, mut writing) = stream.split();
            let send = async {
                writing.write_all(&sent).await.unwrap();
                writing.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            let (_, result) = tokio::join!(send, reading.read_to_end(&mut received));
            result.unwrap();
            received
        };
        let (_, received) = within(async { tokio::join!(echo, client) }).await;
        assert!(received == sent, "{} bytes came back", received.len());
        // The handshake's round trip and the request's own.
        assert!(start.elapsed() >= Duration::from_micros(10_000), "{:?}", start.elapsed());
        counted(&switch.counts().tcp_bytes, 600_000).await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_resets_the_client() {
        let switch = start(8, None).await;
        switch.listen_tcp(9, 30_105).await.unwrap();
        let mut stream = connect(8, 9, 30_105).await.unwrap();
        let error = within(stream.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        counted(&switch.counts().tcp_refused, 1).await;
    }

    #[tokio::test]
    async fn a_closed_port_refuses_and_can_be_opened_again() {
        let switch = start(10, None).await;
        switch.listen_tcp(11, 30_106).await.unwrap();
        switch.close_tcp(11, 30_106).await.unwrap();
        assert_eq!(connect(10, 11, 30_106).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        switch.listen_tcp(11, 30_106).await.unwrap();
        drop(switch);
        assert_eq!(connect(10, 11, 30_106).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let _taken = UdpSocket::bind((address::public(13), 30_107)).await.unwrap();
        let links = Arc::new(Links::new(14, vec![0; 196], 0).unwrap());
        let error = Switch::start(links, Options { echo_port: Some(30_107), seed: 1 }).await.err().unwrap();
        assert_eq!(error.to_string(), "the WAN cannot bind 127.128.0.14:30107");
    }

    #[tokio::test]
    async fn streams_wait_behind_a_cut() {
        let switch = start(14, None).await;
        switch.listen_tcp(15, 30_108).await.unwrap();
        let server = tokio::net::TcpListener::bind((address::private(15), 30_108)).await.unwrap();
        switch.links().set_pair(14, 15, |link| link.cut = true).unwrap();
        let mut stream = connect(14, 15, 30_108).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        // It must not arrive; 20 ms are four round trips.
        assert!(tokio::time::timeout(Duration::from_millis(20), server.accept()).await.is_err());
        switch.links().set_pair(14, 15, |link| link.cut = false).unwrap();
        let (mut accepted, _) = within(server.accept()).await.unwrap();
        let mut buffer = [0; 1];
        within(accepted.read_exact(&mut buffer)).await.unwrap();
        assert_eq!(&buffer, b"x");
    }
}
