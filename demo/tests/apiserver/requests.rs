//! Requests as they come over the wire, and the answers that a kube-apiserver 1.37 gives to them.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Cluster, config_map, eventually};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// The code and the message of a refusal, or 200 and the object.
async fn answer(cluster: &Cluster, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind).body(body.as_bytes().to_vec());
    match cluster.client.request::<Value>(request.unwrap()).await {
        Ok(value) => (200, value),
        Err(kube::Error::Api(status)) => (status.code, status.message.clone().into()),
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

#[tokio::test]
async fn refusals_are_in_the_servers_words() {
    let cluster = Cluster::start().await;
    let made = cluster.config_maps().create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let (uid, rv) = (made.metadata.uid.unwrap(), made.metadata.resource_version.unwrap());
    let one = format!("{MAPS}/a");
    let list = |query: &str| format!("{MAPS}?{query}");
    let object = |metadata: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }).to_string();
    let options = |options: Value| json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": options }).to_string();
    let invalid_options = "ListOptions.meta.k8s.io \"\" is invalid: ";
    for (method, path, kind, body, code, message) in [
        (
            "GET",
            list("resourceVersionMatch=Exact"),
            JSON,
            String::new(),
            422,
            format!("{invalid_options}resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ),
        (
            "GET",
            list("sendInitialEvents=true"),
            JSON,
            String::new(),
            422,
            format!("{invalid_options}sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ),
        ("GET", list("limit=x"), JSON, String::new(), 400, "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
        (
            "GET",
            list("fieldSelector=a%3Db"),
            JSON,
            String::new(),
            400,
            "\"a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"".to_owned(),
        ),
        (
            "PUT",
            one.clone(),
            JSON,
            object(json!({ "name": "a", "uid": "nope" })),
            409,
            format!(
                "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/a, \
                 ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: nope, UID in object meta: {uid}"
            ),
        ),
        (
            "PATCH",
            one.clone(),
            MERGE,
            object(json!({ "uid": "nope" })),
            422,
            "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"nope\": field is immutable".to_owned(),
        ),
        (
            "DELETE",
            one.clone(),
            JSON,
            options(json!({ "resourceVersion": "1" })),
            409,
            format!(
                "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1) does not match the \
                 ResourceVersion in record ({rv}). The object might have been modified"
            ),
        ),
        (
            "POST",
            format!("{MAPS}?fieldValidation=Strict"),
            JSON,
            r#"{"metadata": {"name": "b"}, "data": {"a": "1", "a": "2"}, "dat": 1}"#.to_owned(),
            400,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"data.a\", unknown field \
             \"dat\""
                .to_owned(),
        ),
        (
            "POST",
            MAPS.to_owned(),
            JSON,
            r#"{"apiVersion": "v1", "kind": "Pod"}"#.to_owned(),
            400,
            "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion".to_owned(),
        ),
    ] {
        assert_eq!(answer(&cluster, method, &path, kind, &body).await, (code, message.into()), "{method} {path} {body}");
    }
    let (code, created) = answer(&cluster, "POST", MAPS, "application/yaml", "metadata: {name: yaml}\ndata: {k: v}\n").await;
    assert_eq!((code, &created["data"]["k"]), (200, &json!("v")), "the path says what kind it is");
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn nothing_stays_of_a_dry_run() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let before = maps.list(&Default::default()).await.unwrap().items;
    let merge = json!({ "data": { "k": "2" } });
    let all = [
        ("POST", MAPS.to_owned(), JSON, json!({ "metadata": { "name": "b" }, "data": { "k": "2" } })),
        ("PUT", format!("{MAPS}/a"), JSON, json!({ "metadata": { "name": "a" }, "data": { "k": "2" } })),
        ("PATCH", format!("{MAPS}/a"), MERGE, merge.clone()),
        ("PATCH", format!("{MAPS}/a"), "application/strategic-merge-patch+json", merge),
    ];
    for (method, path, kind, body) in all {
        let (code, shown) = answer(&cluster, method, &format!("{path}?dryRun=All"), kind, &body.to_string()).await;
        assert_eq!((code, &shown["data"]["k"]), (200, &json!("2")), "{method} {kind}");
    }
    let applied = PatchParams { dry_run: true, ..PatchParams::apply("me").force() };
    let wanted = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": "2" } });
    assert_eq!(maps.patch("a", &applied, &Patch::Apply(wanted)).await.unwrap().data.unwrap()["k"], "2");
    let (code, gone) = answer(&cluster, "DELETE", &format!("{MAPS}/a?dryRun=All"), JSON, "").await;
    assert_eq!((code, &gone["status"]), (200, &json!("Success")));
    assert_eq!(maps.list(&Default::default()).await.unwrap().items, before);
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn a_finalizer_holds_a_namespace_too() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let held = json!({ "metadata": { "name": "team", "finalizers": ["example.com/hold"] } });
    namespaces.create(&PostParams::default(), &serde_json::from_value(held).unwrap()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "team");
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let refused = super::status(maps.create(&PostParams::default(), &config_map("b", "1")).await);
    assert_eq!(refused.details.unwrap().causes[0].reason, "NamespaceTerminating");
    eventually("its content to go and its own finalizer with it", async || {
        let namespace = namespaces.get("team").await.unwrap();
        let empty = maps.list(&Default::default()).await.unwrap().items.is_empty();
        (empty && namespace.spec.unwrap().finalizers.unwrap_or_default().is_empty()).then_some(())
    })
    .await;
    let add = json!({ "metadata": { "finalizers": ["example.com/hold", "example.com/more"] } });
    let refused = super::status(namespaces.patch("team", &PatchParams::default(), &Patch::Merge(add)).await);
    assert!(refused.message.contains("no new finalizers can be added if the object is being deleted"), "{}", refused.message);
    let free = json!({ "metadata": { "finalizers": null } });
    namespaces.patch("team", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    eventually("the namespace to go", async || namespaces.get_opt("team").await.unwrap().is_none().then_some(())).await;
    cluster.server.shutdown().await;
}

#[tokio::test]
async fn owners_wait_for_those_dependents_alone_that_block_them() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let owner = maps.create(&PostParams::default(), &config_map("owner", "1")).await.unwrap();
    for (name, blocks) in [("blocking", true), ("other", false)] {
        let mut dependent = config_map(name, "1");
        dependent.metadata.finalizers = Some(vec!["example.com/hold".into()]);
        let reference =
            json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid, "blockOwnerDeletion": blocks }]);
        dependent.metadata.owner_references = Some(serde_json::from_value(reference).unwrap());
        maps.create(&PostParams::default(), &dependent).await.unwrap();
    }
    maps.delete("owner", &DeleteParams::foreground()).await.unwrap();
    let deleting = async |name: &str| maps.get(name).await.unwrap().metadata.deletion_timestamp.is_some().then_some(());
    eventually("both dependents to be deleted", async || deleting("blocking").await.and(deleting("other").await)).await;
    assert_eq!(maps.get("owner").await.unwrap().metadata.finalizers.unwrap(), ["foregroundDeletion"]);
    let free = json!({ "metadata": { "finalizers": null } });
    maps.patch("blocking", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    eventually("the owner to go", async || maps.get_opt("owner").await.unwrap().is_none().then_some(())).await;
    assert!(maps.get_opt("other").await.unwrap().is_some());
    cluster.server.shutdown().await;
}
