//! The world that the demo simulates: nodes with their places and sizes, and the one-way delay between every two of them.
//!
//! It comes from the project's own YAML ([`file`], also the built-in default), from a measured matrix ([`measured`]: CSV with a header
//! row and column, or bare numbers), or out of a seed ([`generated`]).

mod file;
mod generated;
mod geography;
mod measured;
mod workload;

pub use generated::generate;
pub use measured::MatrixOptions;
pub use workload::pods;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use placement::cluster::{Resources, Taint};
use placement::topology::matrix::{Matrix, MatrixError};
use placement::units::{Bytes, MilliCpu};

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Near its users, small.
    Edge,
    /// Far from them, large; labelled `kubernetes.io/role=cloud`.
    Cloud,
}

/// A node of the world. Its index in [`World::nodes`] is its row in the delay matrix and the number of its addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldNode {
    /// A DNS label; with the prefix `delay_` it fits into a label's key.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Where it is, for people.
    pub city: Option<String>,
    /// Label `topology.kubernetes.io/region`.
    pub region: Option<String>,
    /// Its site; label `topology.kubernetes.io/zone`.
    pub zone: String,
    /// What it offers to pods.
    pub allocatable: Resources,
    /// Labels beside those that follow from the fields above.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
}

/// Nodes and the delays between them.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// For people.
    pub name: String,
    /// In matrix order.
    pub nodes: Vec<WorldNode>,
    /// Row-major one-way delays in microseconds, row = from.
    pub one_way_us: Vec<u32>,
}

/// Why a world cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WorldError {
    #[error("topology {path} cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("topology {path}")]
    In {
        path: PathBuf,
        #[source]
        source: Box<WorldError>,
    },
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    #[error("{0}")]
    Yaml(String),
    #[error("a topology needs either `nodes` or `matrix`")]
    NodesOrMatrix,
    #[error("{0} is no topology; expected a .yaml, .yml, .csv, .tsv or .txt file")]
    UnknownFormat(PathBuf),
    #[error("a topology needs at least one node")]
    Empty,
    #[error("node name {name:?} is no DNS label of at most 57 characters (lower-case letters, digits and `-`)")]
    Name { name: String },
    #[error("node name {name:?} occurs twice")]
    DuplicateName { name: String },
    #[error("node {node}: {key} {value:?} is no amount; expected a quantity such as 8, 500m or 16Gi")]
    Quantity { node: String, key: String, value: String },
    #[error("node {node}: {what}")]
    Node { node: String, what: String },
    #[error("rtt: {name:?} is no node of this topology")]
    UnknownNode { name: String },
    #[error("rtt between {a} and {b}: {ms} is no RTT; expected 0 to 3600000 milliseconds")]
    Rtt { a: String, b: String, ms: f64 },
    #[error("{key} is {value}; expected {expected}")]
    Setting { key: &'static str, value: String, expected: &'static str },
}

impl World {
    /// 12 edge and 2 cloud nodes in named cities; delays follow from the distances.
    pub fn built_in() -> World {
        file::parse(include_str!("../../topologies/default.yaml"), Path::new("."))
            .expect("the built-in topology is read by a test, so it cannot be wrong")
    }

    /// Reads a topology; the name's ending says which kind.
    pub fn load(path: &Path) -> Result<World, WorldError> {
        let named = |source| WorldError::In { path: path.to_owned(), source: Box::new(source) };
        let read = || std::fs::read_to_string(path).map_err(|source| WorldError::Read { path: path.to_owned(), source });
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => {
                let folder = path.parent().unwrap_or(Path::new("."));
                file::parse(&read()?, folder).map_err(named)
            }
            Some("csv" | "tsv" | "txt") => {
                let matrix = Matrix::parse(&read()?).map_err(|error| named(error.into()))?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                measured::world(name, &matrix, &MatrixOptions::default()).map_err(named)
            }
            _ => Err(WorldError::UnknownFormat(path.to_owned())),
        }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes; a checked world has some.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The RTT between two nodes in microseconds: both one-way delays, 0 to itself.
    pub fn rtt_us(&self, a: usize, b: usize) -> u32 {
        if a == b { 0 } else { self.one_way_us[a * self.len() + b] + self.one_way_us[b * self.len() + a] }
    }

    /// The index of a node.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// Indexes of the nodes of one role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = usize> {
        self.nodes.iter().enumerate().filter(move |(_, node)| node.role == role).map(|(index, _)| index)
    }

    /// Puts a world together from RTTs: `directed_us(from, to)` for every pair. The larger direction of a pair is its RTT, shared out
    /// over its two one-way delays as the directions relate.
    fn from_rtt(name: String, nodes: Vec<WorldNode>, directed_us: impl Fn(usize, usize) -> u32) -> Result<World, WorldError> {
        check_names(&nodes)?;
        let count = nodes.len();
        let mut one_way_us = vec![0; count * count];
        for a in 0..count {
            for b in a + 1..count {
                let (there, back) = (directed_us(a, b), directed_us(b, a));
                let rtt = u64::from(there.max(back));
                let sum = u64::from(there) + u64::from(back);
                // At most the larger of the two, so it fits.
                let one_way = (rtt * u64::from(there)).checked_div(sum).unwrap_or(0) as u32;
                one_way_us[a * count + b] = one_way;
                one_way_us[b * count + a] = rtt as u32 - one_way;
            }
        }
        Ok(World { name, nodes, one_way_us })
    }
}

impl WorldNode {
    /// What a node has where its topology does not say.
    fn default_allocatable(role: Role) -> Resources {
        let (cpu, memory_gib, pods) = match role {
            Role::Edge => (8, 16, 110),
            Role::Cloud => (64, 256, 250),
        };
        Resources {
            cpu: MilliCpu(cpu * 1000),
            memory: Bytes(memory_gib << 30),
            ephemeral_storage: Bytes(100 << 30),
            pods,
            ..Resources::default()
        }
    }
}

fn check_names(nodes: &[WorldNode]) -> Result<(), WorldError> {
    if nodes.is_empty() {
        return Err(WorldError::Empty);
    }
    let mut seen = BTreeSet::new();
    for WorldNode { name, .. } in nodes {
        // A label key's name has 63 characters, six of which `delay_` takes.
        let is_label = (1..=57).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !is_label {
            return Err(WorldError::Name { name: name.clone() });
        }
        if !seen.insert(name) {
            return Err(WorldError::DuplicateName { name: name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(path: &str) -> Option<World> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
        if !path.exists() {
            eprintln!("SKIPPED: {} is not there", path.display());
            return None;
        }
        Some(World::load(&path).unwrap())
    }

    #[test]
    fn aws_regions_make_a_world() {
        let Some(world) = load("aws/aws21_rtt_ms.csv") else { return };
        assert_eq!(world.len(), 21);
        let (a, b) = (world.index_of("af-south-1").unwrap(), world.index_of("ap-east-1").unwrap());
        // 240 ms one way round, 241 ms the other.
        assert_eq!((world.rtt_us(a, b), world.rtt_us(b, a), world.rtt_us(a, a)), (241_000, 241_000, 0));
        assert_eq!(world.with_role(Role::Cloud).count(), 2);
    }

    #[test]
    fn planetlab_makes_a_world() {
        let Some(world) = load("netlatency/PlanetLabData_9.tsv") else { return };
        assert_eq!((world.len(), world.nodes[0].name.as_str(), world.nodes[489].name.as_str()), (490, "node-000", "node-489"));
        assert_eq!(world.rtt_us(0, 1), 161);
        let below_1_ms = (0..490).flat_map(|a| (0..a).map(move |b| (a, b))).filter(|&(a, b)| world.rtt_us(a, b) < 1000).count();
        assert_eq!(below_1_ms, 411);
    }

    #[test]
    fn unknown_endings_and_missing_files_are_named() {
        let check = |path: &str, expected: &str| {
            assert_eq!(World::load(Path::new(path)).unwrap_err().to_string(), expected);
        };
        check("world.json", "world.json is no topology; expected a .yaml, .yml, .csv, .tsv or .txt file");
        check("absent.csv", "topology absent.csv cannot be read");
    }

    #[test]
    fn names_must_fit_a_label() {
        let check = |name: &str, is_fine: bool| {
            let node = measured::node(name.to_owned(), Role::Edge, "zone".to_owned(), None);
            assert_eq!(check_names(&[node]).is_ok(), is_fine, "{name}");
        };
        check("edge-1", true);
        check(&"x".repeat(57), true);
        check(&"x".repeat(58), false);
        check("Edge", false);
        check("-edge", false);
        check("", false);
    }
}
