//! What the demo creates on the cluster: custom resources and rights as they are installed anywhere, the agents' pods, the manifests.

use crate::world::{Role, World};
use anyhow::{Context, Result};
use api::labels::{SYSTEM_NAMESPACE, TOPOLOGY_PORT, TOPOLOGY_SERVICE};
use api::protocol::TOKEN_AUDIENCE;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Namespace of the demo's pods.
pub const NAMESPACE: &str = "demo";
const CLASSIC: &str = include_str!("../../manifests/classic.yaml");
const GROUP: &str = include_str!("../../manifests/group.yaml");
const VIDEO: &str = include_str!("../../manifests/video.yaml");
/// `maxRtt` in video.yaml.
const VIDEO_MAX_RTT_MS: u32 = 10;
const WAITING: &str = include_str!("../../manifests/waiting.yaml");

/// Reads the documents of a YAML file.
pub fn documents(name: &str, yaml: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple::<Value>(yaml).with_context(|| format!("{name} is not YAML"))
}

/// Creates an object of any kind. One that exists is left as it is.
pub async fn create(client: &Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object).context("not a Kubernetes object")?;
    let types = object.types.clone().unwrap_or(TypeMeta { api_version: "v1".into(), kind: String::new() });
    let gvk = GroupVersionKind::try_from(&types).with_context(|| format!("{types:?} is no kind"))?;
    let resource = ApiResource::from_gvk(&gvk);
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        result => result.map(drop).with_context(|| format!("cannot create {} {}", types.kind, object.name_any())),
    }
}

/// Custom resources and rights, as `kubectl apply -k configs/` installs them.
pub fn installed() -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for definition in api::crd::definitions() {
        objects.push(typed(&definition)?);
    }
    for (_, access) in api::rbac::programs() {
        objects.push(typed(&access.service_account)?);
        objects.push(typed(&access.cluster_role)?);
        objects.push(typed(&access.cluster_role_binding)?);
        objects.push(typed(&access.role)?);
        objects.push(typed(&access.role_binding)?);
    }
    for role in api::rbac::people() {
        objects.push(typed(&role)?);
    }
    Ok(objects)
}

fn typed(object: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(object).context("a Kubernetes object is plain data")
}

/// The manifests for a world, in the order of creation. The classic ones name nodes of the built-in world.
pub fn manifests(world: &World, built_in: bool) -> Result<Vec<Value>> {
    let files = match built_in {
        true => vec![
            ("classic.yaml", CLASSIC.to_owned()),
            ("group.yaml", GROUP.to_owned()),
            ("waiting.yaml", WAITING.to_owned()),
            ("video.yaml", VIDEO.to_owned()),
        ],
        false => vec![("video.yaml", video_for(world))],
    };
    let documents: Result<Vec<Vec<Value>>> = files.iter().map(|(name, text)| documents(name, text)).collect();
    Ok(documents?.into_iter().flatten().collect())
}

/// The video service in three places of this world, with a `maxRtt` that excludes some of them from most clients.
fn video_for(world: &World) -> String {
    let hosts = hosts(world);
    let mut text = VIDEO.to_owned();
    for (placeholder, &host) in ["delay_edge-3: \"3\"", "delay_edge-8: \"3\"", "delay_edge-10: \"3\""].iter().zip(&hosts) {
        // Room for the node itself and its nearest neighbour, and for what measuring adds.
        let nearest = (0..world.len()).filter(|&node| node != host).map(|node| world.rtt_us(host, node)).min().unwrap_or(0);
        let bound_ms = f64::from(nearest) * 1.1 / 1000.0 + 2.0;
        text = text.replace(placeholder, &format!("delay_{}: \"{bound_ms:.1}\"", world.nodes[host].name));
    }
    text.replace(&format!("maxRtt: {VIDEO_MAX_RTT_MS}ms"), &format!("maxRtt: {}ms", max_rtt_us(world, false) / 1000))
}

/// Three edge nodes far from each other: the first, and twice the one that is farthest from those chosen.
pub fn hosts(world: &World) -> Vec<usize> {
    let edges: Vec<usize> = world.with_role(Role::Edge).collect();
    let mut hosts: Vec<usize> = edges.first().copied().into_iter().collect();
    while hosts.len() < 3.min(edges.len()) {
        let distance = |node: usize| hosts.iter().map(|&host| world.rtt_us(host, node)).min().unwrap_or(0);
        let Some(next) = edges.iter().copied().filter(|node| !hosts.contains(node)).max_by_key(|&node| distance(node)) else { break };
        hosts.push(next);
    }
    hosts
}

/// `maxRtt` of the video service: that of the manifest, or, in another world, what half of the RTTs between edge nodes and hosts are above.
pub fn max_rtt_us(world: &World, built_in: bool) -> u32 {
    if built_in {
        return VIDEO_MAX_RTT_MS * 1000;
    }
    let hosts = hosts(world);
    let mut rtts: Vec<u32> = world
        .with_role(Role::Edge)
        .flat_map(|site| hosts.iter().map(move |&host| world.rtt_us(site, host)))
        .filter(|&rtt| rtt > 0)
        .collect();
    rtts.sort_unstable();
    rtts.get(rtts.len() / 2).map_or(VIDEO_MAX_RTT_MS, |us| us.div_ceil(1000)) * 1000
}

/// The pod that an agent or router would run in on `node`; the kubelet there takes it to Running, and tokens bound to it carry the node.
pub fn system_pod(app: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{app}-{node}"), "namespace": SYSTEM_NAMESPACE, "labels": {"app.kubernetes.io/name": app}},
        "spec": {
            "nodeName": node, "serviceAccountName": app,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": app, "image": format!("{app}:{}", env!("CARGO_PKG_VERSION"))}],
        },
    })
}

/// Creates the pod of `app` on `node` and asks for a token that is bound to it, of the topology service's audience.
pub async fn system_token(client: &Client, app: &str, node: &str) -> Result<String> {
    create(client, system_pod(app, node)).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let pod = pods.get(&format!("{app}-{node}")).await.with_context(|| format!("the pod of {app} on {node} is gone"))?;
    let bound =
        BoundObjectReference { api_version: Some("v1".into()), kind: Some("Pod".into()), name: Some(pod.name_any()), uid: pod.uid() };
    let spec = TokenRequestSpec {
        audiences: Some(vec![TOKEN_AUDIENCE.into()]),
        bound_object_ref: Some(bound),
        expiration_seconds: Some(86_400),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let answer = accounts
        .create_token_request(app, &PostParams::default(), &request)
        .await
        .with_context(|| format!("no token for {app} on {node}"))?;
    answer.status.and_then(|status| status.token).context("the answer to the token request has no token")
}

/// The Service of the topology service and one replica of it, by which agents and routers find it.
pub async fn topology_service(client: &Client, replica: SocketAddr) -> Result<()> {
    let metadata = json!({"name": TOPOLOGY_SERVICE, "namespace": SYSTEM_NAMESPACE});
    create(
        client,
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"ports": [{"name": "topology", "port": TOPOLOGY_PORT, "targetPort": replica.port()}]},
        }),
    )
    .await?;
    let family = if replica.is_ipv4() { "IPv4" } else { "IPv6" };
    create(client, json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": "edge-scheduler-demo", "namespace": SYSTEM_NAMESPACE, "labels": {"kubernetes.io/service-name": TOPOLOGY_SERVICE}},
        "endpoints": [{"addresses": [replica.ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "topology", "port": replica.port(), "protocol": "TCP"}],
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_is_an_object_for_the_demos_namespace() {
        let check = |world: &World, built_in, least: usize| {
            let objects = manifests(world, built_in).unwrap();
            assert!(objects.len() >= least, "{}", objects.len());
            assert!(objects.iter().all(|o| o["metadata"]["namespace"] == NAMESPACE && o["kind"].is_string()), "{objects:#?}");
        };
        check(&World::built_in(), true, 16);
        check(&crate::world::generate(20, 1).unwrap(), false, 5);
    }

    #[test]
    fn hosts_are_apart_and_the_bound_excludes_some_of_them() {
        let world = crate::world::generate(40, 3).unwrap();
        let hosts = hosts(&world);
        let max = max_rtt_us(&world, false);
        let sites: Vec<usize> = world.with_role(Role::Edge).collect();
        let within = sites.iter().flat_map(|&s| hosts.iter().map(move |&h| (s, h))).filter(|&(s, h)| world.rtt_us(s, h) <= max).count();
        assert!(hosts.len() == 3 && within * 3 > sites.len() && within < sites.len() * 3, "{within}");
        assert!(!video_for(&world).contains("delay_edge-3:"));
    }
}
