//! Scores. `response_time` is the one function that placing and routing share; the others are kube-scheduler's, 0 to 100, in integer arithmetic as there.

pub mod band;
pub mod demand;
pub mod dynamic_resources;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_resources_balanced_allocation;
pub mod node_resources_fit;
pub mod pod_topology_spread;
pub mod response_time;
pub mod taint_toleration;
pub mod volume_binding;

/// Score of a node that could not be better.
pub const MAX_SCORE: i64 = 100;

/// kube-scheduler's DefaultNormalizeScore for one node: `max` is the largest raw score among the feasible nodes.
pub fn normalize(raw: i64, max: i64, reverse: bool) -> i64 {
    let score = if max == 0 { 0 } else { raw * MAX_SCORE / max };
    if reverse { MAX_SCORE - score } else { score }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizing_divides_as_integers_do() {
        let check = |raw, max, reverse, score| assert_eq!(normalize(raw, max, reverse), score);
        check(0, 0, false, 0);
        check(0, 0, true, 100);
        check(1, 3, false, 33);
        check(1, 3, true, 67);
        check(3, 3, true, 0);
    }
}
