//! The routing table out of the state and the topology. Pure but for the registry, which keeps live figures from one table to the next.

use super::{
    backends::{Found, Index},
    objects::{Key, ServiceRecord, matches},
    registry::Registry,
    state::State,
    verdict::{self, Verdict},
};
use crate::{
    table::{Affinity, Backend, EndpointKey, LoadBalancer, LoadBalancerTimeouts, RouteRule, RoutingTable, SiteView, Transport},
    topology::TopologyView,
};
use api::{
    crd::{AffinityType, Duration, EdgeLoadBalancerSpec, Objective, PolicyType, Protocol, Spread},
    labels,
};
use kube::ResourceExt;
use placement::{
    balance::{self, Endpoints, Exclusion, PathRtt, Policy, SiteColumn},
    cluster::Price,
    units::Span,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

/// What a table is made of.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub state: &'a State,
    /// Knows the client sites as well.
    pub topology: &'a TopologyView,
    pub now: Instant,
    /// A measurement older than this admits nothing.
    pub max_age: Span,
    pub cluster_domain: &'a str,
    pub price: Option<&'a Price>,
    pub generation: u64,
}

/// A table, and what is to be said about the EdgeLoadBalancers.
pub struct Built {
    pub table: RoutingTable,
    /// By namespace and name; with the index into the table's load balancers.
    pub verdicts: BTreeMap<Key, (usize, Verdict)>,
}

/// One load balancer to be, explicit or implicit.
struct Plan<'a> {
    key: &'a Key,
    use_case: String,
    spec: EdgeLoadBalancerSpec,
    transport: Transport,
    verdict: Verdict,
}

pub fn build(inputs: Inputs<'_>, registry: &mut Registry) -> Built {
    let index = Index::new(inputs.state);
    let mut load_balancers = Vec::new();
    let mut services: HashMap<String, usize> = HashMap::new();
    let mut rules = Vec::new();
    let mut verdicts = BTreeMap::new();
    // Services that an EdgeLoadBalancer takes care of.
    let mut explicit: BTreeSet<Key> = BTreeSet::new();

    // The oldest comes first and keeps its host and routes when a later one wants them too.
    let mut objects: Vec<_> = inputs.state.load_balancers.iter().collect();
    objects.sort_by_key(|(key, object)| (object.creation_timestamp().map(|time| time.0), (*key).clone()));
    for (key, object) in objects {
        let (namespace, name) = key;
        let mut verdict = verdict::judge(object, inputs.price.is_some());
        let at = load_balancers.len();
        let host = match &object.spec.backend.service {
            Some(service) => {
                explicit.insert((namespace.clone(), service.clone()));
                format!("{service}.{namespace}")
            }
            None => format!("{name}.{namespace}"),
        };
        let taken = *services.entry(host.clone()).or_insert(at);
        if taken != at && verdict.accepted {
            let owner: &Arc<LoadBalancer> = &load_balancers[taken];
            let text = format!("host {host} belongs to EdgeLoadBalancer {}, which is older", owner.name);
            verdict = match object.spec.routes.is_empty() {
                true => Verdict::refused("HostConflict", format!("{text}: give this one routes of its own")),
                false => Verdict::accepted(format!("{text}; this one is reached by its routes")),
            };
        }
        rules.extend(object.spec.routes.iter().map(|route| RouteRule {
            host: route.host.as_ref().map(|host| host.to_ascii_lowercase()),
            path_prefix: route.path_prefix.clone(),
            load_balancer: at,
        }));
        let transport = if object.spec.protocol == Protocol::Grpc { Transport::H2c } else { Transport::Http1 };
        let plan = Plan { key, use_case: object.use_case().to_owned(), spec: object.spec.clone(), transport, verdict };
        let (load_balancer, verdict) = make(inputs, &index, registry, plan);
        load_balancers.push(Arc::new(load_balancer));
        verdicts.insert(key.clone(), (at, verdict));
    }

    for (key, service) in &inputs.state.services {
        if explicit.contains(key) || !wants_implicit(service) || !index.is_ours(key, service) {
            continue;
        }
        let (namespace, name) = key;
        // A selector's load balancer may have the name of this Service; then it keeps it.
        let at = load_balancers.len();
        services.entry(format!("{name}.{namespace}")).or_insert(at);
        let (load_balancer, _) = make(inputs, &index, registry, implicit(key, service));
        load_balancers.push(Arc::new(load_balancer));
    }
    registry.forget_unused();
    let table = RoutingTable::new(inputs.generation, load_balancers, services, rules, inputs.cluster_domain);
    Built { table, verdicts }
}

fn wants_implicit(service: &ServiceRecord) -> bool {
    service.annotations.get(labels::IMPLICIT_ANNOTATION).is_none_or(|value| value != "false")
}

/// What a Service has without an object of its own.
fn implicit<'a>(key: &'a Key, service: &ServiceRecord) -> Plan<'a> {
    let mut spec = EdgeLoadBalancerSpec::implicit(&key.1, None);
    let mut verdict = Verdict::accepted("");
    if let Some(text) = service.annotations.get(labels::SLA_MAX_RTT_ANNOTATION) {
        match text.parse::<Duration>() {
            Ok(bound) if bound.0.0 > 0 => spec.sla.max_rtt = Some(bound),
            Ok(_) => verdict = Verdict::refused("Invalid", format!("annotation {}: must be above 0", labels::SLA_MAX_RTT_ANNOTATION)),
            Err(error) => verdict = Verdict::refused("Invalid", format!("annotation {}: {error}", labels::SLA_MAX_RTT_ANNOTATION)),
        }
    }
    let transport = match service.port(None).and_then(|port| port.app_protocol.as_deref()) {
        Some("kubernetes.io/h2c" | "grpc") => Transport::H2c,
        _ => Transport::Http1,
    };
    Plan { key, use_case: key.1.clone(), spec, transport, verdict }
}

fn make(inputs: Inputs<'_>, index: &Index<'_>, registry: &mut Registry, plan: Plan<'_>) -> (LoadBalancer, Verdict) {
    let Plan { key, use_case, spec, transport, mut verdict } = plan;
    let (namespace, name) = key;
    let name = format!("{namespace}/{name}");
    let (id, stats) = registry.stats(&name);
    let port = spec.backend.port.as_ref();
    let found = match (&spec.backend.service, &spec.backend.selector) {
        (Some(service), _) => index.of_service(namespace, service, port),
        (None, selector) => Ok(index.of_selector(namespace, &selector.clone().unwrap_or_default(), port)),
    };
    // A Service that is not there yet is no mistake of the spec, but there is nothing to serve with.
    let (found, missing) = match found {
        Ok(found) => (found, None),
        Err(missing) => (Vec::new(), Some(missing)),
    };
    if let Some(missing) = &missing
        && verdict.accepted
    {
        verdict = Verdict::refused("BackendNotFound", missing.clone());
    }
    let columns: Endpoints = found.iter().map(|found| column(inputs, &spec, found)).collect();
    let backends = found.iter().map(|found| {
        let (pod, node) = (found.pod.as_str().into(), found.node.as_str().into());
        Backend {
            endpoint: registry.endpoint(EndpointKey { pod, node, address: found.address }),
            declared: spec.performance.of(found.device.unwrap_or_default()).service,
            learned: stats.learned(found.device.unwrap_or_default()),
        }
    });
    let backends: Vec<Backend> = backends.collect();
    let max_rtt = spec.sla.max_rtt.map(|bound| bound.0);
    let sites = inputs.topology.sites().iter().enumerate().map(|(at, site)| SiteView {
        column: SiteColumn::new(&columns, |endpoint| path(inputs, at, &found[endpoint].node), |_| max_rtt),
        arrivals: stats.arrivals(site),
        site: Arc::clone(site),
    });
    let load_balancer = LoadBalancer {
        id,
        use_case,
        refused: (!verdict.accepted).then(|| verdict.message.clone()),
        transport,
        policy: policy(&spec, inputs.price),
        affinity: affinity(&spec),
        max_rtt,
        watermark: spec.watermark,
        classes: columns.priority(&spec.device_priority),
        timeouts: LoadBalancerTimeouts {
            connect: spec.timeouts.connect.into(),
            response: spec.timeouts.response.into(),
            idle: spec.timeouts.idle.into(),
        },
        sites: sites.collect(),
        endpoints: columns,
        backends,
        stats,
        name,
    };
    (load_balancer, verdict)
}

fn column(inputs: Inputs<'_>, spec: &EdgeLoadBalancerSpec, found: &Found) -> balance::Endpoint {
    let serving = spec.performance.of(found.device.unwrap_or_default());
    let node = inputs.state.nodes.get(&(String::new(), found.node.clone()));
    let in_pool = spec.node_pool.is_empty() || node.is_some_and(|node| matches(&spec.node_pool, &node.labels));
    let price = inputs.price.and_then(|price| node?.labels.get(&price.label)?.parse::<f64>().ok());
    balance::Endpoint {
        class: found.device.map(str::to_owned),
        slots: serving.slots,
        fps: serving.fps,
        // What serves more at once gets more.
        weight: serving.slots,
        price: price.filter(|price| price.is_finite() && *price >= 0.0).unwrap_or(0.0),
        barred: match (found.ready, in_pool) {
            (false, _) => Some(Exclusion::NotReady),
            (true, false) => Some(Exclusion::NodePool),
            (true, true) => None,
        },
        ..balance::Endpoint::default()
    }
}

/// The path from a client site to a node. A figure that may not admit counts as unmeasured.
fn path(inputs: Inputs<'_>, site: usize, node: &str) -> Option<PathRtt> {
    let p90 = inputs.topology.admitting(site, node, inputs.max_age, inputs.now)?;
    Some(PathRtt { p50: inputs.topology.ranking(site, node)?, p90 })
}

fn policy(spec: &EdgeLoadBalancerSpec, price: Option<&Price>) -> Policy {
    match spec.policy {
        PolicyType::Balance => Policy::Balance(match spec.spread {
            Spread::Percent(percent) => balance::Spread::Near { percent, at_least: spec.spread_min.0 },
            Spread::All => balance::Spread::All,
        }),
        PolicyType::RoundRobin => Policy::RoundRobin,
        PolicyType::Squeeze => Policy::Squeeze,
        PolicyType::Random => Policy::Random,
        PolicyType::WeightedRoundRobin => Policy::WeightedRoundRobin,
        PolicyType::LeastConnections => Policy::LeastConnections,
        PolicyType::Optimized => Policy::Optimized(match spec.objective.unwrap_or_default() {
            Objective::Cost => balance::Objective::Cost,
            Objective::Performance => balance::Objective::Performance,
            Objective::Mixed => balance::Objective::Mixed { price_weight: price.map_or(0.0, |price| f64::from(price.weight_us)) },
        }),
    }
}

fn affinity(spec: &EdgeLoadBalancerSpec) -> Affinity {
    match (spec.affinity.kind, &spec.affinity.header) {
        (AffinityType::Client, _) => Affinity::Client,
        // The schema's pattern lets through only what is a header's name.
        (AffinityType::Header, Some(name)) => name.parse().map_or(Affinity::None, Affinity::Header),
        _ => Affinity::None,
    }
}

#[cfg(test)]
mod tests;
