//! One node's row of the RTT store: its pairs, dense in chunks or sparse and sorted.

use super::code::RttCode;
use super::{Kind, PairStat};
use crate::cluster::NodeIx;
use crate::constraint::Statistic;
use crate::units::{Micros, Span, Timestamp};
use fixedbitset::FixedBitSet;
use std::sync::Arc;

/// Columns per chunk. A report changes one cell in every peer's row: with chunks, a snapshot that is held costs a copy of
/// 256 x 16 B = 4 kB per peer, not of the whole row. A multiple of the bits of a word, so that scans write whole words.
const CHUNK: usize = 256;

/// What is stored of a pair: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub p50: RttCode,
    pub p90: RttCode,
    pub tag: Tag,
    pub samples: u16,
    pub at: u64,
}

impl Cell {
    const UNMEASURED: Cell = Cell { p50: RttCode::UNMEASURED, p90: RttCode::UNMEASURED, tag: Tag(0), samples: 0, at: 0 };
    /// A node to itself: zero, always fresh.
    const ITSELF: Cell = Cell { p50: RttCode::ZERO, p90: RttCode::ZERO, tag: Tag(1 << KIND_SHIFT), samples: u16::MAX, at: u64::MAX };

    pub fn of(stat: PairStat) -> Cell {
        let tag = Tag::new(stat.loss_permille, stat.kind);
        Cell { p50: RttCode::ceil(stat.p50), p90: RttCode::ceil(stat.p90), tag, samples: stat.samples, at: stat.at.0 }
    }

    pub fn stat(self) -> Option<PairStat> {
        Some(PairStat {
            p50: self.p50.decode()?,
            p90: self.p90.decode()?,
            loss_permille: self.tag.loss_permille(),
            samples: self.samples,
            at: Timestamp(self.at),
            kind: self.tag.kind(),
        })
    }

    fn measured(self) -> Option<Cell> {
        (self.p90 != RttCode::UNMEASURED).then_some(self)
    }
}

/// Loss in bits 0 to 9, kind in 10 and 11, who reported in 12 (the row's node) and 13 (the other end).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u16);

const KIND_SHIFT: u16 = 10;
/// Set for the kinds that do not admit; a test holds this against `Kind::admits`.
const INADMISSIBLE: u16 = 1 << 11;
const BY_OWN: u16 = 1 << 12;
const BY_OTHER: u16 = 1 << 13;
const KINDS: [Kind; 4] = [Kind::Measured, Kind::Declared, Kind::Estimated, Kind::DetourBound];

impl Tag {
    pub fn new(loss_permille: u16, kind: Kind) -> Tag {
        let code = match kind {
            Kind::Measured => 0,
            Kind::Declared => 1,
            Kind::Estimated => 2,
            Kind::DetourBound => 3,
        };
        Tag(loss_permille.min(1000) | code << KIND_SHIFT)
    }

    pub fn reported(self, by_own: bool, by_other: bool) -> Tag {
        let base = self.0 & !(BY_OWN | BY_OTHER);
        Tag(base | if by_own { BY_OWN } else { 0 } | if by_other { BY_OTHER } else { 0 })
    }

    pub fn loss_permille(self) -> u16 {
        self.0 & 0x3ff
    }

    pub fn kind(self) -> Kind {
        KINDS[usize::from(self.0 >> KIND_SHIFT & 3)]
    }

    pub fn by_own(self) -> bool {
        self.0 & BY_OWN != 0
    }

    pub fn by_other(self) -> bool {
        self.0 & BY_OTHER != 0
    }
}

/// 256 cells as columns, so that a scan for a bound reads 2 bytes a pair before anything else.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    p50: [u16; CHUNK],
    p90: [u16; CHUNK],
    tag: [u16; CHUNK],
    samples: [u16; CHUNK],
    at: [u64; CHUNK],
}

impl Chunk {
    fn empty() -> Chunk {
        let none = RttCode::UNMEASURED.0;
        Chunk { p50: [none; CHUNK], p90: [none; CHUNK], tag: [0; CHUNK], samples: [0; CHUNK], at: [0; CHUNK] }
    }

    fn get(&self, i: usize) -> Cell {
        Cell { p50: RttCode(self.p50[i]), p90: RttCode(self.p90[i]), tag: Tag(self.tag[i]), samples: self.samples[i], at: self.at[i] }
    }

    fn put(&mut self, i: usize, cell: Cell) {
        (self.p50[i], self.p90[i], self.tag[i], self.samples[i], self.at[i]) = (cell.p50.0, cell.p90.0, cell.tag.0, cell.samples, cell.at);
    }
}

#[derive(Clone, Debug)]
enum Cells {
    /// By index; a chunk without any pair is absent.
    Dense(Vec<Option<Arc<Chunk>>>),
    /// Measured pairs alone, sorted by index.
    Sparse(Vec<(u32, Cell)>),
}

#[derive(Clone, Debug)]
pub(super) struct RowData {
    cells: Cells,
    /// What this row's node itself reported, sorted by peer: only for pairs that both ends reported, which are the exception
    /// (a pair is probed from one side). For the others the pair's cell is the report.
    own: Vec<(u32, Cell)>,
}

impl RowData {
    pub fn new(ix: NodeIx, dense: bool) -> RowData {
        let cells = if dense { Cells::Dense(Vec::new()) } else { Cells::Sparse(Vec::new()) };
        let mut row = RowData { cells, own: Vec::new() };
        row.put(ix, Cell::ITSELF);
        row
    }

    pub fn get(&self, to: NodeIx) -> Option<Cell> {
        match &self.cells {
            Cells::Dense(chunks) => chunks.get(to.at() / CHUNK)?.as_ref()?.get(to.at() % CHUNK).measured(),
            Cells::Sparse(cells) => Some(cells[cells.binary_search_by_key(&to.0, |c| c.0).ok()?].1),
        }
    }

    /// `Cell::UNMEASURED` takes the pair out.
    pub fn put(&mut self, to: NodeIx, cell: Cell) {
        match &mut self.cells {
            Cells::Dense(chunks) => {
                let chunk = to.at() / CHUNK;
                if chunks.len() <= chunk {
                    chunks.resize(chunk + 1, None);
                }
                Arc::make_mut(chunks[chunk].get_or_insert_with(|| Arc::new(Chunk::empty()))).put(to.at() % CHUNK, cell);
            }
            Cells::Sparse(cells) => put_sorted(cells, to, cell.measured()),
        }
    }

    pub fn remove(&mut self, to: NodeIx) {
        self.put(to, Cell::UNMEASURED);
    }

    pub fn own(&self, to: NodeIx) -> Option<Cell> {
        Some(self.own[self.own.binary_search_by_key(&to.0, |c| c.0).ok()?].1)
    }

    pub fn put_own(&mut self, to: NodeIx, cell: Option<Cell>) {
        put_sorted(&mut self.own, to, cell);
    }

    pub fn to_sparse(&self) -> RowData {
        RowData { cells: Cells::Sparse(self.iter().map(|(ix, cell)| (ix.0, cell)).collect()), own: self.own.clone() }
    }

    /// Measured cells by rising index, the node itself among them.
    pub fn iter(&self) -> impl Iterator<Item = (NodeIx, Cell)> + '_ {
        let (dense, sparse) = match &self.cells {
            Cells::Dense(chunks) => (chunks.as_slice(), Default::default()),
            Cells::Sparse(cells) => (Default::default(), cells.as_slice()),
        };
        let chunks = dense.iter().enumerate().filter_map(|(number, chunk)| Some((number, chunk.as_deref()?)));
        let dense = chunks.flat_map(|(number, chunk)| {
            (0..CHUNK).filter_map(move |i| Some((NodeIx((number * CHUNK + i) as u32), chunk.get(i).measured()?)))
        });
        dense.chain(sparse.iter().map(|&(ix, cell)| (NodeIx(ix), cell)))
    }
}

fn put_sorted(cells: &mut Vec<(u32, Cell)>, to: NodeIx, cell: Option<Cell>) {
    match (cells.binary_search_by_key(&to.0, |c| c.0), cell) {
        (Ok(at), Some(cell)) => cells[at].1 = cell,
        (Ok(at), None) => drop(cells.remove(at)),
        (Err(at), Some(cell)) => cells.insert(at, (to.0, cell)),
        (Err(_), None) => {}
    }
}

/// What decides whether a pair meets a bound: one comparison each on code, age and kind.
#[derive(Clone, Copy)]
struct Test {
    statistic: Statistic,
    limit: RttCode,
    oldest: u64,
}

impl Test {
    fn new(bound: Micros, statistic: Statistic, now: Timestamp, max_age: Span) -> Test {
        Test { statistic, limit: RttCode::floor(bound), oldest: now.0.saturating_sub(max_age.0) }
    }

    fn code(self, cell: Cell) -> RttCode {
        match self.statistic {
            Statistic::P50 => cell.p50,
            Statistic::P90 => cell.p90,
        }
    }

    fn admits(self, cell: Cell) -> bool {
        self.code(cell) <= self.limit && cell.at >= self.oldest && cell.tag.0 & INADMISSIBLE == 0
    }
}

/// The row of one node, for reading. The node itself is in it with RTT 0, measured or not.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub(super) ix: NodeIx,
    pub(super) data: Option<&'a RowData>,
}

impl<'a> Row<'a> {
    pub fn get(self, to: NodeIx) -> Option<PairStat> {
        match self.data {
            Some(data) => data.get(to)?.stat(),
            None => (to == self.ix).then(|| Cell::ITSELF.stat()).flatten(),
        }
    }

    /// Every pair known, of whatever kind and age, by rising index; without the node itself.
    pub fn iter(self) -> impl Iterator<Item = (NodeIx, PairStat)> + 'a {
        let own = self.ix;
        self.cells().filter(move |&(to, _)| to != own).filter_map(|(to, cell)| Some((to, cell.stat()?)))
    }

    /// Nodes whose RTT is known, not older than `max_age`, admissible, and at most `bound`; by rising index, the node itself among them.
    pub fn within(self, bound: Micros, statistic: Statistic, now: Timestamp, max_age: Span) -> impl Iterator<Item = (NodeIx, Micros)> + 'a {
        let test = Test::new(bound, statistic, now, max_age);
        self.cells().filter(move |&(_, cell)| test.admits(cell)).filter_map(move |(to, cell)| Some((to, test.code(cell).decode()?)))
    }

    /// For each of these nodes, by rising index, that [`within`](Row::within) an endless bound yields: its place among them, and its RTT.
    pub fn of_each(self, nodes: &[u32], statistic: Statistic, now: Timestamp, max_age: Span, mut each: impl FnMut(usize, Micros)) {
        let test = Test::new(Micros::MAX, statistic, now, max_age);
        let mut take = |place: usize, cell: Cell| {
            if let Some(rtt) = test.code(cell).decode().filter(|_| test.admits(cell)) {
                each(place, rtt);
            }
        };
        match self.data {
            // Both are sorted: one walk.
            Some(RowData { cells: Cells::Sparse(cells), .. }) => {
                let mut place = 0;
                for &(to, cell) in cells {
                    while nodes.get(place).is_some_and(|&node| node < to) {
                        place += 1;
                    }
                    match nodes.get(place) {
                        Some(&node) if node == to => take(place, cell),
                        Some(_) => {}
                        None => return,
                    }
                }
            }
            data => {
                for (place, &node) in nodes.iter().enumerate() {
                    let itself = (node == self.ix.0).then_some(Cell::ITSELF);
                    if let Some(cell) = data.map_or(itself, |data| data.get(NodeIx(node))) {
                        take(place, cell);
                    }
                }
            }
        }
    }

    /// Sets the bits of the nodes that [`within`](Row::within) yields and clears none; nodes beyond the set's length are left out.
    pub fn fill_within(self, set: &mut FixedBitSet, bound: Micros, statistic: Statistic, now: Timestamp, max_age: Span) {
        let test = Test::new(bound, statistic, now, max_age);
        const BITS: usize = usize::BITS as usize;
        let len = set.len();
        let chunks = match self.data {
            Some(RowData { cells: Cells::Dense(chunks), .. }) => chunks,
            Some(RowData { cells: Cells::Sparse(cells), .. }) => {
                return cells
                    .iter()
                    .filter(|(to, cell)| (*to as usize) < len && test.admits(*cell))
                    .for_each(|(to, _)| set.insert(*to as usize));
            }
            None => {
                return if self.ix.at() < len {
                    set.insert(self.ix.at())
                };
            }
        };
        let words = set.as_mut_slice();
        for (number, chunk) in chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            let codes = match statistic {
                Statistic::P50 => &chunk.p50,
                Statistic::P90 => &chunk.p90,
            };
            for (offset, word) in words.iter_mut().skip(number * CHUNK / BITS).take(CHUNK / BITS).enumerate() {
                let from = offset * BITS;
                let mut bits = 0usize;
                for i in 0..BITS {
                    let fits = codes[from + i] <= test.limit.0;
                    let fresh = chunk.at[from + i] >= test.oldest;
                    let admissible = chunk.tag[from + i] & INADMISSIBLE == 0;
                    bits |= usize::from(fits & fresh & admissible) << i;
                }
                let beyond = (number * CHUNK + from + BITS).saturating_sub(len);
                *word |= if beyond == 0 { bits } else { bits & (usize::MAX >> beyond.min(BITS - 1)) };
            }
        }
    }

    fn cells(self) -> impl Iterator<Item = (NodeIx, Cell)> + 'a {
        let itself = self.data.is_none().then_some((self.ix, Cell::ITSELF));
        self.data.into_iter().flat_map(RowData::iter).chain(itself)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_keeps_kind_and_loss_and_its_bit_agrees_with_admits() {
        for kind in KINDS {
            let tag = Tag::new(1000, kind).reported(true, false);
            assert_eq!((tag.kind(), tag.loss_permille(), tag.by_own(), tag.by_other()), (kind, 1000, true, false));
            assert_eq!(tag.0 & INADMISSIBLE == 0, kind.admits(), "{kind:?}");
        }
    }
}
