//! What two answers to one case differ in.

use crate::case::{Answer, Preemption, Score};
use std::collections::BTreeSet;
use std::fmt;

/// One thing that differs: what, and both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub topic: Topic,
    /// Node, or node and plugin.
    pub of: String,
    pub oracle: String,
    pub ours: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    Error,
    PreFilter,
    Verdict,
    Score,
    Total,
    Best,
    Message,
    Preemption,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: kube-scheduler {}, ours {}", self.topic, self.of, self.oracle, self.ours)
    }
}

/// Every difference, the earliest stage first: what comes later often follows from it.
pub fn differences(oracle: &Answer, ours: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |topic, of: &str, a: String, b: String| {
        if a != b {
            found.push(Difference { topic, of: of.to_owned(), oracle: a, ours: b });
        }
    };
    compare(Topic::Error, "", oracle.error.clone(), ours.error.clone());
    compare(Topic::PreFilter, "", format!("{:?}", oracle.pre_filter), format!("{:?}", ours.pre_filter));
    for node in names(oracle.nodes.keys(), ours.nodes.keys()) {
        compare(Topic::Verdict, node, format!("{:?}", oracle.nodes.get(node)), format!("{:?}", ours.nodes.get(node)));
    }
    for node in names(oracle.scores.keys(), ours.scores.keys()) {
        let (Some(a), Some(b)) = (oracle.scores.get(node), ours.scores.get(node)) else { continue };
        for plugin in names(a.keys(), b.keys()) {
            // A plugin that was skipped, or is not there, scores nothing.
            let line = |score: Option<&Score>| score.map_or((0, 0), |score| (score.raw, score.normalized));
            compare(Topic::Score, &format!("{node} {plugin}"), format!("{:?}", line(a.get(plugin))), format!("{:?}", line(b.get(plugin))));
        }
    }
    compare(Topic::Total, "", format!("{:?}", oracle.total), format!("{:?}", ours.total));
    compare(Topic::Best, "", format!("{:?}", oracle.best), format!("{:?}", ours.best));
    compare(Topic::Best, "nominated", oracle.nominated.clone(), ours.nominated.clone());
    compare(Topic::Message, "", oracle.message.clone(), ours.message.clone());
    if let Some(ours) = &ours.preemption {
        // Ours is one candidate; where it is one of the best, between which nothing but chance decides, it is held to that one alone.
        let oracle = oracle.preemption.as_ref().map(|oracle| match ours.best.first().filter(|node| oracle.best.contains(node)) {
            Some(node) => Preemption {
                best: vec![node.clone()],
                candidates: oracle.candidates.get_key_value(node).map(|(node, of)| (node.clone(), of.clone())).into_iter().collect(),
                message: ours.message.clone(),
            },
            None => oracle.clone(),
        });
        compare(Topic::Preemption, "", format!("{oracle:?}"), format!("{:?}", Some(ours)));
    }
    found
}

fn names<'a>(a: impl Iterator<Item = &'a String>, b: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    a.chain(b).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Verdict;

    fn answer(code: &str, score: i64) -> Answer {
        let line = |raw| Score { raw, normalized: raw, weight: 1 };
        Answer {
            nodes: [("a".to_owned(), Verdict { code: code.into(), ..Verdict::default() })].into(),
            scores: [("a".to_owned(), [("P".to_owned(), line(score)), ("Q".to_owned(), line(0))].into())].into(),
            total: [("a".to_owned(), score)].into(),
            ..Answer::default()
        }
    }

    #[test]
    fn the_earliest_stage_comes_first() {
        let topics = |a: &Answer, b: &Answer| differences(a, b).into_iter().map(|difference| difference.topic).collect::<Vec<_>>();
        assert_eq!(topics(&answer("Success", 5), &answer("Success", 5)), []);
        assert_eq!(topics(&answer("Success", 5), &answer("Unschedulable", 5)), [Topic::Verdict]);
        assert_eq!(topics(&answer("Success", 5), &answer("Success", 6)), [Topic::Score, Topic::Total]);
    }

    #[test]
    fn a_plugin_that_scores_nothing_need_not_be_there() {
        let mut without = answer("Success", 5);
        without.scores.get_mut("a").unwrap().remove("Q");
        assert_eq!(differences(&answer("Success", 5), &without), []);
        without.scores.get_mut("a").unwrap().remove("P");
        assert_eq!(differences(&answer("Success", 5), &without)[0].topic, Topic::Score);
    }
}
