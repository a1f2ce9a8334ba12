//! Rules that a schema of fields can't express: each once, as CEL for the API server and as the same test in Rust for whoever reads an
//! object that no CEL has seen.

use super::{AffinityType, BackupReservation, EdgeLoadBalancer, NodeNetwork, PolicyType, Spread};
use kube::{Resource, ResourceExt};

/// What is wrong with an object, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    pub field: String,
    pub message: String,
}

/// One rule. `scope` is where in the schema the CEL stands; `message` is what the user reads.
pub(super) struct Rule<T> {
    pub scope: Scope,
    pub field: &'static str,
    pub cel: &'static str,
    pub message: &'static str,
    /// `None` for a rule on changes (`oldSelf`), which only the API server can hold.
    pub holds: Option<fn(&T) -> bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The whole object.
    Root,
    /// `.spec`.
    Spec,
}

pub(super) const EDGE_LOAD_BALANCER: &[Rule<EdgeLoadBalancer>] = &[
    Rule {
        scope: Scope::Spec,
        field: "spec.backend",
        cel: "has(self.backend.service) != has(self.backend.selector)",
        message: "give either service or selector",
        holds: Some(|elb| elb.spec.backend.service.is_some() != elb.spec.backend.selector.is_some()),
    },
    Rule {
        scope: Scope::Spec,
        field: "spec.backend.selector",
        cel: "!has(self.backend.selector) || size(self.backend.selector) > 0",
        message: "an empty selector would take every pod: name at least one label",
        holds: Some(|elb| elb.spec.backend.selector.as_ref().is_none_or(|labels| !labels.is_empty())),
    },
    Rule {
        scope: Scope::Spec,
        field: "spec.backend.port",
        cel: "!has(self.backend.selector) || has(self.backend.port)",
        message: "is needed with selector",
        holds: Some(|elb| elb.spec.backend.selector.is_none() || elb.spec.backend.port.is_some()),
    },
    Rule {
        scope: Scope::Spec,
        field: "spec.objective",
        cel: "!has(self.objective) || self.policy == 'optimized'",
        message: "belongs to policy \"optimized\" alone",
        holds: Some(|elb| elb.spec.objective.is_none() || elb.spec.policy == PolicyType::Optimized),
    },
    Rule {
        scope: Scope::Spec,
        field: "spec.spread",
        cel: "self.spread == '20%' || self.policy == 'balance'",
        message: "belongs to policy \"balance\" alone",
        holds: Some(|elb| elb.spec.spread == Spread::default() || elb.spec.policy == PolicyType::Balance),
    },
    Rule {
        scope: Scope::Spec,
        field: "spec.affinity.header",
        cel: "has(self.affinity.header) == (self.affinity.type == 'header')",
        message: "is needed with, and only with, type \"header\"",
        holds: Some(|elb| elb.spec.affinity.header.is_some() == (elb.spec.affinity.kind == AffinityType::Header)),
    },
    Rule {
        scope: Scope::Spec,
        field: "spec.sla.maxRtt",
        cel: "!has(self.sla.maxRtt) || duration(self.sla.maxRtt) > duration('0s')",
        message: "must be above 0",
        holds: Some(|elb| elb.spec.sla.max_rtt.is_none_or(|bound| bound.0.0 > 0)),
    },
];

pub(super) const NODE_NETWORK: &[Rule<NodeNetwork>] = &[Rule {
    scope: Scope::Root,
    field: "spec.nodeName",
    cel: "self.metadata.name == self.spec.nodeName",
    message: "must be the name of the object",
    holds: Some(|nn| nn.name_any() == nn.spec.node_name),
}];

pub(super) const BACKUP_RESERVATION: &[Rule<BackupReservation>] = &[
    Rule {
        scope: Scope::Spec,
        field: "spec.pod",
        cel: "self.pod == oldSelf.pod",
        message: "can't be changed: another pod has a reservation of its own",
        holds: None,
    },
    Rule {
        scope: Scope::Spec,
        field: "spec.host",
        cel: "self.failureDomain.topologyKey != 'kubernetes.io/hostname' || self.host != self.failureDomain.name",
        message: "must be outside the failure domain",
        holds: Some(|br| {
            let domain = &br.spec.failure_domain;
            domain.topology_key != crate::labels::HOSTNAME_LABEL || br.spec.host != domain.name
        }),
    },
];

fn broken<T: Resource>(object: &T, rules: &[Rule<T>]) -> Vec<SpecError> {
    rules
        .iter()
        .filter(|rule| rule.holds.is_some_and(|holds| !holds(object)))
        .map(|rule| SpecError { field: rule.field.to_owned(), message: rule.message.to_owned() })
        .collect()
}

impl EdgeLoadBalancer {
    /// What the API server's CEL would say of the object; empty when it is sound.
    pub fn check(&self) -> Vec<SpecError> {
        broken(self, EDGE_LOAD_BALANCER)
    }
}

impl NodeNetwork {
    /// What the API server's CEL would say of the object; empty when it is sound.
    pub fn check(&self) -> Vec<SpecError> {
        broken(self, NODE_NETWORK)
    }
}

impl BackupReservation {
    /// What the API server's CEL would say of the object; empty when it is sound.
    pub fn check(&self) -> Vec<SpecError> {
        broken(self, BACKUP_RESERVATION)
    }
}
