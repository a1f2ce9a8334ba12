//! `get` and `list`: resourceVersion semantics, selectors, pages.

use std::sync::Arc;

use http::StatusCode;

use super::continuation::Continue;
use super::options::check_list_options;
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
        check_list_options(self.query, false)?;
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
            let Continue { version, after } = Continue::decode(token)?;
            let (objects, rv) = match version {
                Some(rv) => (self.api.store.list_at(storage, namespace, rv).map_err(|_| Continue::gone(after.clone()))?, rv),
                None => self.api.store.list(storage, namespace),
            };
            (objects, rv, Some(after))
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
            page.next = page.objects.last().map(|last| Continue::behind(rv, last).encode());
        }
        Ok(Reply::List(page))
    }
}
