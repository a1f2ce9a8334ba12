//! An embedded Kubernetes API server: in memory, over TLS on loopback, as much as kubectl, kube clients and the three
//! programs need.
//!
//! A request goes `server` (TLS, connection) → `handler` (authentication, path, form) → `verbs` and `subresource`
//! (what to do) → `admit` and `schema` (defaults, validation) → `store` (numbered changes, history) → `watch` and
//! `render` (events and answers in the form asked for). Kinds are rows of `resource::builtin` or come from CRDs.
//!
//! Not here: server-side apply (415), webhooks, protobuf, OpenAPI beyond what tells
//! clients that the server validates fields. Roles answer SubjectAccessReviews always, requests only with
//! [`Options::enforce_rbac`].

mod admit;
mod api;
mod auth;
mod crd;
mod discovery;
mod faults;
mod fields;
mod handler;
mod housekeeping;
mod negotiate;
mod openapi;
mod patch;
mod path;
mod render;
mod resource;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod subresource;
mod table;
mod verbs;
mod watch;

pub use faults::{Faults, Rates};
pub use server::{Error, Options, Server};
pub use store::{Binding, Change, ChangeKind, Object, Observation};
