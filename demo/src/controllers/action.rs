//! What controllers want done, and the doing of it.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Selector;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

/// The kinds that controllers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Deployment,
    ReplicaSet,
    Pod,
    EndpointSlice,
    Node,
    PodDisruptionBudget,
}

/// One write to the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Creates an object; its metadata names namespace and name, or what the name is generated from.
    Create { kind: Kind, object: Value },
    /// Merges a patch into an object, or into its status.
    Patch { kind: Kind, namespace: Option<String>, name: String, is_status: bool, patch: Value },
    /// Deletes an object if it is still this one.
    Delete { kind: Kind, namespace: Option<String>, name: String, uid: String },
}

/// An object's kind as this module names it.
pub(super) trait Written: Resource<DynamicType = ()> + Serialize {
    const KIND: Kind;
}

impl Written for Deployment {
    const KIND: Kind = Kind::Deployment;
}
impl Written for ReplicaSet {
    const KIND: Kind = Kind::ReplicaSet;
}
impl Written for Pod {
    const KIND: Kind = Kind::Pod;
}
impl Written for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;
}
impl Written for Node {
    const KIND: Kind = Kind::Node;
}
impl Written for PodDisruptionBudget {
    const KIND: Kind = Kind::PodDisruptionBudget;
}

impl Kind {
    fn resource(self) -> ApiResource {
        match self {
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Kind::Pod => ApiResource::erase::<Pod>(&()),
            Kind::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
            Kind::Node => ApiResource::erase::<Node>(&()),
            Kind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
        }
    }
}

impl Action {
    pub(super) fn create<K: Written>(object: &K) -> Action {
        let object = serde_json::to_value(object).expect("Kubernetes' own types are JSON");
        Action::Create { kind: K::KIND, object }
    }

    /// Patches an object; the patch holds only if it is still this one.
    pub(super) fn patch<K: Written>(target: &K, mut patch: Value) -> Action {
        patch["metadata"]["uid"] = json!(target.uid());
        Action::Patch { kind: K::KIND, namespace: target.namespace(), name: target.name_any(), is_status: false, patch }
    }

    /// As [`Action::patch`] with the status as a whole, where it differs from what is there.
    pub(super) fn status<K: Written, S: Serialize + PartialEq>(target: &K, old: Option<&S>, new: &S) -> Option<Action> {
        if old == Some(new) {
            return None;
        }
        let patch = json!({"metadata": {"uid": target.uid()}, "status": new});
        Some(Action::Patch { kind: K::KIND, namespace: target.namespace(), name: target.name_any(), is_status: true, patch })
    }

    pub(super) fn delete<K: Written>(target: &K) -> Action {
        let uid = target.uid().unwrap_or_default();
        Action::Delete { kind: K::KIND, namespace: target.namespace(), name: target.name_any(), uid }
    }

    /// The kind it writes.
    pub fn kind(&self) -> Kind {
        match self {
            Action::Create { kind, .. } | Action::Patch { kind, .. } | Action::Delete { kind, .. } => *kind,
        }
    }

    /// Carries the action out; the object as it is then, where the API server returns it.
    pub(super) async fn execute(&self, client: &Client) -> kube::Result<Option<DynamicObject>> {
        let resource = self.kind().resource();
        let api = |namespace: Option<&str>| -> Api<DynamicObject> {
            match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            }
        };
        match self {
            Action::Create { object, .. } => {
                let namespace = object["metadata"]["namespace"].as_str();
                let object: DynamicObject = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
                api(namespace).create(&PostParams::default(), &object).await.map(Some)
            }
            Action::Patch { namespace, name, is_status, patch, .. } => {
                let (api, parameters, patch) = (api(namespace.as_deref()), PatchParams::default(), Patch::Merge(patch));
                let patched =
                    if *is_status { api.patch_status(name, &parameters, &patch).await } else { api.patch(name, &parameters, &patch).await };
                patched.map(Some)
            }
            Action::Delete { namespace, name, uid, .. } => {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let parameters = DeleteParams::background().preconditions(preconditions);
                api(namespace.as_deref()).delete(name, &parameters).await.map(|deleted| deleted.left())
            }
        }
    }
}

/// The reference by which `owner` controls an object.
pub(super) fn controller_of<K: Written>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether `owner` controls `object`.
pub(super) fn is_controlled_by(object: &impl ResourceExt, owner: &impl ResourceExt) -> bool {
    let uid = owner.uid().unwrap_or_default();
    object.owner_references().iter().any(|reference| reference.controller == Some(true) && reference.uid == uid)
}

/// The selector of an object; one that cannot be read selects nothing, as one that is absent.
pub(super) fn selector(selector: Option<&LabelSelector>) -> Option<Selector> {
    selector.and_then(|selector| Selector::try_from(selector.clone()).ok())
}
