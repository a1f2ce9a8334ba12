//! `delay_<from>: "<ms>"`: the label form of a bound.

use super::milliseconds;
use super::{DelayBound, DelayError, DelaySource, Missing, Reference, ReplicaRule, Statistic};

/// Labels with this prefix are bounds.
pub const LABEL_PREFIX: &str = "delay_";

/// Reads one label of a pod. `None`: the label is no bound.
pub fn parse_label(key: &str, value: &str) -> Option<Result<DelayBound, DelayError>> {
    let from = key.strip_prefix(LABEL_PREFIX)?;
    let error = |why| DelayError { key: format!("label {key}"), value: value.to_owned(), why };
    if from.is_empty() {
        return Some(Err(error("names no reference in its key; write delay_<node, workload or pod>".into())));
    }
    let bound = milliseconds::plain(value).map_err(error).map(|max| DelayBound {
        from: Reference::Name(from.to_owned()),
        max,
        statistic: Statistic::default(),
        replicas: ReplicaRule::default(),
        missing: Missing::default(),
        source: DelaySource::Label,
    });
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Ok`: name and microseconds. `Err`: the whole message.
    fn check(key: &str, value: &str, expected: Option<Result<(&str, u32), &str>>) {
        let got = parse_label(key, value);
        let got = got.map(|bound| bound.map(|b| (b.from.to_string(), b.max.0)).map_err(|e| e.to_string()));
        assert_eq!(got, expected.map(|e| e.map(|(from, us)| (from.to_owned(), us)).map_err(str::to_owned)));
    }

    #[test]
    fn the_prefix_makes_a_label_a_bound() {
        check("delay_edge-1", "25", Some(Ok(("edge-1", 25_000))));
        check("delay_edge-1", "0", Some(Ok(("edge-1", 0))));
        check("delay_a_b.c", "0.5", Some(Ok(("a_b.c", 500))));
        check("delay", "25", None);
        check("app", "delay_edge-1", None);
        check("example.com/delay_edge-1", "25", None);
    }

    #[test]
    fn errors_name_key_value_and_what_would_be_right() {
        check("delay_edge-1", "abc", Some(Err(r#"label delay_edge-1: "abc" is not a number of milliseconds such as "25" or "0.5""#)));
        check("delay_", "25", Some(Err(r#"label delay_: "25" names no reference in its key; write delay_<node, workload or pod>"#)));
    }
}
