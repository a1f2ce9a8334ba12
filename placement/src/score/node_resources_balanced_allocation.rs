//! NodeResourcesBalancedAllocation: 100 less the standard deviation of the fractions of CPU and memory taken (kube-scheduler 1.37). Real requests,
//! not the scoring defaults. Skipped for a pod that asks for neither.

use super::MAX_SCORE;

/// CPU and memory; `requested` includes the pod.
pub fn score(allocatable: [i64; 2], requested: [i64; 2]) -> i64 {
    let fraction = |at: usize| (allocatable[at] > 0).then(|| (requested[at] as f64 / allocatable[at] as f64).min(1.0));
    let deviation = match (fraction(0), fraction(1)) {
        (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
        // One resource does not deviate from itself.
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_use_scores_highest() {
        let check = |allocatable, requested, expected| assert_eq!(score(allocatable, requested), expected);
        check([4000, 10_000], [0, 0], 100);
        check([4000, 10_000], [3000, 5000], 87);
        check([6000, 10_000], [3000, 5000], 100);
        check([4000, 10_000], [9000, 0], 50);
        check([0, 10_000], [1, 10_000], 100);
    }
}
