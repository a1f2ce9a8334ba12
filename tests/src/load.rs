//! Many nodes' RTTs and many pods, the same for the same seed on any machine.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Pods made at once.
const PARALLEL: usize = 32;

/// Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// RTTs in us between the nodes `node-1`…, which stand on a square of 100 by 100 ms; the two directions differ by up to 10 %.
pub struct World {
    rtt_us: Vec<Vec<u64>>,
}

impl World {
    pub fn generate(nodes: usize, seed: u64) -> World {
        let mut random = Random(seed);
        let places: Vec<(f64, f64)> = (0..nodes).map(|_| (random.below(100_000) as f64, random.below(100_000) as f64)).collect();
        let mut direction = |from: usize, to: usize| {
            let (a, b) = (places[from], places[to]);
            let straight = (a.0 - b.0).hypot(a.1 - b.1) as u64 + 200;
            if from == to { 0 } else { straight * (1_000 + random.below(100)) / 1_000 }
        };
        World::of((0..nodes).map(|from| (0..nodes).map(|to| direction(from, to)).collect()).collect())
    }

    /// Rows of RTTs in us.
    pub fn of(rtt_us: Vec<Vec<u64>>) -> World {
        World { rtt_us }
    }

    /// As the scheduler's matrix file has it, in ms.
    pub fn csv(&self) -> String {
        let names: Vec<String> = (1..=self.rtt_us.len()).map(|number| format!("node-{number}")).collect();
        let mut text = format!("ms,{}\n", names.join(","));
        for (name, row) in names.iter().zip(&self.rtt_us) {
            text.push_str(name);
            for us in row {
                // Writing to a String does not fail.
                let _ = write!(text, ",{}.{:03}", us / 1000, us % 1000);
            }
            text.push('\n');
        }
        text
    }

    /// The larger direction, in us: what a bound holds for. Indices are a node's number less 1.
    pub fn between(&self, a: usize, b: usize) -> u64 {
        self.rtt_us[a][b].max(self.rtt_us[b][a])
    }

    /// Pods `pod-0`… of edge-scheduler that ask for about half of the CPU of five times fewer nodes of `up`. All have bounds: of ten, eight of 15 ms from a
    /// node, one of 20 ms from two nodes, one of 30 ms from another pod.
    pub fn bounded_pods(&self, count: usize, seed: u64) -> Vec<Value> {
        let mut random = Random(seed ^ 0x5ca1e);
        let nodes = self.rtt_us.len();
        (0..count)
            .map(|index| {
                let node = random.below(nodes as u64) as usize;
                let bound = |from: usize, ms: &str| (format!("delay_node-{}", from + 1), ms.to_owned());
                let bounds = match index % 10 {
                    9 => vec![(format!("delay_pod-{}", index - 5), "30".to_owned())],
                    8 => {
                        let near = (0..nodes).filter(|other| self.between(node, *other) < 5_000).max().unwrap_or(node);
                        vec![bound(node, "20"), bound(near, "20")]
                    }
                    _ => vec![bound(node, "15")],
                };
                let requests =
                    json!({"cpu": format!("{}m", 1_000 + 500 * random.below(9)), "memory": format!("{}Mi", 512 << random.below(5))});
                pod(&format!("pod-{index}"), "edge-scheduler", bounds, &requests)
            })
            .collect()
    }
}

/// Pods that fit anywhere, with a bound of 15 ms from some node each or none.
pub fn light_pods(count: usize, nodes: usize, scheduler: &str, bounded: bool, seed: u64) -> Vec<Value> {
    let mut random = Random(seed ^ 0x11647);
    (0..count)
        .map(|index| {
            let bound = (format!("delay_node-{}", 1 + random.below(nodes as u64)), "15".to_owned());
            pod(&format!("pod-{index}"), scheduler, bounded.then_some(bound), &json!({"cpu": "100m", "memory": "64Mi"}))
        })
        .collect()
}

/// A pod of one container, with the label `app=load` and these.
pub fn pod(name: &str, scheduler: &str, labels: impl IntoIterator<Item = (String, String)>, requests: &Value) -> Value {
    let mut all = BTreeMap::from([("app".to_owned(), "load".to_owned())]);
    all.extend(labels);
    json!({
        "metadata": {"name": name, "labels": all},
        "spec": {"schedulerName": scheduler, "containers": [{"name": "app", "image": "app", "resources": {"requests": requests}}]},
    })
}

/// Makes them in the client's default namespace, many at once.
pub async fn create(client: &Client, pods: &[Value]) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let made = futures::stream::iter(pods).map(|pod| {
        let api = api.clone();
        async move {
            let pod: Pod = serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams::default(), &pod).await.map(drop)
        }
    });
    made.buffer_unordered(PARALLEL).try_collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_what_bounds_are_judged_by() {
        let world = World::of(vec![vec![0, 9_000], vec![11_050, 0]]);
        assert_eq!(world.csv(), "ms,node-1,node-2\nnode-1,0.000,9.000\nnode-2,11.050,0.000\n");
        assert_eq!(world.between(0, 1), 11_050);
        let (one, other) = (World::generate(20, 1), World::generate(20, 2));
        assert_eq!(one.csv(), World::generate(20, 1).csv());
        assert_ne!(one.csv(), other.csv());
    }
}
