//! Delay bound: the RTT between the node and each reference is measured, not older than `maxAge`, and at most the bound, which is inclusive
//! (unresolvable: evicting pods does not shorten a path). Of several replicas one must be within it, or with `replicas: all` every one.

use crate::cluster::{NodeIx, Snapshot};
use crate::constraint::{BoundVerdict, Missing, ReplicaRule, ResolvedBound};
use crate::plan::Reason;
use crate::units::{Micros, Timestamp};
use fixedbitset::FixedBitSet;

/// The first bound that the node does not meet.
pub fn check(snapshot: &Snapshot, bounds: &[ResolvedBound<'_>], ix: NodeIx, now: Timestamp) -> Option<Reason> {
    bounds.iter().find_map(|resolved| {
        let from = || resolved.bound.from.to_string();
        let via = |target: NodeIx| resolved.via.then(|| snapshot.name(target).to_owned());
        match resolved.judge(snapshot.rtt(), ix, now, snapshot.settings().max_age) {
            BoundVerdict::Met(_) => None,
            BoundVerdict::Above { rtt, target } => {
                Some(Reason::RttAbove { from: from(), via: via(target), rtt, bound: resolved.bound.max })
            }
            BoundVerdict::Unmeasured { target } => Some(Reason::RttUnmeasured { from: from(), via: via(target) }),
        }
    })
}

/// Takes the nodes that do not meet the bound out of `mask`. `one` and `all` are scratch of the mask's length.
pub fn restrict(
    snapshot: &Snapshot,
    resolved: &ResolvedBound<'_>,
    now: Timestamp,
    mask: &mut FixedBitSet,
    one: &mut FixedBitSet,
    all: &mut FixedBitSet,
) {
    let (bound, max_age) = (resolved.bound, snapshot.settings().max_age);
    all.clear();
    for &target in &resolved.targets {
        let row = snapshot.rtt().row(target);
        one.clear();
        if bound.missing == Missing::Allow {
            // What is unmeasured: all but what is within an endless bound.
            row.fill_within(one, Micros::MAX, bound.statistic, now, max_age);
            one.toggle_range(..);
        }
        row.fill_within(one, bound.max, bound.statistic, now, max_age);
        match bound.replicas {
            ReplicaRule::Any => all.union_with(one),
            ReplicaRule::All => mask.intersect_with(one),
        }
    }
    if bound.replicas == ReplicaRule::Any {
        mask.intersect_with(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, Node, Settings};
    use crate::constraint::{DelayBound, DelaySource, Reference, Statistic};
    use crate::topology::{Kind, PairStat};

    /// Nodes n0 to n5. From n0: n1 at 5 ms, n2 at 30 ms, n3 stale at 1 ms, n4 estimated at 1 ms, n5 unmeasured. From n1: n2 at 5 ms.
    fn world() -> Cluster {
        let mut cluster = Cluster::new(Settings::default());
        for i in 0..6 {
            cluster.apply_node(Node { name: format!("n{i}"), ..Node::default() });
        }
        let now = Timestamp(10_000_000);
        let mut rtt = |a: &str, b: &str, us, at, kind| cluster.report_rtt(a, b, PairStat { kind, ..PairStat::declared(Micros(us), at) });
        rtt("n0", "n1", 5_000, now, Kind::Measured);
        rtt("n2", "n0", 30_000, now, Kind::Declared);
        rtt("n0", "n3", 1_000, Timestamp(now.0 - 900_001), Kind::Measured);
        rtt("n0", "n4", 1_000, now, Kind::Estimated);
        rtt("n1", "n2", 5_000, now, Kind::Measured);
        cluster
    }

    fn check(targets: &[u32], max_us: u32, replicas: ReplicaRule, missing: Missing, expected: &[u32]) {
        let cluster = world();
        let (view, now) = (cluster.view(), Timestamp(10_000_000));
        let bound = DelayBound {
            from: Reference::Name("api".into()),
            max: Micros(max_us),
            statistic: Statistic::P90,
            replicas,
            missing,
            source: DelaySource::Annotation,
        };
        let targets = targets.iter().map(|t| view.index(&format!("n{t}")).unwrap()).collect();
        let resolved = ResolvedBound { bound: &bound, targets, via: true };
        let ix = |i: u32| view.index(&format!("n{i}")).unwrap();
        let by_check: Vec<u32> = (0..6).filter(|&i| super::check(view, std::slice::from_ref(&resolved), ix(i), now).is_none()).collect();
        assert_eq!(by_check, expected, "check");
        let empty = || FixedBitSet::with_capacity(view.index_len());
        let (mut mask, mut one, mut all) = (empty(), empty(), empty());
        mask.insert_range(..);
        restrict(view, &resolved, now, &mut mask, &mut one, &mut all);
        let by_mask: Vec<u32> = (0..6).filter(|&i| mask.contains(ix(i).at())).collect();
        assert_eq!(by_mask, expected, "columns");
    }

    #[test]
    fn only_a_fresh_measurement_within_the_bound_admits() {
        check(&[0], 5_000, ReplicaRule::Any, Missing::Deny, &[0, 1]);
        check(&[0], 4_999, ReplicaRule::Any, Missing::Deny, &[0]);
        check(&[0], 30_000, ReplicaRule::Any, Missing::Deny, &[0, 1, 2]);
        check(&[0], 5_000, ReplicaRule::Any, Missing::Allow, &[0, 1, 3, 4, 5]);
    }

    #[test]
    fn of_several_replicas_one_or_every_one() {
        check(&[0, 1], 5_000, ReplicaRule::Any, Missing::Deny, &[0, 1, 2]);
        check(&[0, 1], 5_000, ReplicaRule::All, Missing::Deny, &[0, 1]);
        check(&[0, 1], 30_000, ReplicaRule::All, Missing::Deny, &[0, 1, 2]);
        check(&[0, 1], 5_000, ReplicaRule::All, Missing::Allow, &[0, 1, 3, 4, 5]);
        check(&[0, 1], 5_000, ReplicaRule::Any, Missing::Allow, &[0, 1, 2, 3, 4, 5]);
    }
}
