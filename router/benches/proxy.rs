//! What one worker of the proxy costs: requests a second and CPU time a request, over kept-alive connections on loopback.
//!
//! CPU time is that of the worker's own thread, so that clients and endpoint on the same machine do not count.

use bytes::Bytes;
use chassis::shutdown::Shutdown;
use edge_router::{
    proxy::{self, Clients, PoolSettings, ProxySettings, ServerSettings, Shared},
    table::{Affinity, Backend, Endpoint, EndpointKey, LoadBalancer, LoadBalancerTimeouts, RoutingTable, SiteView, Stats, Transport},
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use placement::{
    balance::{self, Endpoints, PathRtt, Policy, SiteColumn},
    units::Micros,
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 32;
const ENDPOINTS: u16 = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let endpoint = endpoint().await;
        let shutdown = Shutdown::new();
        let router = router(endpoint, &shutdown).await;
        let (direct, _) = load(endpoint).await;
        let (through, cpu) = load(router).await;
        println!("{:<44} {:>12} unit", "name", "figure");
        println!("{:<44} {direct:>12.0} requests/s", "endpoint without a router");
        println!("{:<44} {through:>12.0} requests/s", "one worker, 16 endpoints, policy balance");
        println!("{:<44} {:>12.3} ratio", "through the router to without", through / direct);
        match cpu {
            Some(cpu) => println!("{:<44} {:>12.1} us", "CPU time of the worker a request", cpu),
            None => println!("CPU time of the worker: /proc/self/task is not readable here"),
        }
        shutdown.trigger();
        shutdown.wait_all(Duration::from_secs(10)).await.expect("the router ends");
    });
}

async fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            let service = service_fn(|_request| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 512])))) });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn router(endpoint: SocketAddr, shutdown: &Shutdown) -> SocketAddr {
    let settings = ProxySettings {
        clients: Clients::new("edge-1", &[], Vec::new()),
        expose_endpoint: true,
        pool: PoolSettings { source: None, idle_timeout: Duration::from_secs(60), idle_per_endpoint: 64 },
    };
    let shared = Shared::new(settings);
    let stats = Arc::<Stats>::default();
    let endpoints: Endpoints = (0..ENDPOINTS).map(|_| balance::Endpoint { slots: 64, ..Default::default() }).collect();
    let path = |at: usize| Some(PathRtt { p50: Micros(1_000 + 10 * at as u32), p90: Micros(1_200 + 10 * at as u32) });
    let backends = (0..ENDPOINTS).map(|n| {
        // One server stands for all: what differs is how many there are to choose from.
        let key = EndpointKey { pod: format!("bench/pod-{n}").into(), node: format!("edge-{n}").into(), address: endpoint };
        Backend { endpoint: Endpoint::new(key), declared: Micros(1_000), learned: Arc::default() }
    });
    let load_balancer = LoadBalancer {
        id: 1,
        name: "bench/service".into(),
        use_case: "bench".into(),
        refused: None,
        transport: Transport::Http1,
        policy: Policy::default(),
        affinity: Affinity::None,
        max_rtt: Some(Micros(25_000)),
        watermark: 100,
        classes: None,
        timeouts: LoadBalancerTimeouts::default(),
        sites: vec![SiteView {
            column: SiteColumn::new(&endpoints, path, |_| Some(Micros(25_000))),
            site: "edge-1".into(),
            arrivals: stats.arrivals(&"edge-1".into()),
        }],
        backends: backends.collect(),
        endpoints,
        stats,
    };
    let services = [("service.bench".to_owned(), 0)].into_iter().collect();
    shared.table.store(Arc::new(RoutingTable::new(1, vec![Arc::new(load_balancer)], services, Vec::new(), "cluster.local")));
    let settings = ServerSettings {
        address: ([127, 0, 0, 1], 0).into(),
        workers: 1,
        connections: 1_000,
        header_timeout: Duration::from_secs(60),
        header_bytes: 32 << 10,
        drain: Duration::from_secs(1),
    };
    proxy::start(shared, settings, shutdown).await.expect("a port").address
}

/// Requests a second from kept-alive connections, and microseconds of the worker's CPU time for each.
async fn load(address: SocketAddr) -> (f64, Option<f64>) {
    let mut clients = Vec::new();
    let start = Instant::now() + WARM_UP;
    let end = start + MEASURED;
    for _ in 0..CONNECTIONS {
        clients.push(tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
            tokio::spawn(connection);
            let mut served = 0u64;
            while Instant::now() < end {
                let request = Request::get("/infer").header("host", "service.bench").body(Full::<Bytes>::default()).expect("a request");
                let response = sender.send_request(request).await.expect("a response");
                assert!(response.status().is_success(), "{}", response.status());
                response.into_body().collect().await.expect("a body");
                sender.ready().await.expect("kept alive");
                served += u64::from(Instant::now() > start);
            }
            served
        }));
    }
    tokio::time::sleep_until(start.into()).await;
    let before = worker_cpu_ns();
    tokio::time::sleep_until(end.into()).await;
    let after = worker_cpu_ns();
    let mut served = 0;
    for client in clients {
        served += client.await.expect("a client ends");
    }
    let cpu = before.zip(after).map(|(before, after)| (after - before) as f64 / 1e3 / served as f64);
    (served as f64 / MEASURED.as_secs_f64(), cpu)
}

/// Time that the thread `proxy-0` has run, in ns.
fn worker_cpu_ns() -> Option<u64> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let worker = tasks
        .filter_map(Result::ok)
        .map(|task| task.path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "proxy-0"))?;
    std::fs::read_to_string(worker.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}
