//! The three programs, started as anywhere: their own entry points, service accounts, HTTPS to the API server, tokens bound to pods.

use super::args::Args;
use super::objects;
use crate::apiserver::Server;
use crate::wan::address;
use crate::world::World;
use anyhow::{Context, Result};
use api::labels;
use api::protocol::ProbeMethod;
use chassis::client::ClientConfig;
use chassis::config::Duration as Setting;
use chassis::shutdown::Shutdown;
use chassis::topology::TopologyConfig;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// First choice for the port of every agent's echo; the WAN carries the one that is free.
pub const ECHO_PORT: u16 = 9444;
/// Probes a second of all agents together: a probe crosses the switch twice, and 12,000 a second keep it below half a core.
const PROBES_PER_SECOND: f64 = 12_000.0;
/// Above this many nodes agents are given the service's address instead of looking it up: a watch of each on a loopback API server
/// shows nothing that 50 do not.
const DISCOVERY_LIMIT: usize = 50;
/// Starts under way at once.
const STARTS: usize = 16;

/// What the programs share.
pub struct Programs<'a> {
    pub server: &'a Server,
    pub client: Client,
    pub world: &'a World,
    /// Kubeconfigs, tokens and the CA; removed with the demo.
    pub folder: &'a Path,
    /// UDP and TCP port of every agent's echo.
    pub echo_port: u16,
    pub shutdown: Shutdown,
}

impl Programs<'_> {
    fn kubeconfig(&self, account: &str) -> Result<ClientConfig> {
        let path = self.folder.join(format!("{account}.kubeconfig"));
        if !path.exists() {
            let text = self.server.service_account_kubeconfig(labels::SYSTEM_NAMESPACE, account);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(ClientConfig { kubeconfig: Some(path), qps: 0.0, ..ClientConfig::default() })
    }

    /// edge-scheduler, and the Service by which agents and routers find it. Returns the address of its topology service.
    pub async fn scheduler(&self, args: &Args) -> Result<SocketAddr> {
        let mut config = edge_scheduler::Config { client: self.kubeconfig("edge-scheduler")?, ..Default::default() };
        config.admin_address = loopback();
        config.placement.delay_filter = !args.no_delay_filter;
        config.topology.address = loopback();
        config.topology.server_names = vec!["127.0.0.1".into()];
        config.topology.probe_interval = Setting::from_secs(1);
        config.topology.max_probes_per_second = self.probes_per_agent();
        config.topology.warm_up = Setting::from_secs(300);
        let running = edge_scheduler::start(config, self.shutdown.child()).await.context("edge-scheduler does not start")?;
        let running = running.context("shut down before edge-scheduler had started")?;
        let topology = running.topology;
        // It gives its lease back after everything else has ended.
        self.shutdown.spawn(async move {
            if let Err(error) = running.join().await {
                tracing::error!("edge-scheduler ended: {error}");
            }
        });
        objects::topology_service(&self.client, topology).await?;
        Ok(topology)
    }

    fn probes_per_agent(&self) -> f64 {
        (PROBES_PER_SECOND / self.world.len() as f64).clamp(1.0, 100.0)
    }

    /// How a program on `node` reaches the topology service.
    async fn topology(&self, app: &str, node: &str, service: SocketAddr) -> Result<TopologyConfig> {
        let token_file = self.folder.join(format!("{app}-{node}.token"));
        self.token(app, node, &token_file).await?;
        let mut config = TopologyConfig { token_file, ..TopologyConfig::default() };
        if self.world.len() > DISCOVERY_LIMIT {
            config.endpoints = vec![format!("https://127.0.0.1:{}", service.port())];
            config.ca_file = Some(self.authority().await?);
        }
        Ok(config)
    }

    /// The CA that the topology service published, as a file.
    async fn authority(&self) -> Result<PathBuf> {
        let path = self.folder.join("topology-ca.crt");
        if !path.exists() {
            let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), labels::SYSTEM_NAMESPACE);
            let map = maps.get(labels::TOPOLOGY_CA_CONFIG_MAP).await.context("the topology service has published no CA")?;
            let pem = map.data.and_then(|mut data| data.remove(labels::TOPOLOGY_CA_KEY)).context("the CA's ConfigMap is empty")?;
            std::fs::write(&path, pem).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(path)
    }

    /// Writes a token as the kubelet projects one into the program's pod on the node.
    async fn token(&self, app: &str, node: &str, path: &Path) -> Result<()> {
        let token = objects::system_token(&self.client, app, node).await?;
        std::fs::write(path, token).with_context(|| format!("cannot write {}", path.display()))
    }

    /// An edge-pinger on every node.
    pub async fn pingers(&self, service: SocketAddr) -> Result<Vec<edge_pinger::Running>> {
        // Written before anyone reads it: agents that have started read while others start.
        self.authority().await?;
        let starts = (0..self.world.len()).map(|index| async move {
            let node = &self.world.nodes[index].name;
            let config = edge_pinger::Config {
                node_name: node.clone(),
                listen_address: IpAddr::V4(address::private(index)),
                echo_port: self.echo_port,
                admin_address: loopback(),
                methods: vec![ProbeMethod::Udp],
                max_probes_per_second: self.probes_per_agent().ceil() as u32,
                topology: self.topology("edge-pinger", node, service).await?,
                client: self.kubeconfig("edge-pinger")?,
                ..edge_pinger::Config::default()
            };
            edge_pinger::start(config, self.shutdown.child()).await.with_context(|| format!("edge-pinger on {node} does not start"))
        });
        futures::stream::iter(starts).buffered(STARTS).try_collect().await
    }

    /// An edge-router on each of these nodes.
    pub async fn routers(&self, sites: &[usize], service: SocketAddr) -> Result<Vec<edge_router::Running>> {
        let starts = sites.iter().map(|&index| async move {
            let node = &self.world.nodes[index].name;
            let own = IpAddr::V4(address::private(index));
            let config = edge_router::Config {
                node_name: node.clone(),
                listen_address: SocketAddr::new(own, 0),
                source_address: Some(own),
                admin_address: loopback(),
                workers: Some(0),
                topology: self.topology("edge-router", node, service).await?,
                client: self.kubeconfig("edge-router")?,
                ..edge_router::Config::default()
            };
            edge_router::start(config, self.shutdown.child()).await.with_context(|| format!("edge-router on {node} does not start"))
        });
        futures::stream::iter(starts).buffered(STARTS).try_collect().await
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
