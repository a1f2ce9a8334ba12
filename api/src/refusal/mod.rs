//! The refusal rule: a pod that uses what the scheduler does not implement stays Pending with a reason that names the field; it is never bound
//! by ignoring it. `fields` puts every field of metadata and spec into one of three classes, and its test fails for one that is in none.

mod fields;

pub use fields::{HONOURED, IRRELEVANT, WITHIN};

use k8s_openapi::api::core::v1::PodSpec;
use placement::cluster::Refusal;

const POD_GROUP: &str = "is not supported: pods of a group would be placed one by one; leave the field out, or let a scheduler with gang scheduling place the group";

/// A refused field of the spec, and what counts as using it.
type PodRule = (&'static str, fn(&PodSpec) -> bool, &'static str);

const POD_RULES: &[PodRule] = &[("schedulingGroup", |spec| spec.scheduling_group.is_some(), POD_GROUP)];

/// What the spec asks for that the scheduler does not implement, by path: `spec.schedulingGroup`. What admission sets by default is not among it.
pub fn refusals(spec: &PodSpec) -> Vec<Refusal> {
    let refused = |(field, _, why): &PodRule| Refusal { field: format!("spec.{field}"), why: (*why).to_owned() };
    POD_RULES.iter().filter(|(_, uses, _)| uses(spec)).map(refused).collect()
}
