use super::super::testing::{device, named, slice};
use super::*;
use crate::cluster::PodKey;
use crate::devices::{Attribute, Constraint, DeviceTaint, DeviceToleration, Request};

fn variant(name: &str, prefix: &str, amount: Amount) -> Variant {
    let selectors = if prefix.is_empty() { vec![] } else { vec![named(prefix)] };
    Variant { name: name.into(), class: "gpu".into(), selectors, amount, admin_access: false, tolerations: vec![] }
}

fn exactly(name: &str, prefix: &str, amount: Amount) -> Request {
    Request { name: name.into(), variants: vec![variant("", prefix, amount)], prioritized: false }
}

fn claim(requests: Vec<Request>) -> Claim {
    Claim { requests, ..Claim::new(PodKey::new("d", "c"), "u") }
}

/// Node n1 with these devices of class gpu.
fn inventory(devices: Vec<Device>) -> Inventory {
    let mut inventory = Inventory::default();
    inventory.apply_class(DeviceClass::new("gpu"));
    inventory.apply_slice(ResourceSlice { devices, ..slice("p", "n1", &[]) });
    inventory
}

fn names(names: &[&str]) -> Vec<Device> {
    names.iter().map(|name| device(name)).collect()
}

/// `request=device` for each device of all claims.
fn allocate(inventory: &Inventory, claims: &[Claim]) -> Result<Vec<String>, String> {
    let node = Node { name: "n1".into(), ..Node::default() };
    let found = Allocator::new(inventory, claims.iter().collect()).allocate(&node).map_err(|error| error.to_string())?;
    Ok(found.iter().flat_map(|of| &of.devices).map(|device| format!("{}={}", device.request, device.device)).collect())
}

fn check(inventory: &Inventory, claims: &[Claim], expected: Result<&[&str], &str>) {
    let expected = expected.map(|devices| devices.iter().map(ToString::to_string).collect()).map_err(str::to_owned);
    assert_eq!(allocate(inventory, claims), expected, "{claims:?}");
}

const NONE: &str = "cannot allocate all claims";

#[test]
fn devices_are_counted_and_given_once() {
    let inventory = inventory(names(&["a1", "a2", "b1"]));
    let one = |prefix| claim(vec![exactly("r", prefix, Amount::Count(1))]);
    check(&inventory, &[one("a"), one("a")], Ok(&["r=a1", "r=a2"]));
    check(&inventory, &[one("a"), one("a"), one("a")], Err(NONE));
    check(&inventory, &[claim(vec![exactly("r", "", Amount::Count(3))])], Ok(&["r=a1", "r=a2", "r=b1"]));
    check(&inventory, &[claim(vec![exactly("r", "", Amount::Count(4))])], Err(NONE));
    check(
        &inventory,
        &[claim(vec![exactly("any", "", Amount::Count(1)), exactly("a1", "a1", Amount::Count(1))])],
        Ok(&["any=a2", "a1=a1"]),
    );
    check(&inventory, &[claim(vec![exactly("r", "a", Amount::All)])], Ok(&["r=a1", "r=a2"]));
    check(&inventory, &[claim(vec![exactly("r", "x", Amount::All)])], Err(NONE));
    check(&inventory, &[one("error")], Err("claim d/c: selector #0 on device gpu.test/p/a1: CEL runtime error: no such key"));
}

#[test]
fn the_first_variant_that_can_be_had_is_taken() {
    let inventory = inventory(names(&["a1", "a2", "b1"]));
    let variants = |of: &[(&str, &str, usize)]| Request {
        name: "r".into(),
        variants: of.iter().map(|(name, prefix, count)| variant(name, prefix, Amount::Count(*count))).collect(),
        prioritized: true,
    };
    check(&inventory, &[claim(vec![variants(&[("big", "b", 2), ("small", "a", 1)])])], Ok(&["r/small=a1"]));
    check(&inventory, &[claim(vec![variants(&[("big", "b", 40), ("small", "b", 1)])])], Ok(&["r/small=b1"]));
    check(&inventory, &[claim(vec![variants(&[("big", "b", 2), ("small", "x", 1)])])], Err(NONE));
}

#[test]
fn constraints_and_taints_bind() {
    let numa = |name: &str, numa: i64| Device { attributes: [("numa".to_owned(), Attribute::Int(numa))].into(), ..device(name) };
    let inventory = inventory(vec![numa("a", 0), numa("b", 1), numa("c", 1), device("d")]);
    let constrained = |distinct: bool, count: usize| Claim {
        constraints: vec![Constraint { requests: vec![], attribute: "gpu.test/numa".into(), distinct }],
        ..claim(vec![exactly("r", "", Amount::Count(count))])
    };
    check(&inventory, &[constrained(false, 2)], Ok(&["r=b", "r=c"]));
    check(&inventory, &[constrained(false, 3)], Err(NONE));
    check(&inventory, &[constrained(true, 2)], Ok(&["r=a", "r=b"]));
    check(&inventory, &[constrained(true, 3)], Err(NONE));
    let taint = DeviceTaint { key: "hot".into(), value: String::new(), effect: "NoSchedule".into() };
    let tainted = super::tests::inventory(vec![Device { taints: vec![taint], ..device("a") }]);
    let mut wanted = claim(vec![exactly("r", "", Amount::Count(1))]);
    check(&tainted, &[wanted.clone()], Err(NONE));
    wanted.requests[0].variants[0].tolerations =
        vec![DeviceToleration { key: "hot".into(), value: None, effect: String::new(), seconds: None }];
    check(&tainted, &[wanted], Ok(&["r=a"]));
}

#[test]
fn an_administrator_shares_what_others_have() {
    let mut inventory = inventory(names(&["a"]));
    let one = claim(vec![exactly("r", "", Amount::Count(1))]);
    let node = Node { name: "n1".into(), ..Node::default() };
    let allocation = Allocator::new(&inventory, vec![&one]).allocate(&node).unwrap().remove(0);
    inventory.reserve(&one, "pod", allocation);
    check(&inventory, std::slice::from_ref(&one), Err(NONE));
    let mut admin = one;
    admin.requests[0].variants[0].admin_access = true;
    check(&inventory, &[admin.clone()], Ok(&["r=a"]));
    admin.requests[0].variants[0].amount = Amount::Count(2);
    check(&inventory, &[admin], Err(NONE));
}

#[test]
fn a_pool_counts_when_all_of_its_newest_generation_is_there() {
    let one = || claim(vec![exactly("r", "", Amount::Count(1))]);
    let part = |name: &str, generation: i64, node: &str, device: &str| {
        let slice = slice("p", node, &[device]);
        ResourceSlice { name: name.into(), generation, slice_count: 2, ..slice }
    };
    let mut inventory = inventory(names(&[]));
    inventory.delete_slice("n1-p");
    inventory.apply_slice(part("s1", 1, "n1", "a"));
    check(&inventory, &[one()], Err(NONE));
    let all = claim(vec![exactly("r", "", Amount::All)]);
    check(&inventory, &[all], Err("claim d/c, request r: asks for all devices, but resource pool gpu.test/p is currently being updated"));
    inventory.apply_slice(part("s2", 1, "n2", "b"));
    check(&inventory, &[one()], Ok(&["r=a"]));
    inventory.apply_slice(part("s3", 2, "n2", "b"));
    check(&inventory, &[one()], Err(NONE));
    inventory.apply_slice(part("s4", 2, "n1", "c"));
    check(&inventory, &[one()], Ok(&["r=c"]));
    inventory.apply_slice(part("s3", 2, "n1", "c"));
    check(&inventory, &[one()], Err("invalid resource pools were encountered"));
}

#[test]
fn what_is_not_implemented_is_given_to_nobody_and_named() {
    let with = |name: &str| Device { unsupported: Some("it consumes counters".into()), ..device(name) };
    let one = || claim(vec![exactly("r", "", Amount::Count(1))]);
    check(&inventory(vec![with("a"), device("b")]), &[one()], Ok(&["r=b"]));
    check(&inventory(vec![with("a")]), &[one()], Err("device gpu.test/p/a can't be allocated: it consumes counters"));
}

#[test]
fn an_allocation_says_where_and_what_drivers_are_told() {
    let opaque = |text: &str| serde_json::json!({"driver": "gpu.test", "parameters": text});
    let mut inventory = inventory(names(&["a", "b"]));
    inventory.apply_class(DeviceClass { configs: vec![opaque("class")], ..DeviceClass::new("gpu") });
    let config = |requests: &[&str], text: &str| super::super::ClaimConfig {
        requests: requests.iter().map(ToString::to_string).collect(),
        opaque: opaque(text),
    };
    let claim = Claim {
        configs: vec![config(&[], "all"), config(&["y"], "y"), config(&["z"], "none")],
        ..claim(vec![exactly("x", "", Amount::Count(1)), exactly("y", "", Amount::Count(1))])
    };
    let node = Node { name: "n1".into(), ..Node::default() };
    let found = Allocator::new(&inventory, vec![&claim]).allocate(&node).unwrap().remove(0);
    let told: Vec<_> = found.configs.iter().map(|c| (c.of_class, c.requests.join(","), c.opaque["parameters"].as_str().unwrap())).collect();
    assert_eq!(told, [(true, String::new(), "class"), (false, String::new(), "all"), (false, "y".to_owned(), "y")]);
    let on = &found.nodes.unwrap()[0].match_fields[0];
    assert_eq!((on.key.as_str(), on.values.as_slice()), ("metadata.name", &["n1".to_owned()][..]));
}
