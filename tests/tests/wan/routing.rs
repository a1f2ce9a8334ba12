//! A router and two backends on the network: requests follow the delays that the agents measure, over IPv4 and IPv6.

use super::alone;
use super::cluster::{Cluster, LIMIT, Matrix, create, on_network};
use axum::Router;
use chassis::serve::{Limits, serve};
use chassis::shutdown::Shutdown;
use edge_tests::wan::{address_v4, address_v6};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Of the backends' Service, and of the router.
const HOST: &str = "app.default";
const ROUTER: u16 = 8080;

#[test]
fn requests_go_to_the_near_backend_and_to_the_other_when_the_path_becomes_longer() {
    let Some(_alone) = alone("requests_go_to_the_near_backend") else { return };
    let names = ["edge-a", "edge-b", "edge-c"].map(str::to_owned).to_vec();
    // From edge-a, where the router is: 10 ms to edge-b and back, 40 ms to edge-c.
    let matrix = Matrix { names, one_way_us: vec![0, 5_000, 20_000, 5_000, 0, 20_000, 20_000, 20_000, 0] };
    on_network("routing", &matrix, async |cluster| {
        let shutdown = Shutdown::new();
        create(
            &cluster.client,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "app", "namespace": "default"},
                "spec": {"selector": {"app": "app"}, "ports": [{"port": 80}]},
            }),
        )
        .await;
        backend(cluster, 1, address_v4(1).into(), &shutdown).await;
        backend(cluster, 2, address_v6(2).into(), &shutdown).await;
        for node in 0..3 {
            cluster.start_agent(node, |_| {}).await;
        }
        cluster.start_router(0).await;

        // All requests go there once the router knows the delays; before, either backend is as good.
        let near = async |cluster: &Cluster<'_>| {
            (0..20).map(|_| request(cluster).filter(|(node, _)| node == "edge-b").map(|(_, took)| took)).collect()
        };
        let mut times: Vec<Duration> = cluster.until("twenty answers in a row of edge-b", near).await;
        times.sort();
        assert!(times[0] >= Duration::from_millis(10), "faster than the path: {:?}", times[0]);
        println!("FIGURE wan: a request to a backend 10 ms away took {:.1} ms in the median", times[10].as_secs_f64() * 1000.0);

        let begun = Instant::now();
        cluster.network.links().set_pair(0, 1, |link| link.delay_us = 60_000).unwrap();
        let far = async |cluster: &Cluster<'_>| request(cluster).filter(|(node, _)| node == "edge-c").map(|_| ());
        cluster.until("an answer of edge-c", far).await;
        println!("FIGURE wan: the router left the path that became longer after {:.1} s", begun.elapsed().as_secs_f64());
        let (_, took) = request(cluster).expect("an answer");
        assert!(took >= Duration::from_millis(40), "faster than the path: {took:?}");
        shutdown.trigger();
        shutdown.wait_all(LIMIT).await.unwrap();
    });
}

/// A pod on the node, and an HTTP server in the node's namespace that answers with the node's name.
async fn backend(cluster: &Cluster<'_>, node: usize, address: IpAddr, shutdown: &Shutdown) {
    // A socket stays in the namespace that it was made in.
    let listener = cluster.network.node(node).run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = cluster.names[node].clone();
    let pod = format!("app-{name}");
    let (client, on) = (&cluster.client, name.clone());
    let answer = Router::new().fallback(async move || on);
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    shutdown.spawn(serve(listener, answer, Limits { drain: Duration::from_millis(100), ..Limits::default() }, shutdown.clone()));
    create(
        client,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": "default", "labels": {"app": "app"}},
            "spec": {"schedulerName": "edge-scheduler", "nodeName": name, "containers": [{"name": "app", "image": "app"}]},
        }),
    )
    .await;
    let target = json!({"kind": "Pod", "name": pod, "namespace": "default"});
    create(
        client,
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": pod, "namespace": "default", "labels": {"kubernetes.io/service-name": "app"}},
            "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [address], "nodeName": name, "targetRef": target, "conditions": {"ready": true}}],
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        }),
    )
    .await;
}

/// A client of node 0 asks the router there, on a connection of its own: who answered, and after how long.
fn request(cluster: &Cluster<'_>) -> Option<(String, Duration)> {
    let router = SocketAddr::new(address_v4(0).into(), ROUTER);
    let begun = Instant::now();
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&router, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<String, std::io::Error>(answer)
    };
    let answer = cluster.network.node(0).run(exchange).unwrap().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| (body.trim().to_owned(), begun.elapsed()))
}
