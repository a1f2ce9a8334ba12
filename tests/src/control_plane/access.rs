//! Who the programs are on the control plane: service accounts with exactly the rights of `api::rbac`, never the administrator's.

use super::{ControlPlane, Error};
use api::labels::{PINGER, ROUTER, SCHEDULER, SYSTEM_NAMESPACE};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, Kubeconfig};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Client, Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, path::PathBuf, time::Duration};

/// The programs that have a service account.
pub const PROGRAMS: [&str; 3] = [SCHEDULER, PINGER, ROUTER];

/// Longest wait until a custom resource can be used.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

/// How long tokens hold: longer than any suite.
const TOKEN_LIFE_S: i64 = 6 * 3600;

impl ControlPlane {
    /// Installs the custom resources and the programs' namespace, service accounts and roles, as configs/ does, without the programs themselves.
    pub async fn install(&self) -> Result<(), Error> {
        let client = self.client().await?;
        for crd in api::crd::definitions() {
            apply(Api::<CustomResourceDefinition>::all(client.clone()), &crd).await?;
        }
        let namespace =
            Namespace { metadata: ObjectMeta { name: Some(SYSTEM_NAMESPACE.to_owned()), ..ObjectMeta::default() }, ..Namespace::default() };
        apply(Api::all(client.clone()), &namespace).await?;
        for (_, access) in api::rbac::programs() {
            apply_here(&client, &access.service_account).await?;
            apply_cluster(&client, &access.cluster_role).await?;
            apply_cluster(&client, &access.cluster_role_binding).await?;
            apply_here(&client, &access.role).await?;
            apply_here(&client, &access.role_binding).await?;
        }
        for role in api::rbac::people() {
            apply_cluster(&client, &role).await?;
        }
        for crd in api::crd::definitions() {
            established(&client, &crd.name_any()).await?;
        }
        Ok(())
    }

    /// A kubeconfig of the program's service account. Needs [`Self::install`].
    pub async fn kubeconfig_of(&self, program: &str) -> Result<PathBuf, Error> {
        self.kubeconfig_by(program, &token(&self.client().await?, program, None, None).await?)
    }

    /// edge-scheduler's configuration for a single replica in the test's own process, under its own account, on any ports. Needs [`Self::install`].
    pub async fn scheduler_config(&self) -> Result<edge_scheduler::Config, Error> {
        let any_port = ([127, 0, 0, 1], 0).into();
        let mut config = edge_scheduler::Config::default();
        config.client.kubeconfig = Some(self.kubeconfig_of(SCHEDULER).await?);
        config.leader_election.leader_elect = false;
        config.admin_address = any_port;
        config.topology.address = any_port;
        Ok(config)
    }

    /// A kubeconfig of whoever has this token, in a file of this name.
    pub fn kubeconfig_by(&self, name: &str, token: &str) -> Result<PathBuf, Error> {
        let admin = self.kubeconfig();
        let unusable = |error: Box<dyn std::error::Error + Send + Sync>| Error::Kubeconfig { path: admin.clone(), source: error };
        let mut config = Kubeconfig::read_from(&admin).map_err(|error| unusable(error.into()))?;
        for user in &mut config.auth_infos {
            user.auth_info = Some(AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() });
        }
        let text = serde_saphyr::to_string(&config).map_err(|error| unusable(error.into()))?;
        let path = self.folder().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, text).map_err(|source| Error::File { what: "write", path: path.clone(), source })?;
        Ok(path)
    }
}

/// Waits until the API server serves a custom resource.
pub async fn established(client: &Client, crd: &str) -> Result<(), Error> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let established = await_condition(crds, crd, conditions::is_crd_established());
    let problem = match tokio::time::timeout(ESTABLISHED_WITHIN, established).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not within {} s", ESTABLISHED_WITHIN.as_secs()),
    };
    Err(Error::Failed { command: format!("the wait for {crd}"), output: problem })
}

/// A token of the program's service account for an audience (`None`: the API server), bound to a pod of its namespace as the kubelet asks for it: it
/// then names the pod's node.
pub async fn token(admin: &Client, program: &str, audience: Option<&str>, pod: Option<&Pod>) -> Result<String, Error> {
    let bound_object_ref = pod.map(|pod| BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    });
    let spec = TokenRequestSpec {
        audiences: audience.map(|audience| vec![audience.to_owned()]),
        bound_object_ref,
        expiration_seconds: Some(TOKEN_LIFE_S),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), SYSTEM_NAMESPACE);
    let answer = accounts.create_token_request(program, &PostParams::default(), &request).await;
    let answer = answer.map_err(|source| Error::Api { what: format!("get a token of {program}"), source })?;
    Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
}

async fn apply_cluster<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    apply(Api::all(client.clone()), object).await
}

/// Into the programs' namespace.
async fn apply_here<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    apply(Api::namespaced(client.clone(), SYSTEM_NAMESPACE), object).await
}

async fn apply<K>(api: Api<K>, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.name_any();
    let applied = api.patch(&name, &PatchParams::apply("edge-tests").force(), &Patch::Apply(object)).await;
    applied.map(drop).map_err(|source| Error::Api { what: format!("apply {} {name}", K::kind(&())), source })
}
