//! What the load of nodes alone says of them: whether there is room, and the scores of NodeResourcesFit and NodeResourcesBalancedAllocation. It is the same
//! for all pods that ask for the same, and from one decision to the next it changes where a pod was placed: it is kept by chunks of nodes, and found anew
//! for those that changed.

use super::interned::hash_of;
use super::rank::FitColumn;
use crate::cluster::{CHUNK, FitStrategy, LoadChunk};
use crate::filter::node_resources_fit::Need;
use crate::score::node_resources_balanced_allocation::{self as balanced_allocation, Share};
use crate::score::node_resources_fit::{self as resources_fit, Line, score_by};
use fixedbitset::FixedBitSet;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Kinds of pods that are kept, each of 560 bytes for 256 nodes: 2.8 MB at 20,000 nodes.
const KEPT: usize = 64;
/// Kinds of pods that are remembered to have been asked for: a kind is kept when it comes a second time.
const SEEN: usize = 64;
/// The part of a chunk's nodes for which it pays to find out about all of them.
const WORTH: u32 = 4;

const BITS: usize = usize::BITS as usize;
const WORDS: usize = CHUNK / BITS;

/// All of a pod that the load of a node is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asks {
    /// `None`: the filter is off.
    pub need: Option<Need>,
    /// CPU and memory, with the defaults for containers without a request.
    pub scoring: [i64; 2],
    /// `None`: the shorter way does, and `fit` is empty.
    pub strategy: Option<FitStrategy>,
    /// Of every scored resource: column, weight and what the pod asks for.
    pub fit: SmallVec<[(FitColumn, i64, i64); 4]>,
    /// Likewise of every resource that is evened out; `None` where the pod asks for none of them.
    pub balanced: Option<SmallVec<[(FitColumn, i64); 4]>>,
    /// It is CPU and memory that are evened out.
    pub balanced_by_default: bool,
}

impl Asks {
    /// Whether the node has room.
    pub fn fit(&self, chunk: &LoadChunk, slot: usize) -> bool {
        self.need.as_ref().is_none_or(|need| need.fits(chunk, slot))
    }

    /// Scores by NodeResourcesFit and NodeResourcesBalancedAllocation, each 0 to 100; the second is 0 where it is not asked.
    pub fn scores(&self, chunk: &LoadChunk, slot: usize) -> [i64; 2] {
        let allocatable = [chunk.allocatable[0][slot], chunk.allocatable[1][slot]];
        let fit = match &self.strategy {
            None => {
                let with_pod = [chunk.scoring[0][slot] + self.scoring[0], chunk.scoring[1][slot] + self.scoring[1]];
                resources_fit::score(allocatable, with_pod)
            }
            Some(strategy) => {
                let line = |&(column, weight, asked): &(FitColumn, i64, i64)| {
                    let (capacity, used) = column.of(chunk, slot)?;
                    Some(Line { weight, requested: used + asked, capacity })
                };
                score_by(strategy, self.fit.iter().filter_map(line))
            }
        };
        let balanced = match (self.balanced_by_default, self.balanced.as_deref()) {
            (_, None) => 0,
            (true, Some([(_, cpu), (_, memory)])) => {
                let requested = [chunk.requested[0][slot], chunk.requested[1][slot]];
                balanced_allocation::score(allocatable, requested, [*cpu, *memory])
            }
            (_, Some(columns)) => {
                let share =
                    |&(column, asked): &(FitColumn, i64)| column.of(chunk, slot).map(|(capacity, used)| Share { capacity, used, asked });
                let shares: SmallVec<[Share; 4]> = columns.iter().filter_map(share).collect();
                balanced_allocation::score_of(&shares)
            }
        };
        [fit, balanced]
    }
}

/// What is known of one chunk of nodes.
#[derive(Debug)]
struct ChunkScores {
    /// Of the chunk's load; `None`: nothing is known yet.
    version: Option<u64>,
    room: [usize; WORDS],
    /// Of those with room.
    scores: [[u8; 2]; CHUNK],
}

impl ChunkScores {
    const UNKNOWN: ChunkScores = ChunkScores { version: None, room: [0; WORDS], scores: [[0; 2]; CHUNK] };

    fn find_out(&mut self, asks: &Asks, chunk: &LoadChunk) {
        self.version = Some(chunk.version());
        self.room = [0; WORDS];
        for slot in (0..CHUNK).filter(|slot| asks.fit(chunk, *slot)) {
            self.room[slot / BITS] |= 1 << (slot % BITS);
            self.scores[slot] = asks.scores(chunk, slot).map(|score| score as u8);
        }
    }
}

#[derive(Debug)]
struct Kind {
    asks: Asks,
    chunks: Vec<ChunkScores>,
    /// When it was asked for last.
    used: u64,
}

#[derive(Debug, Default)]
pub(super) struct LoadScores {
    kinds: Vec<Kind>,
    /// Hashes of what was asked for and is not kept, the oldest first.
    seen: VecDeque<u64>,
    turn: u64,
}

/// What is kept for one kind of pods.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    chunks: &'a [ChunkScores],
}

impl Kept<'_> {
    /// Scores of a node with room; `None` where they are not known, or not any more.
    #[inline]
    pub fn get(self, node: usize, chunk: &LoadChunk) -> Option<[i64; 2]> {
        let known = self.chunks.get(node / CHUNK).filter(|known| known.version == Some(chunk.version()))?;
        Some(known.scores[node % CHUNK].map(i64::from))
    }
}

impl LoadScores {
    /// Where pods that ask for this are kept; `None` where they are seen for the first time in a while.
    pub fn find(&mut self, asks: &Asks) -> Option<usize> {
        self.turn += 1;
        if let Some(at) = self.kinds.iter().position(|kind| kind.asks == *asks) {
            self.kinds[at].used = self.turn;
            return Some(at);
        }
        let hash = hash_of(asks);
        let Some(seen) = self.seen.iter().position(|seen| *seen == hash) else {
            if self.seen.len() == SEEN {
                self.seen.pop_front();
            }
            self.seen.push_back(hash);
            return None;
        };
        self.seen.remove(seen);
        if self.kinds.len() < KEPT {
            self.kinds.push(Kind { asks: asks.clone(), chunks: Vec::new(), used: self.turn });
            return Some(self.kinds.len() - 1);
        }
        let (at, oldest) = self.kinds.iter_mut().enumerate().min_by_key(|(_, kind)| kind.used)?;
        (oldest.asks, oldest.used) = (asks.clone(), self.turn);
        oldest.chunks.iter_mut().for_each(|chunk| chunk.version = None);
        Some(at)
    }

    /// Adds the nodes of `mask`, some of those `present`, that have room to `candidates`, by rising index.
    pub fn with_room(
        &mut self,
        at: usize,
        (mask, present): (&FixedBitSet, &FixedBitSet),
        load: &[Arc<LoadChunk>],
        candidates: &mut Vec<u32>,
    ) {
        let Kind { asks, chunks, .. } = &mut self.kinds[at];
        chunks.resize_with(load.len(), || ChunkScores::UNKNOWN);
        let words = mask.as_slice().chunks(WORDS).zip(present.as_slice().chunks(WORDS));
        for (number, ((words, present), (chunk, known))) in words.zip(load.iter().zip(chunks)).enumerate() {
            let count = |words: &[usize]| words.iter().map(|word| word.count_ones()).sum::<u32>();
            if known.version != Some(chunk.version()) && WORTH * count(words) >= count(present) {
                known.find_out(asks, chunk);
            }
            let whole = known.version == Some(chunk.version());
            for (at, word) in words.iter().enumerate() {
                let mut left = if whole { word & known.room[at] } else { *word };
                while left != 0 {
                    let slot = at * BITS + left.trailing_zeros() as usize;
                    left &= left - 1;
                    if whole || asks.fit(chunk, slot) {
                        candidates.push((number * CHUNK + slot) as u32);
                    }
                }
            }
        }
    }

    pub fn of(&self, at: usize) -> Kept<'_> {
        Kept { chunks: &self.kinds[at].chunks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, FitSettings, Node, Pod, PodKey, Profile, Resources, Settings};
    use crate::plan::{Choice, Planner, Warmth};
    use crate::units::{Bytes, MilliCpu, Timestamp};

    fn resources(cpu: i64, memory: i64, pods: i64) -> Resources {
        Resources { cpu: MilliCpu(cpu), memory: Bytes(memory), pods, ..Resources::default() }
    }

    fn pod(name: &str, kind: i64) -> Pod {
        let requests = resources(100 * (1 + kind), 10 * (3 - kind), 0);
        let key = PodKey::new("default", name);
        Pod { uid: name.into(), key, scoring_requests: requests.clone(), requests, ..Pod::default() }
    }

    /// Pods of three kinds come and go on 600 nodes, which change too; the planner that keeps what it found agrees with one that knows nothing.
    #[test]
    fn what_is_kept_is_what_would_be_found_anew() {
        let mut cluster = Cluster::new(Settings::default());
        let node = |number: usize, cpu: i64| Node { name: format!("n{number}"), allocatable: resources(cpu, 100, 3), ..Node::default() };
        (0..600).for_each(|number| drop(cluster.apply_node(node(number, 1000))));
        let (mut planner, mut placed, mut full) = (Planner::new(), Vec::new(), 0);
        for step in 0..2000usize {
            let pod = pod(&format!("p{step}"), step as i64 % 3);
            cluster.apply_pod(pod.clone());
            let snapshot = cluster.snapshot();
            let choice = planner.choose(&snapshot, &pod, Timestamp(1), Warmth::Warm);
            assert_eq!(choice, Planner::new().choose(&snapshot, &pod, Timestamp(1), Warmth::Warm), "step {step}");
            match choice {
                Choice::Place(ix) => {
                    let name = snapshot.name(ix).to_owned();
                    drop(snapshot);
                    cluster.assume(&pod.key, &pod.uid, &name).unwrap();
                    placed.push(pod.key);
                }
                _ => {
                    full += 1;
                    cluster.delete_pod(&pod.key);
                }
            }
            if step % 7 == 0 && step > 900 {
                cluster.delete_pod(&placed.swap_remove(step * 31 % placed.len()));
            }
            if step % 50 == 0 {
                cluster.apply_node(node(step % 600, 200 + step as i64));
            }
        }
        assert_eq!(planner.scratch.load_scores.kinds.len(), 3);
        assert!(full > 20 && placed.len() > 1000, "{full} found no room, {} stand", placed.len());
    }

    /// An extender may know of room for any amount of it.
    #[test]
    fn a_resource_that_is_ignored_may_be_asked_for_in_any_amount() {
        let name = || "x.io/gpu".to_owned();
        let gpus = |amount: i64| Resources { extended: [(name(), amount)].into(), ..resources(1, 1, 3) };
        for strategy in [FitStrategy::LeastAllocated, FitStrategy::MostAllocated] {
            let fit = FitSettings { strategy, resources: vec![(name(), 1)], ignored: [name()].into(), ..FitSettings::default() };
            let profile = Profile { fit, balanced: vec!["cpu".into(), name()], ..Profile::new("") };
            let mut cluster = Cluster::new(Settings { profiles: profile.into(), ..Settings::default() });
            cluster.apply_node(Node {
                name: "n".into(),
                allocatable: Resources { extended: gpus(4).extended, ..resources(9, 9, 3) },
                ..Node::default()
            });
            for name in ["a", "b"] {
                let pod = Pod { requests: gpus(i64::MAX), scoring_requests: gpus(i64::MAX), ..pod(name, 0) };
                cluster.apply_pod(pod.clone());
                let choice = Planner::new().choose(&cluster.snapshot(), &pod, Timestamp(1), Warmth::Warm);
                assert!(matches!(choice, Choice::Place(_)), "{choice:?}");
                cluster.assume(&pod.key, &pod.uid, "n").unwrap();
            }
        }
    }

    #[test]
    fn a_kind_is_kept_from_its_second_time_and_the_one_unused_for_longest_goes() {
        let asks = |cpu: i64| {
            let scoring = [cpu, 0];
            Asks { need: None, scoring, strategy: None, fit: SmallVec::new(), balanced: None, balanced_by_default: true }
        };
        let mut scores = LoadScores::default();
        assert_eq!((scores.find(&asks(1)), scores.find(&asks(2)), scores.find(&asks(1))), (None, None, Some(0)));
        for cpu in 10..10 + KEPT as i64 {
            scores.find(&asks(cpu));
            scores.find(&asks(cpu));
        }
        assert_eq!(scores.kinds.len(), KEPT);
        assert!(scores.kinds.iter().all(|kind| kind.asks != asks(1)));

        // Kinds that are kept take no place among those that were seen.
        let mut scores = LoadScores::default();
        (1..=SEEN as i64).for_each(|cpu| assert_eq!(scores.find(&asks(cpu)), None));
        (0..2 * SEEN).for_each(|_| assert_eq!(scores.find(&asks(SEEN as i64)), Some(0)));
        assert_eq!((scores.find(&asks(0)), scores.find(&asks(2))), (None, Some(1)));
    }
}
