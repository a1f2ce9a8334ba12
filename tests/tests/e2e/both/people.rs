//! What a person at a terminal sees: kubectl.

use crate::cluster::{Cluster, MATRIX};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_why_a_pod_waits_and_where_it_went() {
    let cluster = Cluster::start().await;
    let Some(program) = cluster.backend.kubectl() else {
        println!("SKIPPED kubectl_shows_why_a_pod_waits: there is no kubectl");
        return;
    };
    let (admin, cache) = (cluster.kubeconfig("admin"), cluster.folder.path().join("cache"));
    let kubectl = async |arguments: &str| {
        let mut kubectl = tokio::process::Command::new(&program);
        kubectl.arg("--kubeconfig").arg(&admin).args(["--request-timeout", "20s"]).args(arguments.split(' ')).env("KUBECACHEDIR", &cache);
        let output = kubectl.output().await.unwrap();
        assert!(output.status.success(), "kubectl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let check = async |arguments: &str, parts: &[&str]| {
        let shown = async || Some(kubectl(arguments).await).filter(|text| parts.iter().all(|part| text.contains(part)));
        cluster.until(&format!("kubectl {arguments} shows {parts:?}"), shown).await;
    };
    let replica = cluster.run(cluster.config()).await;
    cluster.create("patient", "6Gi", &[("delay_edge-1", "3")], |_| {}).await;
    let why = "0/4 nodes are available: 1 Insufficient memory, 3 RTT from edge-1 above 3 ms.";
    check("describe pod patient", &["PodScheduled", "False", "FailedScheduling", "edge-scheduler", why]).await;
    check("events --for pod/patient", &["Warning", "FailedScheduling", why]).await;
    check("get pod patient", &["Pending"]).await;
    check("get pod patient -o jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}", &[why]).await;

    cluster.write_matrix(&MATRIX.replace(",4,", ",2.5,").replace("edge-2,4,", "edge-2,2.5,"));
    let assigned = "Successfully assigned default/patient to edge-2: 2.5 ms from edge-1, bound 3 ms";
    check("describe pod patient", &["edge-2/", "Scheduled", assigned]).await;
    check("get pod patient -o wide", &["edge-2"]).await;
    check("get nodenetworks", &["NEAREST", "edge-1", "cloud-1"]).await;
    check("describe nn edge-1", &["edge-2", "3/3"]).await;
    replica.stop().await;
}
