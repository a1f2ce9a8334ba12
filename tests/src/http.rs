//! HTTP as a client types it: one request on a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What came back; status 0 where nothing answers.
pub struct Answer {
    pub status: u16,
    /// Header x-edge-endpoint.
    pub endpoint: Option<String>,
    pub body: String,
}

/// A GET with this Host.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await.unwrap_or_else(|_| panic!("{host}{path}: no answer within {LIMIT:?}"));
    let answer = answer.unwrap_or_default();
    Answer {
        status: answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
        endpoint: answer.lines().find_map(|line| line.strip_prefix("x-edge-endpoint: ")).map(str::to_owned),
        body: answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default(),
    }
}
