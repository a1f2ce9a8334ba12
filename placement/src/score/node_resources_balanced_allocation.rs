//! NodeResourcesBalancedAllocation: how far the pod evens out the fractions of resources that are taken (kube-scheduler 1.37), CPU and memory unless the
//! profile names others. Real requests, not the scoring defaults. Skipped for a pod that asks for none of them.

use super::MAX_SCORE;
use smallvec::SmallVec;

/// 75 where the pod changes nothing, up to 100 where it evens out, down to 50 where it makes uneven. CPU and memory.
pub fn score(allocatable: [i64; 2], requested: [i64; 2], pod: [i64; 2]) -> i64 {
    let with_pod = [requested[0] + pod[0], requested[1] + pod[1]];
    improvement(evenness(allocatable, with_pod), evenness(allocatable, requested))
}

/// One resource of a node that has it: what there is, what is taken, and what the pod asks for.
pub struct Share {
    pub capacity: i64,
    pub used: i64,
    pub asked: i64,
}

/// [`score`] over any resources.
pub fn score_of(shares: &[Share]) -> i64 {
    let evenness = |with_pod: i64| {
        let fractions = shares.iter().map(|share| ((share.used + with_pod * share.asked) as f64 / share.capacity as f64).min(1.0));
        let fractions: SmallVec<[f64; 4]> = fractions.collect();
        in_percent(deviation(&fractions))
    };
    improvement(evenness(1), evenness(0))
}

fn improvement(with_pod: i64, without: i64) -> i64 {
    MAX_SCORE / 2 + (MAX_SCORE / 2 + with_pod - without) / 2
}

/// Standard deviation; of two it is half their difference, and one does not deviate from itself.
fn deviation(fractions: &[f64]) -> f64 {
    match fractions {
        [] | [_] => 0.0,
        [a, b] => ((a - b) / 2.0).abs(),
        all => {
            // Summed from the left, as kube-scheduler does: the last bit may decide what is rounded down.
            let mean = all.iter().fold(0.0, |sum, fraction| sum + fraction) / all.len() as f64;
            let squares = all.iter().fold(0.0, |sum, fraction| sum + (fraction - mean) * (fraction - mean));
            (squares / all.len() as f64).sqrt()
        }
    }
}

fn in_percent(deviation: f64) -> i64 {
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}

/// 100 less the standard deviation of the fractions, in percent: 50 to 100.
fn evenness(allocatable: [i64; 2], requested: [i64; 2]) -> i64 {
    let fraction = |at: usize| (allocatable[at] > 0).then(|| (requested[at] as f64 / allocatable[at] as f64).min(1.0));
    in_percent(match (fraction(0), fraction(1)) {
        (Some(cpu), Some(memory)) => deviation(&[cpu, memory]),
        _ => 0.0,
    })
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
    fn any_number_of_resources_is_evened_out() {
        let check = |shares: &[(i64, i64, i64)], expected| {
            let shares: Vec<Share> = shares.iter().map(|&(capacity, used, asked)| Share { capacity, used, asked }).collect();
            assert_eq!(score_of(&shares), expected);
        };
        check(&[], 75);
        check(&[(4, 0, 4)], 75);
        check(&[(4000, 0, 2000), (10_000, 0, 0)], 62);
        check(&[(4, 0, 0), (4, 0, 0), (4, 0, 4)], 51);
        check(&[(4, 0, 4), (4, 4, 0), (4, 4, 0)], 99);
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
