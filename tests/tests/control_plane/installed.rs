//! The real control plane itself, and what a real API server makes of what we install. Left out, saying so, where its programs are not built.

use api::crd::EdgeLoadBalancer;
use api::labels::{PINGER, SYSTEM_NAMESPACE};
use edge_tests::control_plane::{Component, ControlPlane, Kubelets, Options, PROGRAMS, Shared, client, established, root, token};
use edge_tests::pod_fields;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use std::{process::Command, sync::Arc, time::Duration};

static PLANE: Shared = Shared::new(Options { nodes: 10, kubelets: Kubelets::Kwok, controllers: true, scheduler: false, audit: true });

/// A bound on everything that is waited for here.
const SOON: Duration = Duration::from_secs(60);

/// The control plane after `kubectl apply -k configs/`.
async fn installed(test: &str) -> Option<Arc<ControlPlane>> {
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let plane = PLANE.get(test).await?;
    let _alone = ONE_AT_A_TIME.lock().await;
    let done = plane.folder().join("configs-applied");
    if !done.exists() {
        let output = plane.kubectl(&plane.kubeconfig(), ["apply", "-k", "configs/"]).await.unwrap();
        let (printed, problems) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && problems.is_empty(), "kubectl apply -k configs/: {problems}");
        assert!(printed.lines().all(|line| line.ends_with(" created")), "{printed}");
        let client = plane.client().await.unwrap();
        for crd in api::crd::definitions() {
            established(&client, crd.metadata.name.as_deref().unwrap()).await.unwrap();
        }
        std::fs::write(done, printed.as_bytes()).unwrap();
    }
    Some(plane)
}

#[tokio::test]
async fn configs_are_accepted_without_a_warning_and_change_nothing_when_applied_again() {
    let Some(plane) = installed("configs_are_accepted").await else { return };
    let budget = ["get", "poddisruptionbudget/edge-scheduler", "-n", SYSTEM_NAMESPACE, "-o", "jsonpath={.metadata.generation}"];
    let before = plane.kubectl_as_admin(budget).await.unwrap();
    let again = plane.kubectl_as_admin(["apply", "-k", "configs/"]).await.unwrap();
    // kubectl always sends a patch for a budget, since its selector is to be replaced as a whole, and so never says "unchanged" of it.
    let unchanged = |line: &str| line.ends_with(" unchanged") || line == "poddisruptionbudget.policy/edge-scheduler configured";
    assert!(again.lines().count() > 20 && again.lines().all(unchanged), "{again}");
    assert_eq!(plane.kubectl_as_admin(budget).await.unwrap(), before, "the budget's generation");
}

/// A load balancer with this spec, as the API server answers.
async fn create(plane: &ControlPlane, name: &str, spec: &Value) -> Result<Value, kube::Error> {
    let kind = ApiResource::erase::<EdgeLoadBalancer>(&());
    let elbs: Api<DynamicObject> = Api::namespaced_with(plane.client().await.unwrap(), "default", &kind);
    let object = DynamicObject::new(name, &kind).data(json!({ "spec": spec }));
    elbs.create(&PostParams::default(), &object).await.map(|created| created.data["spec"].clone())
}

#[tokio::test]
async fn a_load_balancer_gets_the_defaults_of_its_type() {
    let Some(plane) = installed("a_load_balancer_gets_the_defaults").await else { return };
    let stored = create(&plane, "sound", &json!({"backend": {"service": "detect"}})).await.unwrap();
    let expected = serde_json::to_value(api::crd::EdgeLoadBalancerSpec::implicit("detect", None)).unwrap();
    assert_eq!(stored, expected);
    // What is served is told a moment after it is served.
    let begun = std::time::Instant::now();
    loop {
        let explained = plane.kubectl_as_admin(["explain", "elb.spec.sla.maxRtt"]).await.unwrap_or_else(|error| error.to_string());
        if explained.contains("Largest RTT between the client's site and the endpoint") {
            break;
        }
        assert!(begun.elapsed() < SOON, "{explained}");
    }
}

#[tokio::test]
async fn a_broken_load_balancer_is_refused_with_what_would_be_right() {
    let Some(plane) = installed("a_broken_load_balancer_is_refused").await else { return };
    for (spec, expected) in [
        (json!({}), "spec.backend: Required value"),
        (json!({"backend": {}}), "spec.backend: give either service or selector"),
        (json!({"backend": {"selector": {}, "port": 1}}), "spec.backend.selector: an empty selector would take every pod"),
        (json!({"backend": {"selector": {"app": "a"}}}), "spec.backend.port: is needed with selector"),
        (json!({"backend": {"service": "a"}, "objective": "cost"}), "spec.objective: belongs to policy \"optimized\" alone"),
        (json!({"backend": {"service": "a"}, "policy": "random", "spread": "all"}), "spec.spread: belongs to policy \"balance\" alone"),
        (json!({"backend": {"service": "a"}, "affinity": {"header": "X-A"}}), "spec.affinity.header: is needed with"),
        (json!({"backend": {"service": "a"}, "sla": {"maxRtt": "0ms"}}), "spec.sla.maxRtt: must be above 0"),
        (json!({"backend": {"service": "a"}, "watermark": 101}), "spec.watermark"),
        (json!({"backend": {"service": "a"}, "policy": "fastest"}), "Unsupported value: \"fastest\""),
    ] {
        match create(&plane, "broken", &spec).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 422, "{spec}: {}", status.message);
                assert!(status.message.contains(expected), "{spec}: {:?} does not say {expected:?}", status.message);
            }
            other => panic!("{spec}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_other_resources_hold_their_rules() {
    let Some(plane) = installed("the_other_resources_hold_their_rules").await else { return };
    let check = async |verb: &str, kind: &str, name: &str, spec: Value, expected: Result<(), &str>| {
        let file = plane.folder().join(format!("{name}.json"));
        let object = json!({"apiVersion": "edge-scheduler.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        std::fs::write(&file, object.to_string()).unwrap();
        let arguments = [verb, "-f", file.to_str().unwrap()];
        let output = plane.kubectl(&plane.kubeconfig(), arguments).await.unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        match expected {
            Ok(()) => assert!(output.status.success(), "{name}: {message}"),
            Err(expected) => assert!(!output.status.success() && message.contains(expected), "{name}: {message}"),
        }
    };
    check("create", "NodeNetwork", "edge-1", json!({"nodeName": "edge-1"}), Ok(())).await;
    check("create", "NodeNetwork", "edge-2", json!({"nodeName": "edge-1"}), Err("spec.nodeName: must be the name of the object")).await;
    let reservation = |pod: &str, host: &str| {
        json!({"pod": {"name": pod, "uid": "u"}, "failureDomain": {"topologyKey": "kubernetes.io/hostname", "name": "edge-1"}, "host": host,
            "requests": {"cpu": "100m", "nvidia.com/gpu": 1}})
    };
    check("create", "BackupReservation", "kept", reservation("p", "edge-2"), Ok(())).await;
    check("create", "BackupReservation", "lost", reservation("p", "edge-1"), Err("spec.host: must be outside the failure domain")).await;
    check("replace", "BackupReservation", "kept", reservation("p", "edge-3"), Ok(())).await;
    check("replace", "BackupReservation", "kept", reservation("q", "edge-3"), Err("spec.pod: can't be changed")).await;
}

#[tokio::test]
async fn nodes_are_ready_and_a_bound_pod_runs() {
    let Some(plane) = PLANE.get("nodes_are_ready_and_a_bound_pod_runs").await else { return };
    let client = plane.client().await.unwrap();
    let nodes = Api::<Node>::all(client.clone()).list(&Default::default()).await.unwrap().items;
    let ready = nodes.iter().filter(|node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let tainted = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).is_some_and(|taints| !taints.is_empty());
        !tainted && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    });
    assert_eq!((nodes.len(), ready.count()), (10, 10));

    let pods: Api<Pod> = Api::namespaced(client, "default");
    pods.create(&PostParams::default(), &pod("bound", None)).await.unwrap();
    let running = await_condition(pods, "bound", conditions::is_pod_running());
    let running = tokio::time::timeout(SOON, running).await.expect("the pod does not run").unwrap().unwrap();
    assert!(running.status.unwrap().pod_ip.is_some_and(|address| !address.is_empty()));
}

/// A pod on node-1.
fn pod(name: &str, account: Option<&str>) -> Pod {
    let spec = json!({"nodeName": "node-1", "serviceAccountName": account, "containers": [{"name": "main", "image": "none"}]});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

#[tokio::test]
async fn each_program_may_what_its_roles_say_and_not_what_administrators_may() {
    let Some(plane) = installed("each_program_may_what_its_roles_say").await else { return };
    for (program, access) in api::rbac::programs() {
        let admin = plane.client().await.unwrap();
        let cluster_role = Api::<ClusterRole>::all(admin.clone()).get(program).await.unwrap();
        let role = Api::<Role>::namespaced(admin, SYSTEM_NAMESPACE).get(program).await.unwrap();
        assert_eq!((cluster_role.rules, role.rules), (access.cluster_role.rules.clone(), access.role.rules.clone()), "{program}");
        let client = client(&plane.kubeconfig_of(program).await.unwrap()).await.unwrap();
        let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
        let allowed = async |spec: SelfSubjectAccessReviewSpec| {
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
        };
        let asked = access.cluster_role.rules.iter().flatten().flat_map(|rule| questions(rule, None));
        let here = access.role.rules.iter().flatten().flat_map(|rule| questions(rule, Some(SYSTEM_NAMESPACE)));
        for question in asked.chain(here) {
            assert!(allowed(question.clone()).await, "{program} may not: {question:?}");
        }
        for (verb, group, resource) in [
            ("list", "", "secrets"),
            ("delete", "", "nodes"),
            ("create", "", "pods"),
            ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
        ] {
            let question = resource_question(verb, group, resource, None, None);
            assert!(!allowed(question).await, "{program} may {verb} {resource}");
        }
    }
    assert_eq!(api::rbac::programs().map(|(name, _)| name).collect::<Vec<_>>(), PROGRAMS);
}

/// One review for each verb on each thing of a rule.
fn questions(rule: &PolicyRule, namespace: Option<&'static str>) -> Vec<SelfSubjectAccessReviewSpec> {
    let list = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
    let mut questions = Vec::new();
    for verb in &rule.verbs {
        for path in list(&rule.non_resource_urls) {
            let attributes = NonResourceAttributes { path: Some(path), verb: Some(verb.clone()) };
            questions.push(SelfSubjectAccessReviewSpec { non_resource_attributes: Some(attributes), ..Default::default() });
        }
        for group in list(&rule.api_groups) {
            for resource in list(&rule.resources) {
                let names = list(&rule.resource_names);
                let names: Vec<Option<&str>> =
                    if names.is_empty() { vec![None] } else { names.iter().map(|name| Some(name.as_str())).collect() };
                questions.extend(names.into_iter().map(|name| resource_question(verb, &group, &resource, name, namespace)));
            }
        }
    }
    questions
}

fn resource_question(verb: &str, group: &str, resource: &str, name: Option<&str>, namespace: Option<&str>) -> SelfSubjectAccessReviewSpec {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(resource, sub)| (resource, Some(sub)));
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        name: name.map(str::to_owned),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() }
}

#[tokio::test]
async fn the_token_of_an_agent_names_its_node() {
    let Some(plane) = installed("the_token_of_an_agent_names_its_node").await else { return };
    let client = plane.client().await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let agent = pods.create(&PostParams::default(), &pod("agent", Some(PINGER))).await.unwrap();
    let token = token(&client, PINGER, Some("edge-topology"), Some(&agent)).await.unwrap();
    let spec = TokenReviewSpec { token, audiences: Some(vec!["edge-topology".to_owned()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let status = Api::<TokenReview>::all(client).create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    assert_eq!(status.authenticated, Some(true), "{:?}", status.error);
    let extra = status.user.unwrap().extra.unwrap();
    assert_eq!(extra["authentication.kubernetes.io/node-name"], ["node-1"]);
}

#[tokio::test]
async fn the_audit_log_tells_what_clients_asked_for() {
    let Some(plane) = PLANE.get("the_audit_log_tells_what_clients_asked_for").await else { return };
    plane.kubectl_as_admin(["create", "configmap", "audited"]).await.unwrap();
    let patch = r#"{"data":{"a":"b"}}"#;
    plane.kubectl_as_admin(["patch", "configmap", "audited", "--type", "merge", "-p", patch]).await.unwrap();
    let log = std::fs::read_to_string(plane.audit_log()).unwrap();
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |verb: &str| events.iter().find(|event| event["verb"] == verb && event["objectRef"]["resource"] == "configmaps").cloned();
    assert!(of("create").is_some());
    assert_eq!(of("patch").unwrap()["requestObject"], serde_json::from_str::<Value>(patch).unwrap());
    let own = events.iter().filter(|event| event["user"]["username"] == "system:apiserver");
    assert_eq!(own.count(), 0);
}

#[tokio::test]
async fn the_api_server_has_no_field_of_pods_that_is_not_known() {
    let Some(plane) = PLANE.get("the_api_server_has_no_field_of_pods").await else { return };
    let openapi = plane.kubectl_as_admin(["get", "--raw", "/openapi/v3/api/v1"]).await.unwrap();
    let found = pod_fields::of(&serde_json::from_str(&openapi).unwrap());
    let file = root().join("api/src/refusal/pod.txt");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&file, &found).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let new: Vec<&str> = found.lines().filter(|line| !known.lines().any(|known| known == *line)).collect();
    assert!(new.is_empty() && found == known, "{} lags behind the API server, see its head: {new:#?}", file.display());
}

#[tokio::test]
async fn data_survive_faults_and_the_end_leaves_no_process() {
    let alone = Shared::new(Options { nodes: 2, kubelets: Kubelets::None, controllers: false, scheduler: true, audit: false });
    let Some(plane) = alone.get("data_survive_faults_and_the_end_leaves_no_process").await else { return };
    plane.install().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await.unwrap(), "default");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "kept"}, "data": {"a": "b"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();

    plane.kill(Component::ApiServer).unwrap();
    assert!(matches!(tokio::time::timeout(SOON, maps.get("kept")).await, Ok(Err(_))), "a killed API server answers");
    plane.restart(Component::ApiServer).await.unwrap();
    assert_eq!(maps.get("kept").await.unwrap().data, map.data);

    plane.pause(Component::Etcd).unwrap();
    // The API server asks etcd every two seconds at most and repeats its last answer in between.
    let paused = std::time::Instant::now();
    while plane.kubectl(&plane.kubeconfig(), ["get", "--raw", "/readyz/etcd", "--request-timeout=15s"]).await.unwrap().status.success() {
        assert!(paused.elapsed() < SOON, "ready without etcd");
    }
    plane.resume(Component::Etcd).unwrap();
    plane.restart(Component::Scheduler).await.unwrap();
    assert_eq!(maps.get("kept").await.unwrap().data, map.data);

    let all = [Component::Etcd, Component::ApiServer, Component::Scheduler].map(|component| plane.process(component).unwrap());
    assert!(plane.process(Component::Kwok).is_err() && plane.process(Component::ControllerManager).is_err());
    // The hardest end: nothing below the API server answers.
    plane.pause(Component::Etcd).unwrap();
    let folder = plane.folder().to_owned();
    let begun = std::time::Instant::now();
    drop(plane);
    assert!(begun.elapsed() < SOON, "took {:?}", begun.elapsed());
    let left: Vec<u32> = all.into_iter().filter(|pid| is_alive(*pid)).collect();
    assert!(left.is_empty() && !folder.exists(), "processes {left:?} are left");
}

fn is_alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}

#[test]
fn wrong_arguments_are_refused_with_the_right_ones() {
    let check = |script: &str, arguments: &[&str], expected: &str| {
        let output = Command::new(root().join("tests/control-plane").join(script)).args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{script} {arguments:?}: {message}");
        assert!(message.contains(expected), "{script} {arguments:?}: {message}");
    };
    check("up", &[], "DIR is missing");
    check("up", &["/nowhere", "--node", "3"], "known: --nodes N, --kubelets kwok|none, --controllers, --scheduler, --audit");
    check("up", &["/nowhere", "--nodes", "many"], "--nodes takes a number");
    check("up", &["/nowhere", "--nodes"], "--nodes takes a number");
    check("up", &["/nowhere", "--kubelets", "real"], "--kubelets takes kwok or none");
    check("up", &["/nowhere", "/elsewhere"], "one DIR");
    check("down", &[], "usage: tests/control-plane/down DIR");
    check("down", &["/nowhere"], "no folder /nowhere");
    check("restart", &["/nowhere", "etcd"], "nothing was started in /nowhere");
    check("build", &["--force"], "known: --check");
}
