//! Random histories of devices, their classes and taints, and of claims for them: nobody who waits for devices may sleep through a change that helps.

use super::NOW;
use super::waiting::Waiting;
use placement::cluster::*;
use placement::devices::*;
use placement::plan::{Planner, Warmth};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

const CLASSES: [&str; 2] = ["gpu", "nic"];
const DRIVER: &str = "gpu.test";

#[derive(Clone, Debug)]
enum Event {
    Node(Node),
    DeleteNode(String),
    Slice(Slice),
    DeleteSlice(u8),
    Class(&'static str),
    DeleteClass(&'static str),
    /// Taints a pool.
    Rule(u8),
    DeleteRule(u8),
    Claim(Claim),
    DeleteClaim(PodKey),
    /// The claim's controller takes its devices and users away.
    Free(PodKey),
    /// Decide for this pod, and assume it where it fits.
    Place(Box<Pod>),
    /// What its claims were promised is written, and the pod is bound.
    Confirm(PodKey),
    Forget(PodKey),
    DeletePod(PodKey),
}

/// Devices of a node, of a zone, or of all.
#[derive(Clone, Debug)]
struct Slice {
    pool: u8,
    reach: Reach,
    generation: i64,
    /// Slices that the pool has, of which there is one.
    slices: i64,
    /// Names, and whether tainted.
    devices: BTreeMap<&'static str, bool>,
}

impl Slice {
    fn build(self) -> ResourceSlice {
        let device = |(name, tainted): (&str, bool)| Device {
            name: name.to_owned(),
            attributes: BTreeMap::new(),
            capacity: BTreeMap::new(),
            taints: tainted.then(taint).into_iter().collect(),
            reach: Reach::Unknown,
            shared: false,
            binds_to_node: false,
            unsupported: None,
        };
        let mut built = ResourceSlice::new(pool(self.pool), DRIVER, pool(self.pool));
        (built.generation, built.slice_count, built.reach) = (self.generation, self.slices, self.reach);
        built.devices = self.devices.into_iter().map(device).collect();
        built
    }
}

fn pool(i: u8) -> String {
    format!("pool-{i}")
}

fn taint() -> DeviceTaint {
    DeviceTaint { key: "broken".into(), value: String::new(), effect: "NoSchedule".into() }
}

fn key(name: &str) -> PodKey {
    PodKey::new("default", name)
}

fn node_name() -> impl Strategy<Value = String> {
    (1..=3u8).prop_map(|i| format!("n{i}"))
}

fn node() -> impl Strategy<Value = Node> {
    let zone = select(&["a", "b"][..]).prop_map(|zone| [("zone".to_owned(), zone.to_owned())].into());
    let allocatable = Resources { pods: 3, ..Resources::default() };
    (node_name(), zone).prop_map(move |(name, labels)| Node { name, labels, allocatable: allocatable.clone(), ..Node::default() })
}

fn reach() -> impl Strategy<Value = Reach> {
    let zone = |zone: &str| NodeSelectorTerm {
        match_expressions: vec![Requirement { key: "zone".into(), operator: Operator::In, values: vec![zone.into()] }],
        match_fields: vec![],
    };
    prop_oneof![
        3 => node_name().prop_map(Reach::Node),
        1 => select(&["a", "b"][..]).prop_map(move |name| Reach::Selected(vec![zone(name)])),
        1 => Just(Reach::All),
    ]
}

fn slice() -> impl Strategy<Value = Slice> {
    let devices = proptest::collection::btree_map(select(&["d1", "d2", "d3"][..]), proptest::bool::weighted(0.2), 0..=3);
    let slices = select(&[1, 1, 1, 2][..]);
    (1..=3u8, reach(), 1..=2i64, slices, devices).prop_map(|(pool, reach, generation, slices, devices)| Slice {
        pool,
        reach,
        generation,
        slices,
        devices,
    })
}

fn claim_name() -> impl Strategy<Value = PodKey> {
    select(&["c1", "c2", "c3", "c4"][..]).prop_map(key)
}

fn claim() -> impl Strategy<Value = Claim> {
    let amount = select(&[Amount::Count(1), Amount::Count(1), Amount::Count(2), Amount::All][..]);
    let options = (proptest::bool::weighted(0.1), proptest::bool::weighted(0.2));
    (claim_name(), 0..3u8, select(&CLASSES[..]), amount, options).prop_map(|(key, uid, class, amount, (admin_access, tolerates))| {
        let toleration = DeviceToleration { key: "broken".into(), value: None, effect: String::new(), seconds: None };
        let tolerations = tolerates.then_some(toleration).into_iter().collect();
        let variant = Variant { name: String::new(), class: class.into(), selectors: vec![], amount, admin_access, tolerations };
        let requests = vec![Request { name: "r".into(), variants: vec![variant], prioritized: false }];
        let uid = format!("{}-{uid}", key.name);
        Claim { requests, ..Claim::new(key, uid) }
    })
}

fn pod_name() -> impl Strategy<Value = PodKey> {
    (1..=5u8).prop_map(|i| key(&format!("p{i}")))
}

fn pod() -> impl Strategy<Value = Pod> {
    (pod_name(), 0..1000u32, proptest::collection::vec(claim_name(), 1..=2)).prop_map(|(key, uid, claims)| Pod {
        key,
        uid: format!("u{uid}"),
        claims: claims.into_iter().map(|claim| PodClaim { name: claim.name.clone(), claim: ClaimName::Given(claim.name) }).collect(),
        ..Pod::default()
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => node().prop_map(Event::Node),
        1 => node_name().prop_map(Event::DeleteNode),
        4 => slice().prop_map(Event::Slice),
        1 => (1..=3u8).prop_map(Event::DeleteSlice),
        2 => select(&CLASSES[..]).prop_map(Event::Class),
        1 => select(&CLASSES[..]).prop_map(Event::DeleteClass),
        1 => (1..=3u8).prop_map(Event::Rule),
        1 => (1..=3u8).prop_map(Event::DeleteRule),
        5 => claim().prop_map(Event::Claim),
        1 => claim_name().prop_map(Event::DeleteClaim),
        2 => claim_name().prop_map(Event::Free),
        8 => pod().prop_map(|pod| Event::Place(Box::new(pod))),
        3 => pod_name().prop_map(Event::Confirm),
        2 => pod_name().prop_map(Event::Forget),
        2 => pod_name().prop_map(Event::DeletePod),
    ]
}

/// Nodes, devices, classes and claims first, so that much fits.
fn story() -> impl Strategy<Value = Vec<Event>> {
    let settled = (
        proptest::collection::vec(node().prop_map(Event::Node), 4),
        proptest::collection::vec(slice().prop_map(Event::Slice), 3),
        proptest::collection::vec(claim().prop_map(Event::Claim), 4),
    );
    let classes = CLASSES.map(Event::Class).to_vec();
    (settled, proptest::collection::vec(event(), 1..80))
        .prop_map(move |((nodes, slices, claims), rest)| [nodes, slices, claims, classes.clone(), rest].concat())
}

/// The cluster, and the versions of claims.
struct Harness {
    cluster: Cluster,
    version: u64,
}

impl Harness {
    fn write(&mut self, claim: Claim) -> Changes {
        self.version += 1;
        self.cluster.apply_claim(Claim { version: self.version, ..claim })
    }

    fn known(&self, key: &PodKey) -> Option<Claim> {
        self.cluster.view().inventory().claim(key).map(|claim| Claim::clone(claim))
    }

    fn release(&mut self, key: &PodKey, change: impl FnOnce(&mut Cluster) -> Changes) -> Changes {
        let uid = self.cluster.view().pod(key).map(|view| view.pod.uid.clone()).unwrap_or_default();
        let mut changes = change(&mut self.cluster);
        changes.extend(self.cluster.release_devices(&uid));
        changes
    }

    /// As the scheduler writes and binds.
    fn confirm(&mut self, key: &PodKey) -> Changes {
        let view = self.cluster.view();
        let Some((pod, node)) = view.pod(key).and_then(|of| Some((Pod::clone(of.pod), of.node?))) else { return Changes::new() };
        let (node, reserved) = (view.name(node).to_owned(), view.claim_reservations(&pod));
        let mut changes = Changes::new();
        for ClaimReservation { claim, allocation } in reserved.unwrap_or_default() {
            let mut claim = Claim::clone(&claim);
            claim.allocation = allocation.or(claim.allocation);
            claim.reserved_for.push(pod.uid.clone());
            changes.extend(self.write(claim));
        }
        changes.extend(self.cluster.apply_pod(Pod { node_name: Some(node), ..pod.clone() }));
        changes.extend(self.cluster.release_devices(&pod.uid));
        changes
    }

    fn apply(&mut self, event: Event, planner: &mut Planner, waiting: &mut Waiting) -> Result<Changes, TestCaseError> {
        Ok(match event {
            Event::Node(node) => self.cluster.apply_node(node),
            Event::DeleteNode(name) => self.cluster.delete_node(&name),
            Event::Slice(slice) => self.cluster.apply_resource_slice(slice.build()),
            Event::DeleteSlice(i) => self.cluster.delete_resource_slice(&pool(i)),
            Event::Class(name) => self.cluster.apply_device_class(DeviceClass::new(name)),
            Event::DeleteClass(name) => self.cluster.delete_device_class(name),
            Event::Rule(i) => {
                let rule = TaintRule { name: pool(i), driver: None, pool: Some(pool(i)), device: None, taint: taint() };
                self.cluster.apply_device_taint_rule(rule)
            }
            Event::DeleteRule(i) => self.cluster.delete_device_taint_rule(&pool(i)),
            // What a claim asks for can't be changed.
            Event::Claim(claim) if self.known(&claim.key).is_none_or(|known| known.uid != claim.uid) => self.write(claim),
            Event::Claim(_) => Changes::new(),
            Event::DeleteClaim(key) => self.cluster.delete_claim(&key),
            Event::Free(key) => match self.known(&key) {
                Some(claim) => self.write(Claim { allocation: None, reserved_for: vec![], ..claim }),
                None => Changes::new(),
            },
            Event::Confirm(key) => self.confirm(&key),
            Event::Forget(key) => self.release(&key, |cluster| cluster.forget(&key)),
            Event::DeletePod(key) => {
                waiting.forget(&key);
                self.release(&key, |cluster| cluster.delete_pod(&key))
            }
            Event::Place(pod) => {
                if self.cluster.view().pod(&pod.key).is_some() {
                    return Ok(Changes::new());
                }
                let pod = *pod;
                let mut changes = self.cluster.apply_pod(pod.clone());
                let decision = planner.place(self.cluster.view(), &pod, NOW, Warmth::Warm);
                if let Some(node) = decision.placed() {
                    changes.extend(self.cluster.assume(&pod.key, &pod.uid, node).expect("the planner's answer can be assumed"));
                }
                waiting.check(&self.cluster, planner, &changes)?;
                waiting.add(pod, &decision);
                return Ok(Changes::new());
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nobody_sleeps_through_devices_that_help(events in story()) {
        let settings = Settings { undelayed: Undelayed::Any, ..Settings::default() };
        let mut harness = Harness { cluster: Cluster::new(settings), version: 0 };
        let (mut planner, mut waiting) = (Planner::new(), Waiting::default());
        for event in events {
            let changes = harness.apply(event, &mut planner, &mut waiting)?;
            waiting.check(&harness.cluster, &mut planner, &changes)?;
        }
    }
}
