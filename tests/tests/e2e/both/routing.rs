//! edge-router between the API server, the scheduler's topology service, clients and endpoints.
//!
//! A real API server refuses loopback addresses in EndpointSlices, though not as a pod's IP. So what is served here, on loopback, is a load balancer that
//! selects pods; for one that names a Service, the endpoints that its slices bring are read from its status, and no request is sent to them.

use crate::cluster::{Cluster, MATRIX, Replica, from};
use api::crd::EdgeLoadBalancer;
use axum::Router;
use chassis::serve::{self, Limits};
use edge_tests::http::{Answer, get};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

const HOST: &str = "vision.example.com";

async fn create<K>(cluster: &Cluster, object: Value)
where
    K: kube::Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Serialize + Clone + Debug,
    K::DynamicType: Default,
{
    Api::<K>::default_namespaced(cluster.client.clone()).create(&PostParams::default(), &from(object)).await.unwrap();
}

async fn balancer(cluster: &Cluster, name: &str, spec: Value) {
    let metadata = json!({"name": name});
    let object = json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": "EdgeLoadBalancer", "metadata": metadata, "spec": spec});
    create::<EdgeLoadBalancer>(cluster, object).await;
}

/// A listener for each address, all on one port.
async fn listeners(addresses: &[[u8; 4]]) -> (u16, Vec<TcpListener>) {
    'port: loop {
        let mut all = vec![TcpListener::bind(SocketAddr::from((addresses[0], 0))).await.unwrap()];
        let port = all[0].local_addr().unwrap().port();
        for address in &addresses[1..] {
            let Ok(listener) = TcpListener::bind(SocketAddr::from((*address, port))).await else { continue 'port };
            all.push(listener);
        }
        return (port, all);
    }
}

/// Pods placed by their bounds of 0 ms on edge-2 and edge-3; then what their kubelets would say. The pod answers with its node's name.
async fn pods(cluster: &Cluster, replica: &Replica) -> u16 {
    let (nodes, addresses) = (["edge-2", "edge-3"], [[127, 0, 9, 2], [127, 0, 9, 3]]);
    let (port, listeners) = listeners(&addresses).await;
    for ((node, address), listener) in nodes.into_iter().zip(addresses).zip(listeners) {
        let answer = Router::new().fallback(async move || node);
        let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
        replica.shutdown.spawn(serve::serve(listener, answer, limits, replica.shutdown.clone()));
        let name = format!("vision-{node}");
        cluster.create(&name, "1Gi", &[("app", "vision"), (&format!("delay_{node}"), "0")], |_| {}).await;
        cluster.check_bound(&name, node).await;
        let address = std::net::Ipv4Addr::from(address).to_string();
        let status =
            json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": "True"}]});
        let patch = Patch::Strategic(json!({ "status": status }));
        cluster.pods().patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    }
    port
}

/// edge-router on edge-1, ready.
async fn router(cluster: &Cluster, replica: &Replica) -> edge_router::Running {
    let token_file = cluster.folder.path().join("router.token");
    std::fs::write(&token_file, cluster.topology_token("edge-router", Some("edge-1")).await).unwrap();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = edge_router::Config {
        node_name: "edge-1".into(),
        listen_address: loopback,
        admin_address: loopback,
        workers: Some(0),
        status_interval: Duration::from_millis(100).into(),
        drain_timeout: Duration::from_secs(1).into(),
        ..edge_router::Config::default()
    };
    config.client.kubeconfig = Some(cluster.kubeconfig("edge-router"));
    config.topology.endpoints = vec![format!("https://{}", replica.running.topology)];
    config.topology.token_file = token_file;
    let running = edge_router::start(config, replica.shutdown.child()).await.unwrap();
    let ready = async || (get(running.admin, "admin", "/readyz").await.status == 200).then_some(());
    cluster.until("the router is ready", ready).await;
    running
}

/// Waits until the status of the load balancer has these pods as endpoints, in any order.
async fn check_endpoints(cluster: &Cluster, name: &str, expected: &[&str]) {
    let balancers: Api<EdgeLoadBalancer> = Api::default_namespaced(cluster.client.clone());
    let named = async || {
        let status = serde_json::to_value(balancers.get(name).await.unwrap().status).unwrap();
        let pods = status["endpoints"].as_array()?.iter().map(|endpoint| endpoint["pod"].as_str().unwrap_or_default().to_owned());
        let mut pods: Vec<String> = pods.collect();
        pods.sort();
        (pods == expected && status["ready"] == format!("{0}/{0}", expected.len())).then_some(())
    };
    cluster.until(&format!("the status of {name} has {expected:?}"), named).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_pods_load_balancers_and_the_topology() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    let port = pods(&cluster, &replica).await;
    let backend = json!({"selector": {"app": "vision"}, "port": port});
    balancer(&cluster, "near", json!({"backend": backend, "sla": {"maxRtt": "20ms"}, "routes": [{"host": HOST}]})).await;
    let running = router(&cluster, &replica).await;
    let answer = async || {
        let Answer { status, body, .. } = get(running.address, HOST, "/").await;
        (status, body)
    };
    cluster.until("the nearest answers", async || (answer().await == (200, "edge-2".into())).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(answer().await, (200, "edge-2".to_owned()));
    }
    check_endpoints(&cluster, "near", &["vision-edge-2", "vision-edge-3"]).await;

    // edge-2 goes out of the bound, 4 to 40 ms; edge-3 is just within it.
    cluster.write_matrix(&MATRIX.replace(",4,", ",40,").replace("edge-2,4,", "edge-2,40,"));
    cluster.until("requests follow the topology", async || (answer().await == (200, "edge-3".into())).then_some(())).await;

    let balancers: Api<EdgeLoadBalancer> = Api::default_namespaced(cluster.client.clone());
    let tighter = Patch::Merge(json!({"spec": {"sla": {"maxRtt": "1ms"}}}));
    balancers.patch("near", &PatchParams::default(), &tighter).await.unwrap();
    cluster.until("the new bound holds", async || (answer().await.0 == 503).then_some(())).await;
    let error: Value = serde_json::from_str(&answer().await.1).unwrap();
    assert_eq!(error["error"]["message"], "no endpoint of default/near within 1 ms of edge-1: 2 of 2 excluded by RTT");
    let wider = Patch::Merge(json!({"spec": {"sla": {"maxRtt": "50ms"}}}));
    balancers.patch("near", &PatchParams::default(), &wider).await.unwrap();

    cluster.delete("vision-edge-3").await;
    cluster.until("requests leave the pod that is gone", async || (answer().await == (200, "edge-2".into())).then_some(())).await;
    check_endpoints(&cluster, "near", &["vision-edge-2"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_load_balancer_follows_the_slices_of_its_service() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(cluster.config()).await;
    pods(&cluster, &replica).await;
    create::<Service>(&cluster, json!({"metadata": {"name": "vision"}, "spec": {"ports": [{"port": 80}]}})).await;
    balancer(&cluster, "vision", json!({"backend": {"service": "vision"}})).await;
    let _running = router(&cluster, &replica).await;
    let endpoint = |node: &str, last: u8| {
        let pod = format!("vision-{node}");
        json!({"addresses": [format!("192.0.2.{last}")], "nodeName": node, "targetRef": {"kind": "Pod", "name": pod, "namespace": "default"},
            "conditions": {"ready": true}})
    };
    let slice = json!({"metadata": {"name": "vision-1", "labels": {"kubernetes.io/service-name": "vision"}}, "addressType": "IPv4",
        "endpoints": [endpoint("edge-2", 2)], "ports": [{"name": "", "port": 8080, "protocol": "TCP"}]});
    create::<EndpointSlice>(&cluster, slice).await;
    check_endpoints(&cluster, "vision", &["vision-edge-2"]).await;
    let both = Patch::Merge(json!({"endpoints": [endpoint("edge-2", 2), endpoint("edge-3", 3)]}));
    let slices: Api<EndpointSlice> = Api::default_namespaced(cluster.client.clone());
    slices.patch("vision-1", &PatchParams::default(), &both).await.unwrap();
    check_endpoints(&cluster, "vision", &["vision-edge-2", "vision-edge-3"]).await;
    replica.stop().await;
}
