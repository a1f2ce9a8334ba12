//! Advice to another scheduler, which filters and scores by all that it knows itself: what delay bounds alone say of its nodes.

use super::planner::bounds;
use super::rank::Query;
use super::{Hold, Planner, Reason, Warmth};
use crate::cluster::{NodeIx, Pod, Snapshot};
use crate::constraint::{Missing, ResolvedBound};
use crate::filter::delay_bound;
use crate::score::band;
use crate::units::Timestamp;

/// What is said of one node.
#[derive(Clone, Debug, PartialEq)]
pub enum Advice {
    /// Within every bound; the score is 0 to [`band::BEST`].
    Within {
        score: i64,
    },
    Outside(Reason),
}

impl Planner {
    /// One piece of advice for each of `nodes`, in their order. `None`: the pod has no delay bound, and all is well. A node that is not known here is
    /// unmeasured.
    pub fn advise(
        &mut self,
        snapshot: &Snapshot,
        pod: &Pod,
        nodes: &[&str],
        now: Timestamp,
        warm: Warmth,
    ) -> Result<Option<Vec<Advice>>, Hold> {
        if !pod.delay_errors.is_empty() {
            return Err(Hold::DelayInvalid(pod.delay_errors.clone()));
        }
        let Some(bounds) = bounds(snapshot, pod, warm, &[])?.filter(|bounds| !bounds.is_empty()) else { return Ok(None) };
        let known = nodes.iter().map(|name| snapshot.node_index(name));
        let outside = known.map(|ix| match ix {
            Some(ix) => (Some(ix), delay_bound::check(snapshot, &bounds, ix, now)),
            None => (None, unknown(&bounds)),
        });
        let judged: Vec<(Option<NodeIx>, Option<Reason>)> = outside.collect();
        let query = Query::new(&mut self.columns, snapshot, pod, Some(&bounds), now);
        self.scratch.candidates.clear();
        let within = judged.iter().filter(|(_, reason)| reason.is_none()).filter_map(|(ix, _)| *ix);
        self.scratch.candidates.extend(within.map(|ix| ix.0));
        self.scratch.rank(&self.columns, &query, &mut self.stopwatch);
        let limit = self.scratch.limit(&query);
        let mut costs = self.scratch.costs.iter();
        let advice = judged.into_iter().map(|(ix, reason)| match reason {
            Some(reason) => Advice::Outside(reason),
            None => {
                let cost = ix.and_then(|_| costs.next()).copied().unwrap_or(f64::INFINITY);
                Advice::Within { score: band::score(cost, limit) }
            }
        });
        Ok(Some(advice.collect()))
    }
}

/// A node of which nothing is known is out of every bound that wants a measurement.
fn unknown(bounds: &[ResolvedBound<'_>]) -> Option<Reason> {
    let wants = bounds.iter().find(|resolved| resolved.bound.missing == Missing::Deny)?;
    Some(Reason::RttUnmeasured { from: wants.bound.from.to_string(), via: None })
}
