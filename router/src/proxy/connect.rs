//! Outgoing TCP connections, sent from the configured source address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream};

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// Refused, unreachable, or the handshake of HTTP/2 failed.
    Failed(io::Error),
    TimedOut,
}

/// Connects to `address` from `source`, within `limit`. A source of the other address family is not used.
pub async fn connect(address: SocketAddr, source: Option<IpAddr>, limit: Duration) -> Result<TcpStream, ConnectError> {
    let open = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        // Requests are whole messages: waiting for more bytes (Nagle) would cost a delayed ACK's 40 ms.
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    match tokio::time::timeout(limit, open).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::Failed(error)),
        Err(_elapsed) => Err(ConnectError::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn binds_to_the_source_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source: IpAddr = "127.0.0.77".parse().unwrap();
        let stream = connect(listener.local_addr().unwrap(), Some(source), Duration::from_secs(5)).await.unwrap();
        let (_accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), source);
        drop(stream);
    }

    #[tokio::test]
    async fn a_source_of_the_other_family_is_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source: IpAddr = "::1".parse().unwrap();
        connect(listener.local_addr().unwrap(), Some(source), Duration::from_secs(5)).await.unwrap();
    }
}
