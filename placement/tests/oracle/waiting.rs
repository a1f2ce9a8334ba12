//! Pods that found no node: nobody may sleep through a change that helps.

use super::NOW;
use placement::cluster::*;
use placement::plan::*;
use proptest::prelude::*;

/// Pods that found no node, with what wakes them.
#[derive(Default)]
pub struct Waiting(Vec<(Pod, Decision)>);

impl Waiting {
    pub fn add(&mut self, pod: Pod, decision: &Decision) {
        if decision.placed().is_none() {
            self.0.push((pod, decision.clone()));
        }
    }

    pub fn forget(&mut self, key: &PodKey) {
        self.0.retain(|(pod, _)| pod.key != *key);
    }

    /// Whoever is not woken by what changed still finds no node. Who is woken is judged anew.
    pub fn check(&mut self, cluster: &Cluster, planner: &mut Planner, changes: &Changes) -> Result<(), TestCaseError> {
        for (pod, decision) in &mut self.0 {
            let woken = changes.iter().any(|event| decision.wakes(event));
            let now = planner.place(cluster.view(), pod, NOW, Warmth::Warm);
            let fits = now.placed().is_some();
            prop_assert!(woken || !fits, "{} sleeps through {changes:#?}\nafter {}\n{pod:#?}", pod.key, decision.message());
            if woken {
                *decision = now;
            }
        }
        self.forget_placed();
        Ok(())
    }

    pub fn judge_anew(&mut self, cluster: &Cluster, planner: &mut Planner) {
        self.0.iter_mut().for_each(|(pod, decision)| *decision = planner.place(cluster.view(), pod, NOW, Warmth::Warm));
        self.forget_placed();
    }

    /// Who fits now would be placed; here it stays unplaced and is not followed any longer.
    pub fn forget_placed(&mut self) {
        self.0.retain(|(_, decision)| decision.placed().is_none());
    }
}
