//! One load balancer's endpoints as the clients of one site see them: everything about a site that no request changes.

use super::{Endpoints, Exclusion};
use crate::cluster::NodeIx;
use crate::constraint::Statistic;
use crate::topology::RttStore;
use crate::units::{Micros, Span, Timestamp};

/// RTT between a client site and an endpoint's node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRtt {
    /// What ranks.
    pub p50: Micros,
    /// What a bound is held against.
    pub p90: Micros,
}

/// Parallel to the columns of [`Endpoints`].
#[derive(Clone, Debug, PartialEq)]
pub struct SiteColumn {
    /// RTT for ranking. An unmeasured path, where no bound forbids it, ranks with the longest measured one.
    pub rtt: Vec<Micros>,
    /// Why the endpoint takes nothing from this site, live counts aside.
    pub excluded: Vec<Option<Exclusion>>,
}

impl SiteColumn {
    /// `path`: the measured RTT to an endpoint, `None` when unmeasured or too old. `bound`: the largest RTT allowed to it, the lesser of the load balancer's
    /// SLA and the pod's own bound from this site; inclusive.
    pub fn new(endpoints: &Endpoints, path: impl Fn(usize) -> Option<PathRtt>, bound: impl Fn(usize) -> Option<Micros>) -> SiteColumn {
        let paths: Vec<Option<PathRtt>> = (0..endpoints.len()).map(path).collect();
        let longest = paths.iter().flatten().map(|path| path.p50).max().unwrap_or_default();
        let excluded = paths.iter().enumerate().map(|(at, path)| {
            endpoints.barred[at].or_else(|| match (path, bound(at)) {
                (Some(path), Some(bound)) if path.p90 > bound => Some(Exclusion::RttAbove { rtt: path.p90, bound }),
                (None, Some(bound)) => Some(Exclusion::RttUnmeasured { bound }),
                _ => None,
            })
        });
        SiteColumn { excluded: excluded.collect(), rtt: paths.iter().map(|path| path.map_or(longest, |path| path.p50)).collect() }
    }

    /// The same out of the RTT store, for clients that enter at node `site`.
    pub fn from_store(
        endpoints: &Endpoints,
        site: NodeIx,
        bound: impl Fn(usize) -> Option<Micros>,
        rtts: &RttStore,
        now: Timestamp,
        max_age: Span,
    ) -> SiteColumn {
        let row = rtts.row(site);
        let path = |at: usize| {
            let stat = row.get(endpoints.nodes[at])?;
            stat.admissible(Statistic::P90, now, max_age).map(|p90| PathRtt { p50: stat.p50, p90 })
        };
        SiteColumn::new(endpoints, path, bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Endpoint;
    use crate::topology::{Kind, PairStat};

    #[test]
    fn the_p90_is_held_against_the_bound_and_the_p50_ranks() {
        let endpoints: Endpoints = (0..4).map(|node| Endpoint { node: NodeIx(node), ..Endpoint::default() }).collect();
        let mut rtts = RttStore::new(Span(1000));
        let stat = |p50, p90| PairStat { p50: Micros(p50), kind: Kind::Measured, ..PairStat::declared(Micros(p90), Timestamp(5)) };
        rtts.set(NodeIx(0), NodeIx(1), stat(4_000, 10_000));
        rtts.set(NodeIx(2), NodeIx(0), stat(5_000, 10_001));
        let column = |now, bound| SiteColumn::from_store(&endpoints, NodeIx(0), |_| bound, &rtts, Timestamp(now), Span(1000));
        let bound = Micros(10_000);
        let bounded = column(5, Some(bound));
        assert_eq!(bounded.rtt, [0, 4_000, 5_000, 5_000].map(Micros));
        let above = Exclusion::RttAbove { rtt: Micros(10_001), bound };
        let unmeasured = Exclusion::RttUnmeasured { bound };
        assert_eq!(bounded.excluded, [None, None, Some(above), Some(unmeasured)]);
        assert_eq!(column(1_006, Some(bound)).excluded, [None, Some(unmeasured), Some(unmeasured), Some(unmeasured)], "expired");
        assert_eq!(column(5, None).excluded, [None; 4], "without a bound an unmeasured path is only ranked");
    }
}
