//! What references in delay bounds find in a snapshot.

use super::{NodeIx, PodKey, PodPhase, Snapshot, WorkloadKind};
use crate::constraint::{Position, ReferenceIndex};

const KINDS: [WorkloadKind; 5] =
    [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::Job, WorkloadKind::ReplicaSet];

/// A pod that is being deleted is no target: it will not be there for long. While its workload has no other pod, it keeps the reference known.
impl ReferenceIndex for Snapshot {
    fn node(&self, name: &str) -> Option<NodeIx> {
        let measured = |ix: &NodeIx| self.slot(*ix).is_some_and(|slot| slot.node.is_some() || slot.measured != 0);
        self.index(name).filter(measured)
    }

    fn workload_pods<'a>(
        &'a self,
        namespace: &'a str,
        kind: Option<WorkloadKind>,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a PodKey, Position)> + 'a {
        let kinds = KINDS.into_iter().filter(move |known| kind.is_none_or(|kind| kind == *known));
        kinds.filter_map(move |kind| self.workload(namespace, kind, name)).flat_map(|workload| {
            let all_terminating = workload.pods.iter().all(|entry| entry.pod.terminating);
            let pods = workload.pods.iter().filter(move |entry| all_terminating || !entry.pod.terminating);
            pods.map(|entry| (&entry.pod.key, position(entry.node, entry.pod.terminating)))
        })
    }

    fn pod<'a>(&'a self, namespace: &str, name: &str) -> Option<(&'a PodKey, Position)> {
        let view = self.pod_named(namespace, name).filter(|view| view.pod.phase != PodPhase::Ended)?;
        Some((&view.pod.key, position(view.node, view.pod.terminating)))
    }
}

fn position(node: Option<NodeIx>, terminating: bool) -> Position {
    node.filter(|_| !terminating).map_or(Position::Pending, Position::On)
}
