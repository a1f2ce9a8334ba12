//! NodeResourcesBalancedAllocation: how far the pod evens out the fractions of CPU and memory that are taken (kube-scheduler 1.37). Real requests, not
//! the scoring defaults. Skipped for a pod that asks for neither.

use super::MAX_SCORE;

/// 75 where the pod changes nothing, up to 100 where it evens out, down to 50 where it makes uneven. CPU and memory.
pub fn score(allocatable: [i64; 2], requested: [i64; 2], pod: [i64; 2]) -> i64 {
    let with_pod = [requested[0] + pod[0], requested[1] + pod[1]];
    MAX_SCORE / 2 + (MAX_SCORE / 2 + evenness(allocatable, with_pod) - evenness(allocatable, requested)) / 2
}

/// 100 less the standard deviation of the fractions, in percent: 50 to 100.
fn evenness(allocatable: [i64; 2], requested: [i64; 2]) -> i64 {
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
    fn even_use_is_even() {
        let check = |allocatable, requested, expected| assert_eq!(evenness(allocatable, requested), expected);
        check([4000, 10_000], [0, 0], 100);
        check([4000, 10_000], [3000, 5000], 87);
        check([6000, 10_000], [3000, 5000], 100);
        check([4000, 10_000], [9000, 0], 50);
        check([0, 10_000], [1, 10_000], 100);
    }

    #[test]
    fn a_pod_that_evens_out_scores_higher() {
        let check = |requested, pod, expected| assert_eq!(score([4000, 10_000], requested, pod), expected);
        check([0, 0], [2000, 5000], 75);
        check([0, 0], [2000, 0], 62);
        check([2000, 0], [0, 5000], 87);
        check([4000, 0], [0, 10_000], 100);
        check([0, 0], [4000, 0], 50);
    }
}
