//! The one task that owns the state: changes come in, a table goes out, at most ten times a second.

use super::{Built, Event, Inputs, Rates, Registry, State, Verdict, build, objects::Key};
use crate::{
    config::Config,
    demand::Reported,
    proxy::Shared,
    table::RoutingTable,
    topology::{Changed, TopologyView},
};
use api::{
    crd::{EdgeLoadBalancer, EdgeLoadBalancerStatus},
    protocol::StreamEvent,
};
use chassis::{shutdown::Shutdown, watches::Watches};
use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::Api;
use placement::units::Span;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// Changes gather for so long before a table is made.
const GATHER: Duration = Duration::from_millis(20);
/// Tables are at least so far apart.
const APART: Duration = Duration::from_millis(100);
/// A measurement may grow too old without any event: looked at this often.
const AGES: Duration = Duration::from_secs(5);

/// What is known of an EdgeLoadBalancer, for who writes its status.
#[derive(Clone, Debug)]
pub struct Judged {
    pub verdict: Verdict,
    /// Index into the table's load balancers.
    pub index: usize,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The status as the API server has it.
    pub status: Option<EdgeLoadBalancerStatus>,
}

/// A table with the verdicts that belong to it.
#[derive(Clone, Debug, Default)]
pub struct Published {
    pub table: Arc<RoutingTable>,
    pub judged: Arc<BTreeMap<Key, Judged>>,
}

/// The watches that routing depends on, as one stream. It ends with shutdown.
pub fn watch_all(client: &kube::Client, config: &Config, watches: &Watches, shutdown: &Shutdown) -> BoxStream<'static, Event> {
    let watcher = || config.watches.watcher();
    let load_balancers: Api<EdgeLoadBalancer> = Api::all(client.clone());
    let services: Api<Service> = Api::all(client.clone());
    let slices: Api<EndpointSlice> = Api::all(client.clone());
    let pods: Api<Pod> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    futures::stream::select_all([
        watches.watch(load_balancers, watcher(), "edgeloadbalancers", shutdown).map(Event::LoadBalancer).boxed(),
        watches.watch(services, watcher(), "services", shutdown).map(Event::Service).boxed(),
        watches.watch(slices, watcher(), "endpointslices", shutdown).map(Event::Slice).boxed(),
        watches.watch(pods, watcher(), "pods", shutdown).map(Event::Pod).boxed(),
        watches.watch(nodes, watcher(), "nodes", shutdown).map(Event::Node).boxed(),
    ])
    .boxed()
}

pub struct Controller {
    pub config: Config,
    pub shared: Arc<Shared>,
    pub watches: Watches,
    pub published: watch::Sender<Published>,
    /// Requests per second by load balancer, over all routers.
    pub rates: watch::Sender<Arc<HashMap<String, Rates>>>,
    /// What this router reported of its own load: the others' is the rest of the sum.
    pub reported: Arc<Reported>,
}

impl Controller {
    /// Runs until shutdown. The first table is made when every watch has seen all its objects: half a table would answer 404 for the rest.
    pub async fn run(self, mut events: BoxStream<'static, Event>, mut topology: mpsc::Receiver<StreamEvent>, shutdown: Shutdown) {
        let sites = self.shared.settings.clients.sites.iter().map(|site| site.as_str().into()).collect();
        let mut view = TopologyView::new(sites);
        let mut state = State::default();
        let mut registry = Registry::default();
        let mut generation = 0;
        let mut last = Instant::now();
        let mut due: Option<Instant> = None;
        let mut ages = tokio::time::interval(AGES);
        let mut following = true;
        loop {
            let build_at = due.unwrap_or_else(|| Instant::now() + AGES);
            let dirty = tokio::select! {
                biased;
                () = shutdown.signalled() => return,
                event = events.next() => match event {
                    Some(event) => state.apply(event),
                    None => return,
                },
                event = topology.recv(), if following => match event {
                    Some(event) => {
                        let Changed { rows, load, demand } = view.apply(event, Instant::now());
                        if demand {
                            self.rates.send_replace(Arc::new(view.demand.clone()));
                        }
                        if load {
                            self.spread_load(&view, &registry);
                        }
                        rows
                    }
                    None => {
                        following = false;
                        false
                    }
                },
                _ = ages.tick() => true,
                () = tokio::time::sleep_until(build_at.into()), if due.is_some() => {
                    due = None;
                    if self.watches.ready().is_ok() {
                        generation += 1;
                        last = Instant::now();
                        self.publish(&state, &view, &mut registry, generation);
                    }
                    false
                }
            };
            if dirty && due.is_none() {
                due = Some((Instant::now() + GATHER).max(last + APART));
            }
        }
    }

    fn publish(&self, state: &State, view: &TopologyView, registry: &mut Registry, generation: u64) {
        let inputs = Inputs {
            state,
            topology: view,
            now: Instant::now(),
            max_age: Span(self.config.max_age.as_millis() as u64),
            cluster_domain: &self.config.cluster_domain,
            price: self.config.price.as_ref(),
            generation,
        };
        let Built { table, verdicts } = build(inputs, registry);
        let table = Arc::new(table);
        self.shared.table.store(Arc::clone(&table));
        self.spread_load(view, registry);
        let judged = verdicts.into_iter().map(|(key, (index, verdict))| {
            let generation = state.load_balancers.get(&key).and_then(|object| object.metadata.generation);
            let status = state.statuses.get(&key).cloned();
            (key, Judged { verdict, index, generation, status })
        });
        self.published.send_replace(Published { table, judged: Arc::new(judged.collect()) });
    }

    /// What other routers have in flight: the sum over all less what we said ourselves.
    fn spread_load(&self, view: &TopologyView, registry: &Registry) {
        let own = self.reported.last();
        for endpoint in registry.endpoints() {
            let all = view.load.get(&*endpoint.key.pod).copied().unwrap_or(0.0);
            endpoint.set_remote(all - own.get(&endpoint.key.pod).copied().unwrap_or(0.0));
        }
    }
}
