//! Random histories of volumes, claims, classes, drivers and their room: nobody who waits for storage may sleep through a change that helps.
//!
//! What the API server or its controllers would not let happen does not happen here: claims and volumes in use stay, and a bound claim stays bound.

use super::NOW;
use super::waiting::Waiting;
use placement::cluster::*;
use placement::plan::{Planner, Warmth};
use proptest::prelude::*;
use proptest::sample::select;

const DRIVER: &str = "csi.test";
const ZONES: [&str; 2] = ["a", "b"];
const CLAIMS: [&str; 4] = ["c1", "c2", "c3", "p1-e"];

/// Bound to volumes that are there, when the pod has a node; made then; and bound at once.
const CLASSES: [&str; 3] = ["kept", "made", "now"];

#[derive(Clone, Debug)]
enum Event {
    Node(Node),
    DeleteNode(String),
    Class(&'static str),
    DeleteClass(&'static str),
    Driver(CsiDriver),
    DeleteDriver,
    CsiNode(String, Option<i64>),
    DeleteCsiNode(String),
    Room(&'static str, i64),
    DeleteRoom(&'static str),
    Volume(Box<PersistentVolume>),
    DeleteVolume(String),
    /// The controller makes a volume available whose claim is gone.
    FreeVolume(String),
    Claim(Box<PersistentVolumeClaim>),
    DeleteClaim(&'static str),
    /// The controller binds a claim of a class that does not wait, or that a volume has been promised to.
    Bind(&'static str),
    /// The provisioner has no room on the node that was chosen for the claim.
    TakeBack(&'static str),
    /// Decide for this pod, and assume it where it fits.
    Place(Box<Pod>),
    /// What the pod's claims take is written.
    Write(PodKey),
    /// Its claims are bound, and so is the pod.
    Confirm(PodKey),
    Forget(PodKey),
    /// Its kubelet, or whoever, ends the pod, bound or not.
    End(PodKey),
    DeletePod(PodKey),
    /// The controller attaches what a bound pod uses.
    Attach(PodKey),
    /// And detaches what no pod of the node uses.
    Detach,
}

fn key(name: &str) -> PodKey {
    PodKey::new("default", name)
}

fn node_name() -> impl Strategy<Value = String> {
    (1..=3u8).prop_map(|i| format!("n{i}"))
}

fn in_zone(zone: &str) -> Labels {
    [("zone".to_owned(), zone.to_owned())].into()
}

fn node() -> impl Strategy<Value = Node> {
    (node_name(), select(&ZONES[..]), 1..=2i64).prop_map(|(name, zone, pods)| Node {
        name,
        labels: in_zone(zone),
        allocatable: Resources { pods, ..Resources::default() },
        ..Node::default()
    })
}

fn volume_name() -> impl Strategy<Value = String> {
    (1..=4u8).prop_map(|i| format!("v{i}"))
}

/// A volume of a zone, or of all.
fn new_volume(name: &str, class: &str, capacity: i64, zone: Option<&str>) -> PersistentVolume {
    let requirement = |zone: &str| Requirement { key: "zone".into(), operator: Operator::In, values: vec![zone.into()] };
    let term = |zone: &str| NodeSelectorTerm { match_expressions: vec![requirement(zone)], match_fields: vec![] };
    PersistentVolume {
        name: name.into(),
        class: class.into(),
        capacity,
        available: true,
        access_modes: vec![AccessMode::ReadWriteOnce, AccessMode::ReadWriteOncePod],
        node_affinity: zone.map(|zone| vec![term(zone)]),
        csi: Some(CsiVolume { driver: DRIVER.into(), handle: name.into(), migrated: false }),
        ..PersistentVolume::default()
    }
}

fn volume() -> impl Strategy<Value = PersistentVolume> {
    let zone = proptest::option::weighted(0.8, select(&ZONES[..]));
    (volume_name(), select(&CLASSES[..]), 1..=3i64, zone).prop_map(|(name, class, capacity, zone)| new_volume(&name, class, capacity, zone))
}

fn claim() -> impl Strategy<Value = PersistentVolumeClaim> {
    (select(&CLAIMS[..]), 0..3u8, select(&CLASSES[..]), 1..=3i64, proptest::bool::weighted(0.2)).prop_map(
        |(name, uid, class, request, alone)| {
            PersistentVolumeClaim {
                namespace: "default".into(),
                name: name.into(),
                uid: format!("{name}-{uid}"),
                // Of an ephemeral volume: that of the pod, or of one that was called so.
                controller: (name == "p1-e").then(|| format!("u{uid}")),
                class: class.into(),
                request: Some(request),
                access_modes: vec![if alone { AccessMode::ReadWriteOncePod } else { AccessMode::ReadWriteOnce }],
                ..PersistentVolumeClaim::default()
            }
        },
    )
}

fn driver() -> impl Strategy<Value = CsiDriver> {
    (proptest::bool::ANY, proptest::bool::weighted(0.3)).prop_map(|(storage_capacity, required)| CsiDriver {
        name: DRIVER.into(),
        storage_capacity,
        required,
    })
}

fn pod_name() -> impl Strategy<Value = PodKey> {
    (1..=5u8).prop_map(|i| key(&format!("p{i}")))
}

fn pod() -> impl Strategy<Value = Pod> {
    let disk = || {
        let exclusive = ExclusiveDisk { kind: DiskKind::Iscsi, id: "iqn".into(), monitors: vec![], read_only: false };
        PodVolume::Disk(Disk { exclusive: Some(exclusive), attached: None })
    };
    let volume = prop_oneof![
        6 => select(&CLAIMS[..3]).prop_map(|name| PodVolume::Claim(name.into())),
        1 => Just(PodVolume::Ephemeral("e".into())),
        1 => Just(disk()),
    ];
    (pod_name(), 0..3u8, proptest::collection::vec(volume, 1..=2)).prop_map(|(key, uid, volumes)| {
        let own = |volume| match volume {
            PodVolume::Ephemeral(_) => PodVolume::Ephemeral(format!("{}-e", key.name)),
            other => other,
        };
        Pod {
            uid: format!("u{uid}"),
            requests: Resources { pods: 1, ..Resources::default() },
            volumes: volumes.into_iter().map(own).collect(),
            key: key.clone(),
            ..Pod::default()
        }
    })
}

fn event() -> impl Strategy<Value = Event> {
    let claim_name = || select(&CLAIMS[..]);
    prop_oneof![
        2 => node().prop_map(Event::Node),
        1 => node_name().prop_map(Event::DeleteNode),
        2 => select(&CLASSES[..]).prop_map(Event::Class),
        1 => select(&CLASSES[..]).prop_map(Event::DeleteClass),
        2 => driver().prop_map(Event::Driver),
        1 => Just(Event::DeleteDriver),
        3 => (node_name(), proptest::option::of(0..=2i64)).prop_map(|(node, limit)| Event::CsiNode(node, limit)),
        1 => node_name().prop_map(Event::DeleteCsiNode),
        2 => (select(&ZONES[..]), 0..=3i64).prop_map(|(zone, capacity)| Event::Room(zone, capacity)),
        1 => select(&ZONES[..]).prop_map(Event::DeleteRoom),
        4 => volume().prop_map(|volume| Event::Volume(Box::new(volume))),
        1 => volume_name().prop_map(Event::DeleteVolume),
        2 => volume_name().prop_map(Event::FreeVolume),
        4 => claim().prop_map(|claim| Event::Claim(Box::new(claim))),
        1 => claim_name().prop_map(Event::DeleteClaim),
        3 => claim_name().prop_map(Event::Bind),
        1 => claim_name().prop_map(Event::TakeBack),
        10 => pod().prop_map(|pod| Event::Place(Box::new(pod))),
        2 => pod_name().prop_map(Event::Write),
        4 => pod_name().prop_map(Event::Confirm),
        2 => pod_name().prop_map(Event::Forget),
        1 => pod_name().prop_map(Event::End),
        2 => pod_name().prop_map(Event::DeletePod),
        2 => pod_name().prop_map(Event::Attach),
        2 => Just(Event::Detach),
    ]
}

/// Nodes, classes, volumes and claims first, so that much fits.
fn story() -> impl Strategy<Value = Vec<Event>> {
    let settled = (
        proptest::collection::vec(node().prop_map(Event::Node), 3),
        proptest::collection::vec(volume().prop_map(|volume| Event::Volume(Box::new(volume))), 3),
        proptest::collection::vec(claim().prop_map(|claim| Event::Claim(Box::new(claim))), 3),
    );
    let classes = CLASSES.map(Event::Class).to_vec();
    (settled, proptest::collection::vec(event(), 1..80))
        .prop_map(move |((nodes, volumes, claims), rest)| [nodes, volumes, claims, classes.clone(), rest].concat())
}

/// The cluster, and the versions of objects.
struct Harness {
    cluster: Cluster,
    version: u64,
}

impl Harness {
    fn volume(&self, name: &str) -> Option<PersistentVolume> {
        self.cluster.view().stored::<PersistentVolume>("", name).map(|volume| PersistentVolume::clone(volume))
    }

    fn claim(&self, name: &str) -> Option<PersistentVolumeClaim> {
        self.cluster.view().stored::<PersistentVolumeClaim>("default", name).map(|claim| PersistentVolumeClaim::clone(claim))
    }

    /// The claim, unless it is bound by now.
    fn meant(&self, claim: &ClaimRef) -> Option<PersistentVolumeClaim> {
        self.claim(&claim.name).filter(|found| found.uid == claim.uid && !found.is_bound())
    }

    fn write_volume(&mut self, volume: PersistentVolume) -> Changes {
        self.version += 1;
        self.cluster.apply_stored(PersistentVolume { version: self.version.to_string(), ..volume })
    }

    fn write_claim(&mut self, claim: PersistentVolumeClaim) -> Changes {
        self.version += 1;
        self.cluster.apply_stored(PersistentVolumeClaim { version: self.version.to_string(), ..claim })
    }

    /// The volume is the claim's, and the claim the volume's.
    fn bind(&mut self, volume: PersistentVolume, claim: PersistentVolumeClaim) -> Changes {
        let name = volume.name.clone();
        let mut changes = self.write_volume(PersistentVolume { claim: Some(claim.reference()), available: false, ..volume });
        changes.extend(self.write_claim(PersistentVolumeClaim { volume: Some(name), bind_completed: true, ..claim }));
        changes
    }

    /// As the controller: a volume that is promised to the claim, or where it does not wait for its pod the first that is large enough.
    fn bind_by_controller(&mut self, name: &str) -> Changes {
        let Some(claim) = self.claim(name).filter(|claim| !claim.is_bound()) else { return Changes::new() };
        let view = self.cluster.view();
        let promised = view.all_stored::<PersistentVolume>().find(|volume| volume.claim.as_ref() == Some(&claim.reference()));
        let large_enough = |volume: &&std::sync::Arc<PersistentVolume>| volume.available && volume.capacity >= claim.request.unwrap_or(0);
        let any = view.free_volumes(&claim.class).find(large_enough).filter(|_| claim.class == "now");
        match promised.or(any).cloned() {
            Some(volume) => self.bind(PersistentVolume::clone(&volume), claim),
            None => Changes::new(),
        }
    }

    fn plan(&self, key: &PodKey) -> Option<VolumePlan> {
        self.cluster.view().volume_plan(key).map(|plan| VolumePlan::clone(plan))
    }

    fn node_of(&self, key: &PodKey) -> Option<(Pod, String)> {
        let view = self.cluster.view();
        let found = view.pod(key)?;
        Some((Pod::clone(found.pod), view.name(found.node?).to_owned()))
    }

    /// As the scheduler writes what an assumed pod has taken.
    fn write(&mut self, key: &PodKey) -> Changes {
        let (mut changes, plan) = (Changes::new(), self.plan(key).unwrap_or_default());
        let Some((_, node)) = self.node_of(key) else { return changes };
        for (volume, claim) in plan.bindings {
            let volume = self.volume(&volume).filter(|volume| volume.claim.is_none());
            changes.extend(volume.map(|volume| self.write_volume(PersistentVolume { claim: Some(claim), ..volume })).into_iter().flatten());
        }
        for claim in plan.provisions {
            let Some(claim) = self.meant(&claim) else { continue };
            changes.extend(self.write_claim(PersistentVolumeClaim { selected_node: Some(node.clone()), ..claim }));
        }
        changes
    }

    /// The controllers and the scheduler finish what was begun, unless something of it has gone.
    fn confirm(&mut self, key: &PodKey) -> Changes {
        let mut changes = self.write(key);
        let Some((pod, node)) = self.node_of(key).filter(|(pod, _)| pod.node_name.is_none()) else { return changes };
        for (volume, claim) in self.plan(key).unwrap_or_default().bindings {
            let (Some(volume), Some(claim)) = (self.volume(&volume), self.meant(&claim)) else { return changes };
            changes.extend(self.bind(volume, claim));
        }
        let zone = self.cluster.view().node_index(&node).and_then(|ix| self.cluster.view().node(ix)?.labels.get("zone").cloned());
        for claim in self.plan(key).unwrap_or_default().provisions {
            let Some(claim) = self.meant(&claim) else { return changes };
            let volume = new_volume(&format!("pv-{}", claim.uid), &claim.class, claim.request.unwrap_or(0), zone.as_deref());
            changes.extend(self.bind(volume, claim));
        }
        changes.extend(self.cluster.apply_pod(Pod { node_name: Some(node), ..pod }));
        changes
    }

    /// Whether a pod on a node, or on its way to one, has the claim.
    fn in_use(&self, claim: &str) -> bool {
        self.cluster.view().pods().any(|view| view.node.is_some() && view.pod.volumes.iter().any(|volume| volume.claim() == Some(claim)))
    }

    fn attach(&mut self, key: &PodKey) -> Changes {
        let Some((pod, node)) = self.node_of(key).filter(|(pod, _)| pod.node_name.is_some()) else { return Changes::new() };
        let volumes: Vec<String> = pod.volumes.iter().filter_map(|of| self.claim(of.claim()?)?.volume).collect();
        let attach = |volume: String| {
            let (name, attacher) = (format!("{node}-{volume}"), DRIVER.to_owned());
            self.cluster.apply_stored(VolumeAttachment { name, node: node.clone(), attacher, volume: Some(volume) })
        };
        volumes.into_iter().flat_map(attach).collect()
    }

    fn detach(&mut self) -> Changes {
        let view = self.cluster.view();
        let used = |attachment: &VolumeAttachment| {
            view.pods().any(|of| {
                let here = of.node.is_some_and(|ix| view.name(ix) == attachment.node);
                here && of.pod.volumes.iter().any(|volume| volume.claim().and_then(|name| self.claim(name)?.volume) == attachment.volume)
            })
        };
        let idle: Vec<String> = view.all_stored::<VolumeAttachment>().filter(|of| !used(of)).map(|of| of.name.clone()).collect();
        idle.iter().flat_map(|name| self.cluster.delete_stored::<VolumeAttachment>("", name)).collect()
    }

    fn apply(&mut self, event: Event, planner: &mut Planner, waiting: &mut Waiting) -> Result<Changes, TestCaseError> {
        let none = Changes::new();
        Ok(match event {
            Event::Node(node) => self.cluster.apply_node(node),
            Event::DeleteNode(name) => self.cluster.delete_node(&name),
            Event::Class(name) => {
                let made = (name == "made").then(|| DRIVER.to_owned());
                let attached = made.clone().map(|driver| CsiVolume { driver, handle: String::new(), migrated: false });
                let name_of = name.to_owned();
                self.cluster.apply_stored(StorageClass {
                    name: name_of,
                    provisioner: made,
                    attached,
                    delayed: name != "now",
                    topologies: None,
                })
            }
            Event::DeleteClass(name) => self.cluster.delete_stored::<StorageClass>("", name),
            Event::Driver(driver) => self.cluster.apply_stored(driver),
            Event::DeleteDriver => self.cluster.delete_stored::<CsiDriver>("", DRIVER),
            Event::CsiNode(name, limit) => {
                self.cluster.apply_stored(CsiNode { name, drivers: vec![(DRIVER.into(), limit)], migrated: vec![] })
            }
            Event::DeleteCsiNode(name) => self.cluster.delete_stored::<CsiNode>("", &name),
            Event::Room(zone, capacity) => self.cluster.apply_stored(CsiStorageCapacity {
                name: zone.to_owned(),
                class: "made".into(),
                nodes: Some(LabelSelector::of_labels(&in_zone(zone))),
                capacity: Some(capacity),
                ..CsiStorageCapacity::default()
            }),
            Event::DeleteRoom(zone) => self.cluster.delete_stored::<CsiStorageCapacity>("", zone),
            Event::Volume(volume) if self.volume(&volume.name).is_none() => self.write_volume(*volume),
            Event::Volume(_) => none,
            Event::DeleteVolume(name) => match self.volume(&name).filter(|volume| volume.claim.is_none()) {
                Some(_) => self.cluster.delete_stored::<PersistentVolume>("", &name),
                None => none,
            },
            Event::FreeVolume(name) => {
                let view = self.cluster.view();
                let attached = view.all_stored::<VolumeAttachment>().any(|of| of.volume.as_ref() == Some(&name));
                let lost = |claim: &ClaimRef| self.claim(&claim.name).is_none_or(|found| found.uid != claim.uid);
                match self.volume(&name).filter(|volume| !attached && volume.claim.as_ref().is_some_and(lost)) {
                    Some(volume) => self.write_volume(PersistentVolume { claim: None, available: true, ..volume }),
                    None => none,
                }
            }
            // What a claim asks for can't be changed, nor replaced while it is used.
            Event::Claim(claim) if self.claim(&claim.name).is_none_or(|known| known.uid != claim.uid) && !self.in_use(&claim.name) => {
                self.write_claim(*claim)
            }
            Event::Claim(_) => none,
            Event::DeleteClaim(name) if !self.in_use(name) => self.cluster.delete_stored::<PersistentVolumeClaim>("default", name),
            Event::DeleteClaim(_) => none,
            Event::Bind(name) => self.bind_by_controller(name),
            Event::TakeBack(name) => match self.claim(name).filter(|claim| !claim.is_bound() && claim.selected_node.is_some()) {
                Some(claim) => self.write_claim(PersistentVolumeClaim { selected_node: None, ..claim }),
                None => none,
            },
            Event::Write(key) => self.write(&key),
            Event::Confirm(key) => self.confirm(&key),
            Event::Forget(key) => self.cluster.forget(&key),
            Event::End(key) => match self.cluster.view().pod(&key).map(|view| Pod::clone(view.pod)) {
                Some(pod) => {
                    waiting.forget(&key);
                    self.cluster.apply_pod(Pod { phase: PodPhase::Ended, ..pod })
                }
                None => none,
            },
            Event::DeletePod(key) => {
                waiting.forget(&key);
                self.cluster.delete_pod(&key)
            }
            Event::Attach(key) => self.attach(&key),
            Event::Detach => self.detach(),
            Event::Place(pod) => {
                if self.cluster.view().pod(&pod.key).is_some() {
                    return Ok(none);
                }
                let pod = *pod;
                let mut changes = self.cluster.apply_pod(pod.clone());
                let decision = planner.place(self.cluster.view(), &pod, NOW, Warmth::Warm);
                if let Some(node) = decision.placed() {
                    changes.extend(self.cluster.assume(&pod.key, &pod.uid, node).expect("the planner's answer can be assumed"));
                }
                waiting.check(&self.cluster, planner, &changes)?;
                waiting.add(pod, &decision);
                return Ok(none);
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nobody_sleeps_through_storage_that_helps(events in story()) {
        let settings = Settings { undelayed: Undelayed::Any, ..Settings::default() };
        let mut harness = Harness { cluster: Cluster::new(settings), version: 0 };
        let (mut planner, mut waiting) = (Planner::new(), Waiting::default());
        for event in events {
            let changes = harness.apply(event, &mut planner, &mut waiting)?;
            waiting.check(&harness.cluster, &mut planner, &changes)?;
        }
    }
}
