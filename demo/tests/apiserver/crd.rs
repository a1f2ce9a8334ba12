//! Custom resources.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{BOUND, Cluster, status};

pub fn definition() -> CustomResourceDefinition {
    serde_json::from_value(json!({ "metadata": { "name": "balancers.example.com" }, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": { "plural": "balancers", "kind": "Balancer", "shortNames": ["bal"], "categories": ["all"] },
        "versions": [{ "name": "v1", "served": true, "storage": true,
            "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size" } },
            "additionalPrinterColumns": [{ "name": "Policy", "type": "string", "jsonPath": ".spec.policy" },
                { "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status" }],
            "schema": { "openAPIV3Schema": { "type": "object", "required": ["spec"], "properties": {
                "spec": { "type": "object", "required": ["backend"], "properties": {
                    "backend": { "type": "string", "minLength": 1 },
                    "size": { "type": "integer", "minimum": 0, "default": 1 },
                    "policy": { "type": "string", "enum": ["balance", "random"], "default": "balance" } } },
                "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } } } }] } }))
    .unwrap()
}

fn balancers(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Balancer");
    Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk_with_plural(&kind, "balancers"))
}

fn balancer(name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({ "apiVersion": "example.com/v1", "kind": "Balancer",
        "metadata": { "name": name }, "spec": spec }))
    .unwrap()
}

#[tokio::test]
async fn a_definition_serves_validated_objects() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let post = PostParams::default();
    let objects = balancers(&cluster.client);
    assert_eq!(status(objects.list(&ListParams::default()).await).code, 404);
    definitions.create(&post, &definition()).await.unwrap();
    let established = await_condition(definitions.clone(), "balancers.example.com", conditions::is_crd_established());
    tokio::time::timeout(BOUND, established).await.expect("established in time").unwrap();

    let created = objects.create(&post, &balancer("a", json!({ "backend": "web", "odd": 1 }))).await.unwrap();
    assert_eq!(created.data["spec"], json!({ "backend": "web", "size": 1, "policy": "balance" }));
    assert_eq!(created.metadata.generation, Some(1));
    for (spec, message) in [
        (json!({ "backend": "web", "policy": "x" }), "spec.policy: Unsupported value: \"x\": supported values: \"balance\", \"random\""),
        (json!({}), "spec.backend: Required value"),
        (json!({ "backend": "web", "size": "big" }), "spec.size in body must be of type integer: \"string\""),
        (json!({ "backend": "web", "size": -1 }), "spec.size in body should be greater than or equal to 0"),
    ] {
        let refused = status(objects.create(&post, &balancer("b", spec)).await);
        assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
        assert!(refused.message.contains(message), "{}", refused.message);
        assert!(refused.message.starts_with("Balancer.example.com \"b\" is invalid: "), "{}", refused.message);
    }
    let params = PatchParams::default();
    let patch = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] }, "spec": { "size": 9 } });
    let patched = objects.patch_status("a", &params, &Patch::Merge(patch)).await.unwrap();
    assert_eq!((&patched.data["spec"]["size"], patched.metadata.generation), (&json!(1), Some(1)));
    let scaled = objects.patch_scale("a", &params, &Patch::Merge(json!({ "spec": { "replicas": 4 } }))).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(4));
    let strategic = objects.patch("a", &params, &Patch::Strategic(json!({ "spec": {} }))).await;
    assert_eq!(status(strategic).code, 415);

    definitions.delete("balancers.example.com", &DeleteParams::default()).await.unwrap();
    assert_eq!(status(objects.get("a").await).code, 404);
    definitions.create(&post, &definition()).await.unwrap();
    assert_eq!(objects.list(&ListParams::default()).await.unwrap().items.len(), 0, "objects go with their definition");
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_bad_definition_is_refused() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let mut bad = definition();
    bad.metadata.name = Some("other.example.com".into());
    let refused = status(definitions.create(&PostParams::default(), &bad).await);
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains("must be spec.names.plural+\".\"+spec.group"), "{}", refused.message);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn the_projects_own_definitions_are_served() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for definition in api::crd::definitions() {
        definitions.create(&PostParams::default(), &definition).await.unwrap();
    }
    let balancers: Api<api::crd::EdgeLoadBalancer> = Api::namespaced(cluster.client.clone(), "default");
    let post = |spec: Value| {
        let body = json!({ "apiVersion": "edge-scheduler.io/v1alpha1", "kind": "EdgeLoadBalancer",
            "metadata": { "name": "front" }, "spec": spec });
        let path = "/apis/edge-scheduler.io/v1alpha1/namespaces/default/edgeloadbalancers";
        let request = http::Request::post(path).header("content-type", "application/json");
        cluster.client.request::<Value>(request.body(body.to_string().into_bytes()).unwrap())
    };
    let refused = status(post(json!({ "backend": { "service": "web" }, "policy": "odd" })).await);
    assert!(refused.message.contains("spec.policy: Unsupported value: \"odd\": supported values: "), "{}", refused.message);
    let refused = status(post(json!({ "backend": { "service": "web", "selector": { "app": "web" } } })).await);
    assert!(refused.message.contains("give either service or selector"), "{}", refused.message);
    let created = post(json!({ "useCase": "cam", "backend": { "service": "web" } })).await.unwrap();
    assert_eq!(created["spec"]["policy"], "balance");
    assert_eq!(balancers.get("front").await.unwrap().spec.backend.service.as_deref(), Some("web"));
    cluster.server.shutdown().await;
}
