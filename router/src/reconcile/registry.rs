//! Endpoints and counters that live on from one table to the next.

use crate::table::{Endpoint, EndpointKey, Stats};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

#[derive(Debug, Default)]
pub struct Registry {
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// Counters with the load balancer's id.
    stats: HashMap<String, (u64, Arc<Stats>)>,
    next_id: u64,
    used_endpoints: HashSet<EndpointKey>,
    used_stats: HashSet<String>,
}

impl Registry {
    /// The endpoint known by this key, or a new one.
    pub fn endpoint(&mut self, key: EndpointKey) -> Arc<Endpoint> {
        self.used_endpoints.insert(key.clone());
        Arc::clone(self.endpoints.entry(key.clone()).or_insert_with(|| Endpoint::new(key)))
    }

    /// A load balancer's id and counters.
    pub fn stats(&mut self, name: &str) -> (u64, Arc<Stats>) {
        self.used_stats.insert(name.to_owned());
        let (id, stats) = self.stats.entry(name.to_owned()).or_insert_with(|| {
            self.next_id += 1;
            (self.next_id, Arc::default())
        });
        (*id, Arc::clone(stats))
    }

    /// Ends a build: forgets what it did not ask for. Requests in flight keep their endpoint alive by themselves.
    pub fn forget_unused(&mut self) {
        let (endpoints, stats) = (std::mem::take(&mut self.used_endpoints), std::mem::take(&mut self.used_stats));
        self.endpoints.retain(|key, _| endpoints.contains(key));
        self.stats.retain(|name, _| stats.contains(name));
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_forgets_the_rest() {
        let key = |pod: &str| EndpointKey { pod: pod.into(), node: "edge-1".into(), address: ([10, 0, 0, 1], 80).into() };
        let mut registry = Registry::default();
        let in_flight = registry.endpoint(key("a")).enter(0);
        registry.endpoint(key("b"));
        registry.forget_unused();
        assert_eq!(registry.endpoint(key("a")).in_flight(), 1);
        registry.forget_unused();
        assert_eq!(registry.endpoints().count(), 1);
        drop(in_flight);
        assert_eq!(registry.endpoint(key("a")).in_flight(), 0);
    }
}
