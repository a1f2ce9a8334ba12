//! An embedded Kubernetes API server: in memory, over TLS on loopback, as much as kubectl, kube clients and the three
//! programs need.
//!
//! A request goes `server` (TLS, connection) → `handler` (authentication, path, form) → `verbs` and `subresource`
//! (what to do) → `admit` and `schema` (defaults, validation) → `fields` (who owns what) → `store` (numbered changes,
//! history) → `watch` and `render` (events and answers in the form asked for). Kinds are rows of `resource::builtin` or
//! come from CRDs; `openapi` publishes the schemas that objects are judged by.
//!
//! Not here: webhooks, conversion between versions of a custom resource beyond `apiVersion`, CBOR, applying a scale, and
//! answers in protobuf; bodies in it are read. `/openapi/v2`, which kubectl asks for in that form, it does without.
//! Of built-in kinds the fields are checked for their types; pods, workloads, Services, nodes, EndpointSlices, events, leases, ConfigMaps and Secrets for what the
//! programs and people stumble over, not for every rule of the real server. Roles answer SubjectAccessReviews always, requests only with
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
