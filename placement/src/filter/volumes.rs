//! What a pod's volumes ask of nodes: the four filters about volumes, made ready for one pod.

use super::node_volume_limits::Limits;
use super::pod_claims::{self, VolumeHold};
use super::volume_binding::Binding;
use super::volume_restrictions::Restrictions;
use super::volume_zone::Zones;
use crate::cluster::{Node, NodeIx, Plugin, Pod, Point, Profile, Snapshot};
use crate::plan::Reason;
use fixedbitset::FixedBitSet;

pub struct Volumes<'a> {
    snapshot: &'a Snapshot,
    profile: &'a Profile,
    restrictions: Option<Restrictions<'a>>,
    limits: Option<Limits<'a>>,
    binding: Option<Binding<'a>>,
    zones: Option<Zones<'a>>,
}

impl<'a> Volumes<'a> {
    /// `None`: the pod has no volumes that bind it to nodes.
    ///
    /// # Errors
    /// What holds the pod back whatever the nodes say.
    pub fn new(snapshot: &'a Snapshot, pod: &'a Pod) -> Result<Option<Volumes<'a>>, VolumeHold> {
        if pod.volumes.is_empty() {
            return Ok(None);
        }
        let claims = pod_claims::claims(snapshot, pod)?;
        Ok(Some(Volumes {
            snapshot,
            profile: snapshot.profile(pod),
            restrictions: Restrictions::new(snapshot, pod, &claims),
            limits: Limits::new(snapshot, pod, &claims),
            zones: Zones::new(snapshot, &claims),
            binding: Binding::new(snapshot, &claims),
        }))
    }

    /// Why one of the filters rejects the node.
    pub fn check(&self, plugin: Plugin, ix: NodeIx, node: &Node) -> Vec<Reason> {
        let reason = match plugin {
            Plugin::VolumeRestrictions => self.restrictions.as_ref().and_then(|restrictions| restrictions.check(ix)),
            Plugin::NodeVolumeLimits => self.limits.as_ref().and_then(|limits| limits.check(ix, node)),
            Plugin::VolumeZone => self.zones.as_ref().and_then(|zones| zones.check(node)),
            Plugin::VolumeBinding => {
                return self.binding.as_ref().and_then(|binding| binding.find(node).err()).unwrap_or_default();
            }
            _ => None,
        };
        reason.into_iter().collect()
    }

    /// Takes out of the mask the nodes that a filter of the pod's profile rejects. Few pods have such volumes: nodes are asked one by one.
    pub fn restrict(&self, mask: &mut FixedBitSet) {
        let filters = self.profile.plugins.at(Point::Filter);
        for (ix, node) in self.snapshot.nodes() {
            if mask.contains(ix.at()) && filters.iter().any(|plugin| !self.check(*plugin, ix, node).is_empty()) {
                mask.set(ix.at(), false);
            }
        }
    }

    /// VolumeBinding's score of a node that fits.
    pub fn score(&self, node: usize) -> i64 {
        let node = self.snapshot.node(NodeIx(node as u32));
        let found = self.binding.as_ref().zip(node).and_then(|(binding, node)| binding.find(node).ok());
        found.map_or(0, |found| found.score(&self.profile.volume_binding.shape))
    }

    /// Whether VolumeBinding's score can be anything but 0.
    pub fn is_scored(&self) -> bool {
        self.binding.as_ref().is_some_and(Binding::is_open)
    }
}
