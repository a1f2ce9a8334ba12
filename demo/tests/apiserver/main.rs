//! The embedded API server, driven by the clients it is for: kube and kubectl.

#![allow(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

mod apply;
mod auth;
mod collections;
mod crd;
mod kubectl;
mod load;
mod pods;
mod requests;
mod watches;
mod writes;

use std::time::Duration;

use edge_demo::apiserver::{Options, Server};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

/// Longest that a test waits for anything.
const BOUND: Duration = Duration::from_secs(20);

/// A running server and a client that may do everything.
struct Cluster {
    server: Server,
    client: Client,
}

impl Cluster {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let server = Server::start(options).await.unwrap();
        let client = client(&server.admin_kubeconfig()).await;
        Self { server, client }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create_pod(&self, value: Value) -> Pod {
        self.pods().create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap()
    }

    async fn create_node(&self, name: &str) -> Node {
        let node = json!({ "metadata": { "name": name, "labels": { "topology.kubernetes.io/zone": "z1" } } });
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap()
    }
}

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // A refusal is what many tests wait for; retrying it would take minutes.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn pod(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{ "name": "c", "image": "registry.example/app:1" }] } })
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "k": value } })).unwrap()
}

/// The Status that a request failed with.
fn status<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected a Status, got {other:?}"),
    }
}

/// Waits until `condition` gives something.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + BOUND;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {BOUND:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
