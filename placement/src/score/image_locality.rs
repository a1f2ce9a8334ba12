//! ImageLocality: how much of the pod's images the node has already, each image counting by its size and by the share of the nodes that have it
//! (kube-scheduler 1.37). What few nodes have counts little, so that pods do not crowd where the first of them went.

use super::MAX_SCORE;

/// Below this sum an image is fetched quickly enough: no node is preferred.
const MIN_BYTES: i64 = 23 << 20;
/// More per image than this counts as this.
const MAX_BYTES_PER_IMAGE: i64 = 1000 << 20;

/// What one image of this size counts on a node that has it.
pub fn weighed(size: i64, having: usize, nodes: usize) -> i64 {
    (size as f64 * (having as f64 / nodes as f64)) as i64
}

/// `sum`: of what the pod's images on the node count; `images`: how many the pod has.
pub fn score(sum: i64, images: usize) -> i64 {
    if images == 0 {
        return 0;
    }
    let max = MAX_BYTES_PER_IMAGE * images as i64;
    MAX_SCORE * (sum.clamp(MIN_BYTES, max) - MIN_BYTES) / (max - MIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_counts_nothing_and_what_is_large_no_more_than_all() {
        let check = |sum, images, expected| assert_eq!(score(sum, images), expected);
        check(0, 1, 0);
        check(23 << 20, 1, 0);
        check(512 << 20, 1, 50);
        check(1000 << 20, 1, 100);
        check(9000 << 20, 1, 100);
        check(1000 << 20, 2, 49);
        check(1, 0, 0);
        assert_eq!(weighed(1000, 1, 3), 333);
    }
}
