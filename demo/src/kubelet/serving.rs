//! A pod as a real HTTP server: it answers after its service time, to so many at once as it has slots, and says who it is.
//!
//! `POST /echo` streams the body back; any other request's body is taken in and counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chassis::serve::{Limits, serve};
use chassis::shutdown::Shutdown;
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{SERVICE_MS_ANNOTATION, SLOTS_ANNOTATION};

/// Routers keep idle connections; a pod does not close them under their hands.
const IDLE: Duration = Duration::from_secs(600);

/// How a pod serves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ServingSpec {
    pub namespace: String,
    pub pod: String,
    pub node: String,
    /// Time that one request takes in a slot.
    pub service: Duration,
    /// Requests served at once.
    pub slots: usize,
    /// TCP ports that the pod's containers name; empty where it serves nothing.
    pub ports: Vec<u16>,
}

/// A setting of the pod that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {value:?} is no {expected}")]
pub(super) struct SettingError {
    key: &'static str,
    value: String,
    expected: &'static str,
}

impl ServingSpec {
    /// Reads how a pod on `node` serves.
    pub fn of(pod: &Pod, node: &str) -> Result<ServingSpec, SettingError> {
        let containers = || pod.spec.iter().flat_map(|spec| &spec.containers);
        let ports = containers()
            .flat_map(|container| container.ports.iter().flatten())
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
            .filter_map(|port| u16::try_from(port.container_port).ok())
            .collect();
        let setting = |annotation: &'static str, variable: &'static str| {
            let annotated = pod.metadata.annotations.iter().flatten().find(|(key, _)| *key == annotation);
            let variables = || containers().flat_map(|container| container.env.iter().flatten()).find(|env| env.name == variable);
            annotated.map(|(_, value)| (annotation, value.clone())).or_else(|| Some((variable, variables()?.value.clone()?)))
        };
        let service = match setting(SERVICE_MS_ANNOTATION, "DEMO_SERVICE_MS") {
            None => Duration::ZERO,
            Some((key, value)) => {
                let ms = value.parse::<f64>().ok().filter(|ms| (0.0..=3_600_000.0).contains(ms));
                let ms = ms.ok_or(SettingError { key, value, expected: "number of milliseconds up to an hour" })?;
                Duration::from_secs_f64(ms / 1000.0)
            }
        };
        let slots = match setting(SLOTS_ANNOTATION, "DEMO_SLOTS") {
            None => 1,
            Some((key, value)) => {
                let slots = value.parse().ok().filter(|slots| (1..=1_000_000).contains(slots));
                slots.ok_or(SettingError { key, value, expected: "number of requests from 1 to 1000000" })?
            }
        };
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        Ok(ServingSpec {
            namespace: named(&pod.metadata.namespace),
            pod: named(&pod.metadata.name),
            node: node.to_owned(),
            service,
            slots,
            ports,
        })
    }
}

/// The server of one pod, on all its ports; its slots and in-flight count are the pod's.
pub(super) struct PodServer {
    state: Arc<Serving>,
    shutdown: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

struct Serving {
    spec: ServingSpec,
    slots: Semaphore,
    in_flight: AtomicU64,
    served: AtomicU64,
}

impl PodServer {
    pub fn new(spec: ServingSpec) -> PodServer {
        let slots = Semaphore::new(spec.slots);
        let state = Serving { spec, slots, in_flight: AtomicU64::new(0), served: AtomicU64::new(0) };
        PodServer { state: Arc::new(state), shutdown: Shutdown::new(), tasks: Vec::new() }
    }

    /// Serves on one more port, until stopped.
    pub fn listen(&mut self, listener: TcpListener) -> std::io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let router = Router::new().fallback(answer).with_state(self.state.clone());
        let limits = Limits { handshake: IDLE, ..Limits::default() };
        self.tasks.push(tokio::spawn(serve(listener, router, limits, self.shutdown.clone())));
        Ok(address)
    }

    /// Takes no more connections and lets requests in flight finish, for at most `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.shutdown.trigger();
        let ended = async {
            for task in &mut self.tasks {
                // A task that panicked has ended too.
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(grace, ended).await;
    }
}

/// What is still open is cut: a node that lost power does not say goodbye.
impl Drop for PodServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Counts a request while it lives, however it ends.
struct InFlight(Arc<Serving>);

impl InFlight {
    fn enter(state: &Arc<Serving>) -> InFlight {
        state.in_flight.fetch_add(1, Relaxed);
        InFlight(state.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

async fn answer(State(state): State<Arc<Serving>>, request: Request) -> Response {
    let in_flight = InFlight::enter(&state);
    let slot = state.slots.acquire().await.expect("the semaphore is never closed");
    tokio::time::sleep(state.spec.service).await;
    drop(slot);
    state.served.fetch_add(1, Relaxed);
    let spec = &state.spec;
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-demo-pod", &spec.pod), ("x-demo-node", &spec.node)] {
        // Kubernetes' names are valid header values.
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    if request.uri().path() == "/echo" {
        let body = request.into_body().into_data_stream();
        let held = futures::StreamExt::map(body, move |chunk| {
            let _ = &in_flight;
            chunk
        });
        return (headers, Body::from_stream(held)).into_response();
    }
    let about = BTreeMap::from([
        ("method", request.method().to_string()),
        ("path", request.uri().path().to_owned()),
        ("host", request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned()),
    ]);
    let mut bytes = 0;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len()),
            Err(error) => return (StatusCode::BAD_REQUEST, headers, error.to_string()).into_response(),
        }
    }
    let answer = json!({
        "pod": spec.pod,
        "namespace": spec.namespace,
        "node": spec.node,
        "inFlight": state.in_flight.load(Relaxed),
        "served": state.served.load(Relaxed),
        "bytes": bytes,
        "request": about,
    });
    (headers, axum::Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, PodSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    fn pod(annotations: &[(&str, &str)], variables: &[(&str, &str)]) -> Pod {
        let port = |number: i32, protocol: &str| ContainerPort {
            container_port: number,
            protocol: Some(protocol.to_owned()),
            ..Default::default()
        };
        let variable =
            |(name, value): &(&str, &str)| EnvVar { name: name.to_string(), value: Some(value.to_string()), ..Default::default() };
        let container = Container {
            ports: Some(vec![port(8080, "TCP"), port(53, "UDP")]),
            env: Some(variables.iter().map(variable).collect()),
            ..Default::default()
        };
        Pod {
            metadata: ObjectMeta {
                name: Some("web-1".to_owned()),
                namespace: Some("shop".to_owned()),
                annotations: Some(annotations.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()),
                ..Default::default()
            },
            spec: Some(PodSpec { containers: vec![container], ..Default::default() }),
            status: None,
        }
    }

    #[test]
    fn a_pod_says_how_it_serves() {
        let check = |annotations: &[(&str, &str)], variables: &[(&str, &str)], expected: Result<(u64, usize), &str>| {
            let spec = ServingSpec::of(&pod(annotations, variables), "edge-1");
            let found = spec.as_ref().map(|spec| (spec.service.as_micros() as u64, spec.slots)).map_err(ToString::to_string);
            assert_eq!(found, expected.map_err(str::to_owned));
            assert!(spec.is_err() || spec.unwrap().ports == [8080]);
        };
        check(&[], &[], Ok((0, 1)));
        check(&[(SERVICE_MS_ANNOTATION, "2.5"), (SLOTS_ANNOTATION, "4")], &[("DEMO_SLOTS", "9")], Ok((2500, 4)));
        check(&[], &[("DEMO_SERVICE_MS", "8"), ("DEMO_SLOTS", "9")], Ok((8000, 9)));
        let wrong = "demo.edge-scheduler.io/service-ms \"soon\" is no number of milliseconds up to an hour";
        check(&[(SERVICE_MS_ANNOTATION, "soon")], &[], Err(wrong));
        check(&[], &[("DEMO_SLOTS", "0")], Err("DEMO_SLOTS \"0\" is no number of requests from 1 to 1000000"));
    }

    async fn start(service_ms: &str, slots: &str) -> (PodServer, SocketAddr) {
        let spec = ServingSpec::of(&pod(&[(SERVICE_MS_ANNOTATION, service_ms), (SLOTS_ANNOTATION, slots)], &[]), "edge-1").unwrap();
        let mut server = PodServer::new(spec);
        let address = server.listen(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        (server, address)
    }

    async fn request(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn the_answer_names_pod_node_and_load() {
        let (_server, address) = start("0", "1").await;
        let answer = request(address, "POST /x HTTP/1.1\r\nhost: shop\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc").await;
        for part in ["x-demo-node: edge-1", "\"pod\":\"web-1\"", "\"inFlight\":1", "\"bytes\":3", "\"host\":\"shop\""] {
            assert!(answer.contains(part), "no {part} in {answer}");
        }
    }

    #[tokio::test]
    async fn bodies_stream_through_echo() {
        let (_server, address) = start("0", "1").await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
        let mut seen = String::new();
        // The first chunk comes back while the request is still being sent.
        while !seen.contains("first") {
            let mut buffer = [0; 1024];
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }

    #[tokio::test]
    async fn requests_beyond_the_slots_queue() {
        let (server, address) = start("20", "2").await;
        let text = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let start = std::time::Instant::now();
        let answers = futures::future::join_all((0..4).map(|_| request(address, text))).await;
        assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200")));
        assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
        assert_eq!(server.state.in_flight.load(Relaxed), 0);
        server.stop(Duration::from_secs(1)).await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
