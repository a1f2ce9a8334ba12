//! Certificates, tokens, reviews, roles.

use edge_demo::apiserver::Options;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use super::{Cluster, client, pod, status};

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let cluster = Cluster::start().await;
    let stranger = cluster.server.service_account_kubeconfig("default", "x").replace("token: ", "token: wrong");
    let pods: Api<Pod> = Api::namespaced(client(&stranger).await, "default");
    let refused = status(pods.list(&ListParams::default()).await);
    assert_eq!((refused.code, refused.reason.as_str()), (401, "Unauthorized"));
    let known = client(&cluster.server.service_account_kubeconfig("default", "x")).await;
    assert!(Api::<Pod>::namespaced(known, "default").list(&ListParams::default()).await.is_ok());
    cluster.server.shutdown().await;
}

impl Cluster {
    async fn review(&self, token: &str, audience: &str) -> TokenReview {
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = of(json!({ "metadata": {}, "spec": { "token": token, "audiences": [audience] } }));
        reviews.create(&PostParams::default(), &review).await.unwrap()
    }
}

#[tokio::test]
async fn a_pods_token_says_which_node_it_runs_on() {
    let cluster = Cluster::start().await;
    cluster.create_node("n1").await;
    let mut value = pod("agent");
    value["spec"]["nodeName"] = "n1".into();
    let uid = cluster.create_pod(value).await.metadata.uid;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "default");
    let request = |uid: Option<&str>, seconds: i64| -> TokenRequest {
        of(json!({ "metadata": {}, "spec": { "audiences": ["edge-topology"], "expirationSeconds": seconds,
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "agent", "uid": uid } } }))
    };
    let post = PostParams::default();
    let issue = async |request: TokenRequest| accounts.create_token_request("default", &post, &request).await;
    assert_eq!(status(issue(request(Some("other"), 600)).await).code, 409);
    assert_eq!(status(issue(request(None, 5)).await).code, 422);
    let token = issue(request(uid.as_deref(), 600)).await.unwrap().status.unwrap().token.unwrap();

    let review = cluster.review(&token, "edge-topology").await.status.unwrap();
    assert_eq!(review.authenticated, Some(true));
    assert_eq!(review.audiences, Some(vec!["edge-topology".to_owned()]));
    let user = review.user.unwrap();
    assert_eq!(user.username.as_deref(), Some("system:serviceaccount:default:default"));
    let extra = user.extra.unwrap();
    assert_eq!(extra["authentication.kubernetes.io/node-name"], ["n1"]);
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["agent"]);
    for (token, audience) in [(token.as_str(), "other"), ("nonsense", "edge-topology")] {
        let review = cluster.review(token, audience).await.status.unwrap();
        assert!(review.authenticated != Some(true) && review.error.is_some(), "{review:?}");
    }
    cluster.pods().delete("agent", &DeleteParams::default().grace_period(0)).await.unwrap();
    let review = cluster.review(&token, "edge-topology").await.status.unwrap();
    assert_ne!(review.authenticated, Some(true), "the token ends with its pod");
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn roles_answer_access_reviews() {
    let cluster = Cluster::start().await;
    let post = PostParams::default();
    let group = "rbac.authorization.k8s.io";
    let roles: Api<Role> = Api::namespaced(cluster.client.clone(), "default");
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] });
    roles.create(&post, &of(json!({ "metadata": { "name": "reader" }, "rules": [rule] }))).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(cluster.client.clone(), "default");
    let binding = json!({ "metadata": { "name": "reader" }, "roleRef": { "apiGroup": group, "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "router", "namespace": "default" }] });
    bindings.create(&post, &of(binding)).await.unwrap();
    let cluster_roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let rule = json!({ "nonResourceURLs": ["/v1/explain/*"], "verbs": ["get"] });
    cluster_roles.create(&post, &of(json!({ "metadata": { "name": "explain" }, "rules": [rule] }))).await.unwrap();
    let cluster_bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    let binding = json!({ "metadata": { "name": "explain" },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "explain" },
        "subjects": [{ "kind": "Group", "name": "ops" }] });
    cluster_bindings.create(&post, &of(binding)).await.unwrap();

    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let router = "system:serviceaccount:default:router";
    let resource =
        |verb: &str, namespace: &str| json!({ "resourceAttributes": { "verb": verb, "resource": "pods", "namespace": namespace } });
    let path = |path: &str| json!({ "nonResourceAttributes": { "verb": "get", "path": path } });
    for (user, groups, what, expected) in [
        (router, vec![], resource("list", "default"), true),
        (router, vec![], resource("delete", "default"), false),
        (router, vec![], resource("list", "other"), false),
        ("ann", vec!["ops"], path("/v1/explain/a/b"), true),
        ("ann", vec!["ops"], path("/v1/stream"), false),
        ("root", vec!["system:masters"], resource("delete", "other"), true),
    ] {
        let mut spec = what.clone();
        spec["user"] = user.into();
        spec["groups"] = groups.into();
        let review = reviews.create(&post, &of(json!({ "metadata": {}, "spec": spec }))).await.unwrap();
        assert_eq!(review.status.unwrap().allowed, expected, "{user} {what}");
    }
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn roles_decide_when_they_are_enforced() {
    let cluster = Cluster::with(Options { enforce_rbac: true, ..Options::default() }).await;
    assert!(cluster.pods().list(&ListParams::default()).await.is_ok());
    let someone = client(&cluster.server.kubeconfig("ann", &["dev"])).await;
    let pods: Api<Pod> = Api::namespaced(someone.clone(), "default");
    let refused = status(pods.list(&ListParams::default()).await);
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message,
        "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert!(someone.list_api_groups().await.is_ok(), "discovery is open to everyone who is known");
    cluster.server.shutdown().await;
}
