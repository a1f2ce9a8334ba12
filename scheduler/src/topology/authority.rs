//! The CA of the topology service's certificate: its key in a Secret that the replicas share, its certificate in a ConfigMap that clients read.

use api::labels::{TOPOLOGY_CA_CONFIG_MAP, TOPOLOGY_CA_KEY, TOPOLOGY_CA_KEY_SECRET};
use chassis::backoff::Backoff;
use chassis::program::chain;
use chassis::shutdown::Shutdown;
use chassis::tls::{Authority, KeyPairPem, TlsError};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Ten years: who replaces the CA earlier deletes the Secret and restarts the replicas.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("Secret {namespace}/{TOPOLOGY_CA_KEY_SECRET} holds no CA ({CERTIFICATE} and {KEY} as PEM); delete it, and a new one is made")]
    Malformed { namespace: String, source: Option<TlsError> },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The replicas' authority, made by whichever comes first, and published. Waits for an API server that is away, or that does not let us, and tells `waits`
/// why; `None` when shutdown comes first.
pub async fn authority(
    client: &Client,
    namespace: &str,
    waits: impl Fn(String),
    shutdown: &Shutdown,
) -> Result<Option<Authority>, AuthorityError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let Some(outcome) = shutdown.interrupt(obtain(client, namespace)).await else { return Ok(None) };
        let error = match outcome? {
            Ok(authority) => return Ok(Some(authority)),
            Err(error) => error,
        };
        let (delay, why) = (backoff.delay(), chain(&error));
        tracing::warn!(error = why, "cannot set up the CA of the topology service; retrying in {:.1} s", delay.as_secs_f64());
        waits(format!("cannot set up the CA of the topology service: {why}"));
        if !shutdown.sleep(delay).await {
            return Ok(None);
        }
    }
}

/// One try: what can't be mended by trying again outside, what can inside.
async fn obtain(client: &Client, namespace: &str) -> Result<Result<Authority, Error>, AuthorityError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = match secrets.get_opt(TOPOLOGY_CA_KEY_SECRET).await {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let authority = match found {
        Some(secret) => read(&secret, namespace)?,
        None => {
            let authority = Authority::generate(TOPOLOGY_CA_CONFIG_MAP, VALIDITY)?;
            match secrets.create(&PostParams::default(), &write(&authority, namespace)).await {
                Ok(_) => authority,
                // Another replica was faster, which shows as 409: the next try reads its CA.
                Err(error) => return Ok(Err(error)),
            }
        }
    };
    Ok(publish(client, namespace, &authority).await.map(|()| authority))
}

fn read(secret: &Secret, namespace: &str) -> Result<Authority, AuthorityError> {
    let text = |key: &str| secret.data.as_ref()?.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
    let malformed = |source| AuthorityError::Malformed { namespace: namespace.to_owned(), source };
    let pem = text(CERTIFICATE).zip(text(KEY)).ok_or_else(|| malformed(None))?;
    Authority::from_pem(&KeyPairPem { certificates: pem.0, key: pem.1 }).map_err(|error| malformed(Some(error)))
}

fn write(authority: &Authority, namespace: &str) -> Secret {
    let KeyPairPem { certificates, key } = authority.key_pair();
    let bytes = |text: String| ByteString(text.into_bytes());
    Secret {
        metadata: metadata(TOPOLOGY_CA_KEY_SECRET, namespace),
        type_: Some("kubernetes.io/tls".into()),
        data: Some(BTreeMap::from([(CERTIFICATE.to_owned(), bytes(certificates)), (KEY.to_owned(), bytes(key))])),
        ..Secret::default()
    }
}

async fn publish(client: &Client, namespace: &str, authority: &Authority) -> Result<(), Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let pem = authority.certificate_pem().to_owned();
    match maps.get_opt(TOPOLOGY_CA_CONFIG_MAP).await? {
        Some(map) if map.data.as_ref().and_then(|data| data.get(TOPOLOGY_CA_KEY)) == Some(&pem) => Ok(()),
        Some(_) => {
            let patch = Patch::Merge(json!({"data": {TOPOLOGY_CA_KEY: pem}}));
            maps.patch(TOPOLOGY_CA_CONFIG_MAP, &PatchParams::default(), &patch).await.map(drop)
        }
        None => {
            let map = ConfigMap {
                metadata: metadata(TOPOLOGY_CA_CONFIG_MAP, namespace),
                data: Some(BTreeMap::from([(TOPOLOGY_CA_KEY.to_owned(), pem)])),
                ..ConfigMap::default()
            };
            maps.create(&PostParams::default(), &map).await.map(drop)
        }
    }
}

fn metadata(name: &str, namespace: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock_api::{self, failure, json_response};
    use serde_json::Value;
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    type Objects = Arc<Mutex<HashMap<String, Value>>>;

    /// Objects by path: GET, POST (409 where one is), and merge patches of `data`.
    fn cluster(objects: &Objects) -> Client {
        let objects = objects.clone();
        mock_api::client(move |request| {
            let mut objects = objects.lock().unwrap();
            let path = request.uri().path().to_owned();
            let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            let answer = match request.method().as_str() {
                "GET" => objects.get(&path).map_or_else(|| failure(404, "NotFound", "none"), |object| json_response(200, object)),
                "POST" => {
                    let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                    objects.insert(path, body.clone());
                    json_response(201, &body)
                }
                _ => {
                    let object = objects.get_mut(&path).unwrap();
                    object["data"] = body["data"].clone();
                    json_response(200, object)
                }
            };
            async move { Ok(answer) }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_share_one_authority_and_clients_find_it() {
        let objects = Objects::default();
        let (client, shutdown) = (cluster(&objects), Shutdown::new());
        let first = authority(&client, "edge-system", drop, &shutdown).await.unwrap().unwrap();
        let map = "/api/v1/namespaces/edge-system/configmaps/edge-topology-ca";
        let published = || objects.lock().unwrap()[map]["data"]["ca.crt"].as_str().unwrap().to_owned();
        assert_eq!(published(), first.certificate_pem());
        objects.lock().unwrap().get_mut(map).unwrap()["data"] = json!({"ca.crt": "another"});
        let second = authority(&client, "edge-system", drop, &shutdown).await.unwrap().unwrap();
        assert_eq!(second.certificate_pem(), first.certificate_pem());
        assert_eq!(published(), first.certificate_pem(), "what clients read is put right");
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_without_a_ca_is_named() {
        let objects = Objects::default();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "edge-topology-ca"}, "data": {"tls.crt": "eA=="}});
        objects.lock().unwrap().insert("/api/v1/namespaces/edge-system/secrets/edge-topology-ca".into(), secret);
        let error = authority(&cluster(&objects), "edge-system", drop, &Shutdown::new()).await.err().expect("refused").to_string();
        assert!(error.contains("Secret edge-system/edge-topology-ca holds no CA"), "{error}");
    }
}
