//! What the model knows of the cluster: nodes and pods as columns, changed by events, read through immutable snapshots.

mod census;
mod claims;
mod columns;
mod default_selector;
mod disruption;
mod event;
mod fit_settings;
mod held_terms;
mod host_port;
mod image;
mod index;
mod ix;
mod label_selector;
mod live;
mod namespaces;
mod node;
mod node_counts;
mod observed;
mod plugin;
mod pod;
mod pod_affinity;
mod profile;
mod references;
mod resource_names;
mod resources;
mod selector;
mod settings;
mod sharded;
mod snapshot;
mod spread;
mod standing;
mod storage;
mod toleration;
mod volume;

pub use census::{Namespaces, PodQuery};
pub use claims::ClaimReservation;
pub use columns::{BASIC, CHUNK, ExtendedColumn, FixedChunk, FixedSlot, LoadChunk, PortUse, amount, basic};
pub use disruption::DisruptionBudget;
pub use event::{Changes, ClusterEvent};
pub use fit_settings::{FitSettings, FitStrategy};
pub use held_terms::{HeldTerm, Stance};
pub use host_port::{EVERY_ADDRESS, HostPort, Protocol};
pub use image::Image;
pub use index::{PodEntry, WorkloadEntry, mix, name_hash};
pub use ix::NodeIx;
pub use label_selector::LabelSelector;
pub use live::Cluster;
pub use node::{Node, Taint, TaintEffect};
pub use node_counts::NodeCounts;
pub use plugin::{Plugin, Point};
pub use pod::{Controller, ControllerKind, NodeAffinity, Pod, PodKey, PodPhase, Refusal, Workload, WorkloadKind};
pub use pod_affinity::{PodAffinity, PodTerm};
pub use profile::{
    Plugins, PreemptionSettings, Profile, Profiles, SpreadDefault, SpreadDefaults, VolumeBindingSettings, WhenUnsatisfiable,
};
pub use resources::Resources;
pub use selector::{NodeSelectorTerm, Operator, Requirement};
pub use settings::{LabelMatch, Price, Settings, Undelayed};
pub use snapshot::{Identity, Moved, PodView, Snapshot};
pub use spread::SpreadConstraint;
pub use standing::{AssumeError, WhatIf};
pub use storage::{
    AccessMode, ClaimRef, CsiDriver, CsiNode, CsiStorageCapacity, Migration, PersistentVolume, PersistentVolumeClaim, StorageChange,
    StorageClass, StorageObject, VolumeAttachment, VolumePlan,
};
pub use toleration::{Toleration, TolerationOperator};
pub use volume::{CsiVolume, Disk, DiskKind, ExclusiveDisk, PodVolume};

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;
