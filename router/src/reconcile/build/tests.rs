//! Tables out of objects as the API server sends them.

use super::*;
use crate::reconcile::Event;
use api::protocol::{PairEntry, StreamEvent, TopologySnapshot};
use chassis::watches::Change;
use placement::{
    topology::{Kind, PairStat},
    units::{Micros, Timestamp},
};
use serde_json::{Value, json};

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[derive(Default)]
struct World {
    state: State,
}

impl World {
    fn service(mut self, name: &str, annotations: Value) -> World {
        let service = json!({
            "metadata": {"namespace": "demo", "name": name, "annotations": annotations},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]},
        });
        self.state.apply(Event::Service(Change::Apply(read(service))));
        self
    }

    /// A pod of the Service on a node, with its endpoint; `10.0.0.n` with n from the name's last character.
    fn pod(mut self, service: &str, name: &str, node: &str, spec: Value) -> World {
        let address = format!("10.0.0.{}", name.chars().last().unwrap());
        let mut pod = json!({
            "metadata": {"namespace": "demo", "name": name, "labels": {"app": service}},
            "spec": {"nodeName": node, "schedulerName": "edge-scheduler", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
        self.state.apply(Event::Pod(Change::Apply(read(pod))));
        let slice = json!({
            "metadata": {"namespace": "demo", "name": format!("{service}-{name}"), "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "nodeName": node, "targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": spec["ready"] != false}}],
            "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 8081}],
        });
        self.state.apply(Event::Slice(Change::Apply(read(slice))));
        self
    }

    fn node(mut self, name: &str, labels: Value) -> World {
        self.state.apply(Event::Node(Change::Apply(read(json!({"metadata": {"name": name, "labels": labels}})))));
        self
    }

    fn elb(mut self, name: &str, created: &str, spec: Value) -> World {
        let object = json!({
            "apiVersion": "edge-scheduler.io/v1alpha1", "kind": "EdgeLoadBalancer",
            "metadata": {"namespace": "demo", "name": name, "creationTimestamp": created}, "spec": spec,
        });
        self.state.apply(Event::LoadBalancer(Change::Apply(read(object))));
        self
    }

    /// RTT from edge-1: edge-2 5 ms, edge-3 30 ms, edge-4 not measured. The clients of a second site enter at edge-3.
    fn build(&self) -> Built {
        let mut topology = TopologyView::new(vec!["edge-1".into(), "edge-3".into()]);
        let now = Instant::now();
        let pair = |a: &str, b: &str, ms: u32| {
            let stat = PairStat { p50: Micros(ms * 1000), kind: Kind::Measured, ..PairStat::declared(Micros(ms * 1000), Timestamp(1000)) };
            PairEntry { a: a.into(), b: b.into(), stat: Some(stat) }
        };
        let pairs = vec![pair("edge-1", "edge-2", 5), pair("edge-1", "edge-3", 30), pair("edge-3", "edge-2", 28)];
        topology.apply(StreamEvent::Snapshot(TopologySnapshot { at_ms: 1000, pairs, ..Default::default() }), now);
        let inputs = Inputs {
            state: &self.state,
            topology: &topology,
            now,
            max_age: Span(900_000),
            cluster_domain: "cluster.local",
            price: None,
            generation: 1,
        };
        build(inputs, &mut Registry::default())
    }
}

/// Endpoints of the load balancer behind a host as `pod@node:port`, with why they take nothing from the router's own site.
fn endpoints(built: &Built, host: &str) -> Option<Vec<(String, Option<Exclusion>)>> {
    let found = built.table.resolve(host, "/")?;
    let names = found.backends.iter().map(|backend| format!("{}:{}", backend.endpoint.name(), backend.endpoint.key.address.port()));
    Some(names.zip(found.sites[0].column.excluded.clone()).collect())
}

fn check(built: &Built, host: &str, expected: &[(&str, Option<Exclusion>)]) {
    let expected: Vec<_> = expected.iter().map(|(name, excluded)| (format!("demo/{name}"), *excluded)).collect();
    assert_eq!(endpoints(built, host), Some(expected), "{host}");
}

#[test]
fn a_service_with_our_pods_has_a_load_balancer_by_itself() {
    let world = World::default()
        .service("vision", json!({}))
        .pod("vision", "vision-1", "edge-2", json!({}))
        .pod("vision", "vision-2", "edge-4", json!({"ready": false}))
        .service("theirs", json!({}))
        .pod("theirs", "theirs-3", "edge-2", json!({"schedulerName": "default-scheduler"}))
        .service("opted-out", json!({"edge-scheduler.io/implicit": "false"}))
        .pod("opted-out", "out-4", "edge-2", json!({}));
    let built = world.build();
    check(&built, "vision.demo.svc.cluster.local", &[("vision-1@edge-2:8080", None), ("vision-2@edge-4:8080", Some(Exclusion::NotReady))]);
    assert_eq!((endpoints(&built, "theirs.demo"), endpoints(&built, "opted-out.demo")), (None, None));
    assert!(built.verdicts.is_empty());
}

#[test]
fn an_sla_excludes_what_is_too_far_or_not_measured() {
    let pods = |world: World| {
        let world = world.pod("vision", "a-1", "edge-1", json!({})).pod("vision", "a-2", "edge-2", json!({}));
        world.pod("vision", "a-3", "edge-3", json!({})).pod("vision", "a-4", "edge-4", json!({}))
    };
    let bound = Micros(20_000);
    let (above, unmeasured) = (Exclusion::RttAbove { rtt: Micros(30_000), bound }, Exclusion::RttUnmeasured { bound });
    let expected =
        [("a-1@edge-1:8080", None), ("a-2@edge-2:8080", None), ("a-3@edge-3:8080", Some(above)), ("a-4@edge-4:8080", Some(unmeasured))];
    let explicit = json!({"backend": {"service": "vision"}, "sla": {"maxRtt": "20ms"}});
    let worlds = [
        World::default().service("vision", json!({"edge-scheduler.io/sla-max-rtt": "20ms"})),
        World::default().service("vision", json!({})).elb("near", "2026-01-01T00:00:00Z", explicit),
    ];
    for world in worlds {
        let built = pods(world).build();
        check(&built, "vision.demo", &expected);
        let sites = &built.table.resolve("vision.demo", "/").unwrap().sites;
        assert_eq!((sites[0].excluded_by_rtt(), sites[1].excluded_by_rtt()), (2, 3), "from edge-3 only edge-3 is near enough");
    }
}

#[test]
fn a_bad_sla_is_refused_and_named() {
    for (text, part) in [("abc", "duration \"abc\" is not a number"), ("0ms", "must be above 0")] {
        let world =
            World::default().service("vision", json!({"edge-scheduler.io/sla-max-rtt": text})).pod("vision", "a-1", "edge-2", json!({}));
        let built = world.build();
        let refused = built.table.resolve("vision.demo", "/").unwrap().refused.clone().unwrap();
        assert!(refused.contains("annotation edge-scheduler.io/sla-max-rtt") && refused.contains(part), "{refused}");
    }
}

fn check_verdict(built: &Built, name: &str, reason: &str, part: &str) {
    let (_, verdict) = &built.verdicts[&("demo".to_owned(), name.to_owned())];
    assert!(verdict.reason == reason && verdict.message.contains(part), "{name}: {verdict:?}");
}

#[test]
fn the_oldest_keeps_the_host_and_an_object_replaces_the_implicit_one() {
    let vision = || json!({"backend": {"service": "vision"}});
    let world = World::default()
        .service("vision", json!({}))
        .pod("vision", "a-1", "edge-2", json!({}))
        .elb("late", "2026-01-03T00:00:00Z", vision())
        .elb(
            "routed",
            "2026-01-02T00:00:00Z",
            json!({"backend": {"service": "vision", "port": "admin"}, "routes": [{"host": "X.example.com"}]}),
        )
        .elb("old", "2026-01-01T00:00:00Z", vision());
    let built = world.build();
    assert_eq!(built.table.resolve("vision.demo", "/").unwrap().name, "demo/old");
    check(&built, "x.example.com", &[("a-1@edge-2:8081", None)]);
    assert_eq!(built.table.load_balancers.len(), 3, "no implicit one beside them");
    check_verdict(&built, "old", "Accepted", "");
    check_verdict(&built, "routed", "Accepted", "host vision.demo belongs to EdgeLoadBalancer demo/old");
    check_verdict(&built, "late", "HostConflict", "host vision.demo belongs to EdgeLoadBalancer demo/old, which is older");
}

#[test]
fn what_cannot_be_served_says_why_to_clients_too() {
    let created = "2026-01-01T00:00:00Z";
    let world = World::default()
        .service("vision", json!({}))
        .pod("vision", "a-1", "edge-2", json!({}))
        .elb("flows", created, json!({"backend": {"service": "vision"}, "protocol": "tcp"}))
        .elb("lost", created, json!({"backend": {"service": "gone"}}))
        .elb("port", created, json!({"backend": {"service": "vision", "port": 99}, "routes": [{"host": "port.example.com"}]}));
    let built = world.build();
    check_verdict(&built, "flows", "UnsupportedProtocol", "protocol tcp is not supported yet");
    check_verdict(&built, "lost", "BackendNotFound", "Service demo/gone does not exist");
    check_verdict(&built, "port", "BackendNotFound", "Service demo/vision has no port 99, it has: 80 http, 81 admin");
    let refused = |host: &str| built.table.resolve(host, "/").unwrap().refused.is_some();
    assert!(refused("vision.demo") && refused("gone.demo") && refused("port.example.com"));
}

#[test]
fn a_selector_takes_pods_without_a_service() {
    let world = World::default().pod("vision", "a-1", "edge-2", json!({})).pod("other", "b-2", "edge-2", json!({})).elb(
        "direct",
        "2026-01-01T00:00:00Z",
        json!({"backend": {"selector": {"app": "vision"}, "port": "web"}}),
    );
    check(&world.build(), "direct.demo", &[("a-1@edge-2:8080", None)]);
}

#[test]
fn node_pool_device_classes_and_performance() {
    let gpu = json!({"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]});
    let spec = json!({
        "backend": {"service": "vision"}, "nodePool": {"tier": "edge"}, "devicePriority": ["gpu", "tpu"],
        "performance": {"slots": 2, "serviceTime": "20ms", "devices": {"gpu": {"slots": 8, "fps": 30, "serviceTime": "5ms"}}},
    });
    let world = World::default()
        .service("vision", json!({}))
        .node("edge-2", json!({"tier": "edge"}))
        .node("edge-3", json!({"tier": "cloud"}))
        .pod("vision", "a-1", "edge-2", gpu)
        .pod("vision", "a-2", "edge-2", json!({}))
        .pod("vision", "a-3", "edge-3", json!({}))
        .elb("e", "2026-01-01T00:00:00Z", spec);
    let built = world.build();
    let found = built.table.resolve("vision.demo", "/").unwrap();
    assert_eq!(found.sites[0].column.excluded, [None, None, Some(Exclusion::NodePool)]);
    assert_eq!((&found.endpoints.slots, found.endpoints.fps[0].map(|fps| fps.0)), (&vec![8, 2, 2], Some(30)));
    let services: Vec<u32> = found.backends.iter().map(|backend| backend.service().0).collect();
    assert_eq!(services, [5_000, 20_000, 20_000]);
    assert_eq!(found.classes.as_ref().map(Vec::len), Some(1), "nobody computes on a tpu");
}

#[test]
fn live_figures_outlast_a_rebuild() {
    let world = World::default().service("vision", json!({})).pod("vision", "a-1", "edge-2", json!({}));
    let topology = TopologyView::new(vec!["edge-1".into()]);
    let mut registry = Registry::default();
    let mut build = |world: &World| {
        let now = Instant::now();
        let (state, topology) = (&world.state, &topology);
        let inputs = Inputs { state, topology, now, max_age: Span(1), cluster_domain: "cluster.local", price: None, generation: 1 };
        Arc::clone(build(inputs, &mut registry).table.resolve("vision.demo", "/").unwrap())
    };
    let first = build(&world);
    let _in_flight = first.backends[0].endpoint.enter(0);
    first.sites[0].arrived();
    let second = build(&world.pod("vision", "a-2", "edge-2", json!({})));
    assert_eq!((second.id, second.backends.len(), second.backends[0].endpoint.in_flight()), (first.id, 2, 1));
    assert_eq!(second.stats.arrived(), [("edge-1".into(), 1)]);
}
