//! Cloud role: a pod without delay bounds goes to a node with the cloud role, as `undelayed` says (unresolvable).
//!
//! `cloud-preferred` looks at whether the cluster *has* cloud nodes, not at whether they have room: a pod must not change sides with the load.

use crate::cluster::{Plugin, Pod, Snapshot, Undelayed};
use crate::plan::Reason;

/// Whether only cloud nodes may take the pod.
pub fn applies(snapshot: &Snapshot, pod: &Pod) -> bool {
    pod.delays.is_empty()
        && snapshot.profile(pod).filters(Plugin::CloudRole)
        && match snapshot.settings().undelayed {
            Undelayed::CloudPreferred => snapshot.cloud_count() > 0,
            Undelayed::CloudOnly => true,
            Undelayed::Any => false,
        }
}

pub fn check(snapshot: &Snapshot, pod: &Pod, cloud: bool) -> Option<Reason> {
    (applies(snapshot, pod) && !cloud).then_some(Reason::NotCloud)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, Node, Settings};
    use crate::constraint::{DelayBound, DelaySource, Missing, Reference, ReplicaRule, Statistic};
    use crate::units::Micros;

    #[test]
    fn who_has_no_bound_goes_to_the_cloud() {
        let check = |undelayed, has_cloud: bool, delayed: bool, only_cloud: bool| {
            let mut cluster = Cluster::new(Settings { undelayed, ..Settings::default() });
            if has_cloud {
                let labels = [("kubernetes.io/role".to_owned(), "cloud".to_owned())].into();
                cluster.apply_node(Node { name: "c".into(), labels, ..Node::default() });
            }
            let bound = DelayBound {
                from: Reference::Name("x".into()),
                max: Micros(1),
                statistic: Statistic::P90,
                replicas: ReplicaRule::Any,
                missing: Missing::Deny,
                source: DelaySource::Label,
            };
            let pod = Pod { delays: if delayed { vec![bound] } else { vec![] }, ..Pod::default() };
            assert_eq!(applies(cluster.view(), &pod), only_cloud, "{undelayed:?}, cloud {has_cloud}, delayed {delayed}");
        };
        check(Undelayed::CloudPreferred, true, false, true);
        check(Undelayed::CloudPreferred, false, false, false);
        check(Undelayed::CloudPreferred, true, true, false);
        check(Undelayed::CloudOnly, false, false, true);
        check(Undelayed::CloudOnly, true, true, false);
        check(Undelayed::Any, true, false, false);
    }
}
