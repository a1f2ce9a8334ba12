//! edge-pinger on every node measures over UDP on loopback, and the scheduler places pods by what the agents report.

use super::topology::{NODES, from_agents};
use crate::cluster::Cluster;
use api::crd::NodeNetwork;
use api::protocol::ProbeMethod;
use kube::{Api, ResourceExt as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Every node's own address on loopback.
fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 8, 1 + index as u8))
}

/// A UDP and TCP port that nobody has on any of the addresses.
async fn echo_port() -> u16 {
    loop {
        let first = tokio::net::UdpSocket::bind((address(0), 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        if (1..NODES.len()).all(|index| std::net::UdpSocket::bind((address(index), port)).is_ok())
            && (0..NODES.len()).all(|index| std::net::TcpListener::bind((address(index), port)).is_ok())
        {
            return port;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_by_what_the_agents_measure() {
    let cluster = Cluster::start().await;
    let replica = cluster.run(from_agents(&cluster)).await;
    cluster.create("near", "6Gi", &[("delay_edge-1", "25")], |_| {}).await;
    cluster.check_waits("near", "0/4 nodes are available: the topology is warming up: 0 of 4 nodes have reported.").await;

    let port = echo_port().await;
    let mut agents = Vec::new();
    for (index, node) in NODES.iter().enumerate() {
        let token_file = cluster.folder.path().join(format!("{node}.token"));
        std::fs::write(&token_file, cluster.topology_token("edge-pinger", Some(node)).await).unwrap();
        let mut config = edge_pinger::Config {
            node_name: (*node).to_owned(),
            listen_address: address(index),
            advertise_address: Some(address(index)),
            echo_port: port,
            admin_address: SocketAddr::from(([127, 0, 0, 1], 0)),
            methods: vec![ProbeMethod::Udp],
            ..edge_pinger::Config::default()
        };
        config.topology.endpoints = vec![format!("https://{}", replica.running.topology)];
        config.topology.token_file = token_file;
        config.client.kubeconfig = Some(cluster.kubeconfig("edge-pinger"));
        agents.push(edge_pinger::start(config, replica.shutdown.child()).await.unwrap());
    }
    // Loopback is within any bound in ms, and 6 Gi fit every node but edge-1.
    assert_ne!(cluster.bound("near").await, "edge-1");
    cluster.create("impossible", "6Gi", &[("delay_edge-1", "0")], |_| {}).await;
    cluster.check_waits("impossible", "0/4 nodes are available: 1 Insufficient memory, 3 RTT from edge-1 above 0 ms.").await;

    let networks: Api<NodeNetwork> = Api::all(cluster.client.clone());
    let complete = async || {
        let all = networks.list(&Default::default()).await.unwrap().items;
        let whole = |network: &NodeNetwork| network.status.as_ref().is_some_and(|status| status.peers.as_deref() == Some("3/3"));
        let mut names: Vec<String> = all.iter().filter(|network| whole(network)).map(|network| network.name_any()).collect();
        names.sort();
        (names == ["cloud-1", "edge-1", "edge-2", "edge-3"]).then_some(())
    };
    cluster.until("a NodeNetwork of every node that names all its peers", complete).await;
    drop(agents);
    replica.stop().await;
}
