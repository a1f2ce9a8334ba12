//! Selectors of Services and controllers, by which pods are spread that have no constraints of their own.

use super::index::pod_hash;
use super::live::Cluster;
use super::sharded::{Keyed, Sharded};
use super::{Controller, ControllerKind, LabelSelector, Operator, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct ControllerSelector {
    namespace: String,
    controller: Controller,
    selector: LabelSelector,
}

impl ControllerSelector {
    fn is_of(&self, namespace: &str, controller: &Controller) -> bool {
        self.controller == *controller && self.namespace == namespace
    }
}

impl Keyed for Arc<ControllerSelector> {
    fn hash(&self) -> u64 {
        pod_hash(&self.namespace, &self.controller.name)
    }
}

/// Selectors of a namespace's Services by name.
type OfNamespace = Arc<BTreeMap<String, LabelSelector>>;

#[derive(Clone, Debug, Default)]
pub(super) struct OwnerSelectors {
    services: Arc<BTreeMap<String, OfNamespace>>,
    controllers: Sharded<Arc<ControllerSelector>>,
}

impl OwnerSelectors {
    pub fn service(&self, namespace: &str, name: &str) -> Option<&LabelSelector> {
        self.services.get(namespace)?.get(name)
    }

    pub fn set_service(&mut self, namespace: &str, name: &str, selector: Option<LabelSelector>) {
        let services = Arc::make_mut(&mut self.services);
        match selector {
            Some(selector) => {
                Arc::make_mut(services.entry(namespace.to_owned()).or_default()).insert(name.to_owned(), selector);
            }
            None => {
                let Some(of_namespace) = services.get_mut(namespace) else { return };
                Arc::make_mut(of_namespace).remove(name);
                if of_namespace.is_empty() {
                    services.remove(namespace);
                }
            }
        }
    }

    pub fn controller(&self, namespace: &str, controller: &Controller) -> Option<&LabelSelector> {
        let hash = pod_hash(namespace, &controller.name);
        self.controllers.find(hash, |known| known.is_of(namespace, controller)).map(|known| &known.selector)
    }

    pub fn set_controller(&mut self, namespace: &str, controller: &Controller, selector: Option<LabelSelector>) {
        self.controllers.remove(pod_hash(namespace, &controller.name), |known| known.is_of(namespace, controller));
        if let Some(selector) = selector {
            let (namespace, controller) = (namespace.to_owned(), controller.clone());
            self.controllers.insert(Arc::new(ControllerSelector { namespace, controller, selector }));
        }
    }

    pub fn service_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.iter().flat_map(|(namespace, services)| services.keys().map(|name| (namespace.as_str(), name.as_str())))
    }

    pub fn controller_names(&self) -> impl Iterator<Item = (&str, &Controller)> {
        self.controllers.iter().map(|known| (known.namespace.as_str(), &known.controller))
    }

    /// kube-scheduler's DefaultSelector: what every Service that selects the pod, and its controller, select by. `None`: nothing does.
    pub fn default_selector(&self, pod: &Pod) -> Option<LabelSelector> {
        let services = self.services.get(&pod.key.namespace).into_iter().flat_map(|services| services.values());
        let services =
            services.filter(|selector| selector.matches(&pod.labels)).flat_map(|selector| selector.requirements().iter().cloned());
        let mut selector = LabelSelector::new(services);
        if let Some(controller) = &pod.controller
            && let Some(own) = self.controller(&pod.key.namespace, controller)
        {
            if controller.kind == ControllerKind::ReplicationController {
                // Labels of both are one map there: where a controller's label differs from the Services', it takes its place.
                let replaced = |key: &str| own.requirements().iter().any(|other| other.key == key && other.operator == Operator::In);
                selector = LabelSelector::new(selector.requirements().iter().filter(|r| !replaced(&r.key)).cloned());
            }
            selector = selector.and(own.clone());
        }
        (!selector.is_empty()).then_some(selector)
    }
}

impl Cluster {
    /// A Service appeared, changed, or (`None`) is gone. One without a selector selects nothing.
    pub fn apply_service(&mut self, namespace: &str, name: &str, selector: Option<LabelSelector>) {
        if self.state.owner_selectors.service(namespace, name) != selector.as_ref() {
            self.change().owner_selectors.set_service(namespace, name, selector);
        }
    }

    /// A controller of pods appeared, changed, or (`None`) is gone.
    pub fn apply_controller(&mut self, namespace: &str, controller: &Controller, selector: Option<LabelSelector>) {
        if self.state.owner_selectors.controller(namespace, controller) != selector.as_ref() {
            self.change().owner_selectors.set_controller(namespace, controller, selector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Labels, PodKey};

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn selector(of: &[(&str, &str)]) -> LabelSelector {
        LabelSelector::of_labels(&labels(of))
    }

    fn controller(kind: ControllerKind) -> Controller {
        Controller { kind, name: "web".into() }
    }

    /// Services `all` (empty selector), `app` (app: web) and `api` (app: api), controllers of each kind called web.
    fn known() -> OwnerSelectors {
        let mut selectors = OwnerSelectors::default();
        selectors.set_service("shop", "all", Some(selector(&[])));
        selectors.set_service("shop", "app", Some(selector(&[("app", "web")])));
        selectors.set_service("shop", "api", Some(selector(&[("app", "api")])));
        selectors.set_controller("shop", &controller(ControllerKind::ReplicaSet), Some(selector(&[("hash", "7f")])));
        selectors.set_controller("shop", &controller(ControllerKind::StatefulSet), Some(selector(&[("app", "web")])));
        selectors.set_controller("shop", &controller(ControllerKind::ReplicationController), Some(selector(&[("app", "old")])));
        selectors
    }

    #[test]
    fn services_and_the_controller_select_together() {
        let check = |namespace: &str, own: &[(&str, &str)], kind: Option<ControllerKind>, expected: Option<&[(&str, &str)]>| {
            let pod = Pod { key: PodKey::new(namespace, "p"), labels: labels(own), controller: kind.map(controller), ..Pod::default() };
            assert_eq!(known().default_selector(&pod), expected.map(selector), "{namespace} {own:?} {kind:?}");
        };
        let web: &[(&str, &str)] = &[("app", "web")];
        check("shop", web, None, Some(web));
        check("shop", web, Some(ControllerKind::ReplicaSet), Some(&[("app", "web"), ("hash", "7f")]));
        check("shop", &[], Some(ControllerKind::ReplicaSet), Some(&[("hash", "7f")]));
        check("shop", web, Some(ControllerKind::StatefulSet), Some(web));
        check("shop", web, Some(ControllerKind::ReplicationController), Some(&[("app", "old")]));
        check("shop", &[], None, None);
        check("other", web, Some(ControllerKind::StatefulSet), None);
    }

    #[test]
    fn what_is_gone_selects_nothing() {
        let mut selectors = known();
        for name in ["all", "app", "api"] {
            selectors.set_service("shop", name, None);
        }
        selectors.set_controller("shop", &controller(ControllerKind::StatefulSet), None);
        let pod = Pod {
            key: PodKey::new("shop", "p"),
            labels: labels(&[("app", "web")]),
            controller: Some(controller(ControllerKind::StatefulSet)),
            ..Pod::default()
        };
        assert_eq!(selectors.default_selector(&pod), None);
        assert_eq!((selectors.service_names().count(), selectors.controller_names().count()), (0, 2));
    }
}
