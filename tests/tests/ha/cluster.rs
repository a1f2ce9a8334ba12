//! A control plane without kubelets, twelve nodes on a line with a delay matrix, and replicas of the scheduler under accounts of configs/.

use super::judge::{Log, Matrix, Pods};
use super::replica::{Plan, Replica};
use api::labels::{SCHEDULER, SYSTEM_NAMESPACE};
use edge_demo::random::Random;
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, Shared, token};
use edge_tests::fault_proxy::FaultProxy;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const NODES: u32 = 12;
pub const LEASE: &str = "edge-scheduler";

/// Bound of every wait: far above what is needed, so that only what never comes fails.
pub const SOON: Duration = Duration::from_secs(90);

/// Settings of the election, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Election {
    pub lease_s: f64,
    pub renew_s: f64,
    pub retry_s: f64,
}

impl Election {
    /// As shipped.
    pub const SHIPPED: Election = Election { lease_s: 15.0, renew_s: 10.0, retry_s: 2.0 };
    /// As an operator may set it who wants to wait less.
    pub const SHORT: Election = Election { lease_s: 5.0, renew_s: 3.0, retry_s: 0.4 };
}

pub struct Cluster {
    pub plane: Arc<ControlPlane>,
    pub client: Client,
    pub proxy: FaultProxy,
    pub matrix: Matrix,
    accounts: BTreeMap<String, PathBuf>,
}

/// Names of the pods that the replicas' tokens are for.
pub const REPLICAS: [&str; 2] = ["replica-a", "replica-b"];

impl Cluster {
    /// `None` after saying why `test` is left out.
    pub async fn start(test: &str, seed: u64) -> Option<Cluster> {
        let options = Options { nodes: NODES, kubelets: Kubelets::None, controllers: false, scheduler: false, audit: true };
        let plane = Shared::new(options).get(test).await?;
        plane.install().await.unwrap();
        let client = plane.client().await.unwrap();
        let proxy = FaultProxy::start(&plane.kubeconfig(), seed).await.unwrap();
        let mut accounts = BTreeMap::new();
        for name in REPLICAS {
            let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": "node-1", "serviceAccountName": SCHEDULER, "containers": [{"name": "main", "image": "none"}]}});
            let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
            let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
            let token = token(&client, SCHEDULER, None, Some(&pod)).await.unwrap();
            accounts.insert(name.to_owned(), plane.kubeconfig_by(name, &token).unwrap());
        }
        Some(Cluster { plane, client, proxy, matrix: matrix(seed), accounts })
    }

    /// What a replica needs in order to start; `direct`: not through the proxy.
    pub fn plan(&self, name: &str, election: Election, direct: bool) -> Plan {
        let folder = self.plane.folder();
        let account = &self.accounts[name];
        let kubeconfig = if direct { account.clone() } else { folder.join(format!("{name}.proxied")) };
        if !direct {
            self.proxy.kubeconfig(account, &kubeconfig).unwrap();
        }
        let delays = folder.join("delays.csv");
        std::fs::write(&delays, csv(&self.matrix)).unwrap();
        let config = folder.join(format!("{name}.yaml"));
        let Election { lease_s, renew_s, retry_s } = election;
        // Slower than shipped, so that a hundred bindings take seconds and a fault can come halfway. Errors are retried soon.
        let text = json!({
            "adminAddress": "127.0.0.1:0",
            "client": {"qps": 20, "burst": 10},
            "leaderElection": {"leaderElect": true, "leaseDuration": format!("{lease_s}s"), "renewDeadline": format!("{renew_s}s"), "retryPeriod": format!("{}ms", retry_s * 1000.0)},
            "queue": {"initialBackoff": "200ms", "maxBackoff": "2s"},
            "topology": {"source": "files", "matrix": delays, "address": "127.0.0.1:0"},
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let log = folder.join("logs").join(format!("{name}.log"));
        Plan { name: name.to_owned(), kubeconfig, config, log, clock_ahead_s: 0, lease_unchecked: false }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Makes `count` pods that must be near a node; most ask for the same few nodes, so that those fill up, and some for what no node can give.
    pub async fn create(&self, batch: &str, count: usize, random: &mut Random) {
        let pods: Vec<Pod> = (0..count).map(|i| pod(&format!("{batch}-{i}"), random)).collect();
        let create = |pod: Pod| async move {
            self.pods().create(&PostParams::default(), &pod).await.map(drop).unwrap_or_else(|error| panic!("{error}"))
        };
        stream::iter(pods).for_each_concurrent(16, create).await;
    }

    pub async fn found(&self) -> Pods {
        // The API server may be on its way back.
        let pods = self.until("the pods are listed", async || self.pods().list(&ListParams::default()).await.ok()).await.items;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = self.until("the nodes are listed", async || nodes.list(&ListParams::default()).await.ok()).await.items;
        let system: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let system = self.until("the replicas' pods are listed", async || system.list(&ListParams::default()).await.ok()).await.items;
        Pods::new(pods.into_iter().chain(system).collect(), &nodes)
    }

    /// Removes every pod of the tests.
    pub async fn clear(&self) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.pods().delete_collection(&now, &ListParams::default()).await.unwrap();
        self.until("the pods are gone", async || self.pods().list(&ListParams::default()).await.ok()?.items.is_empty().then_some(())).await;
    }

    /// What the API server wrote down.
    pub fn log(&self) -> Log {
        Log::read(&self.plane.audit_log(), LEASE)
    }

    /// The replica that holds the lease by what the lease says, and when it was renewed by the holder's clock.
    pub async fn holder(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let holder = leases.get_opt(LEASE).await.ok()??.spec?.holder_identity.filter(|holder| !holder.is_empty())?;
        // Whose identity it is, the log tells: it has both.
        self.log().leases.iter().rev().find(|write| write.holder == holder).map(|write| write.by.clone())
    }

    /// Waits until somebody leads of whom `accept` is true.
    pub async fn leader(&self, accept: impl Fn(&str) -> bool) -> String {
        self.until("there is a leader", async || self.holder().await.filter(|holder| accept(holder))).await
    }

    pub async fn until<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}; logs are in {}", self.plane.folder().join("logs").display());
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Waits until at least `count` of the pods are on a node; how many are.
    pub async fn bound(&self, count: usize) -> usize {
        let on_a_node = ListParams::default().fields("spec.nodeName!=");
        let bound = async || Some(self.pods().list_metadata(&on_a_node).await.ok()?.items.len());
        self.until(&format!("{count} pods are bound"), async || bound().await.filter(|bound| *bound >= count)).await
    }

    /// Waits until every pod is bound or waits for a true reason, keeping the replicas up; what is wrong when that does not come.
    pub async fn settled(&self, replicas: &mut [Replica]) -> Result<(), Vec<String>> {
        let begun = Instant::now();
        loop {
            replicas.iter_mut().for_each(Replica::keep);
            let lost = self.found().await.waiting(&self.matrix).1;
            if lost.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > SOON {
                return Err(lost);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub fn now() -> Timestamp {
    Timestamp::now()
}

fn pod(name: &str, random: &mut Random) -> Pod {
    let near = if random.share() < 0.6 { 5 + random.below(3) } else { 1 + random.below(u64::from(NODES)) };
    let bound_ms = random.pick(&["12", "17", "22", "22", "27"]).copied().unwrap_or("22");
    // One in forty asks for more than a node has.
    let cpu = if random.share() < 0.025 { "33" } else { "2" };
    let pod = json!({
        "metadata": {"name": name, "labels": {format!("delay_node-{near}"): bound_ms}},
        "spec": {"schedulerName": "edge-scheduler", "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": cpu}}}]},
    });
    serde_json::from_value(pod).unwrap()
}

/// Nodes on a line, 5 ms apart, a little more in one direction.
fn matrix(seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    let nodes = || 1..=NODES;
    let pairs = nodes().flat_map(|a| nodes().map(move |b| (a, b)));
    let rtt = pairs.map(|(a, b)| {
        let rtt_ms = if a == b { 0.0 } else { f64::from(a.abs_diff(b)) * 5.0 + random.share() };
        ((format!("node-{a}"), format!("node-{b}")), (rtt_ms * 100.0).round() / 100.0)
    });
    Matrix(rtt.collect())
}

fn csv(matrix: &Matrix) -> String {
    let names: Vec<String> = (1..=NODES).map(|i| format!("node-{i}")).collect();
    let row = |from: &String| {
        format!("{from},{}\n", names.iter().map(|to| matrix.0[&(from.clone(), to.clone())].to_string()).collect::<Vec<_>>().join(","))
    };
    format!("ms,{}\n{}", names.join(","), names.iter().map(row).collect::<String>())
}
