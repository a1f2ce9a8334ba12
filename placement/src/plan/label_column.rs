//! The values of one label key on all nodes, as numbers.

use crate::filter::Domains;
use fixedbitset::FixedBitSet;
use rustc_hash::FxHashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct LabelColumn {
    /// Per node the index into `values`.
    of_node: Arc<Vec<u32>>,
    /// 0 stands for a node without the label.
    values: Vec<Option<String>>,
    index: FxHashMap<String, u32>,
}

impl LabelColumn {
    pub fn new(len: usize) -> LabelColumn {
        LabelColumn { of_node: Arc::new(vec![0; len]), values: vec![None], index: FxHashMap::default() }
    }

    pub fn resize(&mut self, len: usize) {
        Arc::make_mut(&mut self.of_node).resize(len, 0);
    }

    /// Distinct values seen so far, on nodes or not any more.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    pub fn set(&mut self, node: usize, value: Option<&str>) {
        let id = match value {
            None => 0,
            Some(value) => self.index.get(value).copied().unwrap_or_else(|| {
                let id = self.values.len() as u32;
                self.values.push(Some(value.to_owned()));
                self.index.insert(value.to_owned(), id);
                id
            }),
        };
        Arc::make_mut(&mut self.of_node)[node] = id;
    }

    /// Nodes of one value as a domain.
    pub fn domains(&self) -> Domains {
        Domains::new(Arc::clone(&self.of_node), self.values.len(), self.index.get("").copied().unwrap_or(0))
    }

    /// Takes out of the mask the nodes whose value does not satisfy. The predicate is asked once per value, not per node.
    pub fn restrict(&self, mask: &mut FixedBitSet, satisfies: impl Fn(Option<&str>) -> bool) {
        let verdicts: Vec<bool> = self.values.iter().map(|value| satisfies(value.as_deref())).collect();
        let bits = usize::BITS as usize;
        for (word, values) in mask.as_mut_slice().iter_mut().zip(self.of_node.chunks(bits)).filter(|(word, _)| **word != 0) {
            let met = values.iter().enumerate().fold(0, |met, (bit, &value)| met | usize::from(verdicts[value as usize]) << bit);
            *word &= met;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicate_on_values_becomes_a_mask_of_nodes() {
        let mut column = LabelColumn::new(100);
        (0..100).filter(|i| i % 3 != 0).for_each(|i| column.set(i, Some(["a", "b"][i % 2])));
        let check = |satisfies: &dyn Fn(Option<&str>) -> bool, expected: &dyn Fn(usize) -> bool| {
            let mut mask = FixedBitSet::with_capacity(100);
            mask.insert_range(..90);
            column.restrict(&mut mask, satisfies);
            assert_eq!(mask.ones().collect::<Vec<_>>(), (0..90).filter(|&i| expected(i)).collect::<Vec<_>>());
        };
        check(&|v| v == Some("a"), &|i| i % 3 != 0 && i % 2 == 0);
        check(&|v| v.is_none(), &|i| i % 3 == 0);
        check(&|v| v != Some("b"), &|i| i % 3 == 0 || i % 2 == 0);
    }
}
