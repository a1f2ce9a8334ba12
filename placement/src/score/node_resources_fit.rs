//! NodeResourcesFit, strategy LeastAllocated: the mean over CPU and memory of `(capacity - requested) * 100 / capacity`, in integers
//! (kube-scheduler 1.37). `requested` includes the pod and uses the defaults for containers without a request.

use super::MAX_SCORE;

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

#[cfg(test)]
mod tests {
    use super::*;

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
