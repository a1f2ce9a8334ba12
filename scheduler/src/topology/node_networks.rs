//! One small `NodeNetwork` object a node, for people and controllers: written by the leader when a delay layer changes, never for a figure that moved
//! within one.

use super::board::Board;
use crate::state::{Shared, now};
use api::crd::{DeviceSummary, LayerSummary, Neighbour, NodeNetwork, NodeNetworkSpec, NodeNetworkStatus, STATUS_NEIGHBOURS};
use api::protocol::DeviceReport;
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use futures::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use placement::cluster::{Node, NodeIx, Snapshot};
use placement::topology::PairStat;
use placement::units::{Micros, Timestamp};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Gradient levels in milliseconds: rack, site, metro, region, continent, planet.
const LEVELS_MS: [u32; 8] = [1, 2, 5, 10, 25, 50, 100, 250];
/// Writes under way at once: 2,000 nodes that all change take seconds, and bindings come first.
const PARALLEL: usize = 4;

/// What makes a node's object worth writing again.
#[derive(Clone, Debug, PartialEq)]
struct Gist {
    layers: Vec<LayerSummary>,
    site: Option<String>,
    devices: Vec<DeviceSummary>,
    measured: bool,
}

pub struct Writer {
    pub client: Client,
    pub shared: Arc<Shared>,
    pub board: Arc<Board>,
    pub leadership: Leadership,
    /// Least time between two writes of one object.
    pub interval: Duration,
}

impl Writer {
    /// Writes while we lead, until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let mut written: HashMap<String, (Gist, Instant)> = HashMap::new();
        let look = (self.interval / 6).max(Duration::from_millis(100));
        while shutdown.sleep(look).await {
            if !self.leadership.is_leader() || !self.board.is_warm() {
                written.clear();
                continue;
            }
            let cluster = self.shared.lock().cluster.snapshot();
            written.retain(|name, _| cluster.node_index(name).is_some());
            let mut due = Vec::new();
            for (ix, node) in cluster.nodes() {
                let status = status(&cluster, ix, &self.board, now());
                let gist = gist(&status);
                let unchanged = written.get(&node.name).is_some_and(|(old, at)| *old == gist || at.elapsed() < self.interval);
                if !unchanged {
                    due.push((node.clone(), gist, status));
                }
            }
            let client = &self.client;
            let writes = stream::iter(due).map(|(node, gist, status)| async move {
                let outcome = write(client, &node, &status).await;
                (node, gist, outcome)
            });
            let mut writes = writes.buffer_unordered(PARALLEL);
            while let Some(Some((node, gist, outcome))) = shutdown.interrupt(writes.next()).await {
                match outcome {
                    Ok(()) => drop(written.insert(node.name.clone(), (gist, Instant::now()))),
                    Err(error) => tracing::warn!(node = node.name, error = chassis::program::chain(&error), "cannot write the NodeNetwork"),
                }
            }
        }
    }
}

fn gist(status: &NodeNetworkStatus) -> Gist {
    Gist { layers: status.layers.clone(), site: status.site.clone(), devices: status.devices.clone(), measured: !status.nearest.is_empty() }
}

fn status(cluster: &Snapshot, ix: NodeIx, board: &Board, now: Timestamp) -> NodeNetworkStatus {
    let max_age = cluster.settings().max_age;
    let fresh = |(peer, stat): (NodeIx, PairStat)| {
        let admits = peer != ix && stat.kind.admits() && now.since(stat.at) <= max_age && cluster.node(peer).is_some();
        admits.then_some((stat.p50, stat.p90, peer))
    };
    let mut peers: Vec<(Micros, Micros, NodeIx)> = cluster.rtt().row(ix).iter().filter_map(fresh).collect();
    peers.sort_unstable();
    let within = |ms: u32| peers.iter().filter(|(_, p90, _)| *p90 <= Micros(ms * 1000)).count() as u32;
    let name = cluster.name(ix);
    let entry = board.entry(name);
    NodeNetworkStatus {
        observed_at: Some(Time(jiff::Timestamp::from_millisecond(now.0 as i64).unwrap_or_default())),
        site: entry.site,
        peers: Some(format!("{}/{}", peers.len(), cluster.node_count().saturating_sub(1))),
        layers: LEVELS_MS.iter().map(|&ms| LayerSummary { within: duration(Micros(ms * 1000)), nodes: within(ms) }).collect(),
        nearest: peers
            .iter()
            .take(STATUS_NEIGHBOURS)
            .map(|(p50, p90, peer)| Neighbour { node: cluster.name(*peer).to_owned(), p50: duration(*p50), p90: duration(*p90) })
            .collect(),
        devices: devices(entry.devices.as_ref()),
        conditions: Vec::new(),
    }
}

fn duration(rtt: Micros) -> api::crd::Duration {
    api::crd::Duration(rtt)
}

/// Devices by class and model.
fn devices(report: Option<&DeviceReport>) -> Vec<DeviceSummary> {
    let mut found: BTreeMap<(String, Option<String>), (u32, Option<i64>)> = BTreeMap::new();
    for device in report.into_iter().flat_map(|report| &report.devices) {
        let (count, memory) = found.entry((device.class.clone(), device.model.clone())).or_default();
        *count += 1;
        if let Some(bytes) = device.memory_bytes {
            *memory = Some(memory.unwrap_or(0).saturating_add(bytes.try_into().unwrap_or(i64::MAX)));
        }
    }
    let summary = |((class, model), (count, memory_bytes))| DeviceSummary { class, model, count, memory_bytes };
    found.into_iter().map(summary).take(8).collect()
}

/// The object, made if it is not there, and its status. It belongs to the Node and goes with it.
async fn write(client: &Client, node: &Node, status: &NodeNetworkStatus) -> Result<(), Error> {
    let api: Api<NodeNetwork> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"status": status}));
    match api.patch_status(&node.name, &PatchParams::default(), &patch).await {
        Err(Error::Api(refused)) if refused.code == 404 => {}
        other => return other.map(drop),
    }
    let mut object = NodeNetwork::new(&node.name, NodeNetworkSpec { node_name: node.name.clone() });
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.name.clone(),
        uid: node.uid.clone(),
        ..OwnerReference::default()
    }]);
    api.create(&PostParams::default(), &object).await?;
    api.patch_status(&node.name, &PatchParams::default(), &patch).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::agents::tests::settings;

    #[test]
    fn a_nodes_layers_count_who_is_within_each_level() {
        let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
        let board = Board::new(shared.clone(), settings(), Timestamp(0));
        for name in ["a", "b", "c", "d"] {
            let node = Node { name: name.into(), ..Node::default() };
            board.apply_node(&node);
            shared.lock().cluster.apply_node(node);
        }
        for (peer, us) in [("b", 900), ("c", 4_000), ("gone", 100)] {
            shared.lock().cluster.report_rtt("a", peer, PairStat::declared(Micros(us), Timestamp(1_000)));
        }
        let check = |at: u64, peers: &str, layers: [u32; 8], nearest: &[&str]| {
            let cluster = shared.lock().cluster.snapshot();
            let status = status(&cluster, cluster.index("a").unwrap(), &board, Timestamp(at));
            let counts: Vec<u32> = status.layers.iter().map(|layer| layer.nodes).collect();
            let names: Vec<&str> = status.nearest.iter().map(|near| near.node.as_str()).collect();
            assert_eq!((status.peers.as_deref(), counts.as_slice(), names.as_slice()), (Some(peers), layers.as_slice(), nearest));
        };
        check(2_000, "2/3", [1, 1, 2, 2, 2, 2, 2, 2], &["b", "c"]);
        check(u64::MAX, "0/3", [0; 8], &[]);
    }
}
