//! Create, update, patch, delete.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};

use super::{Cluster, config_map, eventually, status};

fn deployment(name: &str) -> Deployment {
    serde_json::from_value(json!({ "metadata": { "name": name }, "spec": { "replicas": 2,
        "selector": { "matchLabels": { "app": name } }, "template": { "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] } } } }))
    .unwrap()
}

#[tokio::test]
async fn names_are_unique_generated_and_checked() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let post = PostParams::default();
    let created = maps.create(&post, &config_map("a", "1")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.resource_version.is_some());
    let exists = status(maps.create(&post, &config_map("a", "1")).await);
    assert_eq!((exists.code, exists.reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(exists.message, "configmaps \"a\" already exists");
    let mut generated = config_map("x", "1");
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("job-".into());
    let name = maps.create(&post, &generated).await.unwrap().metadata.name.unwrap();
    assert!(name.len() == 9 && name.starts_with("job-"), "{name}");
    let bad = status(maps.create(&post, &config_map("Not_A_Name", "1")).await);
    assert_eq!((bad.code, bad.reason.as_str()), (422, "Invalid"));
    assert_eq!(bad.details.unwrap().causes[0].field, "metadata.name");
    let missing = status(maps.get("none").await);
    assert_eq!(missing.message, "configmaps \"none\" not found");
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "nowhere");
    assert_eq!(status(elsewhere.create(&post, &config_map("a", "1")).await).message, "namespaces \"nowhere\" not found");
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_dual_stack_node_has_two_addresses_of_one_type() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = serde_json::from_value(json!({ "metadata": { "name": "edge-1" } })).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let addresses = ["10.0.0.1", "fd00::1"].map(|address| json!({ "type": "InternalIP", "address": address }));
    let status = Patch::Merge(json!({ "status": { "addresses": addresses } }));
    let patched = nodes.patch_status("edge-1", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(patched.status.unwrap().addresses.unwrap().len(), 2);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn an_update_of_an_old_version_conflicts() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let post = PostParams::default();
    let first = maps.create(&post, &config_map("a", "1")).await.unwrap();
    let mut newer = first.clone();
    newer.data.as_mut().unwrap().insert("k".into(), "2".into());
    let second = maps.replace("a", &post, &newer).await.unwrap();
    assert_ne!(first.metadata.resource_version, second.metadata.resource_version);
    let stale = status(maps.replace("a", &post, &newer).await);
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    let same = maps.replace("a", &post, &second).await.unwrap();
    assert_eq!(same.metadata.resource_version, second.metadata.resource_version, "nothing changed, nothing written");
    let mut other = second.clone();
    other.metadata.uid = Some("another".into());
    assert!(status(maps.replace("a", &post, &other).await).message.contains("UID in precondition: another"));
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn patches_of_three_kinds() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "default");
    let post = PostParams::default();
    let created = deployments.create(&post, &deployment("d")).await.unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    let params = PatchParams::default();
    let strategic = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "c", "env": [{ "name": "A", "value": "1" }] }, { "name": "d", "image": "j" }] } } } });
    let patched = deployments.patch("d", &params, &Patch::Strategic(strategic)).await.unwrap();
    let containers = patched.spec.template.spec.unwrap().containers;
    assert_eq!(containers.iter().map(|c| c.image.as_deref().unwrap()).collect::<Vec<_>>(), ["i", "j"]);
    assert_eq!(patched.metadata.generation, Some(2));
    let merge = json!({ "metadata": { "labels": { "x": "y" } } });
    let patched = deployments.patch("d", &params, &Patch::Merge(merge)).await.unwrap();
    assert_eq!(patched.metadata.generation, Some(2), "labels are not spec");
    let json: json_patch::Patch = serde_json::from_value(json!([
        { "op": "test", "path": "/spec/replicas", "value": 2 },
        { "op": "replace", "path": "/spec/replicas", "value": 5 }]))
    .unwrap();
    let patched = deployments.patch("d", &params, &Patch::Json::<()>(json)).await.unwrap();
    assert_eq!(patched.spec.replicas, Some(5));
    let selector = json!({ "spec": { "selector": { "matchLabels": { "app": "z" } } } });
    let refused = status(deployments.patch("d", &params, &Patch::Merge(selector)).await);
    assert!(refused.message.contains("field is immutable"), "{}", refused.message);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "default");
    deployments.create(&PostParams::default(), &deployment("d")).await.unwrap();
    let params = PatchParams::default();
    let both = json!({ "spec": { "replicas": 7 }, "status": { "replicas": 3 } });
    let patched = deployments.patch_status("d", &params, &Patch::Merge(&both)).await.unwrap();
    assert_eq!((patched.spec.replicas, patched.status.unwrap().replicas), (Some(2), Some(3)));
    let patched = deployments.patch("d", &params, &Patch::Merge(json!({ "spec": { "replicas": 7 }, "status": null }))).await;
    let patched = patched.unwrap();
    assert_eq!((patched.spec.replicas, patched.status.unwrap().replicas), (Some(7), Some(3)));
    let scale = deployments.get_scale("d").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(7));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=d"));
    let scaled = deployments.patch_scale("d", &params, &Patch::Merge(json!({ "spec": { "replicas": 1 } }))).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(1));
    assert_eq!(deployments.get("d").await.unwrap().metadata.generation, Some(3));
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn finalizers_hold_a_deleted_object() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let mut held = config_map("a", "1");
    held.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    maps.create(&PostParams::default(), &held).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    let free = json!({ "metadata": { "finalizers": null } });
    maps.patch("a", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    assert_eq!(maps.get_opt("a").await.unwrap(), None);
    cluster.server.shutdown().await;
}

fn owned(name: &str, owner: &Deployment) -> ReplicaSet {
    let reference = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": owner.metadata.name,
        "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true });
    let mut set: Value = serde_json::to_value(deployment(name)).unwrap();
    set["kind"] = "ReplicaSet".into();
    set["metadata"]["ownerReferences"] = json!([reference]);
    serde_json::from_value(set).unwrap()
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "default");
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), "default");
    let post = PostParams::default();
    for (name, policy, stays) in [
        ("background", PropagationPolicy::Background, false),
        ("foreground", PropagationPolicy::Foreground, false),
        ("orphan", PropagationPolicy::Orphan, true),
    ] {
        let owner = deployments.create(&post, &deployment(name)).await.unwrap();
        sets.create(&post, &owned(name, &owner)).await.unwrap();
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        deployments.delete(name, &params).await.unwrap();
        eventually("the owner to go", async || deployments.get_opt(name).await.unwrap().is_none().then_some(())).await;
        if stays {
            let set = sets.get(name).await.unwrap();
            assert_eq!(set.metadata.owner_references.unwrap_or_default(), []);
        } else {
            eventually("the dependent to go", async || sets.get_opt(name).await.unwrap().is_none().then_some(())).await;
        }
    }
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({ "metadata": { "name": "team" } })).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "team");
    assert!(maps.get("kube-root-ca.crt").await.is_ok());
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    eventually("the namespace to go", async || namespaces.get_opt("team").await.unwrap().is_none().then_some(())).await;
    assert_eq!(maps.list(&Default::default()).await.unwrap().items, []);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn unknown_and_mistyped_fields_are_named() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let post = |body: Value, query: &str| {
        let request = http::Request::post(format!("/api/v1/nodes{query}"))
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .unwrap();
        cluster.client.request::<Node>(request)
    };
    let odd = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" }, "spec": { "colour": "red" } });
    let strict = status(post(odd.clone(), "?fieldValidation=Strict").await);
    assert_eq!(strict.code, 400);
    assert!(strict.message.contains("unknown field \"spec.colour\""), "{}", strict.message);
    post(odd, "").await.unwrap();
    assert!(nodes.get("n").await.is_ok());
    let mistyped = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "m" }, "spec": { "taints": 1 } });
    let mistyped = status(post(mistyped, "").await);
    assert!(mistyped.code == 400 && mistyped.message.contains("spec.taints"), "{}", mistyped.message);
    let other = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "m" } });
    assert_eq!(status(post(other, "").await).code, 400);
    assert_eq!(status(post(json!([1]), "").await).code, 400);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn nonsense_is_refused_and_harms_nothing() {
    let cluster = Cluster::start().await;
    let definitions = Api::all(cluster.client.clone());
    definitions.create(&PostParams::default(), &super::crd::definition()).await.unwrap();
    cluster.create_pod(super::pod("p")).await;
    let request = async |method: &str, path: &str, kind: &str, body: &Value| {
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        cluster.client.request::<Value>(request.body(body.to_string().into_bytes()).unwrap()).await
    };
    let custom = "/apis/example.com/v1/namespaces/default/balancers";
    let here = "/api/v1/namespaces/default";
    let targets = [
        ("v1", "Pod", format!("{here}/pods")),
        ("v1", "Service", format!("{here}/services")),
        ("v1", "Secret", format!("{here}/secrets")),
        ("v1", "Binding", format!("{here}/pods/p/binding")),
        ("policy/v1", "Eviction", format!("{here}/pods/p/eviction")),
        ("authentication.k8s.io/v1", "TokenRequest", format!("{here}/serviceaccounts/default/token")),
        ("authentication.k8s.io/v1", "TokenReview", "/apis/authentication.k8s.io/v1/tokenreviews".to_owned()),
        ("apps/v1", "Deployment", "/apis/apps/v1/namespaces/default/deployments".to_owned()),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned()),
        ("example.com/v1", "Balancer", custom.to_owned()),
    ];
    for (version, kind, path) in targets {
        for body in [
            json!(null),
            json!([]),
            json!("x"),
            json!({ "metadata": 1 }),
            json!({ "metadata": { "name": 1 } }),
            json!({ "metadata": { "name": "p", "labels": { "a": 1 } } }),
            json!({ "metadata": { "name": "p", "labels": [] } }),
            json!({ "metadata": { "name": "p" }, "spec": "x" }),
            json!({ "metadata": { "name": "p" }, "spec": [] }),
            json!({ "metadata": { "name": "p" }, "spec": { "containers": "x", "template": [], "versions": {}, "audiences": 1 } }),
            json!({ "metadata": { "name": "p" }, "target": 1, "deleteOptions": [], "data": 7 }),
        ] {
            let mut body = body;
            if body.is_object() {
                body["apiVersion"] = version.into();
                body["kind"] = kind.into();
            }
            match request("POST", &path, "application/json", &body).await {
                Ok(_) => {}
                // This one the real server does not expect.
                Err(kube::Error::Api(status)) if kind == "Binding" && status.message == "target.name: Required value" => {}
                Err(kube::Error::Api(status)) => assert!((400..500).contains(&status.code), "{path} {body}: {status:?}"),
                Err(error) => panic!("{path} {body}: {error}"),
            }
        }
    }
    let front = json!({ "apiVersion": "example.com/v1", "kind": "Balancer", "metadata": { "name": "b" }, "spec": { "backend": "x" } });
    request("POST", custom, "application/json", &front).await.unwrap();
    for path in [format!("{here}/configmaps/kube-root-ca.crt"), format!("{custom}/b"), format!("{custom}/b/scale")] {
        for (kind, patch) in [
            ("application/json-patch+json", json!([{ "op": "replace", "path": "", "value": [] }])),
            ("application/json-patch+json", json!([{ "op": "replace", "path": "/metadata", "value": 1 }])),
            ("application/merge-patch+json", json!({ "metadata": [], "spec": [] })),
            ("application/merge-patch+json", json!({ "metadata": { "labels": "x" }, "spec": "y" })),
            ("application/strategic-merge-patch+json", json!({ "metadata": "x" })),
        ] {
            match request("PATCH", &path, kind, &patch).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) => assert!((400..500).contains(&status.code), "{path} {patch}: {status:?}"),
                Err(error) => panic!("{path} {patch}: {error}"),
            }
        }
    }
    assert!(cluster.pods().list(&Default::default()).await.is_ok());
    cluster.server.shutdown().await;
}
