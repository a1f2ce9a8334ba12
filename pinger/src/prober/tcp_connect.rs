//! TCP connect: the time of a handshake with the peer agent's echo port, for networks that block everything else.

use super::{ProbeError, Prober};
use api::protocol::ProbeMethod;
use async_trait::async_trait;
use chassis::serve::BindError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};

/// Connects from the agent's own address.
pub struct TcpProber {
    /// Unspecified: the kernel's choice, in both families.
    pub source: IpAddr,
}

#[async_trait]
impl Prober for TcpProber {
    fn method(&self) -> ProbeMethod {
        ProbeMethod::Tcp
    }

    fn reaches(&self, target: IpAddr) -> bool {
        self.source.is_unspecified() || self.source.is_ipv4() == target.is_ipv4()
    }

    async fn probe(&self, target: SocketAddr, timeout: Duration) -> Result<Duration, ProbeError> {
        let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(ProbeError::Send)?;
        if !self.source.is_unspecified() {
            socket.bind(SocketAddr::new(self.source, 0)).map_err(ProbeError::Send)?;
        }
        let sent = Instant::now();
        match tokio::time::timeout(timeout, socket.connect(target)).await {
            Err(_) => Err(ProbeError::Timeout(timeout)),
            // A refusal is an answer of the peer's kernel, but a middlebox may send it as well: no sample.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ProbeError::Refused),
            Ok(Err(error)) => Err(ProbeError::Send(error)),
            Ok(Ok(stream)) => {
                let rtt = sent.elapsed();
                // Reset instead of TIME_WAIT, which would hold a port for each probe.
                drop(stream.set_zero_linger());
                Ok(rtt)
            }
        }
    }
}

/// Handshakes that the kernel completes while the task waits for a core.
const BACKLOG: i32 = 1024;

/// Opens the port for peers' handshakes: in both families where the address is `::`, whatever the machine's default is.
pub fn bind_handshakes(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| BindError::of(address, source))
}

/// Accepts handshakes of peers and closes them, until the future is dropped.
pub async fn serve_handshakes(listener: TcpListener) {
    loop {
        if let Err(error) = listener.accept().await {
            tracing::debug!(%error, "handshake of a peer failed");
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handshake_is_a_sample_and_a_refusal_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let prober = TcpProber { source: "127.0.0.1".parse().unwrap() };
        let limit = Duration::from_secs(5);
        tokio::select! {
            rtt = prober.probe(target, limit) => assert!(rtt.unwrap() < limit),
            () = serve_handshakes(listener) => unreachable!(),
        }
        // The listener is gone with its future.
        assert!(matches!(prober.probe(target, limit).await, Err(ProbeError::Refused)));
    }
}
