//! UDP echo between agents: one socket both answers peers and carries our own probes, so that a delay switch or a firewall needs to know one port.
//!
//! Datagram, 20 bytes: magic `EDG1`, one byte kind (0 request, 1 answer), 3 bytes zero, the sender's 4-byte nonce, 8-byte sequence, all big-endian.
//! An answer that does not carry our nonce and a pending sequence from the address that was asked is dropped.

use super::{ProbeError, Prober, bound_reaches};
use api::protocol::ProbeMethod;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

const MAGIC: &[u8; 4] = b"EDG1";
const REQUEST: u8 = 0;
const ANSWER: u8 = 1;
const LENGTH: usize = 20;
/// A burst of answers must fit while the task waits for a core: 4,096 peers at some 700 bytes of kernel bookkeeping each.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

struct Waiting {
    target: SocketAddr,
    answered: oneshot::Sender<Instant>,
}

/// The agent's echo socket.
pub struct UdpEcho {
    socket: UdpSocket,
    bound: SocketAddr,
    nonce: [u8; 4],
    sequence: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
}

impl UdpEcho {
    /// Binds the socket, which serves both families where the address is `::`; fails when the address is not ours or the port is taken. `nonce` tells this agent's probes from others'.
    pub fn bind(address: SocketAddr, nonce: u32) -> io::Result<Arc<UdpEcho>> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // A smaller buffer only loses probes under load, so the kernel's own limit is no error.
        drop(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Arc::new(UdpEcho {
            bound: socket.local_addr()?,
            socket,
            nonce: nonce.to_be_bytes(),
            sequence: AtomicU64::new(1),
            waiting: Mutex::default(),
        }))
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// The address as this socket names it: one of both families writes IPv4 addresses in IPv6's form.
    fn own_form(&self, target: SocketAddr) -> SocketAddr {
        match (self.bound, target.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(address)) => SocketAddr::new(address.to_ipv6_mapped().into(), target.port()),
            _ => target,
        }
    }

    /// Answers peers and hands answers to waiting probes, until the future is dropped.
    pub async fn serve(&self) {
        let mut buffer = [0u8; 64];
        loop {
            // ICMP errors of earlier datagrams surface here (port unreachable); they concern one peer, not the socket.
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let now = Instant::now();
            let datagram = &mut buffer[..length];
            if length != LENGTH || &datagram[..4] != MAGIC {
                continue;
            }
            match datagram[4] {
                REQUEST => {
                    datagram[4] = ANSWER;
                    // A full send buffer drops the answer; the asker counts it as lost, as it would on a full link.
                    drop(self.socket.try_send_to(datagram, from));
                }
                ANSWER if datagram[8..12] == self.nonce => self.answered(datagram, from, now),
                _ => {}
            }
        }
    }

    fn answered(&self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let mut sequence = [0u8; 8];
        sequence.copy_from_slice(&datagram[12..20]);
        let sequence = u64::from_be_bytes(sequence);
        let mut waiting = self.waiting();
        if waiting.get(&sequence).is_some_and(|w| w.target == from)
            && let Some(entry) = waiting.remove(&sequence)
        {
            // The probe may have timed out this instant.
            let _ = entry.answered.send(now);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Prober for UdpEcho {
    fn method(&self) -> ProbeMethod {
        ProbeMethod::Udp
    }

    fn reaches(&self, target: IpAddr) -> bool {
        bound_reaches(self.bound.ip(), target)
    }

    async fn probe(&self, target: SocketAddr, timeout: Duration) -> Result<Duration, ProbeError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let mut datagram = [0u8; LENGTH];
        datagram[..4].copy_from_slice(MAGIC);
        datagram[4] = REQUEST;
        datagram[8..12].copy_from_slice(&self.nonce);
        datagram[12..20].copy_from_slice(&sequence.to_be_bytes());
        let (answered, answer) = oneshot::channel();
        self.waiting().insert(sequence, Waiting { target, answered });
        let sent = Instant::now();
        if let Err(error) = self.socket.send_to(&datagram, self.own_form(target)).await {
            self.waiting().remove(&sequence);
            return Err(ProbeError::Send(error));
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(received)) => Ok(received.duration_since(sent)),
            Ok(Err(_)) => Err(ProbeError::Stopped),
            Err(_) => {
                self.waiting().remove(&sequence);
                Err(ProbeError::Timeout(timeout))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind() -> Arc<UdpEcho> {
        UdpEcho::bind("127.0.0.1:0".parse().unwrap(), 7).unwrap()
    }

    #[tokio::test]
    async fn two_agents_measure_each_other_through_one_socket_each() {
        let (a, b) = (bind(), bind());
        let target = b.local_addr();
        let back = a.local_addr();
        let limit = Duration::from_secs(5);
        let both = async { tokio::join!(a.probe(target, limit), b.probe(back, limit)) };
        tokio::select! {
            (there, back) = both => { assert!(there.unwrap() < limit); assert!(back.unwrap() < limit); }
            () = a.serve() => unreachable!(),
            () = b.serve() => unreachable!(),
        }
    }

    #[tokio::test]
    async fn a_socket_of_both_families_is_measured_in_either_and_measures_both() {
        let both = match UdpEcho::bind("[::]:0".parse().unwrap(), 1) {
            Ok(both) => both,
            Err(error) => return println!("SKIPPED udp echo of both families: there is no IPv6 here: {error}"),
        };
        let limit = Duration::from_secs(5);
        for family in ["127.0.0.1", "::1"] {
            let address: IpAddr = family.parse().unwrap();
            let one = UdpEcho::bind(SocketAddr::new(address, 0), 2).unwrap();
            let to_both = SocketAddr::new(address, both.local_addr().port());
            assert!(both.reaches(address) && one.reaches(address));
            let measured = async { tokio::join!(one.probe(to_both, limit), both.probe(one.local_addr(), limit)) };
            tokio::select! {
                (there, back) = measured => assert!(there.unwrap() < limit && back.unwrap() < limit),
                () = one.serve() => unreachable!(),
                () = both.serve() => unreachable!(),
            }
        }
        let one = UdpEcho::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert!(!one.reaches("::1".parse().unwrap()));
    }

    #[tokio::test]
    async fn silence_is_a_timeout_and_leaves_nothing_waiting() {
        let (a, silent) = (bind(), bind());
        let result = a.probe(silent.local_addr(), Duration::from_millis(20)).await;
        assert!(matches!(result, Err(ProbeError::Timeout(_))), "{result:?}");
        assert!(a.waiting().is_empty());
    }

    #[tokio::test]
    async fn an_answer_from_another_address_does_not_count() {
        let (a, liar) = (bind(), bind());
        let asked: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let (answered, mut answer) = oneshot::channel();
        a.waiting().insert(1, Waiting { target: asked, answered });
        let mut datagram = [0u8; LENGTH];
        datagram[8..12].copy_from_slice(&a.nonce);
        datagram[19] = 1;
        a.answered(&datagram, liar.local_addr(), Instant::now());
        assert!(answer.try_recv().is_err());
        a.answered(&datagram, asked, Instant::now());
        assert!(answer.try_recv().is_ok());
    }
}
