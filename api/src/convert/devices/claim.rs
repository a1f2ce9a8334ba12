//! `v1.ResourceClaim`, `v1.DeviceClass` and a pod's entries to the model.

use super::{selectors, toleration};
use crate::convert::{Unreadable, affinity::terms};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{self, DeviceSubRequest, ExactDeviceRequest, OpaqueDeviceConfiguration};
use placement::cluster::PodKey;
use placement::devices::{
    AllocatedConfig, AllocatedDevice, Allocation, Amount, Claim, ClaimConfig, ClaimName, Constraint, DeviceClass, PodClaim, Request,
    Variant,
};
use serde_json::{Value, json};

const NOT_YET: &str = "is not supported yet: the pod would get devices that do not do";

/// The claims that a pod names, and those that were made for it.
pub fn pod_claims(pod: &Pod) -> Vec<PodClaim> {
    let spec = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let made = |name: &str| {
        let mut statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
        statuses.find(|status| status.name == name).map(|status| status.resource_claim_name.clone())
    };
    let entry = |entry: &k8s_openapi::api::core::v1::PodResourceClaim| {
        let claim = match (&entry.resource_claim_name, &entry.resource_claim_template_name) {
            (Some(name), _) => ClaimName::Given(name.clone()),
            (None, None) => ClaimName::Unknown,
            (None, Some(_)) => match made(&entry.name) {
                Some(Some(name)) => ClaimName::Made(name),
                Some(None) => ClaimName::NotNeeded,
                None => ClaimName::NotMade,
            },
        };
        PodClaim { name: entry.name.clone(), claim }
    };
    spec.map(entry).collect()
}

/// A claim; what of it is not implemented stands in `refusals` and keeps its pods from being placed. What a claim that has its devices once asked for is not
/// among it.
pub fn claim(claim: &v1::ResourceClaim) -> Claim {
    let metadata = &claim.metadata;
    let (mut refusals, none) = (Unreadable::default(), v1::DeviceClaim::default());
    let devices = claim.spec.as_ref().and_then(|spec| spec.devices.as_ref()).unwrap_or(&none);
    let requests = devices.requests.iter().flatten().enumerate();
    let requests = requests.map(|(at, of)| request(of, &format!("spec.devices.requests[{at}]"), &mut refusals)).collect();
    let constraints = devices.constraints.iter().flatten().enumerate();
    let constraints = constraints.filter_map(|(at, of)| constraint(of, at, &mut refusals)).collect();
    let status = claim.status.as_ref();
    let reserved_for = status.and_then(|status| status.reserved_for.as_ref());
    let mut of_allocation = Unreadable::default();
    let allocation = status.and_then(|status| Some(allocation(status.allocation.as_ref()?, status.devices.as_deref(), &mut of_allocation)));
    Claim {
        key: PodKey::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default()),
        uid: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0),
        terminating: metadata.deletion_timestamp.is_some(),
        controller: metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()),
        requests,
        constraints,
        configs: devices.config.iter().flatten().map(config).collect(),
        reserved_for: reserved_for.into_iter().flatten().map(|consumer| consumer.uid.clone()).collect(),
        refusals: if allocation.is_some() { of_allocation } else { refusals }.refusals,
        allocation,
    }
}

fn request(request: &v1::DeviceRequest, path: &str, refusals: &mut Unreadable) -> Request {
    let variants = match (&request.exactly, &request.first_available) {
        (Some(exactly), _) => vec![exact(exactly, &format!("{path}.exactly"), refusals)],
        (None, Some(subs)) if !subs.is_empty() => {
            subs.iter().enumerate().map(|(at, sub)| variant(sub, &format!("{path}.firstAvailable[{at}]"), refusals)).collect()
        }
        _ => {
            refusals.add(path, "asks for devices in a way that is not known");
            Vec::new()
        }
    };
    Request { name: request.name.clone(), variants, prioritized: request.exactly.is_none() }
}

fn exact(of: &ExactDeviceRequest, path: &str, refusals: &mut Unreadable) -> Variant {
    refuse(path, of.capacity.is_some(), of.derived_attributes.is_some(), refusals);
    Variant {
        name: String::new(),
        class: of.device_class_name.clone(),
        selectors: selectors(of.selectors.as_ref()),
        amount: amount(of.allocation_mode.as_deref(), of.count, path, refusals),
        admin_access: of.admin_access == Some(true),
        tolerations: of.tolerations.iter().flatten().filter_map(toleration).collect(),
    }
}

fn variant(of: &DeviceSubRequest, path: &str, refusals: &mut Unreadable) -> Variant {
    refuse(path, of.capacity.is_some(), of.derived_attributes.is_some(), refusals);
    Variant {
        name: of.name.clone(),
        class: of.device_class_name.clone(),
        selectors: selectors(of.selectors.as_ref()),
        amount: amount(of.allocation_mode.as_deref(), of.count, path, refusals),
        admin_access: false,
        tolerations: of.tolerations.iter().flatten().filter_map(toleration).collect(),
    }
}

/// What requests may say that is not implemented.
fn refuse(path: &str, capacity: bool, derived_attributes: bool, refusals: &mut Unreadable) {
    for (field, set) in [("capacity", capacity), ("derivedAttributes", derived_attributes)] {
        if set {
            refusals.add(format!("{path}.{field}"), NOT_YET);
        }
    }
}

fn amount(mode: Option<&str>, count: Option<i64>, path: &str, refusals: &mut Unreadable) -> Amount {
    match mode {
        Some("All") => Amount::All,
        Some("ExactCount") | None => Amount::Count(usize::try_from(count.unwrap_or(1)).unwrap_or(0)),
        Some(other) => {
            refusals.add(format!("{path}.allocationMode"), format!("{other:?} is not one of ExactCount, All"));
            Amount::All
        }
    }
}

fn constraint(of: &v1::DeviceConstraint, at: usize, refusals: &mut Unreadable) -> Option<Constraint> {
    let requests = of.requests.clone().unwrap_or_default();
    match (&of.match_attribute, &of.distinct_attribute) {
        (Some(attribute), _) => Some(Constraint { requests, attribute: attribute.clone(), distinct: false }),
        (None, Some(attribute)) => Some(Constraint { requests, attribute: attribute.clone(), distinct: true }),
        (None, None) => {
            refusals.add(format!("spec.devices.constraints[{at}]"), "is of a kind that is not known");
            None
        }
    }
}

fn config(of: &v1::DeviceClaimConfiguration) -> ClaimConfig {
    ClaimConfig { requests: of.requests.clone().unwrap_or_default(), opaque: opaque(of.opaque.as_ref()) }
}

/// The part of a configuration that drivers read, as it stands in a claim.
fn opaque(of: Option<&OpaqueDeviceConfiguration>) -> Value {
    of.map_or(Value::Null, |of| json!({"driver": of.driver, "parameters": of.parameters}))
}

/// Why the pod can't have the device as it is now; nothing where all of its binding conditions are met.
fn not_prepared(of: &v1::DeviceRequestAllocationResult, status: Option<&v1::AllocatedDeviceStatus>) -> Option<String> {
    let is_true = |wanted: &&String| {
        let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.any(|condition| condition.type_ == **wanted && condition.status == "True")
    };
    let awaited = of.binding_conditions.iter().flatten();
    let mut failures = of.binding_failure_conditions.iter().flatten().filter(|_| awaited.clone().next().is_some());
    if let Some(failed) = failures.find(is_true) {
        return Some(format!("device {} could not be prepared: {failed}", of.device));
    }
    awaited.clone().find(|wanted| !is_true(wanted)).map(|wanted| format!("device {} is not prepared yet: {wanted} is awaited", of.device))
}

/// `statuses`: what drivers say of the devices.
fn allocation(of: &v1::AllocationResult, statuses: Option<&[v1::AllocatedDeviceStatus]>, refusals: &mut Unreadable) -> Allocation {
    let results = of.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    let device = |of: &v1::DeviceRequestAllocationResult| {
        let is_of = |status: &&v1::AllocatedDeviceStatus| {
            (&status.driver, &status.pool, &status.device, &status.share_id) == (&of.driver, &of.pool, &of.device, &of.share_id)
        };
        let field = |name: &str| format!("status.allocation.devices.results[].{name}");
        if let Some(why) = not_prepared(of, statuses.and_then(|statuses| statuses.iter().find(is_of))) {
            refusals.add(field("bindingConditions"), why);
        }
        if of.skip_node_operations.as_ref().is_some_and(|operations| !operations.is_empty()) {
            refusals.add(field("skipNodeOperations"), NOT_YET);
        }
        AllocatedDevice {
            request: of.request.clone(),
            driver: of.driver.clone(),
            pool: of.pool.clone(),
            device: of.device.clone(),
            // Others may have it too, as the devices that an administrator looks at.
            admin_access: of.admin_access == Some(true) || of.share_id.is_some(),
            tolerations: of.tolerations.iter().flatten().filter_map(toleration).collect(),
        }
    };
    let devices = results.map(device).collect();
    let configs = of.devices.iter().flat_map(|devices| devices.config.iter().flatten());
    let config = |of: &v1::DeviceAllocationConfiguration| AllocatedConfig {
        of_class: of.source == "FromClass",
        requests: of.requests.clone().unwrap_or_default(),
        opaque: opaque(of.opaque.as_ref()),
    };
    let nodes = of
        .node_selector
        .as_ref()
        .map(|selector| terms(&selector.node_selector_terms, "status.allocation.nodeSelector.nodeSelectorTerms", refusals));
    Allocation { devices, configs: configs.map(config).collect(), nodes }
}

pub fn device_class(class: &v1::DeviceClass) -> DeviceClass {
    let spec = class.spec.as_ref();
    DeviceClass {
        name: class.metadata.name.clone().unwrap_or_default(),
        selectors: selectors(spec.and_then(|spec| spec.selectors.as_ref())),
        configs: spec.into_iter().flat_map(|spec| spec.config.iter().flatten()).map(|config| opaque(config.opaque.as_ref())).collect(),
        extended_resource: spec.and_then(|spec| spec.extended_resource_name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: Value, status: Value) -> Claim {
        let object =
            json!({"metadata": {"name": "c", "namespace": "d", "uid": "u", "resourceVersion": "12"}, "spec": spec, "status": status});
        claim(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_pod_names_claims_or_has_them_made() {
        let pod = json!({"metadata": {}, "spec": {"containers": [], "resourceClaims": [
            {"name": "a", "resourceClaimName": "given"}, {"name": "b", "resourceClaimTemplateName": "t"},
            {"name": "c", "resourceClaimTemplateName": "t"}, {"name": "d", "resourceClaimTemplateName": "t"}, {"name": "e"}]},
            "status": {"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "made"}, {"name": "c"}]}});
        let names: Vec<ClaimName> = pod_claims(&serde_json::from_value(pod).unwrap()).into_iter().map(|entry| entry.claim).collect();
        let expected = [
            ClaimName::Given("given".into()),
            ClaimName::Made("made".into()),
            ClaimName::NotNeeded,
            ClaimName::NotMade,
            ClaimName::Unknown,
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn requests_arrive_whole() {
        let exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2, "adminAccess": true,
            "selectors": [{"cel": {"expression": "true"}}], "tolerations": [{"key": "k", "operator": "Exists"}]});
        let first = json!([{"name": "x", "deviceClassName": "big", "allocationMode": "All"}, {"name": "y", "deviceClassName": "small"}]);
        let claim = read(
            json!({"devices": {"requests": [{"name": "a", "exactly": exactly}, {"name": "b", "firstAvailable": first}],
                "constraints": [{"requests": ["a"], "matchAttribute": "d.test/numa"}, {"distinctAttribute": "d.test/slot"}]}}),
            Value::Null,
        );
        assert_eq!((claim.version, claim.refusals.len(), claim.constraints.len()), (12, 0, 2));
        let [a, b] = &claim.requests[..] else { panic!("{claim:?}") };
        let wanted = &a.variants[0];
        assert_eq!((wanted.amount, wanted.admin_access, wanted.selectors.len(), wanted.tolerations.len()), (Amount::Count(2), true, 1, 1));
        assert_eq!(
            (b.prioritized, b.name_of(1), b.variants[0].amount, b.variants[1].amount),
            (true, "b/y".into(), Amount::All, Amount::Count(1))
        );
    }

    #[test]
    fn what_is_not_implemented_is_named() {
        let check = |request: Value, expected: &str| {
            let claim = read(json!({"devices": {"requests": [request]}}), Value::Null);
            let fields: Vec<&str> = claim.refusals.iter().map(|refusal| refusal.field.as_str()).collect();
            assert_eq!(fields, [expected]);
        };
        let exactly = |field: &str, value: Value| json!({"name": "a", "exactly": {"deviceClassName": "gpu", field: value}});
        check(exactly("capacity", json!({"requests": {}})), "spec.devices.requests[0].exactly.capacity");
        check(exactly("allocationMode", json!("Some")), "spec.devices.requests[0].exactly.allocationMode");
        check(json!({"name": "a"}), "spec.devices.requests[0]");
    }

    #[test]
    fn devices_that_a_claim_has_are_honoured_whatever_it_asked_for() {
        let spec = json!({"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu", "capacity": {"requests": {}}}}]}});
        let refused = |more: Value, conditions: &[(&str, &str)]| {
            let mut result = json!({"request": "a", "driver": "d.test", "pool": "p", "device": "x", "shareID": "s"});
            result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let conditions = conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "R", "message": ""}));
            let of = json!({"driver": "d.test", "pool": "p", "device": "x", "shareID": "s", "conditions": conditions.collect::<Vec<_>>()});
            let claim = read(spec.clone(), json!({"allocation": {"devices": {"results": [result]}}, "devices": [of]}));
            claim.refusals.into_iter().map(|refusal| refusal.why).collect::<Vec<_>>()
        };
        assert_eq!(read(spec.clone(), Value::Null).refusals.len(), 1, "without devices it can't be met");
        assert_eq!(refused(json!({}), &[]), Vec::<String>::new());
        let awaited = json!({"bindingConditions": ["Up", "Ready"], "bindingFailureConditions": ["Broken"]});
        assert_eq!(refused(awaited.clone(), &[("Up", "True"), ("Broken", "False")]), ["device x is not prepared yet: Ready is awaited"]);
        assert_eq!(refused(awaited.clone(), &[("Up", "True"), ("Ready", "True")]), Vec::<String>::new());
        assert_eq!(refused(awaited, &[("Up", "True"), ("Broken", "True")]), ["device x could not be prepared: Broken"]);
        assert_eq!(refused(json!({"bindingFailureConditions": ["Broken"]}), &[("Broken", "True")]), Vec::<String>::new());
        assert_eq!(refused(json!({"skipNodeOperations": ["All"]}), &[]), [NOT_YET]);
    }

    #[test]
    fn an_allocation_is_read_as_it_was_written() {
        let status = json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "pu"}], "allocation": {
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]},
            "devices": {"results": [{"request": "a", "driver": "d.test", "pool": "p", "device": "x"}],
                "config": [{"source": "FromClass", "requests": ["a"], "opaque": {"driver": "d.test", "parameters": {"k": 1}}}]}}});
        let claim = read(json!({}), status.clone());
        let written = super::super::allocation_result(claim.allocation.as_ref().unwrap());
        assert_eq!(serde_json::to_value(written).unwrap(), status["allocation"]);
        assert_eq!(claim.reserved_for, ["pu"]);
    }
}
