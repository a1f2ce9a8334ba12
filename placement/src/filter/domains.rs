//! Topology domains: the nodes with one value of a label.

use std::sync::Arc;

/// For every node the domain that it is in by one topology key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Domains {
    /// 0: without the label.
    of_node: Arc<Vec<u32>>,
    /// Every number is below.
    count: usize,
    /// The domain whose value is the empty string; 0 where no node has it.
    blank: u32,
}

impl Domains {
    pub fn new(of_node: Arc<Vec<u32>>, count: usize, blank: u32) -> Domains {
        Domains { of_node, count, blank }
    }

    /// `None`: the node does not have the label.
    #[inline]
    pub fn of(&self, node: usize) -> Option<usize> {
        self.of_node.get(node).filter(|domain| **domain != 0).map(|domain| *domain as usize)
    }

    /// As [`of`](Domains::of), with a domain of their own for nodes without the label; an empty value is the same as none.
    #[inline]
    pub fn of_any(&self, node: usize) -> usize {
        let domain = self.of_node.get(node).copied().unwrap_or(0);
        if domain == self.blank { 0 } else { domain as usize }
    }

    /// Room for a figure per domain, those of [`of_any`](Domains::of_any) included.
    pub fn table<T: Clone>(&self, start: T) -> Vec<T> {
        vec![start; self.count]
    }
}
