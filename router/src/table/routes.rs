//! From host and path to a load balancer.

use super::LoadBalancer;
use std::{collections::HashMap, sync::Arc};

/// A route of a load balancer beyond its Service's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Lower case, without port. `None`: every host.
    pub host: Option<String>,
    /// Prefix of the path by whole segments.
    pub path_prefix: String,
    /// Index into [`RoutingTable::load_balancers`].
    pub load_balancer: usize,
}

/// What the router answers for. Immutable; see the module.
#[derive(Debug, Default)]
pub struct RoutingTable {
    /// Counts tables, from 1; 0 is the empty one that a router starts with.
    pub generation: u64,
    pub load_balancers: Vec<Arc<LoadBalancer>>,
    /// By `<service>.<namespace>`.
    services: HashMap<String, usize>,
    /// By host ("" for every host); longest path first, then in the order given.
    routes: HashMap<String, Vec<RouteRule>>,
    /// `svc.` and the cluster's domain: what may follow `<service>.<namespace>.`.
    cluster_suffix: String,
}

impl RoutingTable {
    /// `services`: `<service>.<namespace>` with an index into `load_balancers`. Of routes with the same host and path the first wins.
    pub fn new(
        generation: u64,
        load_balancers: Vec<Arc<LoadBalancer>>,
        services: HashMap<String, usize>,
        rules: Vec<RouteRule>,
        cluster_domain: &str,
    ) -> RoutingTable {
        let mut routes: HashMap<String, Vec<RouteRule>> = HashMap::new();
        for rule in rules {
            routes.entry(rule.host.clone().unwrap_or_default()).or_default().push(rule);
        }
        for rules in routes.values_mut() {
            // Stable: what was given first stays first among equals.
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.path_prefix.len()));
        }
        RoutingTable { generation, load_balancers, services, routes, cluster_suffix: format!(".svc.{cluster_domain}") }
    }

    /// The load balancer for a request; `host` in lower case and without port. A route for the host comes before the Service of
    /// that name, and that before routes for every host.
    pub fn resolve(&self, host: &str, path: &str) -> Option<&Arc<LoadBalancer>> {
        let by_route = |key: &str| self.routes.get(key)?.iter().find(|rule| covers(&rule.path_prefix, path)).map(|rule| rule.load_balancer);
        let found = by_route(host).or_else(|| self.services.get(self.service_name(host)).copied()).or_else(|| by_route(""))?;
        self.load_balancers.get(found)
    }

    /// `<service>.<namespace>` of a host that may carry `.svc` or the cluster's domain behind it.
    fn service_name<'a>(&self, host: &'a str) -> &'a str {
        host.strip_suffix(&self.cluster_suffix).or_else(|| host.strip_suffix(".svc")).unwrap_or(host)
    }

    /// Hosts and routes with the load balancer they lead to, for people.
    pub fn hosts(&self) -> Vec<(String, String)> {
        let name = |at: usize| self.load_balancers.get(at).map(|found| found.name.clone()).unwrap_or_default();
        let services = self.services.iter().map(|(host, at)| (host.clone(), name(*at)));
        let rules = self.routes.iter().flat_map(|(host, rules)| {
            let host = if host.is_empty() { "*" } else { host };
            rules.iter().map(move |rule| (format!("{host}{}", rule.path_prefix), name(rule.load_balancer)))
        });
        let mut all: Vec<_> = services.chain(rules).collect();
        all.sort();
        all
    }

    /// What the router answers for, for an error: the names that share a word with `host` first, five at most.
    pub fn known(&self, host: &str) -> String {
        let words: Vec<&str> = host.split(['.', '-']).filter(|word| word.len() > 1).collect();
        let mut names: Vec<(usize, &str)> = self
            .services
            .keys()
            .chain(self.routes.keys())
            .filter(|name| !name.is_empty())
            .map(|name| (words.iter().filter(|word| name.contains(**word)).count(), name.as_str()))
            .collect();
        names.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        names.dedup();
        match names.len() {
            0 if self.generation == 0 => "the router has not heard from the API server yet".to_owned(),
            0 => "there is none yet: it takes a Service whose pods have schedulerName edge-scheduler, or an EdgeLoadBalancer".to_owned(),
            total => {
                let first: Vec<&str> = names.iter().take(5).map(|(_, name)| *name).collect();
                let more = if total > first.len() { format!(" and {} more", total - first.len()) } else { String::new() };
                format!("known: {}{more}", first.join(", "))
            }
        }
    }
}

/// Whether a prefix covers a path by whole segments: `/v1` takes `/v1` and `/v1/a`, not `/v10`.
fn covers(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::load_balancer;

    fn table() -> RoutingTable {
        let names = ["demo/vision", "demo/routed", "demo/any"];
        let load_balancers = names.iter().map(|name| Arc::new(load_balancer(name, Vec::new()))).collect();
        let services = [("vision.demo".to_owned(), 0)].into_iter().collect();
        let rule = |host: Option<&str>, path: &str, load_balancer| RouteRule {
            host: host.map(str::to_owned),
            path_prefix: path.to_owned(),
            load_balancer,
        };
        let rules = vec![
            rule(Some("a.example.com"), "/", 1),
            rule(Some("a.example.com"), "/v1", 2),
            rule(Some("vision.demo"), "/special", 1),
            rule(None, "/anywhere/", 2),
        ];
        RoutingTable::new(1, load_balancers, services, rules, "cluster.local")
    }

    fn check(host: &str, path: &str, expected: Option<&str>) {
        assert_eq!(table().resolve(host, path).map(|found| found.name.as_str()), expected, "{host} {path}");
    }

    #[test]
    fn finds_by_service_and_by_route() {
        for host in ["vision.demo", "vision.demo.svc", "vision.demo.svc.cluster.local"] {
            check(host, "/x", Some("demo/vision"));
        }
        check("vision.demo", "/special/a", Some("demo/routed"));
        check("vision", "/x", None);
        check("vision.demo.svc.other.domain", "/x", None);
        check("a.example.com", "/v1/a", Some("demo/any"));
        check("a.example.com", "/v10", Some("demo/routed"));
        check("unknown.example.com", "/anywhere/x", Some("demo/any"));
        check("unknown.example.com", "/anywhere", None);
    }

    #[test]
    fn says_what_it_knows() {
        assert_eq!(table().known("vison.demo"), "known: vision.demo, a.example.com");
        assert!(RoutingTable::default().known("x").contains("not heard from the API server"));
    }
}
