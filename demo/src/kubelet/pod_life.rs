//! One pod on its node, from start to end: serve, say so, wait for the end, stop, delete.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::shutdown::Shutdown;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::serving::{PodServer, ServingSpec};
use super::{PORTS_ANNOTATION, pod_status};
use crate::wan::{Switch, address};

/// Where ports are taken from when the one asked for is taken: below the kernel's ephemeral range, above what programs listen on.
const SPARE_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What a pod is told to do; it starts with `Run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Run,
    /// Let requests finish for at most this long, then delete the pod.
    Terminate(Duration),
    /// End at once and tell nobody: the node is down, or the pod is gone.
    Vanish,
}

/// What all pods need.
pub(super) struct Context {
    pub client: Client,
    pub switch: Option<Arc<Switch>>,
    pub shutdown: Shutdown,
}

/// Ports that a pod serves on.
struct Listening {
    server: PodServer,
    /// Container port to the node's port.
    ports: BTreeMap<u16, u16>,
}

impl Context {
    /// Runs a pod until it is told to end.
    pub async fn live(&self, pod: Pod, node: usize, node_name: String, mut orders: watch::Receiver<Order>) {
        let address = address::public(node).to_string();
        let (listening, status) = match self.start(&pod, node, &node_name).await {
            Ok(listening) => (Some(listening), pod_status::running(&pod, &address, Timestamp::now())),
            Err(message) => (None, pod_status::waiting(&pod, &address, &message, Timestamp::now())),
        };
        let report = async {
            if let Some(listening) = &listening {
                self.publish_ports(&pod, &listening.ports).await;
            }
            self.patch_status(&pod, &status).await;
        };
        // An order to end does not wait for a slow API server.
        let order = tokio::select! {
            order = next_order(&mut orders) => order,
            () = async { report.await; std::future::pending().await } => Order::Vanish,
            () = self.shutdown.signalled() => Order::Vanish,
        };
        match order {
            Order::Terminate(grace) => {
                let stopped = async {
                    if let Some(listening) = listening {
                        self.stop(listening, node, grace).await;
                    }
                    self.delete(&pod).await;
                };
                tokio::select! {
                    () = stopped => {}
                    _ = orders.wait_for(|order| *order == Order::Vanish) => {}
                    () = self.shutdown.signalled() => {}
                }
            }
            Order::Vanish | Order::Run => {
                if let Some(listening) = listening {
                    self.stop(listening, node, Duration::ZERO).await;
                }
            }
        }
    }

    /// Reports that the node refuses a pod.
    pub async fn reject(&self, pod: &Pod, status: &PodStatus) {
        tokio::select! {
            () = self.patch_status(pod, status) => {}
            () = self.shutdown.signalled() => {}
        }
    }

    /// Deletes a pod for good.
    pub async fn delete(&self, pod: &Pod) {
        let api = self.pods(pod);
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let parameters = DeleteParams::default().grace_period(0).preconditions(preconditions);
        self.persist("deleting", pod, || async { api.delete(&pod.name_any(), &parameters).await.map(|_| ()) }).await;
    }

    async fn start(&self, pod: &Pod, node: usize, node_name: &str) -> Result<Listening, String> {
        let spec = ServingSpec::of(pod, node_name).map_err(|error| error.to_string())?;
        let wanted = spec.ports.clone();
        let mut listening = Listening { server: PodServer::new(spec), ports: BTreeMap::new() };
        for port in wanted {
            let opened = self.open(node, port).await;
            let (listener, got) = opened.map_err(|error| format!("container port {port} cannot be opened: {error}"))?;
            listening.server.listen(listener).map_err(|error| error.to_string())?;
            listening.ports.insert(port, got);
        }
        Ok(listening)
    }

    /// The port asked for, or, where another pod or program of the node has it, a spare one.
    async fn open(&self, node: usize, wanted: u16) -> io::Result<(TcpListener, u16)> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in std::iter::once(wanted).chain(SPARE_PORTS) {
            let at = SocketAddr::from(SocketAddrV4::new(address::private(node), port));
            match TcpListener::bind(at).await {
                Ok(listener) => {
                    let Some(switch) = &self.switch else { return Ok((listener, port)) };
                    match switch.listen_tcp(node, port).await {
                        Ok(()) => return Ok((listener, port)),
                        Err(error) => last = io::Error::other(error),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn stop(&self, listening: Listening, node: usize, grace: Duration) {
        if let Some(switch) = &self.switch {
            for port in listening.ports.values() {
                // A switch that has stopped has closed its ports.
                let _ = switch.close_tcp(node, *port).await;
            }
        }
        listening.server.stop(grace).await;
    }

    async fn publish_ports(&self, pod: &Pod, ports: &BTreeMap<u16, u16>) {
        let published = pod.annotations().get(PORTS_ANNOTATION);
        let annotation = ports.iter().any(|(wanted, got)| wanted != got).then(|| json!(ports).to_string());
        if published == annotation.as_ref() {
            return;
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": pod.uid(), "annotations": {PORTS_ANNOTATION: annotation}}}));
        let (api, name) = (self.pods(pod), pod.name_any());
        self.persist("annotating", pod, || async { api.patch(&name, &PatchParams::default(), &patch).await.map(|_| ()) }).await;
    }

    async fn patch_status(&self, pod: &Pod, status: &PodStatus) {
        let patch = Patch::Merge(json!({"metadata": {"uid": pod.uid()}, "status": status}));
        let (api, name) = (self.pods(pod), pod.name_any());
        self.persist("reporting on", pod, || async { api.patch_status(&name, &PatchParams::default(), &patch).await.map(|_| ()) }).await;
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }

    /// Repeats a call until it is done, or until repeating it is pointless: the pod is gone, another one has its name, or it is wrong.
    async fn persist<F: Future<Output = kube::Result<()>>>(&self, what: &str, pod: &Pod, call: impl Fn() -> F) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match call().await {
                Ok(()) => return,
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    tracing::warn!(pod = pod.name_any(), "{what} a pod was refused: {}", status.message);
                    return;
                }
                Err(error) => tracing::debug!(pod = pod.name_any(), %error, "{what} a pod failed"),
            }
            if !self.shutdown.sleep(backoff.delay()).await {
                return;
            }
        }
    }
}

async fn next_order(orders: &mut watch::Receiver<Order>) -> Order {
    // A runner that is gone has no more use for the pod.
    orders.wait_for(|order| *order != Order::Run).await.map_or(Order::Vanish, |order| *order)
}
