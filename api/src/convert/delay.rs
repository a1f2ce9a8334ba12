//! Delay bounds of a pod: labels `delay_<from>` and the annotation.

use crate::labels::DELAY_ANNOTATION;
use kube::api::ObjectMeta;
use placement::constraint::{DelayBound, DelayError, parse_annotation, parse_label};

/// Every bound that can be read, and every entry that can't. Both matter: one unreadable entry keeps the pod Pending.
pub(super) fn delays(metadata: &ObjectMeta) -> (Vec<DelayBound>, Vec<DelayError>) {
    let annotation = metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELAY_ANNOTATION));
    let (mut bounds, mut errors) = annotation.map(|json| parse_annotation(json)).unwrap_or_default();
    for label in metadata.labels.iter().flatten().filter_map(|(key, value)| parse_label(key, value)) {
        match label {
            Ok(bound) => bounds.push(bound),
            Err(error) => errors.push(error),
        }
    }
    (bounds, errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn of(labels: &[(&str, &str)], annotation: Option<&str>) -> (Vec<(String, u32)>, Vec<String>) {
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        let annotations = annotation.map(|json| text(&[(DELAY_ANNOTATION, json), ("unrelated", "1")]));
        let (bounds, errors) = delays(&ObjectMeta { labels: Some(text(labels)), annotations, ..ObjectMeta::default() });
        (bounds.iter().map(|b| (b.from.name().to_owned(), b.max.0)).collect(), errors.into_iter().map(|e| e.key).collect())
    }

    #[test]
    fn labels_and_annotation_add_up() {
        let (bounds, errors) = of(&[("app", "a"), ("delay_edge-1", "25"), ("delay_api", "0.5")], Some(r#"{"node/edge-2": "5ms"}"#));
        assert_eq!(bounds, [("edge-2".into(), 5_000), ("api".into(), 500), ("edge-1".into(), 25_000)]);
        assert_eq!(errors, Vec::<String>::new());
    }

    #[test]
    fn what_can_not_be_read_is_kept_as_an_error_beside_what_can() {
        let (bounds, errors) = of(&[("delay_edge-1", "abc"), ("delay_edge-2", "25")], Some("{"));
        assert_eq!(bounds, [("edge-2".into(), 25_000)]);
        assert_eq!(errors, ["annotation edge-scheduler.io/delay", "label delay_edge-1"]);
    }

    #[test]
    fn a_pod_without_any_has_none() {
        assert_eq!(of(&[("app", "a")], None), (vec![], vec![]));
    }
}
