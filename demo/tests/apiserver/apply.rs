//! Server-side apply and who owns which field.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::{Value, json};

use super::{Cluster, config_map, crd, status};

/// The managers of an object as (manager, operation, subresource, fields).
fn managers<K: kube::Resource>(object: &K) -> Vec<(String, String, String, Value)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let entries = object.meta().managed_fields.iter().flatten();
    entries.map(|m| (text(&m.manager), text(&m.operation), text(&m.subresource), m.fields_v1.as_ref().unwrap().0.clone())).collect()
}

fn web(replicas: i32, image: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "replicas": replicas,
        "selector": { "matchLabels": { "app": "web" } }, "template": { "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": image, "env": [{ "name": "A", "value": "b" }] }] } } } })
}

fn fields(failure: &Status) -> Vec<String> {
    failure.details.as_ref().unwrap().causes.iter().map(|cause| cause.field.clone()).collect()
}

#[tokio::test]
async fn every_write_says_who_owns_what() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "default");
    let post = PostParams { field_manager: Some("maker".into()), ..PostParams::default() };
    let created = deployments.create(&post, &serde_json::from_value(web(2, "app:1")).unwrap()).await.unwrap();
    // As a kube-apiserver 1.37 answers `kubectl create`.
    let container = json!({ ".": {}, "f:env": { ".": {}, "k:{\"name\":\"A\"}": { ".": {}, "f:name": {}, "f:value": {} } }, "f:image": {},
        "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {} });
    let expected = json!({ "f:spec": { "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
        "f:strategy": { "f:rollingUpdate": { ".": {}, "f:maxSurge": {}, "f:maxUnavailable": {} }, "f:type": {} },
        "f:template": { "f:metadata": { "f:labels": { ".": {}, "f:app": {} } }, "f:spec": { "f:containers": { "k:{\"name\":\"c\"}": container },
        "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {} } } } });
    assert_eq!(managers(&created), [("maker".to_owned(), "Update".to_owned(), String::new(), expected)]);

    let params = |manager: &str| PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    let labels = json!({ "metadata": { "labels": { "x": "y" } } });
    deployments.patch("web", &params("labels"), &Patch::Merge(&labels)).await.unwrap();
    deployments.patch_status("web", &params("status"), &Patch::Merge(json!({ "status": { "replicas": 2 } }))).await.unwrap();
    deployments.patch_scale("web", &params("scale"), &Patch::Merge(json!({ "spec": { "replicas": 3 } }))).await.unwrap();
    let found = managers(&deployments.get("web").await.unwrap());
    let of = |name: &str| found.iter().find(|(manager, ..)| manager == name).unwrap();
    assert_eq!(of("labels").3, json!({ "f:metadata": { "f:labels": { ".": {}, "f:x": {} } } }));
    assert_eq!((&*of("status").2, &of("status").3), ("status", &json!({ "f:status": { "f:replicas": {} } })));
    assert_eq!((&*of("scale").2, &of("scale").3), ("scale", &json!({ "f:spec": { "f:replicas": {} } })));
    assert!(of("maker").3["f:spec"].get("f:replicas").is_none(), "it has changed hands");

    let before = deployments.get("web").await.unwrap().metadata;
    let again = deployments.patch("web", &params("other"), &Patch::Merge(&labels)).await.unwrap().metadata;
    assert_eq!(before, again, "nothing changed, nobody owns more");
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn applying_creates_takes_out_and_conflicts() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "default");
    let apply = |manager: &str, value: Value| {
        let (params, deployments) = (PatchParams::apply(manager), deployments.clone());
        async move { deployments.patch("web", &params, &Patch::Apply(value)).await }
    };
    let created = apply("one", web(2, "app:1")).await.unwrap();
    assert_eq!(created.spec.strategy.as_ref().unwrap().type_.as_deref(), Some("RollingUpdate"), "defaults are filled in");
    let expected = json!({ "f:spec": { "f:replicas": {}, "f:selector": {}, "f:template": { "f:metadata": { "f:labels": { "f:app": {} } },
        "f:spec": { "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:image": {}, "f:name": {},
        "f:env": { "k:{\"name\":\"A\"}": { ".": {}, "f:name": {}, "f:value": {} } } } } } } } });
    assert_eq!(managers(&created), [("one".to_owned(), "Apply".to_owned(), String::new(), expected)]);
    assert_eq!(apply("one", web(2, "app:1")).await.unwrap().metadata, created.metadata, "applied twice is applied once");

    let refused = status(apply("two", web(2, "app:2")).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    let path = ".spec.template.spec.containers[name=\"c\"].image";
    assert_eq!(refused.message, format!("Apply failed with 1 conflict: conflict with \"one\": {path}"));
    assert_eq!(fields(&refused), [path]);
    let several = status(apply("two", web(3, "app:2")).await);
    assert_eq!(several.message, format!("Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.replicas\n- {path}"));

    let sidecar = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "template": { "spec": { "containers": [
        { "name": "side", "image": "side:1" }] } } } });
    let both = apply("two", sidecar).await.unwrap();
    let names =
        |d: &Deployment| -> Vec<String> { d.spec.template.spec.as_ref().unwrap().containers.iter().map(|c| c.name.clone()).collect() };
    assert_eq!(names(&both), ["c", "side"]);
    let gone = apply("two", json!({ "apiVersion": "apps/v1", "kind": "Deployment" })).await.unwrap();
    assert_eq!((names(&gone), managers(&gone).len()), (vec!["c".to_owned()], 1));

    let forced = deployments.patch("web", &PatchParams::apply("two").force(), &Patch::Apply(web(5, "app:2"))).await.unwrap();
    assert_eq!(forced.spec.replicas, Some(5));
    let mut without = web(5, "app:2");
    without["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(apply("two", without).await.unwrap().spec.replicas, Some(1), "nobody wants it any more: back to the default");
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn custom_resources_and_statuses_are_applied_too() {
    let cluster = Cluster::start().await;
    let definitions = Api::all(cluster.client.clone());
    definitions.create(&PostParams::default(), &crd::definition()).await.unwrap();
    let kind =
        kube::core::ApiResource::from_gvk_with_plural(&kube::core::GroupVersionKind::gvk("example.com", "v1", "Balancer"), "balancers");
    let balancers: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "default", &kind);
    let front = |spec: Value| json!({ "apiVersion": "example.com/v1", "kind": "Balancer", "metadata": { "name": "front" }, "spec": spec });
    let apply = PatchParams::apply("me");
    let created = balancers.patch("front", &apply, &Patch::Apply(front(json!({ "backend": "web" })))).await.unwrap();
    assert_eq!(created.data["spec"]["policy"], "balance", "the default");
    assert_eq!(managers(&created)[0].3, json!({ "f:spec": { "f:backend": {} } }));
    let odd = balancers.patch("front", &apply, &Patch::Apply(front(json!({ "backend": "web", "colour": "red" })))).await;
    let odd = status(odd);
    assert_eq!(odd.code, 500);
    assert_eq!(
        odd.message,
        "failed to create typed patch object (/front; example.com/v1, Kind=Balancer): .spec.colour: field not declared in schema"
    );
    let posted = balancers.create(&PostParams::default(), &serde_json::from_value(front(json!({ "backend": "web" }))).unwrap()).await;
    assert_eq!(status(posted).code, 409);

    let pods = cluster.pods();
    cluster.create_pod(super::pod("p")).await;
    let condition = json!({ "apiVersion": "v1", "kind": "Pod", "status": { "conditions": [{ "type": "Mine", "status": "True" }] } });
    let applied = pods.patch_status("p", &apply, &Patch::Apply(&condition)).await.unwrap();
    let mine = managers(&applied).into_iter().find(|(manager, ..)| manager == "me").unwrap();
    assert_eq!(mine.2, "status");
    assert_eq!(mine.3, json!({ "f:status": { "f:conditions": { "k:{\"type\":\"Mine\"}": { ".": {}, "f:status": {}, "f:type": {} } } } }));
    assert_eq!(status(pods.patch_status("q", &apply, &Patch::Apply(&condition)).await).code, 404);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_in_the_servers_words() {
    let cluster = Cluster::start().await;
    cluster.config_maps().create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let refused = async |query: &str, kind: &str, body: &str| {
        let path = format!("/api/v1/namespaces/default/configmaps/a{query}");
        let request = http::Request::patch(path).header("content-type", kind).body(body.as_bytes().to_vec()).unwrap();
        let failure = status(cluster.client.request::<ConfigMap>(request).await);
        (failure.code, failure.message)
    };
    let yaml = "application/apply-patch+yaml";
    for (query, kind, body, code, message) in [
        ("", yaml, "{}", 422, "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"),
        ("?fieldManager=m", yaml, "kind: ConfigMap", 400, "invalid object type: /, Kind=ConfigMap"),
        ("?fieldManager=m", yaml, "apiVersion: v1\nkind: Secret", 400, "invalid object type: /v1, Kind=Secret"),
        (
            "?fieldManager=m",
            yaml,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}",
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "?fieldManager=m",
            yaml,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {managedFields: [{manager: x}]}",
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "?fieldManager=m&force=true",
            "application/merge-patch+json",
            "{}",
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
        ),
        (
            "?dryRun=Maybe",
            "application/merge-patch+json",
            "{}",
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Maybe\"]: supported values: \"All\"",
        ),
        ("", "text/plain", "x", 415, "415: Unsupported Media Type"),
    ] {
        assert_eq!(refused(query, kind, body).await, (code, message.to_owned()), "{query} {body}");
    }
    // A client may give up its fields, or all that is known of them.
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces
        .patch(
            "default",
            &PatchParams::apply("m"),
            &Patch::Apply(json!({ "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "labels": { "a": "b" } } })),
        )
        .await
        .unwrap();
    let cleared = json!({ "metadata": { "managedFields": [{}] } });
    let cleared = namespaces.patch("default", &PatchParams::default(), &Patch::Merge(cleared)).await.unwrap();
    assert_eq!((managers(&cleared).len(), cleared.metadata.labels.unwrap().len()), (0, 2));
    cluster.server.shutdown().await;
}
