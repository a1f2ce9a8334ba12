//! NodeResourcesFit, strategy LeastAllocated: the mean over CPU and memory of `(capacity - requested) * 100 / capacity`, in integers
//! (kube-scheduler 1.37). `requested` includes the pod and uses the defaults for containers without a request.

use super::MAX_SCORE;
use crate::cluster::FitStrategy;

/// CPU and memory; a resource that the node does not have is left out of the mean.
pub fn score(allocatable: [i64; 2], requested: [i64; 2]) -> i64 {
    let one = |capacity: i64, requested: i64| if requested > capacity { 0 } else { (capacity - requested) * MAX_SCORE / capacity };
    match (allocatable[0] > 0, allocatable[1] > 0) {
        (true, true) => (one(allocatable[0], requested[0]) + one(allocatable[1], requested[1])) / 2,
        (true, false) => one(allocatable[0], requested[0]),
        (false, true) => one(allocatable[1], requested[1]),
        (false, false) => 0,
    }
}

/// One scored resource of a node: its weight, what is requested with the pod, and the capacity, which is not 0.
pub struct Line {
    pub weight: i64,
    pub requested: i64,
    pub capacity: i64,
}

/// Any strategy over any resources.
pub fn score_by(strategy: &FitStrategy, lines: impl Iterator<Item = Line>) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for Line { weight, requested, capacity } in lines {
        let taken = requested.min(capacity);
        let score = match strategy {
            FitStrategy::LeastAllocated => (capacity - taken) * MAX_SCORE / capacity,
            FitStrategy::MostAllocated => taken * MAX_SCORE / capacity,
            FitStrategy::RequestedToCapacityRatio(shape) => on_shape(shape, taken * 100 / capacity),
        };
        // This strategy leaves resources that score nothing out of the mean, and rounds it.
        if score > 0 || !matches!(strategy, FitStrategy::RequestedToCapacityRatio(_)) {
            (sum, weights) = (sum + score * weight, weights + weight);
        }
    }
    match strategy {
        _ if weights == 0 => 0,
        FitStrategy::RequestedToCapacityRatio(_) => (sum as f64 / weights as f64).round() as i64,
        _ => sum / weights,
    }
}

/// The score at a utilisation: on the line between the points around it, level before the first and after the last.
pub(super) fn on_shape(shape: &[(i64, i64)], utilisation: i64) -> i64 {
    let after = shape.iter().position(|(point, _)| utilisation <= *point);
    match after {
        None => shape.last().map_or(0, |(_, score)| *score),
        Some(0) => shape[0].1,
        Some(i) => {
            let ((from, low), (to, high)) = (shape[i - 1], shape[i]);
            low + (high - low) * (utilisation - from) / (to - from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_weigh_resources() {
        let check = |strategy: FitStrategy, lines: &[(i64, i64, i64)], expected| {
            let lines = lines.iter().map(|&(weight, requested, capacity)| Line { weight, requested, capacity });
            assert_eq!(score_by(&strategy, lines), expected, "{strategy:?}");
        };
        check(FitStrategy::LeastAllocated, &[(1, 1, 4), (3, 2, 4)], (75 + 3 * 50) / 4);
        check(FitStrategy::MostAllocated, &[(1, 1, 4), (3, 9, 4)], (25 + 3 * 100) / 4);
        let ratio = || FitStrategy::RequestedToCapacityRatio(vec![(0, 0), (50, 80), (100, 100)]);
        check(ratio(), &[(1, 1, 4)], 40);
        check(ratio(), &[(1, 3, 4), (1, 0, 4)], 90);
        check(ratio(), &[(1, 9, 4), (2, 1, 4)], 60);
        check(ratio(), &[(1, 0, 4)], 0);
        check(FitStrategy::RequestedToCapacityRatio(vec![(20, 100), (100, 0)]), &[(1, 1, 10)], 100);
        check(FitStrategy::MostAllocated, &[], 0);
    }

    #[test]
    fn the_emptier_node_scores_higher() {
        let check = |allocatable, requested, expected| assert_eq!(score(allocatable, requested), expected);
        // Cases of kube-scheduler's least_allocated_test.go, computed by hand: 4000m/10000 with 3000m/5000 asked for.
        check([4000, 10_000], [3000, 5000], (25 + 50) / 2);
        check([6000, 10_000], [3000, 5000], 50);
        check([4000, 10_000], [0, 0], 100);
        check([4000, 10_000], [4001, 0], 50);
        check([3000, 0], [1000, 1], 66);
        check([0, 0], [1, 1], 0);
    }
}
