//! The verbs on stored resources. Everything here is synchronous: the store is in memory, and bodies have been read.

pub mod apply;
mod continuation;
pub mod create;
pub mod decode;
pub mod delete;
pub mod duplicates;
pub mod list;
pub mod options;
pub mod patch;
pub mod update;

use std::cell::RefCell;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::api::Api;
use super::auth::Identity;
use super::path::Query;
use super::resource::{Resource, View};
use super::status::{ApiError, FieldError};
use super::store::{Expect, Object, WriteError};

/// One request for a resource.
#[derive(Debug)]
pub struct Call<'a> {
    /// The server's state.
    pub api: &'a Api,
    /// The resource asked for.
    pub resource: &'a Resource,
    /// Namespace in the path; empty for none.
    pub namespace: &'a str,
    /// Query parameters.
    pub query: &'a Query,
    /// Who asks.
    pub user: &'a Identity,
    /// What the client calls itself (`User-Agent`).
    pub agent: &'a str,
    /// Subresource in the path; empty for none.
    pub subresource: &'a str,
    /// Warnings for the client, sent as headers.
    pub warnings: RefCell<Vec<String>>,
}

/// What a verb answers, before it is put in the form that the client wants.
#[derive(Debug)]
pub enum Reply {
    /// A stored object.
    Object(StatusCode, Arc<Object>),
    /// An object in its served form that is not (or no longer) stored.
    Served(StatusCode, Value),
    /// Any other document, such as a Status or a Scale.
    Document(StatusCode, Value),
    /// A list.
    List(list::Page),
}

impl<'a> Call<'a> {
    /// A call on another resource, on behalf of the same user.
    pub fn on<'b>(&'b self, resource: &'b Resource, namespace: &'b str) -> Call<'b> {
        Call {
            api: self.api,
            resource,
            namespace,
            query: self.query,
            user: self.user,
            agent: self.agent,
            subresource: self.subresource,
            warnings: RefCell::default(),
        }
    }

    /// The stored object, or 404 in the resource's words.
    pub fn find(&self, name: &str) -> Result<Arc<Object>, ApiError> {
        self.api
            .store
            .get(&self.resource.storage, self.namespace, name)
            .ok_or_else(|| ApiError::not_found(self.resource.group_resource(), name))
    }

    /// Whether nothing may be stored.
    pub fn dry_run(&self) -> bool {
        self.query.text("dryRun") == Some("All")
    }

    /// Stores a value in its stored form.
    pub fn store(&self, name: &str, expect: Expect, value: Value) -> Result<Arc<Object>, WriteError> {
        self.api.store.put(&self.resource.storage, self.namespace, name, expect, value)
    }

    /// Reads, changes and stores an object until nobody else wrote in between. `change` gets the stored form and may
    /// say that there is nothing to do.
    pub fn change(
        &self,
        name: &str,
        mut change: impl FnMut(&Object, Value) -> Result<Option<Value>, ApiError>,
    ) -> Result<Arc<Object>, ApiError> {
        loop {
            let current = self.find(name)?;
            let Some(value) = change(&current, current.value())? else { return Ok(current) };
            if self.dry_run() {
                return Ok(current);
            }
            match self.store(name, Expect::Version(current.rv), value) {
                Ok(object) => return Ok(object),
                Err(WriteError::Missing) => {
                    return Err(ApiError::not_found(self.resource.group_resource(), name));
                }
                Err(WriteError::Conflict | WriteError::Exists) => {}
            }
        }
    }

    /// 422 for this resource's kind, as it is stored: of events that is the one of the core group.
    pub fn invalid(&self, name: &str, errors: &[FieldError]) -> ApiError {
        let group = if self.resource.view == View::Events { "" } else { &self.resource.group };
        ApiError::invalid(group, &self.resource.kind, name, errors)
    }
}

/// The answer to a deletion that has nothing else to say.
pub fn success(resource: &Resource, name: &str, uid: &str) -> Value {
    let mut details = json!({ "name": name });
    if !resource.group.is_empty() {
        details["group"] = (*resource.group).into();
    }
    details["kind"] = (*resource.plural).into();
    details["uid"] = uid.into();
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// Now, as `metadata.creationTimestamp` and conditions say it: RFC 3339, whole seconds.
pub fn now() -> String {
    seconds(jiff::Timestamp::now())
}

/// A time in whole seconds.
pub fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
