//! Selectors of controllers, by which pods are spread that have no constraints of their own.

use super::Unreadable;
use super::label_selector::label_selector;
use k8s_openapi::api::{apps, core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use placement::cluster::LabelSelector;

/// `None`: it selects no pods.
pub fn replica_set_selector(object: &apps::v1::ReplicaSet) -> Option<LabelSelector> {
    Some(selector(&object.spec.selector))
}

/// `None`: it selects no pods.
pub fn stateful_set_selector(object: &apps::v1::StatefulSet) -> Option<LabelSelector> {
    Some(selector(&object.spec.selector))
}

/// `None`: it selects no pods.
pub fn replication_controller_selector(object: &core::v1::ReplicationController) -> Option<LabelSelector> {
    object.spec.as_ref()?.selector.as_ref().map(LabelSelector::of_labels)
}

/// The API server takes no operator that is not known here.
fn selector(selector: &v1::LabelSelector) -> LabelSelector {
    label_selector(selector, || "spec.selector".to_owned(), &mut Unreadable::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_read_in_both_forms() {
        let web = [("app".to_owned(), "web".to_owned())];
        let expected = Some(LabelSelector::of_labels(web.iter().map(|(key, value)| (key, value))));
        let of_labels = json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "serviceName": "web", "template": {}}});
        assert_eq!(replica_set_selector(&serde_json::from_value(of_labels.clone()).unwrap()), expected);
        assert_eq!(stateful_set_selector(&serde_json::from_value(of_labels).unwrap()), expected);
        let check = |object, expected| assert_eq!(replication_controller_selector(&serde_json::from_value(object).unwrap()), expected);
        check(json!({"spec": {"selector": {"app": "web"}}}), expected);
        check(json!({"spec": {}}), None);
    }
}
