use super::super::code::RttCode;
use super::*;
use fixedbitset::FixedBitSet;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MAX_AGE: Span = Span(900_000);
const P90: Statistic = Statistic::P90;

fn n(ix: u32) -> NodeIx {
    NodeIx(ix)
}

fn stat(p50: u32, p90: u32, at: u64) -> PairStat {
    PairStat { p50: Micros(p50), p90: Micros(p90), loss_permille: 0, samples: 20, at: Timestamp(at), kind: Kind::Measured }
}

fn within(store: &RttStore, a: u32, bound_us: u32, now: u64) -> Vec<(u32, u32)> {
    store.row(n(a)).within(Micros(bound_us), P90, Timestamp(now), MAX_AGE).map(|(b, rtt)| (b.0, rtt.0)).collect()
}

#[test]
fn the_larger_direction_counts_for_both_ends() {
    let mut store = RttStore::new(MAX_AGE);
    store.set(n(0), n(1), stat(10_000, 12_000, 5));
    let change = store.set(n(1), n(0), stat(11_000, 11_500, 9));
    assert_eq!(change.before, Some(stat(10_000, 12_000, 5)));
    assert_eq!(change.after, Some(stat(11_000, 12_000, 9)));
    assert_eq!(store.get(n(0), n(1)), store.get(n(1), n(0)));
    assert_eq!((store.reported(n(0), n(1)), store.reported(n(1), n(0))), (Some(stat(10_000, 12_000, 5)), Some(stat(11_000, 11_500, 9))));
}

#[test]
fn a_stale_direction_does_not_mask_a_fresh_one() {
    let mut store = RttStore::new(MAX_AGE);
    store.set(n(0), n(1), stat(90_000, 90_000, 0));
    assert_eq!(store.set(n(1), n(0), stat(20_000, 20_000, 900_000)).after.unwrap().p90, Micros(90_000));
    assert_eq!(store.set(n(1), n(0), stat(20_000, 20_000, 900_001)).after, Some(stat(20_000, 20_000, 900_001)));
    store.set(n(1), n(0), stat(20_000, 20_000, 900_000));
    assert_eq!(store.remove(n(0), n(1)).after, Some(stat(20_000, 20_000, 900_000)), "taken back");
}

#[test]
fn an_estimate_neither_admits_nor_masks() {
    let mut store = RttStore::new(MAX_AGE);
    let estimate = PairStat { kind: Kind::Estimated, ..stat(1_000, 1_000, 0) };
    store.set(n(0), n(1), estimate);
    assert_eq!(within(&store, 0, 5_000, 0), [(0, 0)]);
    assert_eq!(store.set(n(1), n(0), stat(3_000, 3_000, 0)).after, Some(stat(3_000, 3_000, 0)));
    assert_eq!(within(&store, 0, 5_000, 0), [(0, 0), (1, 3_000)]);
}

#[test]
fn a_node_to_itself_is_zero_and_a_small_rtt_is_not_missing() {
    let mut store = RttStore::new(MAX_AGE);
    assert_eq!(store.get(n(7), n(7)).unwrap().p90, Micros(0));
    assert_eq!(within(&store, 7, 0, u64::MAX), [(7, 0)]);
    store.set(n(7), n(7), stat(5_000, 5_000, 0));
    store.set(n(7), n(8), stat(40, 40, 0));
    assert_eq!(store.get(n(7), n(7)).unwrap().p90, Micros(0));
    assert_eq!(store.get(n(8), n(7)).unwrap().p90, Micros(40));
    assert_eq!(within(&store, 7, 39, 0), [(7, 0)]);
    assert_eq!(within(&store, 7, 40, 0), [(7, 0), (8, 40)]);
}

#[test]
fn the_bound_is_inclusive_and_what_is_too_old_is_unmeasured() {
    let mut store = RttStore::new(MAX_AGE);
    store.set(n(0), n(1), stat(25_000, 25_000, 1_000));
    assert_eq!(within(&store, 0, 25_000, 901_000), [(0, 0), (1, 25_000)]);
    assert_eq!(within(&store, 0, 25_000, 901_001), [(0, 0)]);
    assert_eq!(within(&store, 0, 24_999, 1_000), [(0, 0)]);
}

#[test]
fn a_snapshot_does_not_see_what_comes_after() {
    let mut store = RttStore::new(MAX_AGE);
    store.set(n(0), n(300), stat(1_000, 1_000, 0));
    let snapshot = store.clone();
    store.set(n(0), n(300), stat(2_000, 2_000, 1));
    store.remove_row(n(0));
    assert_eq!(snapshot.get(n(300), n(0)), Some(stat(1_000, 1_000, 0)));
    assert_eq!((store.get(n(300), n(0)), store.get(n(0), n(0)).unwrap().p50), (None, Micros(0)));
}

#[test]
fn a_change_wakes_only_bounds_that_it_crosses() {
    let mut store = RttStore::new(MAX_AGE);
    store.set(n(0), n(1), stat(10_000, 30_000, 0));
    let change = store.set(n(0), n(1), stat(10_000, 20_000, 1));
    let crosses = |bound, statistic| change.crosses(Micros(bound), statistic);
    assert_eq!((crosses(25_000, P90), crosses(20_000, P90), crosses(19_999, P90), crosses(30_000, P90)), (true, true, false, false));
    assert!(!crosses(25_000, Statistic::P50));
    assert!(store.remove_row(n(1)) == [(n(0), stat(10_000, 20_000, 1))]);
}

#[derive(Clone, Debug)]
enum Op {
    Set(u32, u32, PairStat),
    Remove(u32, u32),
    RemoveRow(u32),
}

fn op(nodes: u32) -> impl Strategy<Value = Op> {
    let kind = prop::sample::select(vec![Kind::Measured, Kind::Measured, Kind::Declared, Kind::Estimated, Kind::DetourBound]);
    let stat = (0..70_000_000u32, 0..2_000_000u32, 0..=1000u16, 0..2_000_000u64, kind).prop_map(|(p50, spread, loss, at, kind)| PairStat {
        p50: Micros(p50 / 1000),
        p90: Micros(p50 / 1000 + spread),
        loss_permille: loss,
        samples: 7,
        at: Timestamp(at),
        kind,
    });
    prop_oneof![
        8 => (0..nodes, 0..nodes, stat).prop_map(|(a, b, stat)| Op::Set(a, b, stat)),
        1 => (0..nodes, 0..nodes).prop_map(|(a, b)| Op::Remove(a, b)),
        1 => (0..nodes).prop_map(Op::RemoveRow),
    ]
}

fn rounded(rtt: Micros) -> Micros {
    RttCode::ceil(rtt).decode().unwrap()
}

/// The rule in plain words, over a map of directed reports.
fn naive(reports: &BTreeMap<(u32, u32), PairStat>, a: u32, b: u32) -> Option<PairStat> {
    let mut sides: Vec<PairStat> = [(a, b), (b, a)].iter().filter_map(|key| reports.get(key).copied()).collect();
    if sides.iter().any(|s| s.kind.admits()) {
        sides.retain(|s| s.kind.admits());
    }
    let newest = sides.iter().map(|s| s.at).max()?;
    sides.retain(|s| newest.since(s.at) <= MAX_AGE);
    Some(PairStat {
        p50: rounded(sides.iter().map(|s| s.p50).max()?),
        p90: rounded(sides.iter().map(|s| s.p90).max()?),
        loss_permille: sides.iter().map(|s| s.loss_permille).max()?,
        samples: 7,
        at: newest,
        kind: Kind::Measured,
    })
}

proptest! {
    #[test]
    fn the_store_agrees_with_a_plain_map(ops in prop::collection::vec(op(9), 1..120), dense_nodes in prop::sample::select(vec![0u32, 5, 4096]),
                                         bound in 0..80_000u32, now in 0..4_000_000u64) {
        let mut store = RttStore::with_dense_nodes(MAX_AGE, dense_nodes);
        let mut reports = BTreeMap::new();
        // Spread over chunks, so that chunk borders are crossed.
        let ix = |i: u32| n(i * 97);
        for op in ops {
            match op {
                Op::Set(a, b, stat) => {
                    store.set(ix(a), ix(b), stat);
                    if a != b {
                        reports.insert((a, b), stat);
                    }
                }
                Op::Remove(a, b) => {
                    store.remove(ix(a), ix(b));
                    reports.remove(&(a, b));
                }
                Op::RemoveRow(a) => {
                    store.remove_row(ix(a));
                    reports.retain(|key, _| key.0 != a && key.1 != a);
                }
            }
        }
        let (bound, now) = (Micros(bound), Timestamp(now));
        for a in 0..9 {
            let mut expected = Vec::new();
            for b in 0..9 {
                let got = store.get(ix(a), ix(b)).map(|stat| PairStat { kind: Kind::Measured, ..stat });
                if a == b {
                    prop_assert_eq!(got.unwrap().p90, Micros(0));
                    expected.push((ix(b), Micros(0)));
                    continue;
                }
                prop_assert_eq!(got, naive(&reports, a, b), "pair {} {}", a, b);
                prop_assert_eq!(store.reported(ix(a), ix(b)).map(|s| s.at), reports.get(&(a, b)).map(|s| s.at));
                if let Some(rtt) = store.get(ix(a), ix(b)).and_then(|stat| stat.admissible(P90, now, MAX_AGE)).filter(|&rtt| rtt <= bound) {
                    expected.push((ix(b), rtt));
                    // Never above the bound, whatever was rounded: the true figures of fresh admissible reports are within.
                    let both: Vec<&PairStat> = [(a, b), (b, a)].iter().filter_map(|key| reports.get(key)).collect();
                    if both.iter().all(|s| s.at <= now) {
                        prop_assert!(both.iter().filter(|s| s.kind.admits() && now.since(s.at) <= MAX_AGE).all(|s| s.p90 <= bound));
                    }
                }
            }
            let row = store.row(ix(a));
            let got: Vec<_> = row.within(bound, P90, now, MAX_AGE).collect();
            prop_assert_eq!(&got, &expected);
            for len in [0, 50, 64, 300, 777, 2000] {
                let mut set = FixedBitSet::with_capacity(len);
                row.fill_within(&mut set, bound, P90, now, MAX_AGE);
                let bits: Vec<usize> = expected.iter().map(|(b, _)| b.at()).filter(|&b| b < len).collect();
                prop_assert_eq!(set.ones().collect::<Vec<_>>(), bits, "set of {}", len);
            }
            let asked: Vec<u32> = (0..1000).filter(|to| to % 3 != 1).collect();
            let mut told = Vec::new();
            row.of_each(&asked, P90, now, MAX_AGE, |place, rtt| told.push((NodeIx(asked[place]), rtt)));
            let known = row.within(Micros::MAX, P90, now, MAX_AGE).filter(|(to, _)| asked.contains(&to.0));
            prop_assert_eq!(told, known.collect::<Vec<_>>());
        }
    }
}
