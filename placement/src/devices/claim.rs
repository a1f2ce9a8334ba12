//! What pods claim: requests for devices, and the devices that a claim has been given.

use super::device::DeviceToleration;
use super::selector::Selector;
use crate::cluster::{NodeSelectorTerm, PodKey, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An entry of a pod's `spec.resourceClaims`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodClaim {
    /// Of the entry.
    pub name: String,
    pub claim: ClaimName,
}

/// The ResourceClaim behind an entry, by its name in the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimName {
    Given(String),
    /// Made of a template, for this pod alone.
    Made(String),
    /// It was decided that the pod needs none.
    NotNeeded,
    /// Nobody has made it yet.
    NotMade,
    /// The entry names neither a claim nor a template.
    Unknown,
}

/// A ResourceClaim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub key: PodKey,
    pub uid: String,
    /// Of two states of a claim the one with the higher version is the newer.
    pub version: u64,
    pub terminating: bool,
    /// UID of the controller that owns it.
    pub controller: Option<String>,
    pub requests: Vec<Request>,
    pub constraints: Vec<Constraint>,
    pub configs: Vec<ClaimConfig>,
    pub allocation: Option<Allocation>,
    /// UIDs of who may use it.
    pub reserved_for: Vec<String>,
    /// What of it is not implemented: pods with the claim wait.
    pub refusals: Vec<Refusal>,
}

impl Claim {
    /// One that asks for nothing.
    pub fn new(key: PodKey, uid: impl Into<String>) -> Claim {
        Claim {
            key,
            uid: uid.into(),
            version: 0,
            terminating: false,
            controller: None,
            requests: Vec::new(),
            constraints: Vec::new(),
            configs: Vec::new(),
            allocation: None,
            reserved_for: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Whether it may be taken from its devices for this pod's sake.
    pub fn idle_but_for(&self, pod_uid: &str) -> bool {
        self.reserved_for.iter().all(|uid| uid == pod_uid) && self.reserved_for.len() <= 1
    }
}

/// What a claim asks for under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub name: String,
    /// Of which the first that can be had is taken.
    pub variants: Vec<Variant>,
    /// `firstAvailable`: variants have names of their own.
    pub prioritized: bool,
}

impl Request {
    /// How an allocation names a variant of it: `request`, or `request/variant`.
    pub fn name_of(&self, variant: usize) -> String {
        match self.variants.get(variant) {
            Some(variant) if self.prioritized => format!("{}/{}", self.name, variant.name),
            _ => self.name.clone(),
        }
    }
}

/// One way to meet a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Empty where the request has this one alone.
    pub name: String,
    pub class: String,
    pub selectors: Vec<Selector>,
    pub amount: Amount,
    /// Shares devices with whoever has them.
    pub admin_access: bool,
    pub tolerations: Vec<DeviceToleration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Count(usize),
    /// Every device that is meant, and at least one.
    All,
}

/// What devices of a claim must have in common, or must not.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// Names of requests, or of variants as `request/variant`; empty: all.
    pub requests: Vec<String>,
    /// A fully qualified name.
    pub attribute: String,
    /// No two devices may have the same value, where otherwise all must.
    pub distinct: bool,
}

/// What the driver is told about devices of some requests (empty: all).
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimConfig {
    pub requests: Vec<String>,
    pub opaque: Value,
}

/// A DeviceClass.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceClass {
    pub name: String,
    pub selectors: Vec<Selector>,
    /// What drivers are told.
    pub configs: Vec<Value>,
    /// Extended resource that its devices could stand for.
    pub extended_resource: Option<String>,
}

impl DeviceClass {
    /// One of all devices.
    pub fn new(name: impl Into<String>) -> DeviceClass {
        DeviceClass { name: name.into(), selectors: Vec::new(), configs: Vec::new(), extended_resource: None }
    }

    /// Whether its devices could stand for the extended resource: the one that it names, or the one that is named for it.
    pub fn offers(&self, resource: &str) -> bool {
        self.extended_resource.as_deref() == Some(resource) || resource.strip_prefix(IMPLICIT_RESOURCE) == Some(&self.name)
    }
}

const IMPLICIT_RESOURCE: &str = "deviceclass.resource.kubernetes.io/";

/// The devices that a claim has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    pub devices: Vec<AllocatedDevice>,
    pub configs: Vec<AllocatedConfig>,
    /// Nodes on which the claim can be used; `None`: all.
    pub nodes: Option<Vec<NodeSelectorTerm>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AllocatedDevice {
    /// `request`, or `request/variant`.
    pub request: String,
    pub driver: String,
    pub pool: String,
    pub device: String,
    /// Others may have it too.
    pub admin_access: bool,
    pub tolerations: Vec<DeviceToleration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AllocatedConfig {
    /// Of the class, and not of the claim.
    pub of_class: bool,
    /// Empty: all.
    pub requests: Vec<String>,
    pub opaque: Value,
}
