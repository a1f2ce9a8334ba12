//! `delete` and `deletecollection`: grace periods, finalizers, preconditions, propagation.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::decode::json_object;
use super::list::Page;
use super::{Call, Reply, seconds, success};
use crate::apiserver::status::{ApiError, FieldError, GroupResource};
use crate::apiserver::store::{Expect, Object, WriteError};

/// Grace period of a pod that names none.
const DEFAULT_GRACE_S: i64 = 30;

/// Namespaces that the server does not do without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// `DeleteOptions`, from the body or the query.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds until a pod is killed.
    pub grace_s: Option<i64>,
    /// UID that the object must have.
    pub uid: Option<String>,
    /// resourceVersion that the object must have.
    pub version: Option<String>,
    /// `Background`, `Foreground` or `Orphan`.
    pub propagation: Option<String>,
    /// Whether nothing may happen.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads them from a request.
    pub fn parse(call: &Call<'_>, body: &[u8]) -> Result<Self, ApiError> {
        let body = if body.is_empty() { json!({}) } else { json_object(body)? };
        let text = |value: &Value| value.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
        let query_grace = call.query.text("gracePeriodSeconds").and_then(|s| s.parse().ok());
        let propagation = text(&body["propagationPolicy"]).or_else(|| call.query.text("propagationPolicy").map(str::to_owned));
        if let Some(policy) = &propagation
            && !matches!(policy.as_str(), "Background" | "Foreground" | "Orphan")
        {
            let supported = ["Foreground", "Background", "Orphan", "nil"].map(str::to_owned);
            let error = FieldError::unsupported("propagationPolicy", &policy.as_str().into(), &supported);
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
        }
        Ok(Self {
            grace_s: body["gracePeriodSeconds"].as_i64().or(query_grace),
            uid: text(&body["preconditions"]["uid"]),
            version: text(&body["preconditions"]["resourceVersion"]),
            propagation,
            dry_run: call.dry_run() || body["dryRun"].as_array().is_some_and(|d| !d.is_empty()),
        })
    }
}

impl Call<'_> {
    /// Deletes one object, or starts its graceful deletion.
    pub fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Reply, ApiError> {
        if self.resource.is("namespaces") && IMMORTAL.contains(&name) {
            return Err(ApiError::forbidden(self.resource.group_resource(), name, "this namespace may not be deleted"));
        }
        loop {
            let current = self.find(name)?;
            self.check_preconditions(&current, options)?;
            let done = match self.marked(&current, options) {
                Marked::Gone if options.dry_run => {
                    return Ok(Reply::Document(StatusCode::OK, success(self.resource, &current.name, &current.uid)));
                }
                Marked::Waiting(value) | Marked::Ended(value) if options.dry_run => {
                    return Ok(Reply::Served(StatusCode::OK, self.resource.to_served(value)));
                }
                Marked::Unchanged => return Ok(Reply::Object(StatusCode::OK, current)),
                Marked::Gone => self.remove_now(&current, false),
                Marked::Ended(value) => {
                    let ended = self.store(name, Expect::Version(current.rv), value);
                    ended.and_then(|object| self.remove_now(&object, false))
                }
                Marked::Waiting(value) => {
                    self.store(name, Expect::Version(current.rv), value).map(|object| Reply::Object(StatusCode::OK, object))
                }
            };
            match done {
                Ok(reply) => return Ok(reply),
                Err(WriteError::Missing) => return Err(ApiError::not_found(self.resource.group_resource(), name)),
                Err(WriteError::Conflict | WriteError::Exists) => {}
            }
        }
    }

    /// Deletes what the selectors select.
    pub fn delete_collection(&self, options: &DeleteOptions) -> Result<Reply, ApiError> {
        let selector = self.selector()?;
        let (objects, rv) = self.api.store.list(&self.resource.storage, selector.namespace.as_deref());
        let mut page = Page { rv, ..Page::default() };
        for object in objects.into_iter().filter(|o| selector.matches(o)) {
            match self.on(self.resource, &object.namespace).delete(&object.name, options) {
                Ok(_) => page.objects.push(object),
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Reply::List(page))
    }

    fn check_preconditions(&self, current: &Object, options: &DeleteOptions) -> Result<(), ApiError> {
        let fail = |what: &str, wanted: &str, found: &str| {
            let happened = if what == "UID" { "deleted and then recreated" } else { "modified" };
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {happened}"
            );
            // Here the real server names the kind, not the resource.
            let kind = GroupResource { group: &self.resource.group, resource: &self.resource.kind };
            Err(ApiError::conflict(kind, &current.name, &why))
        };
        if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != &*current.uid) {
            return fail("UID", uid, &current.uid);
        }
        let rv = current.rv.to_string();
        match options.version.as_deref() {
            Some(version) if version != rv => fail("ResourceVersion", version, &rv),
            _ => Ok(()),
        }
    }

    /// What deleting makes of the object.
    fn marked(&self, current: &Object, options: &DeleteOptions) -> Marked {
        let mut value = current.value();
        let old = value.clone();
        let mut finalizers: Vec<Value> = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let policy_finalizer = match options.propagation.as_deref() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        finalizers.retain(|f| f != "foregroundDeletion" && f != "orphan" || policy_finalizer.is_none());
        finalizers.extend(policy_finalizer.map(Value::from));
        let grace = if self.resource.is("pods") { pod_grace(&value, options.grace_s) } else { 0 };
        let deleting = value["metadata"]["deletionTimestamp"].is_string();
        let namespace = self.resource.is("namespaces");
        let ends = grace == 0 && finalizers.is_empty() && !namespace;
        if ends && !self.resource.is("pods") {
            return Marked::Gone;
        }
        if deleting && !ends {
            let left = value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
            // A second delete may shorten the wait, never lengthen it.
            if grace >= left && finalizers.len() == old["metadata"]["finalizers"].as_array().map_or(0, Vec::len) {
                return Marked::Unchanged;
            }
        }
        let period = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        let at = seconds(jiff::Timestamp::now() + period);
        let metadata = &mut value["metadata"];
        if !finalizers.is_empty() {
            metadata["finalizers"] = finalizers.into();
        }
        if !deleting || self.resource.is("pods") {
            metadata["deletionTimestamp"] = at.into();
            if !namespace {
                metadata["deletionGracePeriodSeconds"] = grace.into();
            }
        }
        if !deleting && let Some(generation) = metadata["generation"].as_i64() {
            metadata["generation"] = (generation + 1).into();
        }
        if namespace {
            value["status"]["phase"] = "Terminating".into();
        }
        if ends {
            Marked::Ended(value)
        } else if value == old {
            Marked::Unchanged
        } else {
            Marked::Waiting(value)
        }
    }

    /// Removes the object from the store, with what goes along with it.
    pub fn remove_now(&self, current: &Object, served: bool) -> Result<Reply, WriteError> {
        let removed = self.api.store.remove(&self.resource.storage, &current.namespace, &current.name, Some(current.rv))?;
        if self.resource.is("customresourcedefinitions.apiextensions.k8s.io") {
            self.api.unserve_custom(&removed.value());
        }
        // These kinds answer with the object itself, others with a Status.
        const ANSWERED_WITH_OBJECT: [&str; 9] = [
            "pods",
            "services",
            "serviceaccounts",
            "persistentvolumeclaims",
            "persistentvolumes",
            "deviceclasses.resource.k8s.io",
            "resourceclaims.resource.k8s.io",
            "resourceclaimtemplates.resource.k8s.io",
            "resourceslices.resource.k8s.io",
        ];
        if served || ANSWERED_WITH_OBJECT.iter().any(|id| self.resource.is(id)) {
            return Ok(Reply::Object(StatusCode::OK, removed));
        }
        Ok(Reply::Document(StatusCode::OK, success(self.resource, &removed.name, &removed.uid)))
    }
}

enum Marked {
    /// Nothing left to do.
    Unchanged,
    /// It may go at once.
    Gone,
    /// It may go at once, but is marked before.
    Ended(Value),
    /// It stays, marked, until someone finishes the deletion.
    Waiting(Value),
}

/// How long a pod may take to end: nothing waits for one that no kubelet runs.
fn pod_grace(pod: &Value, asked_s: Option<i64>) -> i64 {
    let bound = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    if !bound || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return 0;
    }
    let asked = asked_s.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(DEFAULT_GRACE_S);
    if asked < 0 { 1 } else { asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pod: Value, asked: Option<i64>, expected: i64) {
        assert_eq!(pod_grace(&pod, asked), expected);
    }

    #[test]
    fn grace_periods() {
        let bound = json!({ "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 5 } });
        check(json!({ "spec": {} }), None, 0);
        check(bound.clone(), None, 5);
        check(bound.clone(), Some(0), 0);
        check(bound, Some(-3), 1);
        check(json!({ "spec": { "nodeName": "n" } }), None, 30);
        check(json!({ "spec": { "nodeName": "n" }, "status": { "phase": "Failed" } }), Some(9), 0);
    }
}
