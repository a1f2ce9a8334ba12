//! Which events may help a pod that was rejected.

use super::{Hold, NodeWait, PodWait, Reason, VolumeWait};
use crate::cluster::{ClusterEvent, Pod, PodKey, mix, name_hash};
use crate::constraint::{DelayBound, Missing, Reference, Statistic};
use crate::devices::ClaimName;
use crate::topology::PairStat;
use crate::units::{Micros, Span, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// What an event is about and a waiting pod listens to, as a hash: a queue files pods under the topics of their [`WakeOn`] and asks
/// [`WakeOn::wakes`] only of those that an event's topics lead to. Two topics of one hash cost a question, no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(u64);

/// Topics of one event.
pub type Topics = SmallVec<[Topic; 3]>;

impl Topic {
    /// `class` tells kinds of topic apart, `name` those of one kind.
    pub fn new(class: u64, name: &str) -> Topic {
        Topic(mix(class.wrapping_add(name_hash(name))))
    }

    fn node_added() -> Topic {
        Topic(0)
    }

    fn node_updated() -> Topic {
        Topic(1)
    }

    fn node_deleted() -> Topic {
        Topic(2)
    }

    fn room() -> Topic {
        Topic(3)
    }

    fn warm() -> Topic {
        Topic(4)
    }

    /// Any pair's RTT.
    fn any_rtt() -> Topic {
        Topic(5)
    }

    /// RTTs of one node.
    fn rtt(node: &str) -> Topic {
        Topic::new(6, node)
    }

    /// Devices that may have become free.
    fn devices() -> Topic {
        Topic(8)
    }

    fn claim(key: &PodKey) -> Topic {
        Topic::new(mix(9), &format!("{key}"))
    }

    /// A node, workload or pod of this name, in whatever namespace.
    fn name(name: &str) -> Topic {
        Topic::new(7, name)
    }
}

impl ClusterEvent {
    /// Under which topics a pod that this event may help has been filed.
    pub fn topics(&self) -> Topics {
        let of_pod = |pod: &Pod| {
            let owner = pod.owner.iter().map(|owner| Topic::name(&owner.name));
            std::iter::once(Topic::name(&pod.key.name)).chain(owner).collect::<Topics>()
        };
        let of_room = |pod: &Pod| {
            let mut topics = PodWait::topics_of_released(pod);
            topics.push(Topic::room());
            topics.extend(VolumeWait::topic_of_released(pod));
            topics
        };
        let with = |mut topics: Topics, more: Topics| {
            topics.extend(more);
            topics
        };
        match self {
            ClusterEvent::NodeAdded { node } => smallvec![Topic::node_added(), Topic::name(&node.name)],
            ClusterEvent::NodeUpdated { .. } => smallvec![Topic::node_updated()],
            ClusterEvent::NodeDeleted { .. } => smallvec![Topic::node_deleted()],
            ClusterEvent::PodAdded { pod } | ClusterEvent::PodUpdated { pod } | ClusterEvent::PodGone { pod } => of_pod(pod),
            ClusterEvent::PodPlaced { pod, .. } => with(of_pod(pod), PodWait::topics_of_placed(pod)),
            ClusterEvent::PodReleased { pod, .. } => with(of_pod(pod), of_room(pod)),
            ClusterEvent::PromiseEnded { pod, .. } => of_room(pod),
            ClusterEvent::PodRelabelled { before, after } => with(PodWait::topics_of_placed(before), PodWait::topics_of_placed(after)),
            ClusterEvent::Storage(change) => smallvec![VolumeWait::topic_of(change)],
            ClusterEvent::RttChanged { a, b, .. } => smallvec![Topic::any_rtt(), Topic::rtt(a), Topic::rtt(b)],
            ClusterEvent::ClaimChanged { key, freed: false } => smallvec![Topic::claim(key)],
            ClusterEvent::ClaimChanged { key, freed: true } => smallvec![Topic::claim(key), Topic::devices()],
            ClusterEvent::DevicesChanged => smallvec![Topic::devices()],
            ClusterEvent::TopologyWarm => smallvec![Topic::warm()],
        }
    }
}

/// A bound whose crossing would help.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RttWait {
    /// Node at one end; `None`: any.
    pub node: Option<String>,
    pub max: Micros,
    pub statistic: Statistic,
    /// `Allow`: losing the measurement helps too.
    pub missing: Missing,
}

/// Made from the reasons of a rejection. Small: it holds no list of nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WakeOn {
    pub pod: PodKey,
    /// A node that would take the pod if it were empty comes, or becomes so; `None`: for [`Hold`]s.
    #[serde(skip)]
    pub node: Option<Arc<NodeWait>>,
    /// Any node appears, or changes in labels, taints, allocatable, or declared features; or goes (which may end the cloud rule).
    pub node_added: bool,
    pub labels: bool,
    pub taints: bool,
    pub allocatable: bool,
    pub features: bool,
    pub node_deleted: bool,
    /// A pod leaves room.
    pub room: bool,
    /// Devices come, become free, or are classed or tainted otherwise.
    pub devices: bool,
    /// Claims of one of these names, in the pod's namespace, come or change.
    pub claims: Vec<String>,
    /// A node, workload or pod of one of these names appears, is placed, moves, or goes.
    pub references: Vec<String>,
    pub rtts: Vec<RttWait>,
    /// A name that nothing bears yet. If no node object makes it known, its first report does, whatever that says.
    pub unknown: Option<String>,
    /// Measurements older than this had expired before the event.
    pub max_age: Span,
    /// The topology service has become warm.
    pub warm: bool,
    /// Other pods come, go, or change their labels.
    pub pods: Option<Box<PodWait>>,
    /// Storage changes, or a pod leaves its volumes.
    pub volumes: Option<Box<VolumeWait>>,
}

impl WakeOn {
    pub fn new(pod: &PodKey, max_age: Span) -> WakeOn {
        WakeOn { pod: pod.clone(), max_age, ..WakeOn::default() }
    }

    /// What would lift this hold.
    pub fn hold(mut self, hold: &Hold, bounds: &[DelayBound]) -> WakeOn {
        match hold {
            // Only a change of the pod itself.
            Hold::SchedulingGates(_) | Hold::Refused(_) | Hold::DelayInvalid(_) | Hold::AffinityConflict | Hold::NamesConflict => {}
            // Through `volumes`, which knows the claims.
            Hold::Volumes(_) => {}
            Hold::UnknownReference { from, .. } => {
                self.references.push(from.clone());
                self.unknown = Some(from.clone());
            }
            Hold::SelfReference { from } | Hold::ReferenceNotPlaced { from } => self.references.push(from.clone()),
            Hold::Claims { .. } => self.devices = true,
            Hold::TopologyWarmingUp { .. } => self.warm = true,
            Hold::NoNodes => self.node_added = true,
            Hold::GroupUnplaceable { .. } => {
                (self.node_added, self.labels, self.taints, self.allocatable) = (true, true, true, true);
                (self.features, self.room, self.devices) = (true, true, true);
                self.bounds(bounds, |_| vec![None]);
            }
        }
        self
    }

    /// What would lift this reason, besides a node that would take the pod if it were empty (`node`).
    pub fn reason(&mut self, reason: &Reason) {
        match reason {
            Reason::NoNode | Reason::NodeName | Reason::NotNamed { .. } => {}
            Reason::NodeUnschedulable
            | Reason::UntoleratedTaint { .. }
            | Reason::NodeAffinity
            | Reason::AddedAffinity
            | Reason::NodeDeclaredFeatures => {}
            Reason::NodePorts | Reason::TooManyPods { .. } | Reason::Insufficient { .. } => self.room = true,
            Reason::NoDevices | Reason::InvalidPools | Reason::DevicesUnusable { .. } | Reason::ClaimElsewhere => {
                (self.devices, self.labels, self.allocatable) = (true, true, true);
            }
            // Through `volumes`, which knows the claims.
            Reason::DiskConflict | Reason::VolumeLimit { .. } | Reason::DriverMissing { .. } => {}
            // And through `volumes`. Pods on a node that is gone use nothing any more.
            Reason::ClaimInUse { .. } => self.node_deleted = true,
            // And through `volumes`.
            Reason::VolumeAffinity { .. }
            | Reason::NoVolume { .. }
            | Reason::StorageFull { .. }
            | Reason::VolumeMissing { .. }
            | Reason::VolumeZone { .. } => self.labels = true,
            // And through `pods`, which knows the terms. A node that takes nobody may still be the domain that is missing.
            Reason::SpreadSkew { .. } | Reason::SpreadLabel { .. } => {
                (self.node_added, self.labels, self.taints, self.node_deleted) = (true, true, true, true);
            }
            // Pods on a node that is gone are in no domain any more, and a domain that is gone is none to keep apart in. Pods on one that comes
            // are in its domain from now on.
            Reason::PodAffinity | Reason::PodAntiAffinity { .. } | Reason::ExistingAntiAffinity { .. } => {
                (self.node_added, self.labels, self.node_deleted) = (true, true, true);
            }
            Reason::OfferedByClass { .. } => self.allocatable = true,
            // Through `bounds`, which knows the statistic.
            Reason::RttAbove { .. } | Reason::RttUnmeasured { .. } => {}
            Reason::NotCloud => (self.labels, self.node_deleted) = (true, true),
            Reason::ControlPlane => (self.labels, self.taints) = (true, true),
        }
    }

    /// Some node was rejected by a bound: crossing one may help, and so may a reference that moves. `nodes` gives the nodes behind a reference.
    pub fn bounds(&mut self, bounds: &[DelayBound], nodes: impl Fn(&DelayBound) -> Vec<Option<String>>) {
        for bound in bounds {
            self.rtts.extend(nodes(bound).into_iter().map(|node| RttWait {
                node,
                max: bound.max,
                statistic: bound.statistic,
                missing: bound.missing,
            }));
            if !matches!(bound.from, Reference::Node(_)) {
                self.references.push(bound.from.name().to_owned());
            }
        }
        self.rtts.sort();
        self.rtts.dedup();
        self.references.sort();
        self.references.dedup();
    }

    /// What waits for devices waits for the pod's claims too.
    pub fn claims_of(&mut self, pod: &Pod) {
        let name = |claim: &ClaimName| match claim {
            ClaimName::Given(name) | ClaimName::Made(name) => Some(name.clone()),
            ClaimName::NotNeeded | ClaimName::NotMade | ClaimName::Unknown => None,
        };
        if self.devices {
            self.claims = pod.claims.iter().filter_map(|entry| name(&entry.claim)).collect();
        }
    }

    /// Every topic that an event which wakes the pod can have; few, whatever the cluster's size.
    pub fn topics(&self) -> Vec<Topic> {
        let of_node = self.node.as_ref().is_some_and(|wait| wait.hears_changes());
        let classes = [
            (self.node_added || self.node.is_some(), Topic::node_added()),
            (self.labels || self.taints || self.allocatable || self.features || of_node, Topic::node_updated()),
            (self.node_deleted, Topic::node_deleted()),
            (self.room, Topic::room()),
            (self.devices, Topic::devices()),
            (self.warm, Topic::warm()),
        ];
        let classes = classes.into_iter().filter(|(listens, _)| *listens).map(|(_, topic)| topic);
        let names = self.references.iter().map(String::as_str).chain([self.pod.name.as_str()]).map(Topic::name);
        let rtts = self.rtts.iter().map(|wait| wait.node.as_deref().map_or_else(Topic::any_rtt, Topic::rtt));
        let unknown = self.unknown.as_deref().map(Topic::rtt);
        let pods = self.pods.iter().flat_map(|wait| wait.topics());
        let volumes = self.volumes.iter().flat_map(|wait| wait.topics());
        let claims = self.claims.iter().map(|name| Topic::claim(&PodKey::new(&self.pod.namespace, name)));
        let mut topics: Vec<Topic> = classes.chain(names).chain(rtts).chain(unknown).chain(pods).chain(volumes).chain(claims).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    pub fn wakes(&self, event: &ClusterEvent) -> bool {
        let wakes = self.is_woken_by(event);
        debug_assert!(!wakes || event.topics().iter().any(|topic| self.topics().contains(topic)), "{self:?} is not filed under {event:?}");
        wakes
    }

    fn is_woken_by(&self, event: &ClusterEvent) -> bool {
        let named = |name: &str| self.references.iter().any(|reference| reference == name);
        let refers = |pod: &Pod| {
            let (key, owner) = (&pod.key, &pod.owner);
            *key == self.pod
                || key.namespace == self.pod.namespace && (named(&key.name) || owner.as_ref().is_some_and(|owner| named(&owner.name)))
        };
        let pods = |wakes: &dyn Fn(&PodWait) -> bool| self.pods.as_deref().is_some_and(wakes);
        let volumes = |wakes: &dyn Fn(&VolumeWait) -> bool| self.volumes.as_deref().is_some_and(wakes);
        let leaves = |pod: &Pod| self.room || pods(&|wait| wait.released(pod)) || volumes(&|wait| wait.released(pod));
        match event {
            ClusterEvent::NodeAdded { node } => {
                self.node_added || named(&node.name) || self.node.as_ref().is_some_and(|wait| wait.added(node))
            }
            ClusterEvent::NodeUpdated { before, after, labels, taints, allocatable, features } => {
                let pairs = [(self.labels, labels), (self.taints, taints), (self.allocatable, allocatable), (self.features, features)];
                pairs.into_iter().any(|(listens, changed)| listens && *changed)
                    || self.node.as_ref().is_some_and(|wait| wait.changed(before, after))
            }
            ClusterEvent::NodeDeleted { .. } => self.node_deleted,
            ClusterEvent::PodAdded { pod } | ClusterEvent::PodUpdated { pod } | ClusterEvent::PodGone { pod } => refers(pod),
            ClusterEvent::PodPlaced { pod, .. } => refers(pod) || pods(&|wait| wait.placed(pod)),
            // A replica that goes may be the one that was too far for `replicas: all`.
            ClusterEvent::PodReleased { pod, .. } => refers(pod) || leaves(pod),
            ClusterEvent::PromiseEnded { pod, .. } => pod.key != self.pod && leaves(pod),
            ClusterEvent::Storage(change) => volumes(&|wait| wait.changed(change)),
            ClusterEvent::PodRelabelled { before, after } => pods(&|wait| wait.relabelled(before, after)),
            ClusterEvent::RttChanged { a, b, old, new, at } => {
                old.is_none() && self.unknown.as_ref().is_some_and(|name| name == a || name == b)
                    || self.rtts.iter().any(|wait| wait.ends_at(a, b) && wait.helped(old.as_ref(), new, *at, self.max_age))
            }
            ClusterEvent::ClaimChanged { key, freed } => {
                *freed && self.devices || key.namespace == self.pod.namespace && self.claims.contains(&key.name)
            }
            ClusterEvent::DevicesChanged => self.devices,
            ClusterEvent::TopologyWarm => self.warm,
        }
    }
}

impl RttWait {
    fn ends_at(&self, a: &str, b: &str) -> bool {
        self.node.as_ref().is_none_or(|node| node == a || node == b)
    }

    /// The pair is within the bound at `at` and was not before, or was not known well enough.
    fn helped(&self, old: Option<&PairStat>, new: &PairStat, at: Timestamp, max_age: Span) -> bool {
        let unmeasured = self.missing == Missing::Allow;
        let within = |stat: &PairStat| stat.admissible(self.statistic, at, max_age).map_or(unmeasured, |figure| figure <= self.max);
        within(new) && !old.map_or(unmeasured, within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Node;
    use crate::constraint::{DelaySource, ReplicaRule};
    use crate::topology::Kind;
    use std::sync::Arc;

    fn stat(us: u32, at: u64) -> PairStat {
        PairStat { kind: Kind::Measured, ..PairStat::declared(Micros(us), Timestamp(at)) }
    }

    fn waiting_bound(max_us: u32) -> DelayBound {
        DelayBound {
            from: Reference::Name("edge-1".into()),
            max: Micros(max_us),
            statistic: Statistic::P90,
            replicas: ReplicaRule::Any,
            missing: Missing::Deny,
            source: DelaySource::Label,
        }
    }

    fn waiting_for_edge_1(max_us: u32) -> WakeOn {
        let mut wake = WakeOn::new(&PodKey::new("shop", "web"), Span(1_000));
        wake.bounds(&[waiting_bound(max_us)], |_| vec![Some("edge-1".into())]);
        wake
    }

    #[test]
    fn an_rtt_wakes_only_when_it_comes_within_the_bound() {
        let check = |a: &str, b: &str, old: Option<PairStat>, new: PairStat, wakes: bool| {
            let event = ClusterEvent::RttChanged { a: a.into(), b: b.into(), old, new, at: new.at };
            assert_eq!(waiting_for_edge_1(25_000).wakes(&event), wakes, "{event:?}");
        };
        check("edge-1", "n", Some(stat(30_000, 0)), stat(25_000, 1), true);
        check("n", "edge-1", Some(stat(30_000, 0)), stat(25_000, 1), true);
        check("edge-1", "n", Some(stat(30_000, 0)), stat(25_001, 1), false);
        check("edge-1", "n", Some(stat(20_000, 0)), stat(15_000, 1), false);
        check("edge-1", "n", Some(stat(20_000, 0)), stat(30_000, 1), false);
        check("edge-1", "n", Some(stat(20_000, 0)), stat(20_000, 1_001), true);
        check("edge-1", "n", None, stat(20_000, 1), true);
        check("edge-2", "n", Some(stat(30_000, 0)), stat(20_000, 1), false);
        check("edge-1", "n", None, stat(25_001, 1), false);
        check("edge-1", "n", Some(stat(30_000, 0)), PairStat { kind: Kind::Estimated, ..stat(1, 1) }, false);
    }

    #[test]
    fn where_no_measurement_is_needed_losing_one_wakes() {
        let mut wake = waiting_for_edge_1(25_000);
        wake.rtts[0].missing = Missing::Allow;
        let lost = PairStat { kind: Kind::Estimated, ..stat(90_000, 1) };
        let check_at = |at, old, new, wakes| {
            let event = ClusterEvent::RttChanged { a: "edge-1".into(), b: "n".into(), old, new, at: Timestamp(at) };
            assert_eq!(wake.wakes(&event), wakes);
        };
        let check = |old, new, wakes| check_at(1, old, new, wakes);
        check(Some(stat(30_000, 0)), lost, true);
        check(Some(stat(20_000, 0)), lost, false);
        check(None, stat(20_000, 1), false);
        check(Some(lost), stat(30_000, 1), false);
        // What the other end had measured before is all that is left, and too old.
        check_at(1_500, Some(stat(30_000, 1_000)), stat(30_000, 1), true);
        check_at(1_001, Some(stat(30_000, 1_000)), stat(30_000, 1), false);
    }

    #[test]
    fn any_report_makes_an_unknown_name_known() {
        let bound = DelayBound { missing: Missing::Allow, ..waiting_bound(25_000) };
        let unknown = Hold::UnknownReference { from: "edge-1".into(), namespace: "shop".into() };
        let wake = WakeOn::new(&PodKey::new("shop", "web"), Span(1_000)).hold(&unknown, &[bound]);
        let check = |a: &str, old, kind, wakes| {
            let event =
                ClusterEvent::RttChanged { a: a.into(), b: "n".into(), old, new: PairStat { kind, ..stat(1, 1) }, at: Timestamp(1) };
            assert_eq!(wake.wakes(&event), wakes, "{event:?}");
        };
        check("edge-1", None, Kind::Measured, true);
        // A bound that needs no measurement is met by a name alone.
        check("edge-1", None, Kind::Estimated, true);
        check("edge-2", None, Kind::Estimated, false);
        check("edge-1", Some(stat(1, 0)), Kind::Estimated, false);
    }

    #[test]
    fn each_reason_names_what_would_lift_it() {
        let check = |reason: Reason, wakes: [bool; 6]| {
            let mut wake = WakeOn::new(&PodKey::new("shop", "web"), Span(1));
            wake.reason(&reason);
            let node = || Arc::new(Node { name: "n".to_owned(), ..Node::default() });
            let updated = |labels, taints, allocatable, features| ClusterEvent::NodeUpdated {
                before: node(),
                after: node(),
                labels,
                taints,
                allocatable,
                features,
            };
            let other = Pod { key: PodKey::new("other", "x"), ..Pod::default() };
            let released = ClusterEvent::PodReleased { pod: Arc::new(other), node: "n".to_owned() };
            let events = [
                updated(true, false, false, false),
                updated(false, true, false, false),
                updated(false, false, true, false),
                updated(false, false, false, true),
                released,
                ClusterEvent::NodeDeleted { node: "n".to_owned() },
            ];
            assert_eq!(events.each_ref().map(|event| wake.wakes(event)), wakes, "{reason:?}");
        };
        let no = false;
        check(Reason::NodeAffinity, [no; 6]);
        check(Reason::NodePorts, [no, no, no, no, true, no]);
        check(Reason::ClaimInUse { claim: "c".into() }, [no, no, no, no, no, true]);
        check(Reason::TooManyPods { used: 1, allocatable: 1 }, [no, no, no, no, true, no]);
        check(Reason::OfferedByClass { resource: "r".into(), class: "c".into() }, [no, no, true, no, no, no]);
        check(Reason::PodAffinity, [true, no, no, no, no, true]);
        check(Reason::NotCloud, [true, no, no, no, no, true]);
        check(Reason::ControlPlane, [true, true, no, no, no, no]);
    }

    #[test]
    fn a_reference_wakes_when_it_is_placed_in_the_same_namespace() {
        let hold = Hold::ReferenceNotPlaced { from: "api".into() };
        let wake = WakeOn::new(&PodKey::new("shop", "web"), Span(1)).hold(&hold, &[]);
        let owner = |name: &str| Some(crate::cluster::Workload { kind: crate::cluster::WorkloadKind::Deployment, name: name.into() });
        let placed = |namespace: &str, name: &str, owner| {
            let pod = Pod { key: PodKey::new(namespace, name), owner, ..Pod::default() };
            ClusterEvent::PodPlaced { pod: Arc::new(pod), node: "n".into() }
        };
        assert!(wake.wakes(&placed("shop", "api-x-1", owner("api"))) && wake.wakes(&placed("shop", "api", None)));
        assert!(!wake.wakes(&placed("other", "api", None)) && !wake.wakes(&placed("shop", "apis", owner("apis"))));
        let comes = |name: &str| ClusterEvent::NodeAdded { node: Arc::new(Node { name: name.into(), ..Node::default() }) };
        assert!(wake.wakes(&comes("api")) && !wake.wakes(&comes("n")));
        assert!(!wake.wakes(&ClusterEvent::TopologyWarm));
    }
}
