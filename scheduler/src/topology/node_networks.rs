//! One small `NodeNetwork` object for each node of which anything was measured, for people and controllers: written by the leader when a delay layer
//! changes, never for a figure that moved within one. A new leader reads once what its predecessor wrote, and writes only what differs.

use super::board::Board;
use crate::catch_up::pages;
use crate::state::{Shared, now};
use api::crd::{DeviceSummary, LayerSummary, Neighbour, NodeNetwork, NodeNetworkSpec, NodeNetworkStatus, STATUS_NEIGHBOURS};
use api::protocol::DeviceReport;
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use futures::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
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
/// Nodes looked at before other tasks of the thread get their turn.
const TURN: usize = 64;

/// What makes a node's object worth writing again.
#[derive(Clone, Debug, PartialEq)]
struct Gist {
    layers: Vec<LayerSummary>,
    site: Option<String>,
    devices: Vec<DeviceSummary>,
    measured: bool,
}

impl Gist {
    fn of(status: &NodeNetworkStatus) -> Gist {
        let NodeNetworkStatus { layers, site, devices, nearest, .. } = status.clone();
        Gist { layers, site, devices, measured: !nearest.is_empty() }
    }

    /// Nobody has measured the node, or anything on it.
    fn says_nothing(&self) -> bool {
        !self.measured && self.devices.is_empty()
    }
}

/// An object as it was written last.
struct Written {
    gist: Gist,
    at: Instant,
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
        // `None` while what is there is not known.
        let mut written: Option<HashMap<String, Written>> = None;
        let look = (self.interval / 6).max(Duration::from_millis(100));
        while shutdown.sleep(look).await {
            if !self.leadership.is_leader() || !self.board.is_warm() {
                written = None;
                continue;
            }
            let known = match &mut written {
                Some(known) => known,
                unknown => match shutdown.interrupt(self.existing()).await {
                    Some(Ok(existing)) => unknown.insert(existing),
                    Some(Err(error)) => {
                        tracing::warn!(
                            error = chassis::program::chain(&error),
                            "cannot list the NodeNetworks; they are not written before"
                        );
                        continue;
                    }
                    None => return,
                },
            };
            let cluster = self.shared.lock().cluster.snapshot();
            known.retain(|name, _| cluster.node_index(name).is_some());
            let due = self.due(&cluster, known).await;
            let client = &self.client;
            let writes = stream::iter(due).map(|Due { node, gist, status, exists }| async move {
                let outcome = write(client, &node, &status, exists).await;
                (node, gist, outcome)
            });
            let mut writes = writes.buffer_unordered(PARALLEL);
            while let Some(Some((node, gist, outcome))) = shutdown.interrupt(writes.next()).await {
                match outcome {
                    Ok(()) => drop(known.insert(node.name.clone(), Written { gist, at: Instant::now() })),
                    Err(error) => tracing::warn!(node = node.name, error = chassis::program::chain(&error), "cannot write the NodeNetwork"),
                }
            }
        }
    }

    /// The objects that are there. They count as written now: what differs is not written before the interval is over.
    async fn existing(&self) -> Result<HashMap<String, Written>, Error> {
        let api: Api<NodeNetwork> = Api::all(self.client.clone());
        let page = |params: ListParams| {
            let api = api.clone();
            async move { api.list(&params).await }
        };
        let written = |object: NodeNetwork| {
            let written = Written { gist: Gist::of(&object.status.unwrap_or_default()), at: Instant::now() };
            Some((object.metadata.name?, written))
        };
        Ok(pages(ListParams::default(), page, written).await?.into_iter().flatten().collect())
    }

    /// What is to be written. Thousands of nodes that all know each other take a while to look at, in which others get their turn.
    async fn due(&self, cluster: &Snapshot, written: &HashMap<String, Written>) -> Vec<Due> {
        let mut due = Vec::new();
        for (at, (ix, node)) in cluster.nodes().enumerate() {
            if at % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            let known = written.get(&node.name);
            if known.is_some_and(|known| known.at.elapsed() < self.interval) {
                continue;
            }
            let status = status(cluster, ix, &self.board, now());
            let gist = Gist::of(&status);
            if known.map_or_else(|| gist.says_nothing(), |known| known.gist == gist) {
                continue;
            }
            due.push(Due { node: node.clone(), gist, status, exists: known.is_some() });
        }
        due
    }
}

struct Due {
    node: Arc<Node>,
    gist: Gist,
    status: NodeNetworkStatus,
    /// An object to write this to.
    exists: bool,
}

fn status(cluster: &Snapshot, ix: NodeIx, board: &Board, now: Timestamp) -> NodeNetworkStatus {
    let max_age = cluster.settings().max_age;
    let fresh = |(peer, stat): (NodeIx, PairStat)| {
        let admits = peer != ix && stat.kind.admits() && now.since(stat.at) <= max_age && cluster.node(peer).is_some();
        admits.then_some((stat.p50, stat.p90, peer))
    };
    let mut peers: Vec<(Micros, Micros, NodeIx)> = cluster.rtt().row(ix).iter().filter_map(fresh).collect();
    if let Some(last) = peers.len().min(STATUS_NEIGHBOURS).checked_sub(1) {
        peers.select_nth_unstable(last);
        peers[..last].sort_unstable();
    }
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

/// The status, and the object before it where there is none. It belongs to the Node and goes with it.
async fn write(client: &Client, node: &Node, status: &NodeNetworkStatus, exists: bool) -> Result<(), Error> {
    let api: Api<NodeNetwork> = Api::all(client.clone());
    let (patch, params) = (Patch::Merge(json!({"status": status})), PatchParams::default());
    let told = || api.patch_status(&node.name, &params, &patch);
    if exists {
        match told().await {
            // Somebody deleted it.
            Err(Error::Api(refused)) if refused.code == 404 => {}
            other => return other.map(drop),
        }
    }
    let mut object = NodeNetwork::new(&node.name, NodeNetworkSpec { node_name: node.name.clone() });
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.name.clone(),
        uid: node.uid.clone(),
        ..OwnerReference::default()
    }]);
    match api.create(&PostParams::default(), &object).await {
        Err(Error::Api(refused)) if refused.code == 409 => {}
        other => drop(other?),
    }
    told().await.map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mock_api::{self, json_response};
    use crate::topology::agents::tests::settings;
    use serde_json::Value;

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

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_writes_what_differs_and_nothing_of_nodes_that_nobody_measured() {
        let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
        let board = Arc::new(Board::new(shared.clone(), settings(), Timestamp(0)));
        for name in ["as-written", "changed", "new", "unknown"] {
            let node = Node { name: name.into(), ..Node::default() };
            board.apply_node(&node);
            shared.lock().cluster.apply_node(node);
        }
        for from in ["as-written", "new"] {
            shared.lock().cluster.report_rtt(from, "changed", PairStat::declared(Micros(900), now()));
        }
        shared.lock().warm = true;
        let cluster = shared.lock().cluster.snapshot();
        let current = status(&cluster, cluster.index("as-written").unwrap(), &board, now());
        let object = |name: &str, status: Value| json!({"metadata": {"name": name}, "spec": {"nodeName": name}, "status": status});
        let items = [object("as-written", json!(current)), object("changed", json!({})), object("gone", json!({}))];
        let list = json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": "NodeNetworkList", "metadata": {}, "items": items});
        let (asked, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let client = mock_api::client(move |request| {
            let name = request.uri().path().rsplit("nodenetworks").next().unwrap_or_default().to_owned();
            let _ = asked.send(format!("{}{name}", request.method()));
            let answer = if request.method() == "GET" { list.clone() } else { object("any", json!({})) };
            async move { Ok(json_response(200, &answer)) }
        });
        let shutdown = Shutdown::new();
        let writer = Writer { client, shared, board, leadership: Leadership::always(), interval: Duration::ZERO };
        let running = tokio::spawn(writer.run(shutdown.clone()));
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(requests.recv().await.unwrap());
        }
        // All are written by now: another look finds nothing to do.
        tokio::time::sleep(Duration::from_secs(60)).await;
        shutdown.trigger();
        running.await.unwrap();
        assert_eq!(requests.recv().await, None);
        assert_eq!(seen.remove(0), "GET");
        seen.sort();
        assert_eq!(seen, ["PATCH/changed/status", "PATCH/new/status", "POST"]);
    }
}
