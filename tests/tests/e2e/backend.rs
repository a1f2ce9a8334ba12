//! Whose API server it is. Both are cleaned of nodes and pods before a test, and nobody plays the kubelets but the tests themselves.

use api::labels::SYSTEM_NAMESPACE;
use edge_demo::apiserver::{Observation, Options as ServerOptions, Server};
use edge_tests::control_plane::{ControlPlane, Kubelets, Options, PROGRAMS, Shared, client};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Mutex, MutexGuard};

/// Without controllers: node-lifecycle would taint nodes whose kubelet does not report.
static PLANE: Shared = Shared::new(Options { nodes: 0, kubelets: Kubelets::None, controllers: false, scheduler: false, audit: true });
/// Nodes belong to the whole cluster, so one test at a time has it.
static ALONE: Mutex<()> = Mutex::const_new(());

pub enum Backend {
    /// A server for each test.
    Embedded { server: Server, observed: UnboundedReceiver<Observation>, bound: BTreeMap<String, u32> },
    /// One for all tests; the audit log of this test begins at `audit_from`, in bytes.
    Real { plane: Arc<ControlPlane>, audit_from: usize, _alone: MutexGuard<'static, ()> },
}

impl Backend {
    /// The one that EDGE_E2E_BACKEND names.
    pub async fn start() -> Backend {
        match std::env::var("EDGE_E2E_BACKEND").as_deref() {
            Err(_) | Ok("embedded") => Self::embedded().await,
            Ok("real") => Self::real().await,
            Ok(other) => panic!("EDGE_E2E_BACKEND is \"embedded\" or \"real\", not {other:?}"),
        }
    }

    pub async fn embedded() -> Backend {
        let server = Server::start(ServerOptions { enforce_rbac: true, ..ServerOptions::default() }).await.expect("starts on loopback");
        let observed = server.subscribe();
        Backend::Embedded { server, observed, bound: BTreeMap::new() }
    }

    async fn real() -> Backend {
        let plane = PLANE.get("e2e").await.expect("EDGE_E2E_BACKEND=real needs the control plane: tests/control-plane/build");
        let alone = ALONE.lock().await;
        let admin = client(&plane.kubeconfig()).await.unwrap();
        wipe(&admin).await;
        let audit_from = std::fs::read(plane.audit_log()).map_or(0, |log| log.len());
        Backend::Real { plane, audit_from, _alone: alone }
    }

    /// The administrator's, written into `folder` where need be.
    pub fn admin_kubeconfig(&self, folder: &Path) -> PathBuf {
        match self {
            Backend::Embedded { server, .. } => {
                let path = folder.join("admin.kubeconfig");
                std::fs::write(&path, server.admin_kubeconfig()).unwrap();
                path
            }
            Backend::Real { plane, .. } => plane.kubeconfig(),
        }
    }

    /// A kubeconfig `<program>.kubeconfig` in `folder` for each program's service account, which has to exist.
    pub async fn write_kubeconfigs(&self, folder: &Path) {
        for program in PROGRAMS {
            let path = folder.join(format!("{program}.kubeconfig"));
            match self {
                Backend::Embedded { server, .. } => {
                    std::fs::write(path, server.service_account_kubeconfig(SYSTEM_NAMESPACE, program)).unwrap();
                }
                Backend::Real { plane, .. } => drop(std::fs::copy(plane.kubeconfig_of(program).await.unwrap(), path).unwrap()),
            }
        }
    }

    /// How often each pod's binding was accepted in this test, by the API server's own account.
    pub fn bindings(&mut self) -> BTreeMap<String, u32> {
        match self {
            Backend::Embedded { observed, bound, .. } => {
                while let Ok(observation) = observed.try_recv() {
                    if let Observation::Bound(binding) = observation {
                        *bound.entry(binding.name.clone()).or_default() += 1;
                    }
                }
                bound.clone()
            }
            Backend::Real { plane, audit_from, .. } => {
                let log = std::fs::read(plane.audit_log()).unwrap();
                let mut bound = BTreeMap::new();
                let entries = log[*audit_from..].split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
                for entry in
                    entries.filter(|entry| entry["objectRef"]["subresource"] == "binding" && entry["responseStatus"]["code"] == 201)
                {
                    *bound.entry(entry["objectRef"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
                }
                bound
            }
        }
    }

    /// The kubectl of the supported version, else the machine's.
    pub fn kubectl(&self) -> Option<PathBuf> {
        if let Backend::Real { plane, .. } = self {
            return Some(plane.folder().join("bin/kubectl"));
        }
        let built = edge_tests::control_plane::programs().ok().map(|folder| folder.join("kubectl"));
        let paths = std::env::var_os("PATH").unwrap_or_default();
        built.or_else(|| std::env::split_paths(&paths).map(|folder| folder.join("kubectl")).find(|path| path.exists()))
    }
}

/// Removes what earlier tests left on the cluster; the definitions, accounts and rights stay.
async fn wipe(client: &Client) {
    let ours = |kind: &str, plural: &str| resource("edge-scheduler.io", "v1alpha1", kind, plural);
    let cluster =
        [resource("", "v1", "Node", "nodes"), ours("NodeNetwork", "nodenetworks"), ours("BackupReservation", "backupreservations")];
    let namespaced = [
        resource("", "v1", "Pod", "pods"),
        resource("", "v1", "Service", "services"),
        resource("", "v1", "Event", "events"),
        resource("", "v1", "ConfigMap", "configmaps"),
        resource("", "v1", "Secret", "secrets"),
        resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
        resource("coordination.k8s.io", "v1", "Lease", "leases"),
        ours("EdgeLoadBalancer", "edgeloadbalancers"),
    ];
    let mut apis: Vec<Api<DynamicObject>> = cluster.iter().map(|kind| Api::all_with(client.clone(), kind)).collect();
    for namespace in ["default", SYSTEM_NAMESPACE] {
        apis.extend(namespaced.iter().map(|kind| Api::namespaced_with(client.clone(), namespace, kind)));
    }
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    // The API server's own Service comes back whoever removes it.
    let left = ListParams::default().fields("metadata.name!=kubernetes");
    for api in apis {
        match api.delete_collection(&at_once, &left).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {} // not defined yet
            Err(error) => panic!("cannot clean the cluster of {}: {error}", api.resource_url()),
        }
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource { group: group.into(), version: version.into(), api_version, kind: kind.into(), plural: plural.into() }
}
