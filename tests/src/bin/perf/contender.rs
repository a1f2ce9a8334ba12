//! What is measured: kube-scheduler, edge-scheduler, and the floor, each a process that is ready and waits until it may begin. The schedulers stand by for
//! a lease that this program holds: their caches are warm, as those of a replica that does not lead.

use crate::floor;
use crate::process::Process;
use anyhow::{Context as _, Result, bail};
use api::labels::{SCHEDULER, SCHEDULER_NAME, SYSTEM_NAMESPACE};
use edge_tests::control_plane::{ControlPlane, root};
use edge_tests::http;
use futures::TryStreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::time::Instant;

/// Who has the lease before it may lead.
const HOLDER: &str = "perf";

/// Calls a second that each of them may make.
const QPS: u32 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Kube,
    Edge,
    /// A client that decides nothing and only posts bindings, and events.
    Floor {
        events: bool,
    },
}

impl Contender {
    pub fn name(self) -> &'static str {
        match self {
            Contender::Kube => "kube-scheduler",
            Contender::Edge => "edge-scheduler",
            Contender::Floor { events: true } => "floor, bindings and events",
            Contender::Floor { events: false } => "floor, bindings alone",
        }
    }

    /// Pods that it takes have this schedulerName.
    pub fn scheduler_name(self) -> &'static str {
        match self {
            Contender::Kube => "default-scheduler",
            Contender::Edge => SCHEDULER_NAME,
            Contender::Floor { .. } => floor::SCHEDULER_NAME,
        }
    }

    /// Namespace and name of the lease that a leader holds.
    fn lease(self) -> Option<(&'static str, &'static str)> {
        match self {
            Contender::Kube => Some(("kube-system", "kube-scheduler")),
            Contender::Edge => Some((SYSTEM_NAMESPACE, SCHEDULER)),
            Contender::Floor { .. } => None,
        }
    }
}

/// A contender that runs.
pub struct Running {
    pub process: Process,
    contender: Contender,
    /// Where it serves /metrics.
    metrics: SocketAddr,
}

impl Running {
    /// Starts it; it does not lead before [`Self::begin`]. `matrix` is edge-scheduler's file of RTTs.
    pub async fn stand_by(plane: &ControlPlane, contender: Contender, matrix: Option<&Path>) -> Result<Running> {
        if let Some((namespace, name)) = contender.lease() {
            hold(&plane.client().await?, namespace, name).await?;
        }
        // Nobody else is given it in between: the system hands such ports out in turn.
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let command = match contender {
            Contender::Kube => kube_scheduler(plane, metrics)?,
            Contender::Edge => edge_scheduler(plane, metrics, matrix).await?,
            Contender::Floor { events } => floor::command(&plane.kubeconfig_of(SCHEDULER).await?, events)?,
        };
        let log = plane.folder().join(format!("logs/{}.log", contender.name().replace([' ', ','], "-")));
        Ok(Running { process: Process::start(command, &log)?, contender, metrics })
    }

    /// Lets it lead.
    pub async fn begin(&mut self, admin: &Client) -> Result<()> {
        match self.contender.lease() {
            Some((namespace, name)) => release(admin, namespace, name).await,
            None => self.process.write("begin\n"),
        }
    }

    /// Since when it leads.
    pub async fn leads(&self, admin: &Client) -> Result<Instant> {
        let Some((namespace, name)) = self.contender.lease() else { return Ok(Instant::now()) };
        let lease = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = pin!(watcher(Api::<Lease>::namespaced(admin.clone(), namespace), lease).default_backoff().applied_objects());
        loop {
            let lease = changes.try_next().await?.context("the watch of the lease ended")?;
            if lease.spec.and_then(|spec| spec.holder_identity).is_some_and(|holder| !holder.is_empty() && holder != HOLDER) {
                return Ok(Instant::now());
            }
        }
    }

    /// What it serves at /metrics.
    pub async fn metrics(&self, plane: &ControlPlane) -> Result<String> {
        match self.contender {
            Contender::Kube => {
                let options = KubeConfigOptions::default();
                let mut config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(plane.kubeconfig())?, &options).await?;
                config.cluster_url = format!("https://{}", self.metrics).parse()?;
                Ok(Client::try_from(config)?.request_text(::http::Request::get("/metrics").body(Vec::new())?).await?)
            }
            Contender::Edge => Ok(http::get(self.metrics, "localhost", "/metrics").await.body),
            Contender::Floor { .. } => Ok(String::new()),
        }
    }
}

fn kube_scheduler(plane: &ControlPlane, metrics: SocketAddr) -> Result<Command> {
    let pki = |name: &str| plane.folder().join("pki").join(name);
    let own = pki("kube-scheduler.conf");
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": own, "qps": QPS, "burst": QPS},
        "leaderElection": {"leaderElect": true},
    });
    let mut command = Command::new(plane.folder().join("bin/kube-scheduler"));
    command.arg("--config").arg(written(plane, "kube-scheduler.yaml", &config)?);
    command.args(["--bind-address", "127.0.0.1", "--secure-port", &metrics.port().to_string()]);
    command.arg("--authentication-kubeconfig").arg(&own).arg("--authorization-kubeconfig").arg(&own);
    command.arg("--tls-cert-file").arg(pki("server.crt")).arg("--tls-private-key-file").arg(pki("server.key"));
    Ok(command)
}

async fn edge_scheduler(plane: &ControlPlane, metrics: SocketAddr, matrix: Option<&Path>) -> Result<Command> {
    // As it is in the image.
    let program = root().join("target/dist/edge-scheduler");
    if !program.exists() {
        bail!("{} is missing: cargo build --profile dist --bin edge-scheduler", program.display());
    }
    let source = if matrix.is_some() { "files" } else { "agents" };
    let config = json!({
        "client": {"kubeconfig": plane.kubeconfig_of(SCHEDULER).await?, "qps": QPS, "burst": QPS},
        "adminAddress": metrics,
        "placement": {"undelayed": "any"},
        // Nodes are described once, not for every pod: not within a measurement.
        "topology": {"address": "127.0.0.1:0", "source": source, "matrix": matrix, "objectInterval": "24h"},
    });
    let mut command = Command::new(program);
    command.arg("--config").arg(written(plane, "edge-scheduler.yaml", &config)?);
    let image = std::fs::read_to_string(root().join("Dockerfile"))?;
    command.envs(image.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('=')));
    Ok(command)
}

/// JSON is YAML.
fn written(plane: &ControlPlane, name: &str, config: &Value) -> Result<PathBuf> {
    let path = plane.folder().join(name);
    std::fs::write(&path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

async fn hold(admin: &Client, namespace: &str, name: &str) -> Result<()> {
    let now = Some(MicroTime(k8s_openapi::jiff::Timestamp::now()));
    let spec = LeaseSpec {
        holder_identity: Some(HOLDER.into()),
        lease_duration_seconds: Some(24 * 3600),
        acquire_time: now.clone(),
        renew_time: now,
        ..LeaseSpec::default()
    };
    let lease = Lease { metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }, spec: Some(spec) };
    Api::namespaced(admin.clone(), namespace).create(&PostParams::default(), &lease).await?;
    Ok(())
}

async fn release(admin: &Client, namespace: &str, name: &str) -> Result<()> {
    let free = json!({"spec": {"holderIdentity": null, "leaseDurationSeconds": 1}});
    let leases: Api<Lease> = Api::namespaced(admin.clone(), namespace);
    leases.patch(name, &PatchParams::default(), &Patch::Merge(&free)).await?;
    Ok(())
}
