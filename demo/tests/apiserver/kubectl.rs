//! kubectl, where the machine has one: the commands that people type.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use edge_demo::apiserver::Options;
use kube::Api;
use kube::api::PostParams;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{BOUND, Cluster, crd};

struct Kubectl<'a> {
    kubeconfig: &'a Path,
}

impl Kubectl<'_> {
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", self.kubeconfig)
            .env("HOME", self.kubeconfig.parent().unwrap())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn output(&self, arguments: &str) -> Output {
        let run = self.command(arguments).output();
        tokio::time::timeout(BOUND, run).await.unwrap_or_else(|_| panic!("kubectl {arguments}: not in time")).unwrap()
    }

    /// Standard output of a command that must succeed.
    async fn run(&self, arguments: &str) -> String {
        let output = self.output(arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "kubectl {arguments}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The words of the line that starts with `name`.
    async fn row(&self, arguments: &str, name: &str) -> Vec<String> {
        let table = self.run(arguments).await;
        let line = table.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("kubectl {arguments}: no row {name} in\n{table}"));
        line.split_whitespace().map(str::to_owned).collect()
    }
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: edge-1, labels: {kubernetes.io/role: cloud}}
status:
  conditions: [{type: Ready, status: "True"}]
  addresses: [{type: InternalIP, address: 127.0.0.9}]
  capacity: {cpu: 4, memory: 8Gi}
  nodeInfo: {kubeletVersion: v1.37.0}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, delay_edge-1: "25"}}
    spec:
      schedulerName: edge-scheduler
      containers: [{name: c, image: "app:1", resources: {requests: {cpu: 1, memory: 6Gi}}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: single}
spec: {containers: [{name: c, image: "app:1"}]}
---
apiVersion: v1
kind: Event
metadata: {name: single.1}
involvedObject: {apiVersion: v1, kind: Pod, name: single, namespace: default}
type: Warning
reason: FailedScheduling
message: "0/1 nodes are available: 1 RTT from edge-1 above 25 ms."
lastTimestamp: "2026-01-01T00:00:00Z"
---
apiVersion: example.com/v1
kind: Balancer
metadata: {name: front}
spec: {backend: web}
"#;

/// A server with a custom resource, the folder that kubectl keeps its files in, and the address of the kubeconfig; nothing where the
/// machine has no kubectl.
async fn prepared() -> Option<(Cluster, tempfile::TempDir, PathBuf)> {
    let found = std::process::Command::new("kubectl").args(["version", "--client"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: no kubectl in PATH");
        return None;
    }
    let cluster = Cluster::with(Options::default()).await;
    let definitions: Api<_> = Api::all(cluster.client.clone());
    definitions.create(&PostParams::default(), &crd::definition()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.server.admin_kubeconfig()).unwrap();
    Some((cluster, folder, kubeconfig))
}

/// A manifest of the given name in the folder.
fn manifest(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_people_type() {
    let Some((cluster, folder, kubeconfig)) = prepared().await else { return };
    let manifest = manifest(&folder, "manifest.yaml", MANIFEST);
    let kubectl = Kubectl { kubeconfig: &kubeconfig };

    let created = kubectl.run(&format!("create -f {manifest}")).await;
    assert_eq!(created.lines().count(), 6, "{created}");
    assert!(kubectl.run("api-resources").await.contains("balancers"));
    assert_eq!(kubectl.row("get deploy", "web").await[..4], ["web", "0/2", "0", "0"]);
    assert_eq!(kubectl.row("get pods", "single").await[..4], ["single", "0/1", "Pending", "0"]);
    assert_eq!(kubectl.row("get nodes -o wide", "edge-1").await[5], "127.0.0.9");
    assert_eq!(kubectl.row("get bal", "front").await[..2], ["front", "balance"]);
    assert!(kubectl.run("get all").await.contains("balancer.example.com/front"));
    assert!(kubectl.run("get pod single -o yaml").await.contains("kube-api-access-"));
    assert!(kubectl.run("get svc web -o jsonpath={.spec.clusterIP}").await.starts_with("10.96."));
    assert!(kubectl.run("describe deployment web").await.contains("RollingUpdate"));
    assert!(kubectl.run("describe node edge-1").await.contains("Ready"));
    assert!(kubectl.run("describe bal front").await.contains("Backend"));
    assert!(kubectl.run("describe pod single").await.contains("QoS Class"));
    assert!(kubectl.run("events --for pod/single").await.contains("FailedScheduling"));
    assert!(kubectl.run("get events").await.contains("pod/single"));
    kubectl.run("scale deployment web --replicas=5").await;
    assert_eq!(kubectl.row("get deploy", "web").await[1], "0/5");
    kubectl.run("label pod single tier=one").await;
    kubectl.run("annotate pod single note=two").await;
    assert_eq!(kubectl.row("get pods -l tier=one --show-labels", "single").await[5], "tier=one");
    kubectl.run("set image deployment/web c=app:2").await;
    assert!(kubectl.run("get deploy web -o json").await.contains("\"app:2\""));
    kubectl.run("cordon edge-1").await;
    assert_eq!(kubectl.row("get nodes", "edge-1").await[1], "Ready,SchedulingDisabled");
    kubectl.run("patch bal front --type=merge -p {\"spec\":{\"policy\":\"random\"}}").await;
    assert_eq!(kubectl.row("get bal", "front").await[1], "random");

    let refused = kubectl.output("patch bal front --type=merge -p {\"spec\":{\"policy\":\"odd\"}}").await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("supported values: \"balance\", \"random\""));
    let missing = kubectl.output("get pod nobody").await;
    assert_eq!(String::from_utf8_lossy(&missing.stderr).trim(), "Error from server (NotFound): pods \"nobody\" not found");

    let mut following = kubectl.command("get pods -w --no-headers").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(first.starts_with("single"), "{first}");
    assert!(kubectl.run("delete pod single").await.contains("deleted"));
    let second = tokio::time::timeout(BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(second.starts_with("single"), "{second}");
    following.kill().await.unwrap();
    kubectl.run(&format!("delete -f {manifest} --ignore-not-found")).await;
    assert!(kubectl.run("get deploy,svc,bal").await.is_empty());
    cluster.server.shutdown().await;
}

/// Newer kubectls send these in protobuf, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubectl_makes_without_a_file() {
    let Some((cluster, _folder, kubeconfig)) = prepared().await else { return };
    let kubectl = Kubectl { kubeconfig: &kubeconfig };
    kubectl.run("create configmap settings --from-literal=colour=blue").await;
    assert_eq!(kubectl.run("get configmap settings -o jsonpath={.data.colour}").await, "blue");
    kubectl.run("create secret generic key --from-literal=k=v").await;
    assert_eq!(kubectl.run("get secret key -o jsonpath={.data.k}").await, "dg==");
    kubectl.run("create deployment made --image=app:1 --replicas=0 --port=80").await;
    assert_eq!(kubectl.row("get deploy", "made").await[..2], ["made", "0/0"]);
    kubectl.run("create service clusterip made --tcp=80:8080").await;
    assert_eq!(kubectl.run("get svc made -o jsonpath={.spec.ports[0].targetPort}").await, "8080");
    kubectl.run("create role reader --verb=get --resource=pods").await;
    kubectl.run("create rolebinding readers --role=reader --serviceaccount=default:default").await;
    assert_eq!(kubectl.run("get rolebinding readers -o jsonpath={.subjects[0].name}").await, "default");
    kubectl.run("create pdb calm --selector=app=made --min-available=0").await;
    assert_eq!(kubectl.run("get pdb calm -o jsonpath={.spec.minAvailable}").await, "0");
    kubectl.run("create job once --image=app:1").await;
    kubectl.run("create cronjob often --image=app:1 --schedule=@hourly").await;
    kubectl.run("create job now --from=cronjob/often").await;
    assert_eq!(kubectl.run("get job now -o jsonpath={.spec.template.spec.containers[0].image}").await, "app:1");
    assert!(kubectl.run("get all").await.contains("cronjob.batch/often"));
    assert!(!kubectl.run("create token default").await.trim().is_empty());
    assert_eq!(kubectl.run("auth can-i create pods").await.trim(), "yes");
    assert!(kubectl.run("auth whoami -o jsonpath={.status.userInfo.groups}").await.contains("system:masters"));
    kubectl.run("create namespace apart").await;
    kubectl.run("create serviceaccount robot -n apart").await;
    cluster.server.shutdown().await;
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: first, image: "app:1", env: [{name: A, value: one}, {name: B, value: two}]}
      - {name: second, image: "app:1"}
---
apiVersion: example.com/v1
kind: Balancer
metadata: {name: front}
spec: {backend: web}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_let_kubectl_explain_apply_diff_and_edit() {
    let Some((cluster, folder, kubeconfig)) = prepared().await else { return };
    let kubectl = Kubectl { kubeconfig: &kubeconfig };
    assert!(kubectl.run("explain pod.spec.containers").await.contains("FIELD: containers <[]Container>"));
    assert!(kubectl.run("explain deployment.spec.strategy.rollingUpdate --recursive").await.contains("maxSurge"));
    let explained = kubectl.run("explain balancer.spec").await;
    assert!(explained.contains("GROUP:      example.com") && explained.contains("backend"), "{explained}");

    let web = manifest(&folder, "web.yaml", WEB);
    assert_eq!(kubectl.run(&format!("apply -f {web}")).await.matches(" created").count(), 2);
    // Someone else adds a container and scales; the next apply leaves alone what it never set, and takes out what it set before.
    let sidecar = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:1"}]}}}}"#;
    kubectl.run(&format!("patch deployment web -p {sidecar}")).await;
    let changed = WEB
        .replace(", {name: B, value: two}", "")
        .replace("- {name: second, image: \"app:1\"}", "")
        .replace("backend: web", "backend: other");
    let web = manifest(&folder, "web.yaml", &changed);
    let diff = kubectl.output(&format!("diff -f {web}")).await;
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));
    let diff = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(diff.contains("-          value: two") && diff.contains("+  backend: other"), "{diff}");
    assert_eq!(kubectl.run(&format!("apply -f {web}")).await.matches(" configured").count(), 2);
    let names = "get deploy web -o jsonpath={.spec.template.spec.containers[*].name}/{.spec.template.spec.containers[0].env[*].name}";
    let names = kubectl.run(names).await;
    assert_eq!(names, "side first/");
    assert!(kubectl.run("get deploy web -o jsonpath={.spec.template.spec.containers[1].env}").await == r#"[{"name":"A","value":"one"}]"#);
    assert!(kubectl.run(&format!("apply -f {web}")).await.contains("balancer.example.com/front unchanged"));
    let odd = manifest(&folder, "odd.yaml", &WEB.replace("replicas:", "replicaz:"));
    let refused = kubectl.output(&format!("apply -f {odd}")).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown field \"spec.replicaz\""));

    let editor = manifest(&folder, "editor", "#!/bin/sh\nsed -i 's/replicas: 2/replicas: 4/' \"$1\"\n");
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let edited = kubectl.command("edit deployment web").env("EDITOR", &editor).output().await.unwrap();
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    assert_eq!(kubectl.row("get deploy", "web").await[1], "0/4");
    cluster.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_applies_on_the_server() {
    let Some((cluster, folder, kubeconfig)) = prepared().await else { return };
    let kubectl = Kubectl { kubeconfig: &kubeconfig };
    let web = manifest(&folder, "web.yaml", WEB);
    assert_eq!(kubectl.run(&format!("apply --server-side -f {web}")).await.matches(" serverside-applied").count(), 2);
    kubectl.run("scale deployment web --replicas=5").await;
    let refused = kubectl.output(&format!("apply --server-side -f {web}")).await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    let conflict = "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert!(!refused.status.success() && words.contains(conflict), "{words}");
    kubectl.run(&format!("apply --server-side --force-conflicts -f {web}")).await;
    assert_eq!(kubectl.row("get deploy", "web").await[1], "0/2");
    assert!(kubectl.run("get deploy web -o yaml --show-managed-fields").await.contains("operation: Apply"));
    assert!(!kubectl.run("get deploy web -o yaml").await.contains("managedFields"));
    // Applied by the client first, an object changes over without a conflict, and loses what is no longer in the file.
    let pod = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: b, c: d}\n";
    let first = manifest(&folder, "first.yaml", pod);
    kubectl.run(&format!("apply -f {first}")).await;
    let second = manifest(&folder, "second.yaml", &pod.replace(", c: d", ""));
    kubectl.run(&format!("apply --server-side -f {second}")).await;
    assert_eq!(kubectl.run("get cm m -o jsonpath={.data}").await, r#"{"a":"b"}"#);
    assert!(kubectl.run(&format!("diff --server-side -f {second}")).await.is_empty());
    // What someone else has changed since is theirs, even where the client applied it first.
    kubectl.run(&format!("apply -f {first}")).await;
    kubectl.run(r#"patch cm m --type=merge -p {"data":{"a":"z"}}"#).await;
    let refused = kubectl.output(&format!("apply --server-side -f {first}")).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("conflict with \"kubectl-patch\" using v1: .data.a"));
    cluster.server.shutdown().await;
}
