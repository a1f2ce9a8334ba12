//! Watches the bounds of pods that run. A bound that no longer holds, because the path has become longer or the reference has moved, is told as an event on
//! the pod and counted. Nothing is moved for it.
//!
//! What stands for less than [`HOLD`] is not told, in either direction: an RTT that wavers about the bound would fill the pod's events. An unmeasured
//! pair says nothing new. Only the leader tells, and it begins anew with its term: what is violated then is told again, and what was restored while
//! nobody led is not told.

use crate::metrics::Metrics;
use crate::state::{Shared, now};
use crate::tell::Teller;
use chassis::lease::Leadership;
use chassis::shutdown::Shutdown;
use placement::cluster::{NodeIx, Pod, PodKey, PodPhase, Snapshot};
use placement::constraint::{Referrer, resolve};
use placement::filter::delay_bound;
use placement::plan::Reason;
use placement::units::{Span, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a verdict has to stand before it is told.
const HOLD: Span = Span(5_000);
/// Time between two looks; each reads a snapshot, a few microseconds a pod with bounds.
const INTERVAL: Duration = Duration::from_secs(1);

/// What users are to be told of one pod.
#[derive(Clone, Debug, PartialEq)]
pub enum BoundNews {
    Violated { pod: Arc<Pod>, note: String },
    Restored { pod: Arc<Pod>, note: String },
}

/// What was told of a pod, and since when it has been otherwise.
struct Standing {
    uid: String,
    violated: bool,
    otherwise_since: Option<Timestamp>,
}

/// Every pod of ours that runs within bounds. Pure: time is a parameter.
#[derive(Default)]
pub struct BoundWatch {
    standing: HashMap<PodKey, Standing>,
}

impl BoundWatch {
    /// Judges every pod where it is.
    pub fn look(&mut self, snapshot: &Snapshot, now: Timestamp) -> Vec<BoundNews> {
        let mut old = std::mem::take(&mut self.standing);
        let mut news = Vec::new();
        for view in snapshot.pods() {
            let (Some(node), pod) = (view.node, view.pod) else { continue };
            let bounded = snapshot.settings().profiles.serve(&pod.scheduler_name) && !pod.delays.is_empty();
            if !bounded || view.assumed || pod.terminating || pod.phase == PodPhase::Ended {
                continue;
            }
            let fresh = || Standing { uid: pod.uid.clone(), violated: false, otherwise_since: None };
            let mut standing = old.remove(&pod.key).filter(|standing| standing.uid == pod.uid).unwrap_or_else(fresh);
            match judge(snapshot, pod, node, now) {
                Verdict::Unknown => {}
                verdict if matches!(verdict, Verdict::Outside(_)) == standing.violated => standing.otherwise_since = None,
                verdict => {
                    let since = *standing.otherwise_since.get_or_insert(now);
                    if now.since(since) >= HOLD {
                        standing = Standing { violated: !standing.violated, ..fresh() };
                        news.push(tell(pod, snapshot.name(node), verdict));
                    }
                }
            }
            self.standing.insert(pod.key.clone(), standing);
        }
        news
    }

    /// Pods that were told to be outside their bounds and still are.
    pub fn violated(&self) -> usize {
        self.standing.values().filter(|standing| standing.violated).count()
    }
}

fn tell(pod: &Arc<Pod>, node: &str, verdict: Verdict) -> BoundNews {
    match verdict {
        Verdict::Outside(reason) => {
            BoundNews::Violated { pod: pod.clone(), note: format!("a delay bound no longer holds on {node}: {}", reason.detail()) }
        }
        Verdict::Inside | Verdict::Unknown => {
            BoundNews::Restored { pod: pod.clone(), note: format!("every delay bound holds again on {node}") }
        }
    }
}

enum Verdict {
    Inside,
    Outside(Reason),
    /// A reference stands nowhere, or a pair is not measured: not proof of anything.
    Unknown,
}

fn judge(snapshot: &Snapshot, pod: &Pod, node: NodeIx, now: Timestamp) -> Verdict {
    let referrer = Referrer { pod: &pod.key, owner: pod.owner.as_ref(), group: &[] };
    let Ok(bounds) = resolve(&pod.delays, &pod.key.namespace, referrer, snapshot) else { return Verdict::Unknown };
    // One by one: a bound that can't be judged must not hide one that is broken.
    let reasons: Vec<Reason> =
        bounds.iter().filter_map(|bound| delay_bound::check(snapshot, std::slice::from_ref(bound), node, now)).collect();
    let unmeasured = !reasons.is_empty();
    match reasons.into_iter().find(|reason| matches!(reason, Reason::RttAbove { .. })) {
        Some(above) => Verdict::Outside(above),
        None if unmeasured => Verdict::Unknown,
        None => Verdict::Inside,
    }
}

/// Looks again and again while we lead, until shutdown.
pub async fn watch(shared: Arc<Shared>, teller: Arc<Teller>, metrics: Metrics, leadership: Leadership, shutdown: Shutdown) {
    let mut bounds = BoundWatch::default();
    while shutdown.sleep(INTERVAL).await {
        if leadership.is_leader() {
            let snapshot = shared.lock().cluster.snapshot();
            bounds.look(&snapshot, now()).iter().for_each(|news| teller.bound(news));
        } else {
            bounds = BoundWatch::default();
        }
        metrics.bounds_violated(bounds.violated());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::cluster::{Cluster, Node, Profile, Settings};
    use placement::constraint::{DelayBound, DelaySource, Missing, Reference, ReplicaRule, Statistic};
    use placement::topology::PairStat;
    use placement::units::Micros;

    const SECOND: u64 = 1000;

    /// Nodes `near` and `far`, and a pod on `far` that must be within 10 ms of `near`.
    fn cluster(uid: &str, scheduler_name: &str) -> Cluster {
        let profiles = Profile::new("edge").into();
        let mut cluster = Cluster::new(Settings { profiles, ..Settings::default() });
        for name in ["near", "far"] {
            cluster.apply_node(Node { name: name.into(), ..Node::default() });
        }
        let bound = DelayBound {
            from: Reference::Name("near".into()),
            max: Micros(10_000),
            statistic: Statistic::P90,
            replicas: ReplicaRule::Any,
            missing: Missing::Deny,
            source: DelaySource::Label,
        };
        cluster.apply_pod(Pod {
            key: PodKey::new("default", "app"),
            uid: uid.into(),
            scheduler_name: scheduler_name.into(),
            node_name: Some("far".into()),
            phase: PodPhase::Running,
            delays: vec![bound],
            ..Pod::default()
        });
        cluster
    }

    fn measure(cluster: &mut Cluster, ms: u32, at: Timestamp) {
        cluster.report_rtt("near", "far", PairStat::declared(Micros(ms * 1000), at));
    }

    /// What is told when the RTT is `ms[i]` at second i.
    fn check(ms: &[u32], expected: &[(u64, &str)]) {
        let mut cluster = cluster("u", "edge");
        let mut watch = BoundWatch::default();
        let mut told = Vec::new();
        for (second, ms) in ms.iter().enumerate() {
            let now = Timestamp(second as u64 * SECOND + 1);
            measure(&mut cluster, *ms, now);
            for news in watch.look(&cluster.snapshot(), now) {
                let (BoundNews::Violated { note, .. } | BoundNews::Restored { note, .. }) = news;
                told.push((second as u64, note));
            }
        }
        let told: Vec<(u64, &str)> = told.iter().map(|(second, note)| (*second, note.as_str())).collect();
        assert_eq!(told, expected, "{ms:?}");
    }

    #[test]
    fn what_stands_is_told_once_in_each_direction_and_what_passes_is_not() {
        let violated = "a delay bound no longer holds on far: 40 ms from near, bound 10 ms";
        let restored = "every delay bound holds again on far";
        check(&[5; 20], &[]);
        check(&[5, 40, 40, 40, 40, 40, 5, 5, 40, 40, 5], &[]);
        check(&[5, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40], &[(6, violated)]);
        check(&[40, 40, 40, 40, 40, 40, 5, 5, 40, 5, 5, 5, 5, 5, 5, 5], &[(5, violated), (14, restored)]);
    }

    #[test]
    fn a_pair_that_is_not_measured_any_more_changes_nothing() {
        let (mut cluster, mut watch) = (cluster("u", "edge"), BoundWatch::default());
        assert!(watch.look(&cluster.snapshot(), Timestamp(SECOND)).is_empty());
        measure(&mut cluster, 40, Timestamp(SECOND));
        watch.look(&cluster.snapshot(), Timestamp(SECOND));
        assert_eq!(watch.look(&cluster.snapshot(), Timestamp(7 * SECOND)).len(), 1);
        let old = Timestamp(3_600 * SECOND);
        for later in 0..10 {
            assert!(watch.look(&cluster.snapshot(), Timestamp(old.0 + later * SECOND)).is_empty());
        }
        assert_eq!(watch.violated(), 1);
    }

    #[test]
    fn pods_of_others_and_pods_that_are_gone_do_not_count() {
        let (mut other, mut watch) = (cluster("u", "default-scheduler"), BoundWatch::default());
        measure(&mut other, 40, Timestamp(SECOND));
        for second in 1..10 {
            assert!(watch.look(&other.snapshot(), Timestamp(second * SECOND)).is_empty());
        }
        let mut ours = cluster("u", "edge");
        measure(&mut ours, 40, Timestamp(SECOND));
        watch.look(&ours.snapshot(), Timestamp(SECOND));
        assert_eq!(watch.look(&ours.snapshot(), Timestamp(6 * SECOND)).len(), 1);
        // A pod of the same name is another one.
        let mut successor = cluster("v", "edge");
        measure(&mut successor, 40, Timestamp(7 * SECOND));
        assert!(watch.look(&successor.snapshot(), Timestamp(7 * SECOND)).is_empty());
        assert_eq!(watch.violated(), 0);
    }
}
