//! What the API server says of custom resources: the published schema, its defaults and its CEL rules, and that our own check agrees.

#![allow(clippy::unwrap_used)]

use api::crd::{BackupReservation, EdgeLoadBalancer, NodeNetwork, SpecError, definitions};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn schema(kind: &str) -> Value {
    let crd = definitions().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    serde_json::to_value(schema).unwrap()
}

/// What is wrong with an object: by the schema; else by CEL, on the object with its defaults.
fn verdict<T: Serialize + DeserializeOwned>(kind: &str, object: &Value, ours: fn(&T) -> Vec<SpecError>) -> Vec<String> {
    let schema = schema(kind);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let by_schema: Vec<String> = validator.iter_errors(object).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if !by_schema.is_empty() {
        return by_schema;
    }
    let typed: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("the schema lets through what can't be read: {error}"));
    let defaulted = serde_json::to_value(&typed).unwrap();
    let by_cel = match kube_cel::Validator::new().validate(&schema, &defaulted, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.message).collect::<Vec<_>>(),
    };
    let ours: Vec<String> = ours(&typed).iter().map(ToString::to_string).collect();
    assert_eq!(by_cel, ours, "CEL and the check in Rust differ on {object}");
    by_cel
}

fn check_elb(spec: Value, expected: &[&str]) {
    let object = json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": "EdgeLoadBalancer", "metadata": {"name": "detect", "namespace": "default"}, "spec": spec});
    let found = verdict::<EdgeLoadBalancer>("EdgeLoadBalancer", &object, EdgeLoadBalancer::check);
    assert_eq!(found.len(), expected.len(), "{spec}: {found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found:?} does not say {expected:?}");
    }
}

#[test]
fn sound_load_balancers_pass() {
    check_elb(json!({"backend": {"service": "detect"}}), &[]);
    check_elb(
        json!({
            "useCase": "detect",
            "backend": {"selector": {"app": "detect"}, "port": 8080},
            "routes": [{"host": "detect.example.com", "pathPrefix": "/v1"}],
            "devicePriority": ["gpu", "cpu"],
            "policy": "optimized", "objective": "cost",
            "performance": {"fps": 30, "slots": 4, "serviceTime": "20ms", "devices": {"gpu": {"serviceTime": "2.5ms"}}},
            "watermark": 80, "protocol": "grpc",
            "affinity": {"type": "header", "header": "X-Camera"},
            "sla": {"maxRtt": "25ms"},
            "nodePool": {"pool": "edge"},
            "timeouts": {"connect": "500ms"},
        }),
        &[],
    );
    check_elb(json!({"backend": {"service": "detect", "port": "http"}, "spread": "all"}), &[]);
}

#[test]
fn broken_load_balancers_are_refused_with_what_would_be_right() {
    check_elb(json!({}), &["\"backend\" is a required property"]);
    check_elb(json!({"backend": {}}), &["spec.backend: give either service or selector"]);
    check_elb(json!({"backend": {"service": "a", "selector": {"app": "a"}, "port": 1}}), &["spec.backend: give either"]);
    check_elb(json!({"backend": {"selector": {}, "port": 1}}), &["spec.backend.selector: an empty selector"]);
    check_elb(json!({"backend": {"selector": {"app": "a"}}}), &["spec.backend.port: is needed"]);
    let service = json!({"service": "a"});
    check_elb(json!({"backend": service, "policy": "fastest"}), &["\"fastest\" is not one of"]);
    check_elb(json!({"backend": service, "objective": "cost"}), &["spec.objective: belongs to policy \"optimized\""]);
    check_elb(json!({"backend": service, "policy": "random", "spread": "all"}), &["spec.spread: belongs to policy \"balance\""]);
    check_elb(json!({"backend": service, "spread": "20"}), &["spec/spread"]);
    check_elb(json!({"backend": service, "affinity": {"type": "header"}}), &["spec.affinity.header: is needed"]);
    check_elb(json!({"backend": service, "affinity": {"header": "X-A"}}), &["spec.affinity.header: is needed"]);
    check_elb(json!({"backend": service, "sla": {"maxRtt": "0ms"}}), &["spec.sla.maxRtt: must be above 0"]);
    check_elb(json!({"backend": service, "sla": {"maxRtt": "25"}}), &["spec/sla/maxRtt"]);
    check_elb(json!({"backend": service, "sla": {"maxRtt": "9999999999s"}}), &["spec/sla/maxRtt"]);
    check_elb(json!({"backend": service, "sla": {"maxRtt": "-1ms"}}), &["spec/sla/maxRtt"]);
    check_elb(json!({"backend": service, "watermark": 0}), &["less than the minimum"]);
    check_elb(json!({"backend": service, "performance": {"slots": 0}}), &["less than the minimum"]);
    check_elb(json!({"backend": service, "routes": [{"pathPrefix": "v1"}]}), &["spec/routes/0/pathPrefix"]);
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_type() {
    let defaulted = serde_json::to_value(api::crd::EdgeLoadBalancerSpec::implicit("a", None)).unwrap();
    let schema = schema("EdgeLoadBalancer");
    for (name, property) in schema["properties"]["spec"]["properties"].as_object().unwrap() {
        let (in_schema, in_type) = (property.get("default"), defaulted.get(name));
        if name != "backend" && name != "devicePriority" {
            assert_eq!(in_schema, in_type, "{name}");
        }
    }
}

#[test]
fn other_resources_hold_their_rules() {
    let network = |name: &str| json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": "NodeNetwork", "metadata": {"name": name}, "spec": {"nodeName": "edge-1"}});
    let check =
        |name: &str, expected: &[&str]| assert_eq!(verdict::<NodeNetwork>("NodeNetwork", &network(name), NodeNetwork::check), expected);
    check("edge-1", &[]);
    check("edge-2", &["spec.nodeName: must be the name of the object"]);

    let reservation = |host: &str, key: &str| {
        json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": "BackupReservation", "metadata": {"name": "b", "namespace": "default"}, "spec": {
            "pod": {"name": "p", "uid": "u"}, "failureDomain": {"topologyKey": key, "name": "edge-1"}, "host": host, "requests": {"cpu": "100m", "nvidia.com/gpu": 1}}})
    };
    let check = |host: &str, key: &str, expected: &[&str]| {
        assert_eq!(verdict::<BackupReservation>("BackupReservation", &reservation(host, key), BackupReservation::check), expected);
    };
    check("edge-2", "kubernetes.io/hostname", &[]);
    check("edge-1", "kubernetes.io/hostname", &["spec.host: must be outside the failure domain"]);
    check("edge-1", "topology.kubernetes.io/zone", &[]);
}

#[test]
fn the_fullest_node_network_stays_under_2_kb() {
    use api::crd::{DeviceSummary, Duration, LayerSummary, Neighbour, NodeNetworkSpec, NodeNetworkStatus, STATUS_NEIGHBOURS};
    let name = |i: usize| format!("edge-node-{i:03}.region-{i:02}.example.com");
    let duration = |i: usize| Duration::from_micros(123_456 + i as u32);
    let mut object = NodeNetwork::new(&name(0), NodeNetworkSpec { node_name: name(0) });
    object.status = Some(NodeNetworkStatus {
        observed_at: Some(serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap()),
        site: Some("europe-west-12-frankfurt".into()),
        peers: Some("4095/4095".into()),
        layers: (0..8).map(|i| LayerSummary { within: duration(i), nodes: 4095 }).collect(),
        nearest: (0..STATUS_NEIGHBOURS).map(|i| Neighbour { node: name(i), p50: duration(i), p90: duration(i) }).collect(),
        devices: (0..4)
            .map(|i| DeviceSummary {
                class: "gpu".into(),
                model: Some(format!("Accelerator Model {i} 80GB PCIe")),
                count: 8,
                memory_bytes: Some(1 << 40),
            })
            .collect(),
        conditions: Vec::new(),
    });
    let bytes = serde_json::to_vec(&object).unwrap().len();
    assert!(bytes < 2048, "{bytes} bytes");
    let text = String::from_utf8(serde_json::to_vec(&EdgeLoadBalancer::new("a", Default::default())).unwrap()).unwrap();
    assert!(!text.contains("null"), "nothing is written as null: {text}");
}
