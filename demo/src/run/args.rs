//! Flags of edge-demo.

use crate::world::{self, World, WorldError};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

const EXIT_CODES: &str = "Exit codes: 0 every check held; 1 one did not, or the demo could not run; 64 wrong flags; 130 ended by Ctrl-C or SIGTERM \
before the checks were made. A demo that stays up keeps its verdict.";

/// Runs edge-scheduler, edge-pinger and edge-router on an embedded cluster with a simulated WAN, and judges what they do.
#[derive(Clone, Debug, Parser)]
#[command(name = "edge-demo", version, after_help = EXIT_CODES)]
pub struct Args {
    /// World to simulate: .yaml (demo/topologies/), an RTT matrix as .csv (header row and column) or .tsv, or generated:NODES
    #[arg(long, value_name = "FILE", default_value = "built-in")]
    pub topology: Topology,
    /// Pods made up for the world, besides the manifests (default: 60 where the world is not the built-in one)
    #[arg(long, value_name = "N")]
    pub pods: Option<usize>,
    /// Seed of pods, jitter and requests
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// Requests that the simulated clients send
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = positive)]
    pub requests: usize,
    /// Stays up afterwards and prints KUBECONFIG=… for kubectl; ends with Ctrl-C
    #[arg(long)]
    pub stay: bool,
    /// With --stay: where the kubeconfig goes instead of into a temporary folder; removed at the end
    #[arg(long, value_name = "FILE", requires = "stay")]
    pub write_kubeconfig: Option<PathBuf>,
    /// json: one line for everything that happens on standard output (demo/OUTPUT.md); what a person reads goes to standard error
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The negative control: bounds are not heeded, and the run succeeds only if at least 30 % of them are violated
    #[arg(long)]
    pub no_delay_filter: bool,
    /// error, warn, info, debug or trace, for the logs of the programs
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "expected a number above 0".to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// Where the world comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    BuiltIn,
    Generated(usize),
    File(PathBuf),
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Topology, String> {
        if text == "built-in" {
            return Ok(Topology::BuiltIn);
        }
        match text.strip_prefix("generated:") {
            None => Ok(Topology::File(text.into())),
            Some(count) => match count.parse() {
                Ok(count @ 4..=2000) => Ok(Topology::Generated(count)),
                _ => Err(format!("generated:{count}: expected a number of nodes from 4 to 2000")),
            },
        }
    }
}

impl Topology {
    pub fn load(&self, seed: u64) -> Result<World, WorldError> {
        match self {
            Topology::BuiltIn => Ok(World::built_in()),
            Topology::Generated(count) => world::generate(*count, seed),
            Topology::File(path) => World::load(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_is_a_file_or_a_number_of_nodes() {
        assert_eq!("generated:21".parse(), Ok(Topology::Generated(21)));
        assert_eq!("a/b.csv".parse(), Ok(Topology::File("a/b.csv".into())));
        assert!("generated:x".parse::<Topology>().unwrap_err().contains("4 to 2000"));
    }

    #[test]
    fn wrong_flags_say_what_is_wrong() {
        let check = |flags: &[&str], part: &str| {
            let error = Args::try_parse_from(["edge-demo"].iter().chain(flags)).expect_err("wrong").to_string();
            assert!(error.contains(part), "{flags:?}: {error}");
        };
        check(&["--frob"], "--frob");
        check(&["--seed", "x"], "--seed");
        check(&["--requests", "0"], "above 0");
        check(&["--topology", "generated:3"], "4 to 2000");
        check(&["--write-kubeconfig", "k"], "--stay");
    }
}
