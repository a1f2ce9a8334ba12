//! VolumeBinding: how full the volumes that the pod gets would be, or the room that they are made of (kube-scheduler 1.37, its StorageCapacityScoring).

use super::node_resources_fit::on_shape;

/// `classes`: of each storage class what is requested and what there is, in bytes. `shape`: the score at each utilisation in percent.
pub fn score(classes: impl ExactSizeIterator<Item = (i64, i64)>, shape: &[(i64, i64)]) -> i64 {
    let count = classes.len();
    if count == 0 {
        return 0;
    }
    let full = |(requested, capacity): (i64, i64)| match capacity {
        0 => 100,
        _ if requested > capacity => 100,
        _ => (i128::from(requested) * 100 / i128::from(capacity)) as i64,
    };
    let sum: i64 = classes.map(|class| on_shape(shape, full(class))).sum();
    (sum as f64 / count as f64).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emptier_is_better_and_classes_count_alike() {
        let check = |classes: &[(i64, i64)], expected| assert_eq!(score(classes.iter().copied(), &[(0, 100), (100, 0)]), expected);
        check(&[], 0);
        check(&[(10, 100)], 90);
        check(&[(10, 0)], 0);
        check(&[(110, 100)], 0);
        check(&[(10, 100), (75, 100)], 58);
    }
}
