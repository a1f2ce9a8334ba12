//! Starts and ends at bad moments, on the embedded API server.

use crate::cluster::{Cluster, LIMIT};
use api::labels::SYSTEM_NAMESPACE;
use edge_tests::http::get;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_bad_kubeconfig_are_named() {
    let cluster = Cluster::embedded().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = cluster.config();
    config.topology.address = taken.local_addr().unwrap();
    let error = edge_scheduler::start(config, chassis::shutdown::Shutdown::new()).await.err().expect("refused").to_string();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("in use"), "{error}");
    let mut config = cluster.config();
    config.client.kubeconfig = Some("/nowhere/kubeconfig".into());
    let error = edge_scheduler::start(config, chassis::shutdown::Shutdown::new()).await.err().expect("refused").to_string();
    assert!(error.contains("/nowhere/kubeconfig"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_at_the_start_is_waited_for() {
    let cluster = Cluster::embedded().await;
    let faults = cluster.server().faults();
    faults.refuse_connections(true);
    let shutdown = chassis::shutdown::Shutdown::new();
    let starting = tokio::spawn(edge_scheduler::start(cluster.config(), shutdown.clone()));
    // Long enough for a first try to fail, which is what a start that does not wait would end by.
    assert!(tokio::time::timeout(Duration::from_millis(500), async { starting.is_finished().then_some(()) }).await.unwrap().is_none());
    faults.refuse_connections(false);
    let running = tokio::time::timeout(LIMIT, starting).await.expect("in time").unwrap().unwrap().expect("not shut down");
    cluster.create("a", "1Gi", &[], |_| {}).await;
    cluster.check_bound("a", "cloud-1").await;
    shutdown.trigger();
    running.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_while_waiting_ends_it() {
    let cluster = Cluster::embedded().await;
    cluster.server().faults().refuse_connections(true);
    let shutdown = chassis::shutdown::Shutdown::new();
    let running = tokio::spawn(edge_scheduler::run(cluster.config(), shutdown.clone()));
    shutdown.trigger();
    tokio::time::timeout(LIMIT, running).await.expect("ends").unwrap().expect("without an error");
}

/// The rights of the scheduler's account everywhere or in its own namespace, to be taken away and given back.
struct Rights {
    api: Api<DynamicObject>,
    whole: DynamicObject,
}

impl Rights {
    async fn of(cluster: &Cluster, kind: &str, namespace: Option<&str>) -> Rights {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
            None => Api::all_with(cluster.client.clone(), &resource),
        };
        let whole = api.get("edge-scheduler").await.unwrap();
        Rights { api, whole }
    }

    /// All but this verb for this resource.
    async fn without(&self, verb: &str, resource: &str) {
        let mut rules = self.whole.data["rules"].as_array().unwrap().clone();
        let grants = |rule: &Value| {
            [("resources", resource), ("verbs", verb)].iter().all(|(of, one)| strings(&rule[of]).contains(&(*one).to_owned()))
        };
        let at = rules.iter().position(grants).expect("a right that there is");
        let mut without = rules[at].clone();
        without["resources"] = json!([resource]);
        without["verbs"] = strings(&rules[at]["verbs"]).into_iter().filter(|other| other != verb).collect();
        rules[at]["resources"] = strings(&rules[at]["resources"]).into_iter().filter(|other| other != resource).collect();
        rules.retain(|rule| rule["resources"] != json!([]));
        rules.push(without);
        self.write(json!(rules)).await;
    }

    async fn restore(&self) {
        self.write(self.whole.data["rules"].clone()).await;
    }

    async fn write(&self, rules: Value) {
        self.api.patch("edge-scheduler", &PatchParams::default(), &Patch::Merge(json!({"rules": rules}))).await.unwrap();
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Waits until `/readyz` fails with this among its reasons.
async fn check_unready(cluster: &Cluster, admin: SocketAddr, reason: &str) {
    let named = async || {
        let answer = get(admin, "admin", "/readyz").await;
        (answer.status == 503 && answer.body.contains(reason)).then_some(())
    };
    cluster.until(&format!("{reason:?} keeps it from being ready"), named).await;
}

async fn check_ready(cluster: &Cluster, admin: SocketAddr) {
    let ready = async || (get(admin, "admin", "/readyz").await.status == 200).then_some(());
    cluster.until("it is ready", ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_list_or_watch_is_not_ready_names_the_right_and_goes_on_once_it_is_granted() {
    let cluster = Cluster::embedded().await;
    let rights = Rights::of(&cluster, "ClusterRole", None).await;
    for (verb, resource, group) in [
        ("list", "nodes", ""),
        ("watch", "nodes", ""),
        ("list", "resourceclaims", "resource.k8s.io"),
        ("list", "storageclasses", "storage.k8s.io"),
    ] {
        rights.without(verb, resource).await;
        let replica = cluster.run(cluster.config()).await;
        let reason = format!(
            "User \"system:serviceaccount:edge-system:edge-scheduler\" cannot {verb} resource \"{resource}\" in API group \"{group}\" \
             at the cluster scope"
        );
        check_unready(&cluster, replica.running.admin, &format!("{resource}: not ")).await;
        check_unready(&cluster, replica.running.admin, &reason).await;
        let pod = format!("after-{verb}-{resource}");
        cluster.create(&pod, "64Mi", &[], |_| {}).await;
        rights.restore().await;
        // A watch that is granted is known by its first event.
        cluster.add_node(&pod, "4Gi", "edge").await;
        check_ready(&cluster, replica.running.admin).await;
        cluster.check_bound(&pod, "cloud-1").await;
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_read_its_secret_is_not_ready_and_names_it() {
    let cluster = Cluster::embedded().await;
    let rights = Rights::of(&cluster, "Role", Some(SYSTEM_NAMESPACE)).await;
    rights.without("get", "secrets").await;
    // It does not return from its start, so its port has to be known before.
    let mut config = cluster.config();
    config.admin_address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (admin, shutdown) = (config.admin_address, chassis::shutdown::Shutdown::new());
    let starting = tokio::spawn(edge_scheduler::start(config, shutdown.clone()));
    check_unready(&cluster, admin, "cannot get resource \"secrets\" in API group \"\" in the namespace \"edge-system\"").await;
    rights.restore().await;
    let running = tokio::time::timeout(LIMIT, starting).await.expect("in time").unwrap().unwrap().expect("not shut down");
    check_ready(&cluster, admin).await;
    shutdown.trigger();
    running.join().await.unwrap();
}
