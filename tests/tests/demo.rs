//! The demo as its user meets it: it stays up, answers kubectl, heeds a bound that is tightened, and leaves nothing behind.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use clap::Parser as _;
use edge_demo::run::{Args, Ending, run};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

/// For what the programs do about a change; generous, since a busy machine runs this too.
const LIMIT: Duration = Duration::from_secs(120);

/// RTTs so far apart that no load of the machine moves a measured one across a bound.
const WORLD: &str = "
name: four places and a cloud
nodes:
  - {name: a, role: edge, at: [52.4, 4.9]}
  - {name: b, role: edge, at: [52.0, 4.5]}
  - {name: c, role: edge, at: [48.9, 2.4]}
  - {name: d, role: edge, at: [40.4, -3.7]}
  - {name: cloud, role: cloud, at: [39.0, -77.5]}
rtt:
  - {between: [a, b], ms: 20}
  - {between: [a, c], ms: 60}
  - {between: [a, d], ms: 120}
  - {between: [b, c], ms: 60}
  - {between: [b, d], ms: 120}
  - {between: [c, d], ms: 80}
  - {between: [a, cloud], ms: 150}
  - {between: [b, cloud], ms: 150}
  - {between: [c, cloud], ms: 150}
  - {between: [d, cloud], ms: 150}
";

/// Calls `seen` until it gives something.
async fn until<T>(what: &str, mut seen: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = seen().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn connect(kubeconfig: &Path) -> Client {
    let read = until("a kubeconfig", async || Kubeconfig::read_from(kubeconfig).ok()).await;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The columns and rows that kubectl would print.
async fn table(client: &Client, path: &str) -> (Vec<String>, Vec<Vec<Value>>) {
    let request = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io").body(Vec::new()).unwrap();
    let table: Value = client.request(request).await.unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
    let rows = table["rows"].as_array().unwrap().iter().map(|row| row["cells"].as_array().unwrap().clone()).collect();
    (columns, rows)
}

/// Where the running pods of `app` are, once there are `count` of this template and no others.
async fn places(client: &Client, app: &str, count: usize, template: (&str, &str)) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "demo");
    until(&format!("{count} pods of {app} with {template:?}"), async || {
        let pods = pods.list(&ListParams::default().labels(&format!("app={app}"))).await.ok()?.items;
        let runs = |pod: &Pod| {
            pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
                && pod.labels().get(template.0).is_some_and(|value| value == template.1)
        };
        let nodes: Option<Vec<String>> = pods.iter().filter(|pod| runs(pod)).map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
        nodes.filter(|nodes| nodes.len() == count && pods.len() == count)
    })
    .await
}

fn pod_spec() -> Value {
    let requests = json!({"requests": {"cpu": "100m", "memory": "64Mi"}});
    json!({"schedulerName": "edge-scheduler", "containers": [{"name": "app", "image": "app:1", "resources": requests}]})
}

async fn printer_columns(client: &Client) {
    let balancers = "/apis/edge-scheduler.io/v1alpha1/namespaces/demo/edgeloadbalancers";
    let (columns, _) = table(client, balancers).await;
    for column in ["Backend", "Policy", "Max RTT", "Ready", "Rate", "Accepted"] {
        assert!(columns.contains(&column.to_owned()), "{column}: {columns:?}");
    }
    until("the status of the load balancer", async || {
        let (_, rows) = table(client, balancers).await;
        rows.iter().any(|row| row[0] == "video" && row.contains(&json!("4/4")) && row.contains(&json!("True"))).then_some(())
    })
    .await;
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes: Vec<String> = nodes.list(&ListParams::default()).await.unwrap().iter().map(|node| node.name_any()).collect();
    until("a NodeNetwork of every node", async || {
        let (_, rows) = table(client, "/apis/edge-scheduler.io/v1alpha1/nodenetworks").await;
        nodes.iter().all(|node| rows.iter().any(|row| row[0] == node.as_str() && row.contains(&json!("4/4")))).then_some(())
    })
    .await;
}

async fn a_pod_beyond_its_bound_says_so(client: &Client) {
    let mut spec = pod_spec();
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": "d"});
    let far = json!({"metadata": {"name": "far", "labels": {"delay_a": "5"}}, "spec": spec});
    let pods: Api<Pod> = Api::namespaced(client.clone(), "demo");
    pods.create(&PostParams::default(), &serde_json::from_value(far).unwrap()).await.unwrap();
    let events: Api<Event> = Api::namespaced(client.clone(), "demo");
    let note = until("FailedScheduling", async || {
        let failed = ListParams::default().fields("regarding.name=far,reason=FailedScheduling");
        events.list(&failed).await.ok()?.items.into_iter().find_map(|event| event.note)
    })
    .await;
    for part in ["0/5 nodes are available: ", "1 RTT from a above 5 ms", "4 node(s) didn't match Pod's node affinity/selector"] {
        assert!(note.contains(part), "{note}");
    }
}

/// `d` serves best at first; the tighter bound leaves `c` alone.
async fn a_tighter_bound_moves_the_pods(client: &Client) {
    let labels = json!({"app": "web", "delay_d": "100", "delay_a": "150"});
    let web = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": labels}, "spec": pod_spec()}},
    });
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "demo");
    deployments.create(&PostParams::default(), &serde_json::from_value(web).unwrap()).await.unwrap();
    assert_eq!(places(client, "web", 1, ("delay_a", "150")).await, ["d"]);
    let tighter = json!({"spec": {"template": {"metadata": {"labels": {"delay_a": "90"}}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(tighter)).await.unwrap();
    assert_eq!(places(client, "web", 1, ("delay_a", "90")).await, ["c"]);
    let three = json!({"spec": {"replicas": 3}});
    deployments.patch_scale("web", &PatchParams::default(), &Patch::Merge(three)).await.unwrap();
    assert_eq!(places(client, "web", 3, ("delay_a", "90")).await, ["c"; 3]);
}

/// The same through kubectl, where the machine has one.
fn by_kubectl(kubeconfig: &Path) {
    if !Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED demo-by-kubectl: kubectl is not in PATH");
        return;
    }
    let check = |arguments: &str, parts: &[&str]| {
        let home = kubeconfig.parent().unwrap();
        let output = Command::new("kubectl").args(arguments.split(' ')).env("KUBECONFIG", kubeconfig).env("HOME", home).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "kubectl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(parts.iter().all(|part| text.contains(part)), "kubectl {arguments}: {text}");
    };
    check("get elb -n demo", &["BACKEND", "MAX RTT", "video"]);
    check("get nn", &["NEAREST", "cloud"]);
    check("describe pod -n demo far", &["FailedScheduling", "1 RTT from a above 5 ms"]);
    check("describe elb -n demo video", &["Accepted"]);
    check("describe node a", &["edge-pinger-a"]);
    check("events -n demo --for pod/far", &["1 RTT from a above 5 ms"]);
    check("get events -n demo --sort-by=.lastTimestamp", &["FailedScheduling"]);
    check("get deploy,pods -n demo -o wide", &["deployment.apps/web", "3/3"]);
    check("label pod -n demo far tier=test", &["labeled"]);
    check("scale deployment -n demo web --replicas=2", &["scaled"]);
    check("rollout status -n demo deployment/web --timeout=30s", &["successfully rolled out"]);
    check("delete pod -n demo far --timeout=30s", &["deleted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stays_up_heeds_changes_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (world, kubeconfig) = (folder.path().join("world.yaml"), folder.path().join("kubeconfig"));
    std::fs::write(&world, WORLD).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let flags = ["--pods", "0", "--requests", "40", "--stay", "--topology", &text(&world), "--write-kubeconfig", &text(&kubeconfig)];
    let args = Args::try_parse_from(["edge-demo"].iter().chain(&flags)).unwrap();

    let shutdown = chassis::shutdown::Shutdown::new();
    let mut demo = pin!(run(args, shutdown.clone()));
    let look = async {
        let client = connect(&kubeconfig).await;
        printer_columns(&client).await;
        a_pod_beyond_its_bound_says_so(&client).await;
        a_tighter_bound_moves_the_pods(&client).await;
        tokio::task::block_in_place(|| by_kubectl(&kubeconfig));
        client
    };
    let client = tokio::select! {
        ended = &mut demo => panic!("ended early: {ended:?}"),
        client = look => client,
    };
    shutdown.trigger();
    let ending = tokio::time::timeout(Duration::from_secs(20), demo).await.expect("ends in time").unwrap();
    assert_eq!(ending, Ending::Held);
    assert!(!kubeconfig.exists());
    client.apiserver_version().await.expect_err("the API server has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_demo_ends_soon() {
    for after_ms in [0, 300, 1500] {
        let shutdown = chassis::shutdown::Shutdown::new();
        let args = Args::try_parse_from(["edge-demo", "--topology", "generated:6"]).unwrap();
        let mut demo = pin!(run(args, shutdown.clone()));
        if after_ms > 0 {
            tokio::time::timeout(Duration::from_millis(after_ms), &mut demo).await.expect_err("takes longer");
        }
        shutdown.trigger();
        let ending = tokio::time::timeout(Duration::from_secs(20), demo).await.expect("ends in time").unwrap();
        assert_eq!(ending, Ending::Interrupted, "after {after_ms} ms");
    }
}

#[tokio::test]
async fn what_cannot_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (narrow, names) = (file("narrow.csv", ",a,b\na,0,1\n"), file("names.csv", ",a,b\na,0,1\nc,1,0\n"));
    let unwritable = ["--stay", "--write-kubeconfig", "/nowhere/kubeconfig"];
    for (flags, part) in [
        (&["--topology", "nosuch.csv"][..], "nosuch.csv"),
        (&["--topology", &narrow], "not square"),
        (&["--topology", &names], "\"c\""),
        (&unwritable, "/nowhere/kubeconfig"),
    ] {
        let args = Args::try_parse_from(["edge-demo"].iter().chain(flags)).unwrap();
        let error = run(args, chassis::shutdown::Shutdown::new()).await.expect_err("refused");
        assert!(format!("{error:#}").contains(part), "{flags:?}: {error:#}");
    }
}
