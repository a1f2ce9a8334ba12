//! What goes wrong, each time halfway through binding a batch of pods, and the judgement after it.

use super::cluster::{Cluster, now};
use super::judge::{Verdict, judge};
use super::replica::Replica;
use edge_demo::random::Random;
use edge_tests::control_plane::Component;
use edge_tests::fault_proxy::{Delays, Rates};
use rustix::process::Signal;
use std::time::Duration;

/// Pods of a batch; the fault comes when half of them are bound.
pub const PODS: usize = 120;
/// Made when a new leader has begun and the old one, still stopped, is about to wake.
const LATE_PODS: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    LeaderKilled,
    /// Stopped until another leads, then continued.
    LeaderPaused,
    LeaderTerminated,
    ApiServerKilled,
    WatchesCut,
    EtcdPaused,
    /// 409, 429, 500 and 503.
    Refusals,
    /// Requests that arrive late, answers that come late.
    SlowAnswers,
    /// Requests that were done and answered 504, or not at all.
    LostAnswers,
}

pub const FAULTS: [Fault; 9] = [
    Fault::LeaderKilled,
    Fault::LeaderPaused,
    Fault::LeaderTerminated,
    Fault::ApiServerKilled,
    Fault::WatchesCut,
    Fault::EtcdPaused,
    Fault::Refusals,
    Fault::SlowAnswers,
    Fault::LostAnswers,
];

/// The faults in the order of a seed.
pub fn shuffled(random: &mut Random) -> Vec<Fault> {
    let mut left = FAULTS.to_vec();
    let mut order = Vec::new();
    while !left.is_empty() {
        order.push(left.swap_remove(random.below(left.len() as u64) as usize));
    }
    order
}

/// Plays one fault and judges what came of it.
pub async fn play(cluster: &Cluster, replicas: &mut [Replica], fault: Fault, batch: &str, random: &mut Random) -> Verdict {
    let since = now();
    cluster.create(batch, PODS, random).await;
    let halfway = cluster.bound(PODS / 2).await;
    inject(cluster, replicas, fault, batch, random).await;
    let settled = cluster.settled(replicas).await;
    cluster.proxy.plan().set(Rates::default(), Delays::default());
    let mut verdict = judge(&cluster.log(), &cluster.found().await, &cluster.matrix, since);
    if let Err(lost) = settled {
        verdict.violations.extend(lost);
    }
    verdict.figures.early = halfway;
    verdict.violations.sort();
    verdict.violations.dedup();
    cluster.clear().await;
    replicas.iter_mut().for_each(Replica::keep);
    verdict
}

async fn inject(cluster: &Cluster, replicas: &mut [Replica], fault: Fault, batch: &str, random: &mut Random) {
    let rates = |rates: Rates| cluster.proxy.plan().set(rates, Delays::default());
    match fault {
        Fault::LeaderKilled => {
            let leader = leader(cluster, replicas).await;
            leader.signal(Signal::KILL);
            leader.ended().await;
        }
        Fault::LeaderPaused => {
            let name = {
                let leader = leader(cluster, replicas).await;
                leader.signal(Signal::STOP);
                leader.name().to_owned()
            };
            let taken = async || {
                // The other may still have been ending after an earlier fault. This one is left as it is: it must end by itself.
                replicas.iter_mut().filter(|replica| replica.name() != name).for_each(Replica::keep);
                cluster.holder().await.filter(|holder| *holder != name)
            };
            cluster.until("another leads", taken).await;
            cluster.create(&format!("{batch}-late"), LATE_PODS, random).await;
            let leader = named(replicas, &name);
            leader.signal(Signal::CONT);
            let status = leader.ended().await;
            assert_eq!(status.code(), Some(1), "who lost the lease ends with an error, to be started again");
        }
        Fault::LeaderTerminated => {
            let leader = leader(cluster, replicas).await;
            leader.signal(Signal::TERM);
            let status = leader.ended().await;
            assert_eq!(status.code(), Some(0), "SIGTERM is no error");
        }
        Fault::ApiServerKilled => {
            cluster.plane.kill(Component::ApiServer).unwrap();
            cluster.plane.restart(Component::ApiServer).await.unwrap();
        }
        Fault::WatchesCut => cluster.proxy.cut_watches(),
        Fault::EtcdPaused => {
            cluster.plane.pause(Component::Etcd).unwrap();
            // The fault's length.
            tokio::time::sleep(Duration::from_millis(1_000 + random.below(3_000))).await;
            cluster.plane.resume(Component::Etcd).unwrap();
        }
        Fault::Refusals => rates(Rates { conflict: 0.1, too_many: 0.1, internal: 0.1, unavailable: 0.1, ..Rates::default() }),
        Fault::SlowAnswers => rates(Rates { slow: 0.2, answered_late: 0.1, ..Rates::default() }),
        Fault::LostAnswers => rates(Rates { timed_out: 0.15, dropped: 0.15, ..Rates::default() }),
    }
}

async fn leader<'a>(cluster: &Cluster, replicas: &'a mut [Replica]) -> &'a mut Replica {
    let name = cluster.leader(|_| true).await;
    named(replicas, &name)
}

fn named<'a>(replicas: &'a mut [Replica], name: &str) -> &'a mut Replica {
    replicas.iter_mut().find(|replica| replica.name() == name).unwrap_or_else(|| panic!("{name} leads"))
}
