//! The runner: registers all nodes, keeps their leases, follows the bound pods, and fails and heals nodes on request.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::shutdown::Shutdown;
use chassis::watches::{Change, watch};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch as state};

use super::assignments::{Assignments, Decision};
use super::node_object::{self, LEASE_NAMESPACE};
use super::pod_life::{Context, Order};
use super::pod_status;
use crate::wan::Switch;
use crate::world::World;

/// Calls in flight while nodes register: enough to hide the round trip, too few to be a burst.
const REGISTRATIONS_AT_ONCE: usize = 16;

/// How the kubelets behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a node renews its lease.
    pub renew_every: Duration,
    /// How long a lease holds, in seconds; the node lifecycle controller judges by it.
    pub lease_duration_s: i32,
}

impl Default for Settings {
    /// The kubelet's own figures.
    fn default() -> Self {
        Settings { renew_every: Duration::from_secs(10), lease_duration_s: 40 }
    }
}

/// Why the kubelets could not start or obey.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum KubeletError {
    #[error("node {node} cannot be registered")]
    Register {
        node: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("there is no node {node:?}")]
    NoNode { node: String },
    #[error("the kubelets have stopped")]
    Stopped,
    #[error("node {node} cannot take up its work again")]
    Heal {
        node: String,
        #[source]
        source: Box<kube::Error>,
    },
}

/// All simulated kubelets, running until shutdown.
pub struct Kubelets {
    commands: mpsc::UnboundedSender<Command>,
    world: Arc<World>,
}

enum Command {
    Fail { node: usize, done: oneshot::Sender<()> },
    Heal { node: usize, done: oneshot::Sender<Result<(), KubeletError>> },
}

impl Kubelets {
    /// Registers every node of the world and runs its kubelet. Returns when all nodes are registered; the rest ends with `shutdown`.
    pub async fn start(
        client: Client,
        world: Arc<World>,
        switch: Option<Arc<Switch>>,
        settings: Settings,
        shutdown: Shutdown,
    ) -> Result<Kubelets, KubeletError> {
        let registrations = (0..world.len()).map(|index| register(&client, &world, index, settings.lease_duration_s));
        futures::stream::iter(registrations).buffer_unordered(REGISTRATIONS_AT_ONCE).try_for_each(|()| async { Ok(()) }).await?;

        let (commands, receiver) = mpsc::unbounded_channel();
        let down = Arc::new(Mutex::new(HashSet::new()));
        shutdown.spawn(renew_leases(client.clone(), world.clone(), settings, down.clone(), shutdown.clone()));
        let context = Arc::new(Context { client, switch, shutdown: shutdown.clone() });
        let runner = Runner { assignments: Assignments::new(&world), world: world.clone(), context, down, pods: HashMap::new() };
        shutdown.spawn(runner.run(receiver));
        Ok(Kubelets { commands, world })
    }

    /// Takes a node down with everything on it: no lease, no answer, no network. Returns when it is dark.
    pub async fn fail(&self, node: &str) -> Result<(), KubeletError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Fail { node: self.index(node)?, done })?;
        answer.await.map_err(|_| KubeletError::Stopped)
    }

    /// Brings a node back; it takes its pods up again.
    pub async fn heal(&self, node: &str) -> Result<(), KubeletError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Heal { node: self.index(node)?, done })?;
        answer.await.map_err(|_| KubeletError::Stopped)?
    }

    fn index(&self, node: &str) -> Result<usize, KubeletError> {
        self.world.index_of(node).ok_or_else(|| KubeletError::NoNode { node: node.to_owned() })
    }

    fn send(&self, command: Command) -> Result<(), KubeletError> {
        self.commands.send(command).map_err(|_| KubeletError::Stopped)
    }
}

/// Creates Node and lease, or takes over what is left of an earlier run.
async fn register(client: &Client, world: &World, index: usize, lease_duration_s: i32) -> Result<(), KubeletError> {
    let node = &world.nodes[index];
    let failed = |source| KubeletError::Register { node: node.name.clone(), source: Box::new(source) };
    let now = Timestamp::now();
    let nodes: Api<Node> = Api::all(client.clone());
    let object = node_object::node(index, node, now);
    match nodes.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let labels = json!({"metadata": {"labels": object.metadata.labels}});
            nodes.patch(&node.name, &PatchParams::default(), &Patch::Merge(labels)).await.map_err(failed)?;
            post_ready(client, world, index).await.map_err(failed)?;
        }
        created => drop(created.map_err(failed)?),
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    match leases.create(&PostParams::default(), &node_object::lease(&node.name, lease_duration_s, now)).await {
        Err(kube::Error::Api(status)) if status.code == 409 => renew(client, &node.name).await.map_err(failed),
        created => created.map(drop).map_err(failed),
    }
}

/// Says that the node is well: the kubelet's status update.
async fn post_ready(client: &Client, world: &World, index: usize) -> kube::Result<()> {
    let node = &world.nodes[index];
    let status = node_object::status(index, node, Timestamp::now());
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch_status(&node.name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.map(drop)
}

async fn renew(client: &Client, node: &str) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"renewTime": MicroTime(Timestamp::now())}}));
    leases.patch(node, &PatchParams::default(), &patch).await.map(drop)
}

/// Renews one lease after the other, spread evenly over the interval.
async fn renew_leases(client: Client, world: Arc<World>, settings: Settings, down: Arc<Mutex<HashSet<usize>>>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(settings.renew_every / world.len().max(1) as u32);
    for index in (0..world.len()).cycle() {
        if shutdown.interrupt(ticks.tick()).await.is_none() {
            return;
        }
        if down.lock().unwrap_or_else(PoisonError::into_inner).contains(&index) {
            continue;
        }
        let node = &world.nodes[index].name;
        match shutdown.interrupt(renew(&client, node)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(node, %error, "lease not renewed"),
        }
    }
}

struct Runner {
    world: Arc<World>,
    context: Arc<Context>,
    assignments: Assignments,
    down: Arc<Mutex<HashSet<usize>>>,
    /// Orders of the pods that run, by UID.
    pods: HashMap<String, state::Sender<Order>>,
}

impl Runner {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let pods: Api<Pod> = Api::all(self.context.client.clone());
        // Pods without a node are nobody's: they are most of the traffic while many wait.
        let bound = watcher::Config::default().fields("spec.nodeName!=");
        let shutdown = self.context.shutdown.clone();
        let (_, changes) = watch(pods, bound, "pods", &shutdown);
        let mut changes = std::pin::pin!(changes);
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    None => return,
                    Some(Change::Apply(pod)) => self.observe(pod),
                    Some(Change::Delete(pod)) => {
                        let uid = pod.uid().unwrap_or_default();
                        self.assignments.forget(&uid);
                        self.order(&uid, Order::Vanish);
                    }
                    Some(Change::Reset(pods)) => {
                        let listed = pods.iter().filter_map(|pod| pod.uid()).collect();
                        for uid in self.assignments.retain(&listed) {
                            self.order(&uid, Order::Vanish);
                        }
                        pods.into_iter().for_each(|pod| self.observe(pod));
                    }
                },
                Some(command) = commands.recv() => match command {
                    Command::Fail { node, done } => {
                        self.fail(node);
                        let _ = done.send(());
                    }
                    Command::Heal { node, done } => {
                        let _ = done.send(self.heal(node).await);
                    }
                },
            }
        }
    }

    fn observe(&mut self, pod: Pod) {
        let model = api::convert::pod(&pod);
        match self.assignments.observe(&model) {
            Decision::Ignore => {}
            Decision::Run(node) => {
                let (order, orders) = state::channel(Order::Run);
                self.pods.insert(model.uid, order);
                let (context, name) = (self.context.clone(), self.world.nodes[node].name.clone());
                self.context.shutdown.spawn(async move { context.live(pod, node, name, orders).await });
            }
            Decision::Reject(rejection) => {
                let status = pod_status::rejected(&pod, &rejection, Timestamp::now());
                let context = self.context.clone();
                self.context.shutdown.spawn(async move { context.reject(&pod, &status).await });
            }
            Decision::Terminate => {
                let grace_s = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
                let grace = Duration::from_secs(u64::try_from(grace_s).unwrap_or(0));
                if let Some(order) = self.pods.get(&model.uid) {
                    // Only the first counts: later updates of a terminating pod don't lengthen its time.
                    order.send_if_modified(|order| {
                        let is_first = *order == Order::Run;
                        if is_first {
                            *order = Order::Terminate(grace);
                        }
                        is_first
                    });
                }
            }
            Decision::Remove => {
                let context = self.context.clone();
                self.context.shutdown.spawn(async move { context.delete(&pod).await });
            }
            Decision::Drop => self.order(&model.uid, Order::Vanish),
        }
    }

    /// The last order of a pod.
    fn order(&mut self, uid: &str, order: Order) {
        if let Some(orders) = self.pods.remove(uid) {
            // A pod that has ended listens no more.
            let _ = orders.send(order);
        }
    }

    fn fail(&mut self, node: usize) {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
        self.set_down(node, true);
        for uid in self.assignments.fail(node) {
            self.order(&uid, Order::Vanish);
        }
    }

    async fn heal(&mut self, node: usize) -> Result<(), KubeletError> {
        self.set_down(node, false);
        self.assignments.heal(node);
        self.down.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        let name = self.world.nodes[node].name.clone();
        let failed = |source| KubeletError::Heal { node: name.clone(), source: Box::new(source) };
        renew(&self.context.client, &name).await.map_err(failed)?;
        post_ready(&self.context.client, &self.world, node).await.map_err(failed)?;
        let pods: Api<Pod> = Api::all(self.context.client.clone());
        // The watch tells of changes alone, and these pods did not change while the node was away.
        for pod in pods.list(&ListParams::default().fields(&format!("spec.nodeName={name}"))).await.map_err(failed)? {
            self.observe(pod);
        }
        Ok(())
    }

    fn set_down(&self, node: usize, is_down: bool) {
        if let Some(switch) = &self.context.switch
            && let Err(error) = switch.links().set_node_down(node, is_down)
        {
            tracing::error!(node, %error, "the WAN does not know a node of the world");
        }
    }
}
