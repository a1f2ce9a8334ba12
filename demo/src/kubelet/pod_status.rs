//! The status a kubelet reports for a pod: Running with all its containers ready, refused, or unable to start.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP, Pod,
    PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::admission::Rejection;

/// The conditions that a kubelet writes once its pod runs; it leaves all others as they are.
const RUNNING: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"];

/// A pod that runs with every container ready, at this address.
pub(super) fn running(pod: &Pod, address: &str, now: Timestamp) -> PodStatus {
    let mut status = started(pod, address, now);
    status.phase = Some("Running".to_owned());
    for kind in RUNNING {
        set_condition(&mut status, kind, true, None, now);
    }
    let state = || ContainerState { running: Some(ContainerStateRunning { started_at: Some(Time(now)) }), ..Default::default() };
    let ready = |container: &Container| container_status(pod, container, state(), true);
    let completed = |container: &Container| {
        let terminated =
            ContainerStateTerminated { reason: Some("Completed".to_owned()), finished_at: Some(Time(now)), ..Default::default() };
        container_status(pod, container, ContainerState { terminated: Some(terminated), ..Default::default() }, true)
    };
    let spec = pod.spec.as_ref();
    status.container_statuses = spec.map(|spec| spec.containers.iter().map(ready).collect());
    status.init_container_statuses = spec.and_then(|spec| spec.init_containers.as_ref()).map(|containers| {
        let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        containers.iter().map(|container| if is_sidecar(&container) { ready(container) } else { completed(container) }).collect()
    });
    status
}

/// A pod that the node has no room for.
pub(super) fn rejected(pod: &Pod, rejection: &Rejection, now: Timestamp) -> PodStatus {
    let mut status = pod.status.clone().unwrap_or_default();
    status.phase = Some("Failed".to_owned());
    status.reason = Some(rejection.reason.clone());
    status.message = Some(rejection.message.clone());
    status.start_time.get_or_insert(Time(now));
    status
}

/// A pod whose containers cannot start for a reason that waiting does not mend.
pub(super) fn waiting(pod: &Pod, address: &str, message: &str, now: Timestamp) -> PodStatus {
    let mut status = started(pod, address, now);
    status.phase = Some("Pending".to_owned());
    for kind in RUNNING {
        set_condition(&mut status, kind, kind == "Initialized", Some("ContainersNotReady"), now);
    }
    let state = || {
        let waiting = ContainerStateWaiting { reason: Some("CreateContainerConfigError".to_owned()), message: Some(message.to_owned()) };
        ContainerState { waiting: Some(waiting), ..Default::default() }
    };
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    status.container_statuses = Some(containers.iter().map(|container| container_status(pod, container, state(), false)).collect());
    status
}

fn started(pod: &Pod, address: &str, now: Timestamp) -> PodStatus {
    let mut status = pod.status.clone().unwrap_or_default();
    status.start_time.get_or_insert(Time(now));
    status.host_ip = Some(address.to_owned());
    status.host_ips = Some(vec![HostIP { ip: address.to_owned() }]);
    status.pod_ip = Some(address.to_owned());
    status.pod_ips = Some(vec![PodIP { ip: address.to_owned() }]);
    status.observed_generation = pod.metadata.generation;
    status
}

fn container_status(pod: &Pod, container: &Container, state: ContainerState, is_ready: bool) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let is_running = state.running.is_some();
    ContainerStatus {
        name: container.name.clone(),
        image_id: image.clone(),
        image,
        container_id: is_running.then(|| format!("edge-demo://{uid}/{}", container.name)),
        ready: is_ready,
        started: Some(is_running),
        restart_count: 0,
        state: Some(state),
        ..Default::default()
    }
}

/// Sets one condition; its transition time changes with its status alone.
fn set_condition(status: &mut PodStatus, kind: &str, is_true: bool, reason: Option<&str>, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let value = if is_true { "True" } else { "False" };
    let mut condition = PodCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: reason.filter(|_| !is_true).map(str::to_owned),
        last_transition_time: Some(Time(now)),
        ..Default::default()
    };
    match conditions.iter_mut().find(|existing| existing.type_ == kind) {
        Some(existing) => {
            if existing.status == value {
                condition.last_transition_time = existing.last_transition_time.take();
            }
            *existing = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;

    use super::*;

    fn bound_pod() -> Pod {
        let container = |name: &str, restart: Option<&str>| Container {
            name: name.to_owned(),
            image: Some("app:1".to_owned()),
            restart_policy: restart.map(str::to_owned),
            ..Default::default()
        };
        let scheduled = PodCondition { type_: "PodScheduled".to_owned(), status: "True".to_owned(), ..Default::default() };
        Pod {
            spec: Some(PodSpec {
                containers: vec![container("app", None)],
                init_containers: Some(vec![container("setup", None), container("proxy", Some("Always"))]),
                ..Default::default()
            }),
            status: Some(PodStatus { phase: Some("Pending".to_owned()), conditions: Some(vec![scheduled]), ..Default::default() }),
            ..Default::default()
        }
    }

    fn conditions(status: &PodStatus) -> Vec<(&str, &str)> {
        status.conditions.iter().flatten().map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
    }

    #[test]
    fn a_running_pod_is_ready_and_keeps_what_others_said() {
        let status = running(&bound_pod(), "127.128.0.1", Timestamp::UNIX_EPOCH);
        assert_eq!(
            conditions(&status),
            [
                ("PodScheduled", "True"),
                ("PodReadyToStartContainers", "True"),
                ("Initialized", "True"),
                ("ContainersReady", "True"),
                ("Ready", "True")
            ]
        );
        assert_eq!(
            (status.phase.as_deref(), status.pod_ip.as_deref(), status.host_ip.as_deref()),
            (Some("Running"), Some("127.128.0.1"), Some("127.128.0.1"))
        );
        assert!(status.container_statuses.unwrap().iter().all(|container| container.ready));
        let init = status.init_container_statuses.unwrap();
        assert!(init[0].state.as_ref().unwrap().terminated.is_some());
        assert!(init[1].state.as_ref().unwrap().running.is_some());
    }

    #[test]
    fn transition_times_change_with_the_status_alone() {
        let mut pod = bound_pod();
        let later = Timestamp::from_second(60).unwrap();
        pod.status = Some(running(&pod, "127.128.0.1", Timestamp::UNIX_EPOCH));
        let ready = |status: &PodStatus| {
            let all = status.conditions.as_ref().unwrap();
            all.iter().find(|condition| condition.type_ == "Ready").unwrap().last_transition_time.clone().unwrap().0
        };
        assert_eq!(ready(&running(&pod, "127.128.0.1", later)), Timestamp::UNIX_EPOCH);
        assert_eq!(ready(&waiting(&pod, "127.128.0.1", "no", later)), later);
    }

    #[test]
    fn a_refused_pod_has_failed_with_the_reason() {
        let rejection = Rejection { reason: "OutOfcpu".to_owned(), message: "Pod was rejected".to_owned() };
        let status = rejected(&bound_pod(), &rejection, Timestamp::UNIX_EPOCH);
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
        assert_eq!(conditions(&status), [("PodScheduled", "True")]);
    }
}
