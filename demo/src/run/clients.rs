//! Simulated clients: at each site a stream of requests through the router of that node.

use crate::random::Random;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(15);

/// Where clients are.
#[derive(Clone, Debug)]
pub struct Site {
    pub node: String,
    pub router: SocketAddr,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub from: String,
    /// HTTP status; 0 when no answer came.
    pub status: u16,
    /// The endpoint that the router sent the request to, as it names it.
    pub endpoint: Option<Endpoint>,
    pub error: Option<String>,
    pub latency: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `namespace/name`.
    pub pod: String,
    pub node: String,
}

/// Sends `total` requests, spread over the sites, each site's paced with a seeded jitter. `seen` is called as they are answered.
pub async fn send(sites: &[Site], host: &str, total: usize, gap: Duration, seed: u64, mut seen: impl FnMut(Sent)) {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (answers, mut received) = tokio::sync::mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    for (index, site) in sites.iter().enumerate() {
        let share = total / sites.len() + usize::from(index < total % sites.len());
        let (site, host, client, answers) = (site.clone(), host.to_owned(), client.clone(), answers.clone());
        let mut random = Random::of_text(&format!("{seed} {}", site.node));
        streams.spawn(async move {
            let mut in_flight = JoinSet::new();
            for _ in 0..share {
                tokio::time::sleep(gap.mul_f64(random.between(0.5, 1.5))).await;
                let (site, host, client, answers) = (site.clone(), host.clone(), client.clone(), answers.clone());
                // The receiver outlives the streams.
                in_flight.spawn(async move { drop(answers.send(request(&client, &site, &host).await)) });
            }
            in_flight.join_all().await;
        });
    }
    drop(answers);
    while let Some(sent) = received.recv().await {
        seen(sent);
    }
    streams.join_all().await;
}

async fn request(client: &Client<HttpConnector, Empty<Bytes>>, site: &Site, host: &str) -> Sent {
    let begun = Instant::now();
    let outcome =
        tokio::time::timeout(LIMIT, exchange(client, site, host)).await.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")));
    let (status, endpoint, error) = outcome.unwrap_or_else(|error| (0, None, Some(error)));
    Sent { from: site.node.clone(), status, endpoint, error, latency: begun.elapsed() }
}

type Answer = (u16, Option<Endpoint>, Option<String>);

async fn exchange(client: &Client<HttpConnector, Empty<Bytes>>, site: &Site, host: &str) -> Result<Answer, String> {
    let request =
        Request::get(format!("http://{}/frame", site.router)).header(header::HOST, host).body(Empty::new()).map_err(|e| e.to_string())?;
    let response = client.request(request).await.map_err(|error| chassis::program::chain(&error))?;
    let endpoint = response.headers().get("x-edge-endpoint").and_then(|value| parse(value.to_str().ok()?));
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, endpoint, (status != 200).then(|| String::from_utf8_lossy(&body).trim().to_owned())))
}

/// `namespace/pod@node`.
fn parse(header: &str) -> Option<Endpoint> {
    let (pod, node) = header.split_once('@')?;
    Some(Endpoint { pod: pod.to_owned(), node: node.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routers_header_names_pod_and_node() {
        let expected = Endpoint { pod: "demo/video-1".into(), node: "edge-3".into() };
        assert_eq!(parse("demo/video-1@edge-3"), Some(expected));
        assert_eq!(parse("nonsense"), None);
    }
}
