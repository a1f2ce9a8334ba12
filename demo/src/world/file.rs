//! The project's own topology file, YAML with strict keys: nodes with their places, or a matrix file with what it does not say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use placement::cluster::{Resources, Taint};
use placement::topology::matrix::{MAX_RTT_MS, Matrix};
use placement::units::{Bytes, MilliCpu, Quantity};
use serde::Deserialize;

use super::geography::{Position, detour};
use super::{MatrixOptions, Role, World, WorldError, WorldNode, measured};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TopologyFile {
    name: String,
    #[serde(default)]
    fibre: Fibre,
    #[serde(default)]
    nodes: Vec<NodeEntry>,
    /// RTTs that replace the computed ones.
    #[serde(default)]
    rtt: Vec<RttEntry>,
    matrix: Option<MatrixEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Fibre {
    /// Least and most that fibre is longer than the great circle.
    detour: [f64; 2],
    /// One way, at each end.
    last_mile_ms: f64,
}

impl Default for Fibre {
    fn default() -> Self {
        Fibre { detour: [1.3, 1.6], last_mile_ms: 0.1 }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeEntry {
    name: String,
    role: Role,
    city: Option<String>,
    region: Option<String>,
    zone: Option<String>,
    /// Latitude and longitude in degrees.
    at: [f64; 2],
    /// This node's own last mile.
    last_mile_ms: Option<f64>,
    #[serde(default)]
    capacity: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    taints: Vec<TaintEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TaintEntry {
    key: String,
    #[serde(default)]
    value: String,
    effect: placement::cluster::TaintEffect,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RttEntry {
    between: [String; 2],
    ms: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MatrixEntry {
    /// Relative to the topology file.
    file: PathBuf,
    cloud: Option<usize>,
    nodes_per_site: Option<usize>,
}

/// Reads a topology; `folder` is where relative paths start.
pub(super) fn parse(text: &str, folder: &Path) -> Result<World, WorldError> {
    let file: TopologyFile = serde_saphyr::from_str(text).map_err(|error| WorldError::Yaml(error.to_string()))?;
    match &file.matrix {
        Some(_) if !file.nodes.is_empty() || !file.rtt.is_empty() => Err(WorldError::NodesOrMatrix),
        None if file.nodes.is_empty() => Err(WorldError::NodesOrMatrix),
        Some(entry) => {
            let path = folder.join(&entry.file);
            let text = std::fs::read_to_string(&path).map_err(|source| WorldError::Read { path: path.clone(), source })?;
            let options = MatrixOptions { cloud: entry.cloud, nodes_per_site: entry.nodes_per_site };
            let world = Matrix::parse(&text).map_err(WorldError::from).and_then(|matrix| measured::world(file.name, &matrix, &options));
            world.map_err(|source| WorldError::In { path, source: Box::new(source) })
        }
        None => placed(file),
    }
}

fn placed(file: TopologyFile) -> Result<World, WorldError> {
    let [least, most] = file.fibre.detour;
    if !(1.0 <= least && least <= most && most <= 100.0) {
        let value = format!("[{least}, {most}]");
        return Err(WorldError::Setting { key: "fibre.detour", value, expected: "the least and the most of at least 1" });
    }
    let mut ends = Vec::with_capacity(file.nodes.len());
    let mut nodes = Vec::with_capacity(file.nodes.len());
    for entry in file.nodes {
        let last_mile_ms = entry.last_mile_ms.unwrap_or(file.fibre.last_mile_ms);
        let position = position(&entry)?;
        if !(0.0..=10_000.0).contains(&last_mile_ms) {
            let what = format!("a last mile of {last_mile_ms} ms; expected 0 to 10000");
            return Err(WorldError::Node { node: entry.name, what });
        }
        ends.push((position, last_mile_ms));
        nodes.push(node(entry)?);
    }
    let count = nodes.len();
    let mut rtt_us = vec![0; count * count];
    for a in 0..count {
        for b in a + 1..count {
            let ((from, from_last_mile_ms), (to, to_last_mile_ms)) = (ends[a], ends[b]);
            let fibre_ms = from.fibre_ms(to, detour(&nodes[a].name, &nodes[b].name, least, most));
            set(&mut rtt_us, count, a, b, 2.0 * (fibre_ms + from_last_mile_ms + to_last_mile_ms));
        }
    }
    for RttEntry { between: [a, b], ms } in file.rtt {
        let index =
            |name: &String| nodes.iter().position(|node| node.name == *name).ok_or_else(|| WorldError::UnknownNode { name: name.clone() });
        let (first, second) = (index(&a)?, index(&b)?);
        if !(0.0..=MAX_RTT_MS).contains(&ms) || first == second {
            return Err(WorldError::Rtt { a, b, ms });
        }
        set(&mut rtt_us, count, first, second, ms);
    }
    World::from_rtt(file.name, nodes, |from, to| rtt_us[from * count + to])
}

fn set(rtt_us: &mut [u32], count: usize, a: usize, b: usize, ms: f64) {
    let us = (ms * 1000.0).round() as u32;
    rtt_us[a * count + b] = us;
    rtt_us[b * count + a] = us;
}

fn position(entry: &NodeEntry) -> Result<Position, WorldError> {
    let [latitude, longitude] = entry.at;
    if (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) {
        return Ok(Position { latitude, longitude });
    }
    let what = format!("at [{latitude}, {longitude}] is no place; expected [latitude -90..90, longitude -180..180]");
    Err(WorldError::Node { node: entry.name.clone(), what })
}

fn node(entry: NodeEntry) -> Result<WorldNode, WorldError> {
    let allocatable = allocatable(&entry)?;
    let taints = entry.taints.into_iter().map(|taint| Taint { key: taint.key, value: taint.value, effect: taint.effect }).collect();
    Ok(WorldNode {
        // A node that shares its site with no other is a site of its own.
        zone: entry.zone.unwrap_or_else(|| entry.name.clone()),
        name: entry.name,
        role: entry.role,
        city: entry.city,
        region: entry.region,
        allocatable,
        labels: entry.labels,
        taints,
    })
}

fn allocatable(entry: &NodeEntry) -> Result<Resources, WorldError> {
    let mut resources = WorldNode::default_allocatable(entry.role);
    for (key, value) in &entry.capacity {
        let wrong = || WorldError::Quantity { node: entry.name.clone(), key: key.clone(), value: value.clone() };
        let quantity = Quantity::parse(value).map_err(|_| wrong())?;
        if quantity.value() < 0 {
            return Err(wrong());
        }
        match key.as_str() {
            "cpu" => resources.cpu = MilliCpu(quantity.milli_value()),
            "memory" => resources.memory = Bytes(quantity.value()),
            "ephemeral-storage" => resources.ephemeral_storage = Bytes(quantity.value()),
            "pods" => resources.pods = quantity.value(),
            extended if extended.contains('/') || extended.starts_with("hugepages-") => {
                resources.extended.insert(extended.to_owned(), quantity.value());
            }
            _ => {
                let what = format!(
                    "{key:?} is no resource; expected cpu, memory, ephemeral-storage, pods, or a name with a domain such as nvidia.com/gpu"
                );
                return Err(WorldError::Node { node: entry.name.clone(), what });
            }
        }
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(text: &str, expected: &str) {
        let found = parse(text, Path::new(".")).unwrap_err().to_string();
        assert!(found.contains(expected), "{found:?} does not say {expected:?}");
    }

    #[test]
    fn the_built_in_world_has_neighbours_near_and_far() {
        let world = World::built_in();
        let rtt = |a: &str, b: &str| world.rtt_us(world.index_of(a).unwrap(), world.index_of(b).unwrap());
        assert_eq!((world.with_role(Role::Edge).count(), world.with_role(Role::Cloud).count()), (12, 2));
        assert!(world.nodes.iter().all(|node| node.city.is_some()));
        assert!((200..500).contains(&rtt("edge-1", "edge-2")), "{}", rtt("edge-1", "edge-2"));
        assert!((300..1000).contains(&rtt("edge-5", "edge-6")), "{}", rtt("edge-5", "edge-6"));
        assert!((1000..10_000).contains(&rtt("edge-1", "edge-3")), "{}", rtt("edge-1", "edge-3"));
        assert!((60_000..120_000).contains(&rtt("edge-1", "cloud-1")), "{}", rtt("edge-1", "cloud-1"));
        assert_eq!(world.nodes[2].allocatable.extended["nvidia.com/gpu"], 1);
    }

    #[test]
    fn given_rtts_replace_computed_ones() {
        let text = "name: x\nnodes:\n- {name: a, role: edge, at: [0, 0]}\n- {name: b, role: cloud, at: [0, 90]}\nrtt:\n- {between: [b, a], ms: 7.5}";
        let world = parse(text, Path::new(".")).unwrap();
        assert_eq!((world.rtt_us(0, 1), world.nodes[0].zone.as_str()), (7500, "a"));
    }

    #[test]
    fn a_matrix_file_is_read_from_beside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.tsv"), "0 5\n5 0").unwrap();
        let world = parse("name: x\nmatrix: {file: m.tsv, cloud: 1, nodesPerSite: 2}", folder.path()).unwrap();
        assert_eq!((world.len(), world.rtt_us(0, 2), world.rtt_us(0, 1)), (4, 5000, 0));
    }

    #[test]
    fn mistakes_are_named() {
        let one = |fields: &str| format!("name: x\nnodes:\n- {{name: a, role: edge, at: [1, 2]{fields}}}");
        check_error("name: x", "either `nodes` or `matrix`");
        check_error("name: x\nnode: []", "node");
        check_error(&one(", colour: red"), "colour");
        check_error(&one(", capacity: {memory: lots}"), "node a: memory \"lots\" is no amount");
        check_error(&one(", capacity: {ram: 1Gi}"), "node a: \"ram\" is no resource");
        check_error(&one(", lastMileMs: -1"), "node a: a last mile of -1 ms");
        check_error("name: x\nnodes:\n- {name: a, role: fog, at: [1, 2]}", "fog");
        check_error("name: x\nnodes:\n- {name: a, role: edge, at: [91, 2]}", "node a: at [91, 2] is no place");
        check_error("name: x\nnodes:\n- {name: A, role: edge, at: [1, 2]}", "node name \"A\" is no DNS label");
        check_error("name: x\nfibre: {detour: [2, 1]}\nnodes:\n- {name: a, role: edge, at: [1, 2]}", "fibre.detour");
        check_error(&format!("{}\nrtt: [{{between: [a, c], ms: 1}}]", one("")), "\"c\" is no node");
        check_error(&format!("{}\nrtt: [{{between: [a, a], ms: 1}}]", one("")), "rtt between a and a");
        check_error("name: x\nmatrix: {file: absent.csv}", "absent.csv cannot be read");
    }
}
