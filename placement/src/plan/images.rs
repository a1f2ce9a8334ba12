//! Which nodes have which images, and what that is worth to a pod.

use super::interned::{Interned, hash_of};
use crate::cluster::Image;
use crate::score::image_locality::{score, weighed};
use rustc_hash::FxHashMap;

/// Scores kept, of 1 byte a node.
const KEPT: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Images {
    /// Per node, the images as they were counted.
    of_node: Vec<Vec<(Image, i64)>>,
    /// Per image the nodes that have it, with its size there.
    having: FxHashMap<Image, Vec<(u32, i64)>>,
    /// Per list of images a score for each node; worth nothing after any node's images or the number of nodes changed.
    scores: Interned<Vec<Image>, Vec<u8>>,
}

impl Images {
    /// What a node has now; nothing, when it is gone.
    pub fn set(&mut self, node: usize, images: &[(Image, i64)]) {
        // Also for a node without images: the share of the nodes that have an image changes with their number.
        self.scores = Interned::default();
        if self.of_node.len() <= node {
            self.of_node.resize_with(node + 1, Vec::new);
        }
        if self.of_node[node] == images {
            return;
        }
        for (image, _) in std::mem::take(&mut self.of_node[node]) {
            if let Some(nodes) = self.having.get_mut(&image) {
                nodes.retain(|(at, _)| *at != node as u32);
                if nodes.is_empty() {
                    self.having.remove(&image);
                }
            }
        }
        for (image, size) in images {
            let nodes = self.having.entry(*image).or_default();
            if nodes.iter().all(|(at, _)| *at != node as u32) {
                nodes.push((node as u32, *size));
            }
        }
        self.of_node[node] = images.to_vec();
    }

    /// The score of every node for a pod with these images; `None` where no node has any of them.
    pub fn score(&mut self, images: &[Image], node_count: usize, len: usize) -> Option<usize> {
        if self.having.is_empty() || images.iter().all(|image| !self.having.contains_key(image)) {
            return None;
        }
        let hash = hash_of(images);
        if let Some(at) = self.scores.find(hash, |known| known == images) {
            return Some(at);
        }
        self.scores.trim(KEPT);
        let mut sums = vec![0; len];
        for nodes in images.iter().filter_map(|image| self.having.get(image)) {
            // One image has one size; where nodes tell different ones, the largest, so that the order of events does not matter.
            let size = nodes.iter().map(|(_, size)| *size).max().unwrap_or(0);
            let counts = weighed(size, nodes.len(), node_count);
            nodes.iter().for_each(|&(node, _)| sums[node as usize] += counts);
        }
        let scores = sums.into_iter().map(|sum| score(sum, images.len()) as u8).collect();
        Some(self.scores.insert(hash, images.to_vec(), scores))
    }

    pub fn of(&self, at: usize) -> &[u8] {
        self.scores.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_a_node_lost_counts_no_more() {
        let has = |sizes: &[(&str, i64)]| sizes.iter().map(|(name, mib)| (Image::named(name), mib << 20)).collect::<Vec<_>>();
        let scores = |images: &mut Images| {
            let at = images.score(&[Image::named("a:1")], 2, 2);
            at.map(|at| images.of(at).to_vec())
        };
        let mut images = Images::default();
        assert_eq!(scores(&mut images), None);
        images.set(0, &has(&[("a:1", 1000), ("b:1", 5)]));
        images.set(1, &[]);
        assert_eq!(scores(&mut images), Some(vec![48, 0]));
        images.set(1, &has(&[("a:1", 1000)]));
        assert_eq!(scores(&mut images), Some(vec![100, 100]));
        images.set(0, &[]);
        images.set(1, &has(&[("b:1", 5)]));
        assert_eq!(scores(&mut images), None);
    }
}
