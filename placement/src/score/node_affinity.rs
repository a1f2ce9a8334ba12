//! NodeAffinity score: sum of the weights of the preferred terms that match, normalised by the largest (kube-scheduler 1.37). Skipped for a pod
//! without preferred terms.

use crate::cluster::{Node, NodeSelectorTerm};
use crate::filter::node_affinity::term_matches;

/// Raw score. Terms of weight 0 and empty terms count nothing.
pub fn raw(preferred: &[(i32, NodeSelectorTerm)], node: &Node) -> i64 {
    preferred.iter().filter(|(_, term)| term_matches(term, node)).map(|(weight, _)| i64::from(*weight)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Operator, Requirement};

    #[test]
    fn weights_of_matching_terms_add_up() {
        let has = |key: &str| NodeSelectorTerm {
            match_expressions: vec![Requirement { key: key.into(), operator: Operator::Exists, values: vec![] }],
            match_fields: vec![],
        };
        let check = |labels: &[&str], expected| {
            let labels = labels.iter().map(|key| ((*key).to_owned(), String::new())).collect();
            let preferred = [(5, has("a")), (7, has("b")), (100, NodeSelectorTerm::default())];
            assert_eq!(raw(&preferred, &Node { labels, ..Node::default() }), expected);
        };
        check(&[], 0);
        check(&["a"], 5);
        check(&["a", "b"], 12);
    }
}
