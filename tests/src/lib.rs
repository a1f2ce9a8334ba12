//! What suites of more than one crate have in common.

pub mod control_plane;
pub mod fault_proxy;
pub mod http;
pub mod load;
pub mod objects;
pub mod pod_fields;
pub mod wan;
