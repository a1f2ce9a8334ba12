//! InterPodAffinity score: the weights of preferred terms by which the pod and placed pods want to be together, less those by which they don't, per domain;
//! required affinity of placed pods counts with a weight of its own (kube-scheduler 1.37). From the lowest to the highest among the feasible nodes
//! it becomes 0 to 100. Skipped where no term finds a pod.

use super::MAX_SCORE;
use crate::cluster::{HeldTerm, Pod, PodTerm, Snapshot, Stance};
use crate::filter::Domains;

struct Key {
    key: String,
    domains: Domains,
    weights: Vec<i64>,
}

/// Sums of weights for every domain.
pub struct PodPreference(Vec<Key>);

/// Lowest and highest sum among the feasible nodes.
pub struct PodScale {
    min: i64,
    max: i64,
}

impl PodPreference {
    /// `None`: no term finds a pod on a node that has its topology key. `held`: terms of placed pods that mean the pod.
    pub fn new(snapshot: &Snapshot, pod: &Pod, held: &[&HeldTerm], domains: &mut impl FnMut(&str) -> Domains) -> Option<PodPreference> {
        let profile = snapshot.profile(pod);
        let (towards, away) = (&pod.pod_affinity.preferred, &pod.pod_anti_affinity.preferred);
        let own_terms = !towards.is_empty() || !away.is_empty();
        if !own_terms && profile.ignore_preferred_terms_of_existing_pods {
            return None;
        }
        let mut keys: Vec<Key> = Vec::new();
        let mut found = false;
        let mut add = |term: &PodTerm, weight: i64, node: usize, pods: u32| {
            let at = keys.iter().position(|key| key.key == term.topology_key).unwrap_or_else(|| {
                let domains = domains(&term.topology_key);
                keys.push(Key { key: term.topology_key.clone(), weights: domains.table(0), domains });
                keys.len() - 1
            });
            if let Some(domain) = keys[at].domains.of(node) {
                keys[at].weights[domain] += weight * i64::from(pods);
                found = true;
            }
        };
        let own = towards.iter().map(|(weight, term)| (*weight, term)).chain(away.iter().map(|(weight, term)| (-*weight, term)));
        for (weight, term) in own {
            let Some(query) = snapshot.query([term]) else { continue };
            let nodes = snapshot.count_pods(&query).flat_map(|counts| counts.iter());
            nodes.for_each(|(node, pods)| add(term, i64::from(weight), node.at(), pods));
        }
        for held in held {
            let weight = match held.stance {
                Stance::Forbids => continue,
                Stance::Requires if profile.hard_pod_affinity_weight == 0 => continue,
                Stance::Requires => profile.hard_pod_affinity_weight,
                Stance::Prefers(weight) => weight,
            };
            held.counts.iter().for_each(|(node, pods)| add(&held.term, i64::from(weight), node.at(), pods));
        }
        found.then_some(PodPreference(keys))
    }

    pub fn scale(&self, feasible: &[u32]) -> PodScale {
        let sums = || feasible.iter().map(|&node| self.raw(node as usize));
        PodScale { min: sums().min().unwrap_or(0), max: sums().max().unwrap_or(0) }
    }

    /// 0 to 100.
    pub fn score(&self, scale: &PodScale, node: usize) -> i64 {
        let range = scale.max - scale.min;
        if range == 0 {
            return 0;
        }
        (MAX_SCORE as f64 * ((self.raw(node) - scale.min) as f64 / range as f64)) as i64
    }

    /// The node's sum of weights.
    #[inline]
    pub fn raw(&self, node: usize) -> i64 {
        self.0.iter().filter_map(|key| key.domains.of(node).map(|domain| key.weights[domain])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, PodAffinity, PodKey, Profile, Settings};
    use crate::filter::testing::{check_scores, pod, stand, term, world};

    const NAME: &str = "InterPodAffinity";

    fn preferred(terms: &[(i32, PodTerm)]) -> PodAffinity {
        PodAffinity { required: vec![], preferred: terms.to_vec() }
    }

    fn placed(node: &str, pod: Pod) -> Pod {
        Pod { key: PodKey::new("shop", "placed"), node_name: Some(node.into()), ..pod }
    }

    #[test]
    fn weights_add_up_per_domain_and_stretch_from_0_to_100() {
        let mut cluster = world();
        stand(&mut cluster, "db", &["a"]);
        stand(&mut cluster, "noisy", &["x"]);
        let near = |weight| preferred(&[(weight, term("db", "zone"))]);
        let web = Pod { pod_affinity: near(5), ..pod("new", "web") };
        check_scores(&cluster, &web, NAME, &[100, 100, 0, 0, 0]);
        // a: 5 + 3, b: 5, x and y: -10.
        let host = term("db", "kubernetes.io/hostname");
        let both = Pod {
            pod_affinity: preferred(&[(5, term("db", "zone")), (3, host)]),
            pod_anti_affinity: preferred(&[(10, term("noisy", "zone"))]),
            ..pod("new", "web")
        };
        check_scores(&cluster, &both, NAME, &[100, 83, 55, 0, 0]);
        check_scores(&cluster, &pod("new", "web"), NAME, &[]);
        check_scores(&cluster, &Pod { pod_affinity: preferred(&[(5, term("none", "zone"))]), ..pod("new", "web") }, NAME, &[]);
    }

    #[test]
    fn placed_pods_have_wishes_too() {
        let check = |placed_pod: Pod, change: fn(&mut Profile), expected: &[i64]| {
            let mut profile = Profile::new("");
            change(&mut profile);
            let mut cluster = Cluster::new(Settings { profiles: profile.into(), ..world().view().settings().clone() });
            world().view().nodes().for_each(|(_, node)| drop(cluster.apply_node((**node).clone())));
            cluster.apply_pod(placed("x", placed_pod));
            check_scores(&cluster, &pod("new", "web"), NAME, expected);
        };
        let towards = |affinity| Pod { pod_affinity: affinity, ..pod("p", "p") };
        let wishes = || preferred(&[(1, term("web", "zone"))]);
        let needs = || PodAffinity { required: vec![term("web", "zone")], preferred: vec![] };
        check(towards(wishes()), |_| {}, &[0, 0, 0, 100, 100]);
        check(Pod { pod_anti_affinity: wishes(), ..pod("p", "p") }, |_| {}, &[100, 100, 100, 0, 0]);
        check(towards(needs()), |_| {}, &[0, 0, 0, 100, 100]);
        check(towards(needs()), |profile| profile.hard_pod_affinity_weight = 0, &[]);
        check(towards(wishes()), |profile| profile.ignore_preferred_terms_of_existing_pods = true, &[]);
        check(Pod { pod_anti_affinity: needs(), ..pod("p", "p") }, |_| {}, &[]);
    }
}
