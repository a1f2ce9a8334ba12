//! `get` and `list`: resourceVersion semantics, selectors, pages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;

use super::{Call, Reply};
use crate::apiserver::selector::{LabelSelector, Selector, parse_fields};
use crate::apiserver::status::{ApiError, FieldError};
use crate::apiserver::store::Object;

/// One page of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// The objects.
    pub objects: Vec<Arc<Object>>,
    /// The list's resourceVersion.
    pub rv: u64,
    /// Token for the next page.
    pub next: Option<String>,
    /// How many are left after this page, when that is known.
    pub remaining: Option<usize>,
}

impl Call<'_> {
    /// The selector of a list, watch or deletecollection.
    pub fn selector(&self) -> Result<Selector, ApiError> {
        let fields = self.query.text("fieldSelector").unwrap_or_default();
        Ok(Selector {
            namespace: (!self.namespace.is_empty()).then(|| self.namespace.to_owned()),
            labels: LabelSelector::parse(self.query.text("labelSelector").unwrap_or_default())?,
            fields: parse_fields(fields, self.resource)?,
        })
    }

    /// `get`.
    pub fn get(&self, name: &str) -> Result<Reply, ApiError> {
        if let Some(version) = self.query.number("resourceVersion") {
            self.not_in_the_future(version)?;
        }
        Ok(Reply::Object(StatusCode::OK, self.find(name)?))
    }

    /// What is wrong with how a list is asked for.
    fn list_options(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let version = self.query.text("resourceVersion");
        let matching = "resourceVersionMatch";
        match self.query.text(matching) {
            None => {}
            Some(_) if version.is_none() => {
                errors.push(FieldError::forbidden(matching, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            Some("Exact") if version == Some("0") => {
                errors.push(FieldError::forbidden(matching, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            }
            Some("Exact" | "NotOlderThan") => {}
            Some(other) => {
                let supported = ["Exact", "NotOlderThan", ""].map(str::to_owned);
                errors.push(FieldError::unsupported(matching, &other.into(), &supported));
            }
        }
        if self.query.maybe_flag("sendInitialEvents").is_some() {
            errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn not_in_the_future(&self, version: u64) -> Result<(), ApiError> {
        let current = self.api.store.resource_version();
        if version > current { Err(ApiError::version_too_large(version, current)) } else { Ok(()) }
    }

    /// `list`.
    pub fn list(&self) -> Result<Reply, ApiError> {
        let selector = self.selector()?;
        let namespace = selector.namespace.as_deref();
        let storage = &self.resource.storage;
        let limit = match self.query.text("limit") {
            None => 0,
            Some(text) => {
                text.parse::<usize>().map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))?
            }
        };
        let wrong = self.list_options();
        if !wrong.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &wrong));
        }
        let exact = self.query.text("resourceVersionMatch") == Some("Exact");
        let asked = match self.query.text("resourceVersion") {
            None => None,
            Some(text) => {
                let invalid = |_| ApiError::bad_request(format!("invalid resource version: {}", FieldError::not_a_version(text)));
                Some(text.parse::<u64>().map_err(invalid)?)
            }
        };
        let expired = |_| ApiError::expired("The resourceVersion for the provided list is too old.");
        if self.query.text("continue").is_some() && asked.is_some_and(|version| version > 0) {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let (objects, rv, after) = if let Some(token) = self.query.text("continue") {
            let (rv, after) = decode_continue(token).ok_or_else(|| {
                ApiError::bad_request("invalid continue token: continue key is not valid: it is not one of this server's")
            })?;
            let gone = |_| {
                ApiError::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a \
                     new list without the continue parameter.",
                )
            };
            (self.api.store.list_at(storage, namespace, rv).map_err(gone)?, rv, Some(after))
        } else {
            if let Some(version) = asked {
                self.not_in_the_future(version)?;
            }
            match asked {
                Some(version) if version > 0 && (exact || (limit > 0 && self.query.text("resourceVersionMatch").is_none())) => {
                    (self.api.store.list_at(storage, namespace, version).map_err(expired)?, version, None)
                }
                _ => {
                    let (objects, rv) = self.api.store.list(storage, namespace);
                    (objects, rv, None)
                }
            }
        };
        let past = |object: &Object| match &after {
            Some((ns, name)) => (&*object.namespace, &*object.name) > (ns.as_str(), name.as_str()),
            None => true,
        };
        let mut page = Page { rv, ..Page::default() };
        page.objects = objects.into_iter().filter(|o| past(o) && selector.matches(o)).collect();
        if limit > 0 && page.objects.len() > limit {
            let unselected = selector.labels.0.is_empty() && selector.fields.is_empty();
            page.remaining = unselected.then(|| page.objects.len() - limit);
            page.objects.truncate(limit);
            page.next = page.objects.last().map(|last| encode_continue(rv, last));
        }
        Ok(Reply::List(page))
    }
}

fn encode_continue(rv: u64, last: &Object) -> String {
    URL_SAFE_NO_PAD.encode(format!("{rv}\n{}\n{}", last.namespace, last.name))
}

fn decode_continue(token: &str) -> Option<(u64, (String, String))> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let mut parts = text.split('\n');
    let rv = parts.next()?.parse().ok()?;
    Some((rv, (parts.next()?.to_owned(), parts.next()?.to_owned())))
}
