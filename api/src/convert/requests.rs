//! A pod's requests, as kube-scheduler 1.37's `PodRequests` sums them: max(containers + sidecars, each init container + earlier sidecars), pod-level
//! requests in their place where given, overhead last. For a pod that is being resized in place, the most that it may hold: of spec, unless the resize
//! is infeasible, allocated and in use.

use super::Unreadable;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::api::resource;
use placement::cluster::Resources;
use placement::units::{Bytes, MilliCpu, Quantity};
use std::collections::BTreeMap;

type List<'a> = BTreeMap<&'a str, Quantity>;
type WireList = BTreeMap<String, resource::Quantity>;

const CPU: &str = "cpu";
const MEMORY: &str = "memory";
const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// What a container without a request counts in scores, so that such pods do not all look free (kube-scheduler's numbers).
const SCORING_DEFAULTS: [(&str, &str); 2] = [(CPU, "100m"), (MEMORY, "200Mi")];

/// Requests for fitting, and the variants for scoring.
pub(super) struct Requests {
    pub requests: Resources,
    pub scoring: Resources,
    /// Where the pod has requests at pod level: what it counts in its own score.
    pub own_scoring: Option<Resources>,
}

/// Where a container's figures are taken from. A pod not yet on a node has a spec alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Spec,
    /// What the runtime was last told: `status…resources`, else allocated, else spec.
    Actuated,
    /// What the kubelet has admitted: `status…allocatedResources`, else spec.
    Allocated,
}

pub(super) fn requests(pod: &v1::Pod, unreadable: &mut Unreadable) -> Requests {
    let fit = pod_requests(pod, PodLevel::Counts, &List::new(), unreadable);
    let has_pod_level = pod_level_spec(pod).is_some();
    let defaults = |skip: &dyn Fn(&str) -> bool| -> List<'static> {
        let missing = SCORING_DEFAULTS.into_iter().filter(|(name, _)| !skip(name));
        missing.map(|(name, amount)| (name, Quantity::parse(amount).expect("a constant that the tests read"))).collect()
    };
    // Containers count a default for what they do not request; not where the pod as a whole names an amount at pod level.
    let scoring =
        pod_requests(pod, PodLevel::Counts, &defaults(&|name| has_pod_level && fit.contains_key(name)), &mut Unreadable::default());
    // kube-scheduler 1.37 leaves pod level out of the score of the pod that it is placing, and counts it for pods that stand.
    let own = || pod_requests(pod, PodLevel::LeftOut, &defaults(&|_| false), &mut Unreadable::default());
    Requests { requests: to_resources(&fit), scoring: to_resources(&scoring), own_scoring: has_pod_level.then(|| to_resources(&own())) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PodLevel {
    Counts,
    LeftOut,
}

fn pod_requests<'a>(pod: &'a v1::Pod, pod_level: PodLevel, defaults: &List<'a>, unreadable: &mut Unreadable) -> List<'a> {
    let Some(spec) = &pod.spec else { return List::new() };
    // Only a pod that a kubelet has seen can differ from its spec.
    let seen = spec.node_name.as_ref().and(pod.status.as_ref());
    let mut sum = if seen.is_none_or(|status| !resize_is_infeasible(status)) {
        containers(pod, Source::Spec, defaults, unreadable)
    } else {
        List::new()
    };
    if let Some(status) = seen {
        match status_of_pod(status) {
            Some([actuated, allocated]) => {
                max_into(&mut sum, &read(actuated, || "status.resources.requests".to_owned(), unreadable));
                max_into(&mut sum, &read(allocated, || "status.allocatedResources".to_owned(), unreadable));
            }
            None => {
                max_into(&mut sum, &containers(pod, Source::Actuated, defaults, unreadable));
                max_into(&mut sum, &containers(pod, Source::Allocated, defaults, unreadable));
            }
        }
    }
    if pod_level == PodLevel::Counts {
        for (name, amount) in pod_level_requests(pod, seen, unreadable) {
            sum.insert(name, amount);
        }
    }
    if let Some(overhead) = &spec.overhead {
        add_into(&mut sum, &read(overhead, || "spec.overhead".to_owned(), unreadable));
    }
    sum
}

fn resize_is_infeasible(status: &v1::PodStatus) -> bool {
    let pending = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodResizePending");
    pending.is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

/// What the status says of the pod as a whole, in use and allocated, where it says both: it stands for all containers then.
fn status_of_pod(status: &v1::PodStatus) -> Option<[&WireList; 2]> {
    Some([status.resources.as_ref()?.requests.as_ref()?, status.allocated_resources.as_ref()?])
}

/// Containers and sidecars, or an init container with the sidecars before it, whichever is more.
fn containers<'a>(pod: &'a v1::Pod, source: Source, defaults: &List<'a>, unreadable: &mut Unreadable) -> List<'a> {
    let Some(spec) = &pod.spec else { return List::new() };
    let mut of =
        |list: &str, i: usize, container| container_requests(container, pod, source, defaults, || format!("spec.{list}[{i}]"), unreadable);
    let mut sum = List::new();
    for (i, container) in spec.containers.iter().enumerate() {
        add_into(&mut sum, &of("containers", i, container));
    }
    let mut sidecars = List::new();
    let mut starting = List::new();
    for (i, container) in spec.init_containers.iter().flatten().enumerate() {
        let own = of("initContainers", i, container);
        if container.restart_policy.as_deref() == Some("Always") {
            add_into(&mut sum, &own);
            add_into(&mut sidecars, &own);
            max_into(&mut starting, &sidecars);
        } else {
            let mut at_once = own;
            add_into(&mut at_once, &sidecars);
            max_into(&mut starting, &at_once);
        }
    }
    max_into(&mut sum, &starting);
    sum
}

fn container_requests<'a>(
    container: &'a v1::Container,
    pod: &'a v1::Pod,
    source: Source,
    defaults: &List<'a>,
    path: impl Fn() -> String,
    unreadable: &mut Unreadable,
) -> List<'a> {
    let pod_status = pod.status.as_ref();
    let infeasible = || pod_status.is_some_and(resize_is_infeasible);
    let status = || {
        let mut all = pod_status.into_iter().flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses).flatten());
        all.find(|status| status.name == container.name)
    };
    let spec = || container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let in_spec = || spec().filter(|_| !infeasible());
    let allocated = || status().and_then(|status| status.allocated_resources.as_ref());
    let actuated = || status().and_then(|status| status.resources.as_ref()?.requests.as_ref());
    let (list, path_of): (Option<&WireList>, _) = match source {
        Source::Spec => (spec(), ".resources.requests"),
        Source::Allocated => (allocated().or_else(in_spec), ".resources.requests (allocated)"),
        Source::Actuated => (actuated().or_else(allocated).or_else(in_spec), ".resources.requests (in use)"),
    };
    let mut own = list.map(|list| read(list, || format!("{}{path_of}", path()), unreadable)).unwrap_or_default();
    for (name, amount) in defaults {
        own.entry(name).or_insert(*amount);
    }
    own
}

/// Requests at pod level exist for CPU, memory and huge pages.
fn is_pod_level(name: &str) -> bool {
    name == CPU || name == MEMORY || name.starts_with("hugepages-")
}

fn pod_level_spec(pod: &v1::Pod) -> Option<&WireList> {
    let requests = pod.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.keys().any(|name| is_pod_level(name)).then_some(requests)
}

/// Of a pod that is being resized, the most that it may hold.
fn pod_level_requests<'a>(pod: &'a v1::Pod, seen: Option<&'a v1::PodStatus>, unreadable: &mut Unreadable) -> List<'a> {
    let Some(spec) = pod_level_spec(pod) else { return List::new() };
    let of_spec = read(spec, || "spec.resources.requests".to_owned(), unreadable);
    let mut amounts = match seen.filter(|status| status.resources.is_some()) {
        None => of_spec,
        Some(status) => {
            let mut most = if resize_is_infeasible(status) { List::new() } else { of_spec };
            let actuated = status.resources.as_ref().and_then(|r| r.requests.as_ref());
            for list in actuated.into_iter().chain(&status.allocated_resources) {
                max_into(&mut most, &read(list, || "status.resources".to_owned(), unreadable));
            }
            most
        }
    };
    amounts.retain(|name, _| is_pod_level(name));
    amounts
}

fn read<'a>(list: &'a WireList, path: impl Fn() -> String, unreadable: &mut Unreadable) -> List<'a> {
    let mut amounts = List::new();
    for (name, quantity) in list {
        match Quantity::parse(&quantity.0) {
            Ok(amount) if amount >= Quantity::default() => {
                amounts.insert(name, amount);
            }
            Ok(_) => unreadable.add(format!("{}.{name}", path()), format!("is negative: {:?}", quantity.0)),
            Err(error) => unreadable.add(format!("{}.{name}", path()), format!("cannot be read: {error}")),
        }
    }
    amounts
}

fn add_into<'a>(sum: &mut List<'a>, more: &List<'a>) {
    for (name, amount) in more {
        let entry = sum.entry(name).or_default();
        *entry = *entry + *amount;
    }
}

fn max_into<'a>(most: &mut List<'a>, other: &List<'a>) {
    for (name, amount) in other {
        let entry = most.entry(name).or_default();
        *entry = (*entry).max(*amount);
    }
}

fn to_resources(list: &List<'_>) -> Resources {
    let mut resources = Resources::default();
    for (name, amount) in list {
        set(&mut resources, name, *amount);
    }
    resources.extended.retain(|_, amount| *amount != 0);
    resources
}

/// Puts one amount where the model keeps it; what is no scheduling resource (`storage`, …) is dropped.
pub(super) fn set(resources: &mut Resources, name: &str, amount: Quantity) {
    match name {
        CPU => resources.cpu = MilliCpu(amount.milli_value()),
        MEMORY => resources.memory = Bytes(amount.value()),
        EPHEMERAL_STORAGE => resources.ephemeral_storage = Bytes(amount.value()),
        "pods" => resources.pods = amount.value(),
        _ if is_scalar(name) => {
            resources.extended.insert(name.to_owned(), amount.value());
        }
        _ => {}
    }
}

/// Extended resources carry a domain; Kubernetes' own scalars are huge pages and attachable volumes.
fn is_scalar(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(pod: Value) -> (Requests, Vec<placement::cluster::Refusal>) {
        let pod: v1::Pod = serde_json::from_value(pod).unwrap();
        let mut unreadable = Unreadable::default();
        (requests(&pod, &mut unreadable), unreadable.refusals)
    }

    /// `(milli-CPU, bytes)` of the requests and of the variant for scoring.
    fn check(spec: Value, fit: (i64, i64), scoring: (i64, i64)) {
        let (found, refusals) = of(json!({"spec": spec}));
        assert_eq!(refusals, []);
        assert_eq!((found.requests.cpu.0, found.requests.memory.0), fit, "fit of {spec}");
        assert_eq!((found.scoring.cpu.0, found.scoring.memory.0), scoring, "scoring of {spec}");
    }

    fn container(cpu: &str, memory: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(cpu: &str, memory: &str) -> Value {
        let mut container = container(cpu, memory);
        container["restartPolicy"] = json!("Always");
        container
    }

    const DEFAULT_MEMORY: i64 = 200 << 20;

    #[test]
    fn containers_add_up_and_round_once() {
        check(json!({"containers": [container("100m", "1Ki"), container("0.5m", "1"), container("0.5m", "1")]}), (101, 1026), (101, 1026));
    }

    #[test]
    fn a_missing_request_counts_in_scores_alone_and_an_explicit_zero_counts_nothing() {
        check(json!({"containers": [{"name": "c"}]}), (0, 0), (100, DEFAULT_MEMORY));
        check(json!({"containers": [container("0", "0")]}), (0, 0), (0, 0));
        check(json!({"containers": [container("1", "1"), {"name": "d"}]}), (1000, 1), (1100, DEFAULT_MEMORY + 1));
    }

    #[test]
    fn an_init_container_runs_beside_the_sidecars_before_it() {
        let containers = json!([container("100m", "10")]);
        check(json!({"containers": containers, "initContainers": [container("300m", "5")]}), (300, 10), (300, 10));
        let before = json!({"containers": containers, "initContainers": [sidecar("200m", "1"), container("300m", "5")]});
        check(before, (500, 11), (500, 11));
        let after = json!({"containers": containers, "initContainers": [container("250m", "5"), sidecar("200m", "1")]});
        check(after, (300, 11), (300, 11));
    }

    #[test]
    fn pod_level_requests_replace_the_sum_and_overhead_comes_last() {
        check(
            json!({"containers": [container("100m", "10")], "resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "50m", "memory": "7"}}),
            (2050, 17),
            (2050, 17),
        );
        // Memory is named nowhere: the default counts for it, and for CPU, which the pod names, it does not.
        check(json!({"containers": [{"name": "c"}], "resources": {"requests": {"cpu": "2"}}}), (2000, 0), (2000, DEFAULT_MEMORY));
    }

    #[test]
    fn pod_level_requests_do_not_count_in_the_pods_own_score() {
        let spec = json!({"containers": [container("100m", "10")], "resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "50m"}});
        let own = of(json!({"spec": spec})).0.own_scoring.unwrap();
        assert_eq!((own.cpu.0, own.memory.0), (150, 10));
        assert_eq!(of(json!({"spec": {"containers": [container("100m", "10")]}})).0.own_scoring, None);
    }

    #[test]
    fn other_resources_are_kept_by_name() {
        let requests =
            json!({"nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi", "example.com/none": "0", "storage": "1"});
        let (found, _) = of(json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}));
        assert_eq!(found.requests.ephemeral_storage, Bytes(1 << 30));
        let expected = BTreeMap::from([("nvidia.com/gpu".to_owned(), 2), ("hugepages-2Mi".to_owned(), 4 << 20)]);
        assert_eq!(found.requests.extended, expected);
    }

    #[test]
    fn a_pod_in_resize_counts_the_most_it_may_hold() {
        let pod = |condition: Value| {
            json!({
                "spec": {"nodeName": "n", "containers": [container("1", "10")]},
                "status": {"conditions": condition, "containerStatuses": [{
                    "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "resources": {"requests": {"cpu": "500m", "memory": "30"}}, "allocatedResources": {"cpu": "700m", "memory": "20"},
                }]},
            })
        };
        let cpu_memory = |pod| {
            let (found, _) = of(pod);
            (found.requests.cpu.0, found.requests.memory.0)
        };
        assert_eq!(cpu_memory(pod(json!([]))), (1000, 30));
        let infeasible = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
        assert_eq!(cpu_memory(pod(infeasible.clone())), (700, 30));
        // What was refused does not count, also where the kubelet says nothing of the container.
        let mut unseen = pod(infeasible);
        unseen["status"]["containerStatuses"] = json!([]);
        assert_eq!(cpu_memory(unseen), (0, 0));
    }

    #[test]
    fn the_status_of_the_pod_as_a_whole_stands_for_its_containers() {
        let pod = |pod_level: Value| {
            json!({
                "spec": {"nodeName": "n", "containers": [container("1", "10")], "resources": pod_level},
                "status": {"resources": {"requests": {"cpu": "3", "memory": "5"}}, "allocatedResources": {"cpu": "2", "memory": "50"}},
            })
        };
        let cpu_memory = |pod| {
            let (found, _) = of(pod);
            (found.requests.cpu.0, found.requests.memory.0)
        };
        assert_eq!(cpu_memory(pod(json!({}))), (3000, 50));
        assert_eq!(cpu_memory(pod(json!({"requests": {"cpu": "4"}}))), (4000, 50));
    }

    #[test]
    fn an_unreadable_quantity_names_its_field() {
        let (_, refusals) = of(json!({"spec": {"containers": [container("1x", "-5")]}}));
        let fields: Vec<_> = refusals.iter().map(|r| r.field.as_str()).collect();
        assert_eq!(fields, ["spec.containers[0].resources.requests.cpu", "spec.containers[0].resources.requests.memory"]);
        assert!(refusals[0].why.contains("\"1x\""), "{}", refusals[0].why);
    }
}
