//! TCP: a connection privA:any -> pubB:P is taken here and spliced to one pubA:any -> privB:P, every chunk held back for the one-way
//! delay of its direction.
//!
//! The kernel completes the client's handshake at once, so the round trip it would have cost is charged to the first bytes: a
//! request and its answer take as long as they would, only `connect` itself looks instant. A lost segment costs a retransmission
//! timeout; behind a cut everything waits, as TCP does.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::address;
use super::links::Passage;
use super::switch::Shared;

/// Chunks in flight per direction: 64 of at most 16 KiB are a window of 1 MiB.
const WINDOW_CHUNKS: usize = 64;
const CHUNK_BYTES: usize = 16 * 1024;
/// Linux's least retransmission timeout.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Accepts connections to one node's port, for ever.
pub(super) async fn accept(shared: Rc<Shared>, listener: TcpListener, to: usize, port: u16) {
    loop {
        let (client, source) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, mostly: they come back, while giving up would cut the node off.
                tracing::warn!(node = to, port, %error, "accepting on the WAN failed");
                let _ = shared.timer.sleep_until(Instant::now() + Duration::from_millis(10)).await;
                continue;
            }
        };
        let accepted = Instant::now();
        let Some(from) = address::node_of_private(source.ip()).filter(|from| *from < shared.links.len()) else {
            // A client that forgot to bind its node's address would see no delay: better that it sees an error.
            shared.counts.tcp_stray.fetch_add(1, Relaxed);
            reset(&client);
            continue;
        };
        shared.counts.tcp_accepted.fetch_add(1, Relaxed);
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = splice(&shared, client, from, to, port, accepted).await {
                tracing::debug!(from, to, port, %error, "WAN connection ended");
            }
        });
    }
}

async fn splice(shared: &Shared, mut client: TcpStream, from: usize, to: usize, port: u16, accepted: Instant) -> io::Result<()> {
    let arrived = accepted + segment_delay(shared, from, to).await;
    shared.timer.sleep_until(arrived).await?;
    let mut server = match connect(from, to, port).await {
        Ok(server) => server,
        Err(error) => {
            shared.counts.tcp_refused.fetch_add(1, Relaxed);
            shared.timer.sleep_until(arrived + segment_delay(shared, to, from).await).await?;
            reset(&client);
            return Err(error);
        }
    };
    let established = arrived + segment_delay(shared, to, from).await;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let spliced = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        tokio::try_join!(
            forward(shared, client_read, server_write, (from, to), established),
            forward(shared, server_read, client_write, (to, from), arrived),
        )
    };
    if spliced.is_err() {
        // One side reset: so does the other, rather than look like an orderly end.
        reset(&client);
        reset(&server);
    }
    spliced.map(|_| ())
}

async fn connect(from: usize, to: usize, port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // The server sees the client's public address, as it would without a switch.
    socket.bind(SocketAddrV4::new(address::public(from), 0).into())?;
    socket.connect(SocketAddr::from(SocketAddrV4::new(address::private(to), port))).await
}

/// One direction: what the client sends before `not_before` counts as sent then.
async fn forward(
    shared: &Shared,
    source: ReadHalf<'_>,
    target: WriteHalf<'_>,
    direction: (usize, usize),
    not_before: Instant,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(WINDOW_CHUNKS);
    tokio::try_join!(read(shared, source, sender, direction, not_before), write(shared, target, receiver, direction))?;
    Ok(())
}

/// Stamps what comes with the moment it may leave; `None` is the end of the stream.
async fn read(
    shared: &Shared,
    source: ReadHalf<'_>,
    sender: mpsc::Sender<(Instant, Option<Bytes>)>,
    (from, to): (usize, usize),
    not_before: Instant,
) -> io::Result<()> {
    let mut last = not_before;
    loop {
        source.readable().await?;
        let chunk = {
            // The buffer is on the stack only between two awaits, so an idle connection holds none.
            let mut buffer = [0; CHUNK_BYTES];
            match source.try_read(&mut buffer) {
                Ok(0) => None,
                Ok(length) => Some(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
        };
        let sent = Instant::now().max(not_before);
        // Bytes never overtake each other.
        last = last.max(sent + segment_delay(shared, from, to).await);
        let is_end = chunk.is_none();
        if sender.send((last, chunk)).await.is_err() || is_end {
            return Ok(());
        }
    }
}

async fn write(
    shared: &Shared,
    mut target: WriteHalf<'_>,
    mut receiver: mpsc::Receiver<(Instant, Option<Bytes>)>,
    (from, to): (usize, usize),
) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    while let Some((deadline, chunk)) = receiver.recv().await {
        shared.timer.sleep_until(deadline).await?;
        shared.links.up(from, to).await;
        let Some(chunk) = chunk else {
            return target.shutdown().await;
        };
        shared.counts.lateness.note(deadline.elapsed());
        target.write_all(&chunk).await?;
        shared.counts.tcp_bytes.fetch_add(chunk.len() as u64, Relaxed);
    }
    Ok(())
}

/// How long a segment that leaves now is on its way.
async fn segment_delay(shared: &Shared, from: usize, to: usize) -> Duration {
    let sent = Instant::now();
    let mut timeouts = Duration::ZERO;
    loop {
        let passage = shared.links.draw(from, to, &mut shared.random.borrow_mut());
        match passage {
            Passage::After(delay) => return sent.elapsed() + timeouts + delay,
            // A link that loses everything would spin here; TCP gives up on it as on a cut one.
            Passage::Lost if timeouts < 16 * RETRANSMISSION => timeouts += RETRANSMISSION,
            Passage::Lost => {
                let _ = shared.timer.sleep_until(Instant::now() + RETRANSMISSION).await;
            }
            Passage::Cut => shared.links.up(from, to).await,
        }
    }
}

fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
