//! A cluster of four nodes with RBAC enforced, and schedulers that run in it as they do anywhere: under their own service account, over HTTPS.

use crate::backend::Backend;
use api::labels::{SYSTEM_NAMESPACE, TOPOLOGY_CA_CONFIG_MAP, TOPOLOGY_CA_KEY};
use api::protocol::TOKEN_AUDIENCE;
use chassis::shutdown::Shutdown;
use chassis::tls::{ClientOptions, JsonClient, TokenSource};
use edge_demo::apiserver::Server;
use edge_scheduler::{Config, Running};
use edge_tests::control_plane::{client, established, token};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

/// Bound of every wait: far above what is needed, so that only what never comes fails.
pub const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// RTTs in ms; both directions differ between edge-1 and cloud-1.
pub const MATRIX: &str = "ms,edge-1,edge-2,edge-3,cloud-1\n\
    edge-1,0,4,20,31\n\
    edge-2,4,0,18,30\n\
    edge-3,20,18,0,28\n\
    cloud-1,31.2,30,28,0\n";

pub struct Cluster {
    pub backend: Backend,
    pub client: Client,
    pub folder: tempfile::TempDir,
}

/// One replica of the scheduler.
pub struct Replica {
    pub running: Running,
    pub shutdown: Shutdown,
}

impl Replica {
    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.shutdown.trigger();
        self.running.join().await.expect("it kept its lease");
    }
}

impl Cluster {
    /// On the backend that EDGE_E2E_BACKEND names.
    pub async fn start() -> Cluster {
        Self::on(Backend::start().await).await
    }

    /// For what only the embedded API server can do.
    pub async fn embedded() -> Cluster {
        Self::on(Backend::embedded().await).await
    }

    async fn on(backend: Backend) -> Cluster {
        let _ = tracing_subscriber::fmt().with_test_writer().with_env_filter(std::env::var("RUST_LOG").unwrap_or_default()).try_init();
        let folder = tempfile::tempdir().unwrap();
        let client = client(&backend.admin_kubeconfig(folder.path())).await.unwrap();
        let cluster = Cluster { backend, client, folder };
        cluster.install().await;
        cluster.backend.write_kubeconfigs(cluster.folder.path()).await;
        for (name, memory, role) in
            [("edge-1", "4Gi", "edge"), ("edge-2", "8Gi", "edge"), ("edge-3", "8Gi", "edge"), ("cloud-1", "64Gi", "cloud")]
        {
            cluster.add_node(name, memory, role).await;
        }
        cluster.write_matrix(MATRIX);
        cluster
    }

    /// The embedded API server.
    pub fn server(&self) -> &Server {
        match &self.backend {
            Backend::Embedded { server, .. } => server,
            Backend::Real { .. } => panic!("this test is for the embedded API server alone"),
        }
    }

    /// What `kubectl apply -k configs/` brings: namespace, definitions, accounts and rights.
    async fn install(&self) {
        let everywhere = || self.client.clone();
        let namespace: Namespace = from(json!({"metadata": {"name": SYSTEM_NAMESPACE}}));
        present(Api::all(everywhere()), &namespace).await;
        for definition in api::crd::definitions() {
            present(Api::all(everywhere()), &definition).await;
        }
        for (_, access) in api::rbac::programs() {
            present(Api::namespaced(everywhere(), SYSTEM_NAMESPACE), &access.service_account).await;
            present(Api::all(everywhere()), &access.cluster_role).await;
            present(Api::all(everywhere()), &access.cluster_role_binding).await;
            present(Api::namespaced(everywhere(), SYSTEM_NAMESPACE), &access.role).await;
            present(Api::namespaced(everywhere(), SYSTEM_NAMESPACE), &access.role_binding).await;
        }
        for definition in api::crd::definitions() {
            established(&self.client, &definition.name_any()).await.unwrap();
        }
    }

    pub async fn add_node(&self, name: &str, memory: &str, role: &str) {
        let node: Node = from(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/role": role}},
            "status": {
                "allocatable": {"cpu": "8", "memory": memory, "pods": "110"},
                "capacity": {"cpu": "8", "memory": memory, "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            },
        }));
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.create(&PostParams::default(), &node).await.unwrap();
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": node.status}))).await.unwrap();
    }

    pub fn matrix(&self) -> PathBuf {
        self.folder.path().join("matrix.csv")
    }

    pub fn write_matrix(&self, text: &str) {
        std::fs::write(self.matrix(), text).unwrap();
    }

    /// Of a program's service account, or of `admin`.
    pub fn kubeconfig(&self, who: &str) -> PathBuf {
        if who == "admin" {
            self.backend.admin_kubeconfig(self.folder.path())
        } else {
            self.folder.path().join(format!("{who}.kubeconfig"))
        }
    }

    /// RTTs from the matrix; ports of its own; no waiting for others where a test does not ask for it.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.client.kubeconfig = Some(self.kubeconfig("edge-scheduler"));
        config.client.qps = 0.0;
        config.admin_address = ([127, 0, 0, 1], 0).into();
        config.topology.address = ([127, 0, 0, 1], 0).into();
        config.topology.source = edge_scheduler::config::Source::Files;
        config.topology.matrix = Some(self.matrix());
        config.topology.poll_interval = Duration::from_millis(20).into();
        config.topology.object_interval = Duration::from_millis(300).into();
        config.leader_election.leader_elect = false;
        config.queue.initial_backoff = Duration::from_millis(100).into();
        config.queue.max_backoff = Duration::from_millis(400).into();
        config
    }

    pub async fn run(&self, config: Config) -> Replica {
        let shutdown = Shutdown::new();
        let running = edge_scheduler::start(config, shutdown.clone()).await.unwrap_or_else(|error| panic!("{error}"));
        Replica { running: running.expect("not shut down"), shutdown }
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// Creates a pod of ours that asks for `memory`; `change` may make it anything else.
    pub async fn create(&self, name: &str, memory: &str, labels: &[(&str, &str)], change: impl FnOnce(&mut Value)) {
        let labels: serde_json::Map<String, Value> = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let mut pod = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "schedulerName": "edge-scheduler",
                "containers": [{"name": "app", "image": "app", "resources": {"requests": {"memory": memory}}}],
            },
        });
        change(&mut pod);
        let pod: Pod = from(pod);
        // Connections may be cut on purpose: what is not there yet is made again.
        let made = async || match self.pods().create(&PostParams::default(), &pod).await {
            Ok(_) => Some(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Some(()),
            Err(kube::Error::Api(status)) => panic!("{name}: {}", status.message),
            Err(_) => None,
        };
        self.until(&format!("{name} is made"), made).await;
    }

    pub async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams { grace_period_seconds: Some(0), ..Default::default() }).await.unwrap();
    }

    pub async fn get(&self, name: &str) -> Pod {
        self.pods().get(name).await.unwrap()
    }

    pub async fn node_of(&self, name: &str) -> Option<String> {
        self.get(name).await.spec.unwrap().node_name
    }

    /// Waits until the pod is bound; the node.
    pub async fn bound(&self, name: &str) -> String {
        self.until(&format!("{name} is bound"), async || self.node_of(name).await).await
    }

    pub async fn check_bound(&self, name: &str, node: &str) {
        assert_eq!(self.bound(name).await, node, "{name}");
    }

    /// What the pods' versions are counted from that are written from now on.
    pub async fn version(&self) -> String {
        self.pods().list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap()
    }

    /// The nominated node in each state of a pod since that version until it was bound.
    pub async fn nominations(&self, pod: &str, version: &str) -> Vec<Option<String>> {
        let only = WatchParams::default().fields(&format!("metadata.name={pod}"));
        let mut states = pin!(self.pods().watch(&only, version).await.unwrap());
        let mut nominations = Vec::new();
        let bound = async {
            while let Some(event) = states.try_next().await.unwrap() {
                let (WatchEvent::Added(state) | WatchEvent::Modified(state)) = event else { continue };
                nominations.push(state.status.and_then(|status| status.nominated_node_name));
                if state.spec.is_some_and(|spec| spec.node_name.is_some()) {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, bound).await.unwrap_or_else(|_| panic!("{pod} is not bound"));
        nominations
    }

    /// Waits until the condition PodScheduled is False with this message.
    pub async fn check_waits(&self, name: &str, message: &str) {
        let waits = async || {
            let (reason, found) = self.condition(name).await?;
            let why = found.split_once(" preemption: ").map_or(found.as_str(), |(why, _)| why);
            (reason == "Unschedulable" && why == message).then_some(())
        };
        if tokio::time::timeout(LIMIT, self.poll(waits)).await.is_err() {
            panic!("{name}: {:?} is not {message:?}", self.condition(name).await);
        }
        assert_eq!(self.node_of(name).await, None, "{name}");
    }

    /// Reason and message of PodScheduled.
    pub async fn condition(&self, name: &str) -> Option<(String, String)> {
        let conditions = self.get(name).await.status?.conditions?;
        let found = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled")?;
        Some((found.reason.unwrap_or_default(), found.message.unwrap_or_default()))
    }

    /// The events about a pod with this reason.
    pub async fn events(&self, pod: &str, reason: &str) -> Vec<Event> {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        let all = events.list(&ListParams::default()).await.unwrap();
        let about = |event: &Event| event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(pod));
        all.items.into_iter().filter(|event| about(event) && event.reason.as_deref() == Some(reason)).collect()
    }

    /// Waits for an event; its note.
    pub async fn note(&self, pod: &str, reason: &str) -> String {
        self.until(&format!("event {reason} of {pod}"), async || self.events(pod, reason).await.pop()?.note).await
    }

    /// Polls until there is an answer, up to the limit.
    pub async fn until<T>(&self, what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
        tokio::time::timeout(LIMIT, self.poll(probe)).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
    }

    async fn poll<T>(&self, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A token of a program's account for the topology service; with `node` as the program's pod there has it, which is made.
    pub async fn topology_token(&self, program: &str, node: Option<&str>) -> String {
        let mut made = None;
        if let Some(node) = node {
            let name = format!("{program}-{node}");
            let spec = json!({"nodeName": node, "serviceAccountName": program, "containers": [{"name": "main", "image": program}]});
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
            present(pods.clone(), &from(json!({"metadata": {"name": name}, "spec": spec}))).await;
            made = Some(pods.get(&name).await.unwrap());
        }
        token(&self.client, program, Some(TOKEN_AUDIENCE), made.as_ref()).await.unwrap()
    }

    /// A client of the topology service with such a token.
    pub async fn topology_client(&self, program: &str, node: Option<&str>) -> JsonClient {
        let token = self.topology_token(program, node).await;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let ca_pem = maps.get(TOPOLOGY_CA_CONFIG_MAP).await.unwrap().data.unwrap()[TOPOLOGY_CA_KEY].clone();
        JsonClient::new(&ClientOptions { ca_pem, ..Default::default() }, Some(TokenSource::fixed(&token)), LIMIT).unwrap()
    }

    /// Waits until so many pods were bound; none of them was bound twice.
    pub async fn check_bound_once(&mut self, pods: usize) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        let mut bound = self.backend.bindings();
        while bound.len() < pods && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            bound = self.backend.bindings();
        }
        assert!(bound.len() == pods && bound.values().all(|count| *count == 1), "{bound:?}");
    }

    /// Where every bound pod is, by name.
    pub async fn placements(&self) -> Vec<(String, Option<String>)> {
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        pods.items.into_iter().map(|pod| (pod.name_any(), pod.spec.unwrap().node_name)).collect()
    }
}

pub fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Creates it unless it is there.
async fn present<K>(api: Api<K>, object: &K)
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        created => drop(created.unwrap()),
    }
}
