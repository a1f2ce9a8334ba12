//! Delay bounds of a pod: labels `delay_<from>` and the annotation.

use super::Unreadable;
use crate::labels::{DELAY_ANNOTATION, DELAY_LABEL_PREFIX};
use kube::api::ObjectMeta;
use placement::constraint::{DelayBound, DelayError};

/// Every bound that can be read, and every entry that can't. Both matter: one unreadable entry keeps the pod Pending.
pub(super) fn delays(metadata: &ObjectMeta, unreadable: &mut Unreadable) -> (Vec<DelayBound>, Vec<DelayError>) {
    for key in metadata.labels.iter().flatten().map(|(key, _)| key).filter(|key| key.starts_with(DELAY_LABEL_PREFIX)) {
        unreadable.add(format!("metadata.labels.{key}"), crate::refusal::UNSUPPORTED);
    }
    if metadata.annotations.iter().flatten().any(|(key, _)| key == DELAY_ANNOTATION) {
        unreadable.add(format!("metadata.annotations.{DELAY_ANNOTATION}"), crate::refusal::UNSUPPORTED);
    }
    (Vec::new(), Vec::new())
}
