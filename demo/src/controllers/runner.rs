//! The loop around the controllers: watches in, caches up to date, the controllers that a change concerns, actions out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chassis::shutdown::Shutdown;
use chassis::watches::{Change, watch};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;

use super::action::{Action, Kind};
use super::cache::{Cache, key};
use super::{deployment, disruption, endpoint_slice, node_lifecycle, replica_set};

/// Changes taken in before the controllers look again: a burst costs one look, not hundreds.
const BATCH: usize = 512;
/// Calls in flight at once.
const CALLS_AT_ONCE: usize = 16;

/// How the controllers behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a node may be silent before it is unknown.
    pub node_grace: Duration,
    /// How often leases are looked at.
    pub node_period: Duration,
}

impl Default for Settings {
    /// kube-controller-manager's figures before it allowed ten seconds more.
    fn default() -> Self {
        Settings { node_grace: Duration::from_secs(40), node_period: Duration::from_secs(1) }
    }
}

/// What one controller has to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Deployment(String, String),
    ReplicaSet(String, String),
    Service(String, String),
    Budget(String, String),
    Node(String),
}

enum Event {
    Deployment(Change<Deployment>),
    ReplicaSet(Change<ReplicaSet>),
    Pod(Change<Pod>),
    Service(Change<Service>),
    EndpointSlice(Change<EndpointSlice>),
    Node(Change<Node>),
    Lease(Change<Lease>),
    Budget(Change<PodDisruptionBudget>),
}

/// All controllers.
pub struct Controllers {
    client: Client,
    settings: Settings,
    deployments: Cache<Deployment>,
    replica_sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    budgets: Cache<PodDisruptionBudget>,
    work: BTreeSet<Work>,
}

impl Controllers {
    /// Starts the controllers; they end with `shutdown`.
    pub fn start(client: Client, settings: Settings, shutdown: &Shutdown) {
        let controllers = Controllers {
            client,
            settings,
            deployments: Cache::default(),
            replica_sets: Cache::default(),
            pods: Cache::default(),
            services: Cache::default(),
            slices: Cache::default(),
            nodes: Cache::default(),
            leases: Cache::default(),
            budgets: Cache::default(),
            work: BTreeSet::new(),
        };
        shutdown.spawn(controllers.run(shutdown.clone()));
    }

    async fn run(mut self, shutdown: Shutdown) {
        let mut events = self.watches(&shutdown).ready_chunks(BATCH);
        let mut looks_at_nodes = tokio::time::interval(self.settings.node_period);
        looks_at_nodes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.signalled() => return,
                batch = events.next() => match batch {
                    None => return,
                    Some(batch) => batch.into_iter().for_each(|event| self.observe(event)),
                },
                _ = looks_at_nodes.tick() => self.work.extend(self.nodes.all().map(|node| Work::Node(node.name_any()))),
            }
            if self.is_synced() && shutdown.interrupt(self.work_off()).await.is_none() {
                return;
            }
        }
    }

    fn watches(&self, shutdown: &Shutdown) -> SelectAll<BoxStream<'static, Event>> {
        fn follow<K>(client: &Client, name: &str, shutdown: &Shutdown, wrap: fn(Change<K>) -> Event) -> BoxStream<'static, Event>
        where
            K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
        {
            let (_, changes) = watch(Api::<K>::all(client.clone()), watcher::Config::default(), name, shutdown);
            changes.map(wrap).boxed()
        }
        let client = &self.client;
        stream::select_all([
            follow(client, "deployments", shutdown, Event::Deployment),
            follow(client, "replicasets", shutdown, Event::ReplicaSet),
            follow(client, "pods", shutdown, Event::Pod),
            follow(client, "services", shutdown, Event::Service),
            follow(client, "endpointslices", shutdown, Event::EndpointSlice),
            follow(client, "nodes", shutdown, Event::Node),
            follow(client, "leases", shutdown, Event::Lease),
            follow(client, "poddisruptionbudgets", shutdown, Event::Budget),
        ])
    }

    fn is_synced(&self) -> bool {
        self.deployments.is_synced
            && self.replica_sets.is_synced
            && self.pods.is_synced
            && self.services.is_synced
            && self.slices.is_synced
            && self.nodes.is_synced
            && self.leases.is_synced
            && self.budgets.is_synced
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::Deployment(change) => {
                for object in self.deployments.apply(change) {
                    let (namespace, name) = key(object.as_ref());
                    self.work.insert(Work::Deployment(namespace, name));
                }
            }
            Event::ReplicaSet(change) => {
                for object in self.replica_sets.apply(change) {
                    self.concerns_set(&object);
                }
            }
            Event::Pod(change) => {
                for object in self.pods.apply(change) {
                    self.concerns_pod(&object);
                }
            }
            Event::Service(change) => {
                for object in self.services.apply(change) {
                    let (namespace, name) = key(object.as_ref());
                    self.work.insert(Work::Service(namespace, name));
                }
            }
            Event::EndpointSlice(change) => {
                for object in self.slices.apply(change) {
                    self.concerns_owner(object.as_ref());
                }
            }
            Event::Node(change) => self.work.extend(self.nodes.apply(change).iter().map(|node| Work::Node(node.name_any()))),
            // Leases are looked at by the clock.
            Event::Lease(change) => drop(self.leases.apply(change)),
            Event::Budget(change) => {
                for object in self.budgets.apply(change) {
                    let (namespace, name) = key(object.as_ref());
                    self.work.insert(Work::Budget(namespace, name));
                }
            }
        }
    }

    fn concerns_set(&mut self, set: &ReplicaSet) {
        let (namespace, name) = key(set);
        self.concerns_owner(set);
        self.concerns_budgets(&namespace);
        self.work.insert(Work::ReplicaSet(namespace, name));
    }

    fn concerns_pod(&mut self, pod: &Pod) {
        let namespace = pod.namespace().unwrap_or_default();
        self.concerns_owner(pod);
        self.concerns_budgets(&namespace);
        let services = self.services.within(&namespace).filter(|service| endpoint_slice::selects(service, pod));
        self.work.extend(services.map(|service| Work::Service(namespace.clone(), service.name_any())));
        // A pod that turns ready on a node that is not.
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone())
            && replica_set::is_ready(pod)
        {
            self.work.insert(Work::Node(node));
        }
    }

    fn concerns_owner(&mut self, object: &impl ResourceExt) {
        let namespace = object.namespace().unwrap_or_default();
        for owner in object.owner_references().iter().filter(|owner| owner.controller == Some(true)) {
            let work = match owner.kind.as_str() {
                "Deployment" => Work::Deployment,
                "ReplicaSet" => Work::ReplicaSet,
                "Service" => Work::Service,
                _ => continue,
            };
            self.work.insert(work(namespace.clone(), owner.name.clone()));
        }
    }

    fn concerns_budgets(&mut self, namespace: &str) {
        let budgets = self.budgets.within(namespace);
        self.work.extend(budgets.map(|budget| Work::Budget(namespace.to_owned(), budget.name_any())));
    }

    /// Looks at everything that changes concern, once: what follows from the own actions comes through caches and watches.
    async fn work_off(&mut self) {
        let now = Timestamp::now();
        let mut actions = Vec::new();
        for work in std::mem::take(&mut self.work) {
            actions.extend(self.look(&work, now).into_iter().map(|action| (work.clone(), action)));
        }
        let client = &self.client;
        let results: Vec<_> = stream::iter(actions)
            .map(|(work, action)| async move {
                let result = action.execute(client).await;
                (work, action, result)
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .collect()
            .await;
        for (work, action, result) in results {
            match result {
                Ok(Some(object)) => self.put(action.kind(), object),
                Ok(None) => {}
                // Changed or gone meanwhile: the watch tells what is now.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) && !matches!(action, Action::Create { .. }) => {}
                Err(error) => {
                    tracing::warn!(?work, %error, "a controller's write failed and is tried again");
                    self.work.insert(work);
                }
            }
        }
    }

    fn look(&self, work: &Work, now: Timestamp) -> Vec<Action> {
        match work {
            Work::Deployment(namespace, name) => match self.deployments.get(namespace, name) {
                Some(object) => deployment::reconcile(object, self.replica_sets.within(namespace), now),
                None => Vec::new(),
            },
            Work::ReplicaSet(namespace, name) => match self.replica_sets.get(namespace, name) {
                Some(object) => replica_set::reconcile(object, self.pods.within(namespace)),
                None => Vec::new(),
            },
            Work::Service(namespace, name) => match self.services.get(namespace, name) {
                Some(object) => {
                    let node = |name: &str| self.nodes.get("", name).cloned();
                    endpoint_slice::reconcile(object, self.pods.within(namespace), self.slices.within(namespace), node)
                }
                None => Vec::new(),
            },
            Work::Budget(namespace, name) => self
                .budgets
                .get(namespace, name)
                .and_then(|object| disruption::reconcile(object, self.pods.within(namespace), self.replica_sets.within(namespace), now))
                .into_iter()
                .collect(),
            Work::Node(name) => match self.nodes.get("", name) {
                Some(object) => {
                    let lease = self.leases.get("kube-node-lease", name).map(Arc::as_ref);
                    let bound = |pod: &&Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name.as_str());
                    node_lifecycle::reconcile(object, lease, self.pods.all().filter(bound), self.settings.node_grace, now)
                }
                None => Vec::new(),
            },
        }
    }

    /// Takes in what the API server answered to a write.
    fn put(&mut self, kind: Kind, object: DynamicObject) {
        fn parse<K: DeserializeOwned>(object: DynamicObject) -> Option<Change<K>> {
            serde_json::to_value(object).and_then(serde_json::from_value).ok().map(Change::Apply)
        }
        let event = match kind {
            Kind::Deployment => parse(object).map(Event::Deployment),
            Kind::ReplicaSet => parse(object).map(Event::ReplicaSet),
            Kind::Pod => parse(object).map(Event::Pod),
            Kind::EndpointSlice => parse(object).map(Event::EndpointSlice),
            Kind::Node => parse(object).map(Event::Node),
            Kind::PodDisruptionBudget => parse(object).map(Event::Budget),
        };
        if let Some(event) = event {
            self.observe(event);
        }
    }
}
