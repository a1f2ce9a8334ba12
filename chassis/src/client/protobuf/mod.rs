//! Kubernetes' protobuf, in which an API server writes and reads at a third of what JSON costs it: what is sent once a pod, and lists and watches of pods
//! and nodes. The demo's API server reads what clients send it by the same table.

mod accept;
mod read;
mod send;
mod table;

pub(super) use accept::AcceptProtobufLayer;
pub use read::{Fields, Malformed, object};
pub use send::{Protobuf, request};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every object begins with.
pub const MAGIC: &[u8] = b"k8s\0";

#[cfg(test)]
pub(crate) use send::tests;
