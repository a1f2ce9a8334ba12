//! Ways to take one RTT sample. DESIGN section 4: ICMP through a datagram socket, then a raw one, then a UDP echo between agents, then TCP connect.

mod icmp;
mod tcp_connect;
mod udp_echo;

pub use icmp::IcmpProber;
pub use tcp_connect::{TcpProber, bind_handshakes, serve_handshakes};
pub use udp_echo::UdpEcho;

use api::protocol::ProbeMethod;
use async_trait::async_trait;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Why a sample was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("cannot send: {0}")]
    Send(#[source] io::Error),
    #[error("the peer refused the connection")]
    Refused,
    #[error("the prober has stopped")]
    Stopped,
}

/// One way to measure. `target` carries the peer's address and, for UDP and TCP, the port of its echo.
#[async_trait]
pub trait Prober: Send + Sync {
    fn method(&self) -> ProbeMethod;
    /// Whether it can probe addresses of this one's family.
    fn reaches(&self, target: IpAddr) -> bool;
    /// Time from sending to the answer.
    async fn probe(&self, target: SocketAddr, timeout: Duration) -> Result<Duration, ProbeError>;
}

/// Whether a socket bound to `own` reaches `target`: an unspecified IPv6 address stands for both families, any other for its own.
fn bound_reaches(own: IpAddr, target: IpAddr) -> bool {
    own.is_ipv4() == target.is_ipv4() || (own.is_ipv6() && own.is_unspecified())
}
