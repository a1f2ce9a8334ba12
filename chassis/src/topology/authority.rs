//! The CA that the topology service publishes in a ConfigMap.

use crate::backoff::Backoff;
use crate::program::chain;
use crate::shutdown::Shutdown;
use api::labels;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use std::time::Duration;

/// Waits for the ConfigMap; says in the log what it waits for. `None` when shutdown comes first.
pub async fn published(kube: &kube::Client, namespace: &str, shutdown: &Shutdown) -> Option<String> {
    let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), namespace);
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let problem = match shutdown.interrupt(maps.get_opt(labels::TOPOLOGY_CA_CONFIG_MAP)).await? {
            Ok(Some(map)) => match map.data.and_then(|mut data| data.remove(labels::TOPOLOGY_CA_KEY)) {
                Some(ca_pem) => return Some(ca_pem),
                None => format!("has no key {}", labels::TOPOLOGY_CA_KEY),
            },
            Ok(None) => "does not exist yet (edge-scheduler writes it when it starts)".to_owned(),
            Err(error) => format!("cannot be read: {}", chain(&error)),
        };
        let delay = backoff.delay();
        tracing::warn!("ConfigMap {namespace}/{} {problem}; retrying in {:.1} s", labels::TOPOLOGY_CA_CONFIG_MAP, delay.as_secs_f64());
        if !shutdown.sleep(delay).await {
            return None;
        }
    }
}
