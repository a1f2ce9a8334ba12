//! What a picker remembers from one request to the next.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// State of the pickers for one load balancer in one worker. Workers have different seeds, so that they start at different endpoints and
/// break ties differently: no herds.
#[derive(Clone, Debug)]
pub struct Local {
    rng: Xoshiro256PlusPlus,
    /// Endpoint that round-robin chose last.
    pub(super) cursor: usize,
    /// Current weights of the smooth weighted round-robin.
    pub(super) current: Vec<i64>,
    /// Feasible endpoints of the request in hand; kept for its memory.
    pub(super) candidates: Vec<usize>,
}

impl Local {
    pub fn new(seed: u64) -> Local {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let cursor = rng.next_u32() as usize;
        Local { rng, cursor, current: Vec::new(), candidates: Vec::new() }
    }

    /// A number below `n`, which is not 0. Multiply and shift: its bias, n / 2^32, is nothing here.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.rng.next_u32()) * n as u64) >> 32) as usize
    }

    /// Of the candidates the one with the least key; among equals a random one.
    pub(super) fn least<K: PartialOrd>(&mut self, candidates: &[usize], key: impl Fn(usize) -> K) -> Option<usize> {
        let mut best: Option<(usize, K)> = None;
        let mut equals = 1;
        for &at in candidates {
            let found = key(at);
            match &best {
                Some((_, least)) if found > *least => {}
                Some((_, least)) if found == *least => {
                    // Each of k equals ends up chosen with probability 1/k.
                    equals += 1;
                    if self.below(equals) == 0 {
                        best = Some((at, found));
                    }
                }
                _ => (best, equals) = (Some((at, found)), 1),
            }
        }
        best.map(|(at, _)| at)
    }
}
