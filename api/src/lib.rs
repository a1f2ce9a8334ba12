//! Types on the wire: custom resources, labels and annotations, conversions from Kubernetes objects to the model, and the topology protocol.

pub mod convert;
pub mod crd;
pub mod fields;
pub mod labels;
pub mod profile;
pub mod protocol;
pub mod rbac;
pub mod refusal;
