//! What drivers offer: devices in slices, and the taints on them.

use super::selector::{Selector, Verdicts};
use crate::cluster::{Node, NodeSelectorTerm};
use crate::filter::node_affinity::term_matches;
use std::collections::BTreeMap;

/// One value of a device's attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Bool(bool),
    Int(i64),
    String(String),
    /// A semantic version.
    Version(String),
}

/// Nodes that reach a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    Node(String),
    Selected(Vec<NodeSelectorTerm>),
    /// Each device of the slice says for itself.
    PerDevice,
    /// Nothing that is known here was said.
    Unknown,
}

impl Reach {
    pub fn reaches(&self, node: &Node) -> bool {
        match self {
            Reach::All => true,
            Reach::Node(name) => *name == node.name,
            Reach::Selected(terms) => terms.iter().any(|term| term_matches(term, node)),
            Reach::PerDevice | Reach::Unknown => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTaint {
    pub key: String,
    pub value: String,
    /// Of which only `NoSchedule` and `NoExecute` keep claims away.
    pub effect: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceToleration {
    /// Empty: every key.
    pub key: String,
    /// `None`: any.
    pub value: Option<String>,
    /// Empty: every effect.
    pub effect: String,
    /// How long, where pods are evicted; no matter here.
    pub seconds: Option<i64>,
}

impl DeviceToleration {
    fn tolerates(&self, taint: &DeviceTaint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
    }
}

/// A taint that an administrator puts on devices (DeviceTaintRule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaintRule {
    pub name: String,
    /// `None`: of any. All three must match.
    pub driver: Option<String>,
    pub pool: Option<String>,
    pub device: Option<String>,
    pub taint: DeviceTaint,
}

impl TaintRule {
    fn matches(&self, slice: &ResourceSlice, device: &Device) -> bool {
        let is = |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|wanted| wanted == have);
        is(&self.driver, &slice.driver) && is(&self.pool, &slice.pool) && is(&self.device, &device.name)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub name: String,
    /// By name, which has the driver's domain where it has none of its own.
    pub attributes: BTreeMap<String, Attribute>,
    /// Quantities as written, by name, likewise.
    pub capacity: BTreeMap<String, String>,
    pub taints: Vec<DeviceTaint>,
    /// Where [`Reach::PerDevice`] is its slice's.
    pub reach: Reach,
    /// Several claims may share it. Such a device is `unsupported`; selectors may ask nevertheless.
    pub shared: bool,
    /// A claim with it is bound to the node it is allocated for.
    pub binds_to_node: bool,
    /// What of it is not implemented: it is given to nobody.
    pub unsupported: Option<String>,
}

impl Device {
    /// The attribute of this fully qualified name.
    pub fn attribute(&self, driver: &str, name: &str) -> Option<&Attribute> {
        let of_driver = || name.split_once('/').filter(|(domain, _)| *domain == driver).and_then(|(_, id)| self.attributes.get(id));
        self.attributes.get(name).or_else(of_driver)
    }
}

/// Devices of one pool, or a part of them.
#[derive(Debug)]
pub struct ResourceSlice {
    pub name: String,
    pub driver: String,
    pub pool: String,
    /// Slices of an older generation than the pool's newest count no more.
    pub generation: i64,
    /// How many slices the pool has in this generation.
    pub slice_count: i64,
    pub reach: Reach,
    pub devices: Vec<Device>,
    /// kube-scheduler takes such a slice for one that has not arrived.
    pub ignored: bool,
    pub(super) verdicts: Verdicts,
}

impl ResourceSlice {
    /// A slice of a whole pool, to be filled.
    pub fn new(name: impl Into<String>, driver: impl Into<String>, pool: impl Into<String>) -> ResourceSlice {
        ResourceSlice {
            name: name.into(),
            driver: driver.into(),
            pool: pool.into(),
            generation: 1,
            slice_count: 1,
            reach: Reach::All,
            devices: Vec::new(),
            ignored: false,
            verdicts: Verdicts::default(),
        }
    }

    /// Whether some device of the slice may be used on the node.
    pub(super) fn reaches(&self, node: &Node) -> bool {
        match &self.reach {
            Reach::PerDevice => self.devices.iter().any(|device| device.reach.reaches(node)),
            reach => reach.reaches(node),
        }
    }

    /// The reach of one of its devices.
    pub(super) fn reach_of<'a>(&'a self, device: &'a Device) -> &'a Reach {
        if self.reach == Reach::PerDevice { &device.reach } else { &self.reach }
    }

    /// Whether the device of this index is one that all the selectors mean.
    ///
    /// # Errors
    /// The position of a selector that could not be evaluated, and why.
    pub(super) fn selected(&self, device: usize, selectors: &[Selector]) -> Result<bool, (usize, String)> {
        for (at, selector) in selectors.iter().enumerate() {
            if !self.verdicts.of(selector, self, device).map_err(|why| (at, why))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a taint keeps the device from whoever tolerates no more than this.
    pub(super) fn tainted(&self, device: &Device, rules: &[TaintRule], tolerations: &[DeviceToleration]) -> bool {
        let of_rules = rules.iter().filter(|rule| rule.matches(self, device)).map(|rule| &rule.taint);
        let mut keeping = device.taints.iter().chain(of_rules).filter(|taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute"));
        keeping.any(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
    }
}

impl PartialEq for ResourceSlice {
    fn eq(&self, other: &ResourceSlice) -> bool {
        let of = |slice: &ResourceSlice| (slice.generation, slice.slice_count, slice.ignored);
        (&self.name, &self.driver, &self.pool) == (&other.name, &other.driver, &other.pool)
            && of(self) == of(other)
            && (&self.reach, &self.devices) == (&other.reach, &other.devices)
    }
}

/// What tells a device from all others. Neither a driver's nor a device's name has a slash.
pub fn device_id(driver: &str, pool: &str, device: &str) -> String {
    format!("{driver}/{pool}/{device}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_matches_by_effect_key_and_value() {
        let taint = DeviceTaint { key: "broken".into(), value: "fan".into(), effect: "NoSchedule".into() };
        let check = |key: &str, value: Option<&str>, effect: &str, tolerated: bool| {
            let toleration = DeviceToleration { key: key.into(), value: value.map(Into::into), effect: effect.into(), seconds: None };
            assert_eq!(toleration.tolerates(&taint), tolerated, "{toleration:?}");
        };
        check("broken", None, "", true);
        check("", None, "NoSchedule", true);
        check("broken", Some("fan"), "", true);
        check("broken", Some("ram"), "", false);
        check("hot", None, "", false);
        check("", None, "NoExecute", false);
    }

    #[test]
    fn a_rule_taints_the_devices_that_it_means() {
        let taint = |effect: &str| DeviceTaint { key: "k".into(), value: String::new(), effect: effect.into() };
        let rule = |pool: Option<&str>, device: Option<&str>, effect: &str| TaintRule {
            name: "r".into(),
            driver: Some("gpu.test".into()),
            pool: pool.map(Into::into),
            device: device.map(Into::into),
            taint: taint(effect),
        };
        let slice = super::super::testing::slice("s", "n1", &["a"]);
        let check = |rule: TaintRule, tainted| assert_eq!(slice.tainted(&slice.devices[0], &[rule], &[]), tainted);
        check(rule(None, None, "NoSchedule"), true);
        check(rule(None, None, "None"), false);
        check(rule(Some("s"), Some("a"), "NoExecute"), true);
        check(rule(None, Some("b"), "NoSchedule"), false);
    }
}
