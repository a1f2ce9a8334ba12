//! What a report may say. A wrong one is refused whole and its row stays as it was.

use api::protocol::{RTT_LIMIT_US, Report};
use std::collections::HashSet;

/// Why a report is refused; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("this token belongs to the agent on node {caller:?}, which may not report for node {row:?}")]
    ForeignRow { caller: String, row: String },
    #[error("node {node:?} is not known here; report again once it has registered")]
    UnknownNode { node: String },
    #[error("pair {node:?} to {to:?}: {field} is {value} us; an RTT is at most {RTT_LIMIT_US} us (a minute)")]
    RttTooLong { node: String, to: String, field: &'static str, value: u32 },
    #[error("pair {node:?} to {to:?}: p50Us {p50} exceeds p90Us {p90}")]
    Disordered { node: String, to: String, p50: u32, p90: u32 },
    #[error("pair {node:?} to {node:?}: a node does not report on itself")]
    Itself { node: String },
    #[error("pair {node:?} to {to:?} occurs twice")]
    Twice { node: String, to: String },
    #[error("the row names {found} peers; at most {limit} are taken")]
    TooMany { found: usize, limit: usize },
}

/// Pairs in one report; the dense store's limit of nodes.
const PAIR_LIMIT: usize = 4096;

/// `caller` is the node that the caller's token names.
pub fn validate(report: &Report, caller: &str) -> Result<(), ReportError> {
    let node = &report.node;
    if node != caller {
        return Err(ReportError::ForeignRow { caller: caller.to_owned(), row: node.clone() });
    }
    if report.pairs.len() > PAIR_LIMIT {
        return Err(ReportError::TooMany { found: report.pairs.len(), limit: PAIR_LIMIT });
    }
    let mut seen = HashSet::with_capacity(report.pairs.len());
    for pair in &report.pairs {
        let to = &pair.to;
        if **to == **node {
            return Err(ReportError::Itself { node: node.clone() });
        }
        if !seen.insert(to) {
            return Err(ReportError::Twice { node: node.clone(), to: to.to_string() });
        }
        for (field, value) in [("p90Us", pair.p90_us), ("p50Us", pair.p50_us), ("jitterUs", pair.jitter_us)] {
            if value > RTT_LIMIT_US {
                return Err(ReportError::RttTooLong { node: node.clone(), to: to.to_string(), field, value });
            }
        }
        if pair.p50_us > pair.p90_us {
            return Err(ReportError::Disordered { node: node.clone(), to: to.to_string(), p50: pair.p50_us, p90: pair.p90_us });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::agents::tests::{pair, report};
    use super::*;

    fn check(change: impl FnOnce(&mut Report), expected: &str) {
        let mut row = report("edge-1", 1, 1, true, vec![pair("edge-2", 4_000)]);
        change(&mut row);
        let found = validate(&row, "edge-1").map_or_else(|error| error.to_string(), |()| "taken".to_owned());
        assert_eq!(found, expected);
    }

    #[test]
    fn wrong_rows_are_refused_by_name() {
        check(|_| {}, "taken");
        check(
            |row| row.node = "edge-9".into(),
            r#"this token belongs to the agent on node "edge-1", which may not report for node "edge-9""#,
        );
        check(
            |row| row.pairs[0].p90_us = 3_600_000_000,
            r#"pair "edge-1" to "edge-2": p90Us is 3600000000 us; an RTT is at most 60000000 us (a minute)"#,
        );
        check(|row| row.pairs[0].p50_us = 5_000, r#"pair "edge-1" to "edge-2": p50Us 5000 exceeds p90Us 4000"#);
        check(|row| row.pairs[0].to = "edge-1".into(), r#"pair "edge-1" to "edge-1": a node does not report on itself"#);
        check(|row| row.pairs.push(row.pairs[0].clone()), r#"pair "edge-1" to "edge-2" occurs twice"#);
        check(|row| row.pairs = vec![row.pairs[0].clone(); 4097], "the row names 4097 peers; at most 4096 are taken");
    }
}
