//! Flags and subcommands, and what they run.

use crate::config::Config;
use crate::explain::{Ask, PodArg, Question, ask};
use crate::running::{self, Error};
use chassis::program::{Program, Setting};
use chassis::shutdown::Shutdown;

/// Flags of edge-scheduler besides the common ones.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Address of the admin port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_address: Option<String>,
    /// Address of the topology service
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub topology_address: Option<String>,
    /// Delay matrix in ms (a file); RTTs come from it instead of from agents
    #[arg(long, short = 'd', value_name = "FILE")]
    pub delay_matrix: Option<String>,
    /// JSON object, node name -> row of the delay matrix
    #[arg(long, short = 'm', value_name = "FILE", requires = "delay_matrix")]
    pub metadata: Option<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Prints why a pod is where it is, or waits: every node with its verdict and figure
    Explain {
        #[arg(value_name = "NAMESPACE/POD")]
        pod: PodArg,
        #[command(flatten)]
        how: Ask,
    },
    /// Prints the topology at a glance: what is measured, components, detours, sites, delay layers
    Topology {
        #[command(flatten)]
        how: Ask,
    },
}

pub struct Scheduler;

impl Program for Scheduler {
    const NAME: &'static str = "edge-scheduler";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "Binds pods within their delay bounds, and serves the topology they are judged by";
    type Args = Args;
    type Config = Config;
    type Error = Error;

    fn settings(args: &Args) -> Vec<Setting> {
        let source = args.delay_matrix.as_ref().map(|_| "files".to_owned());
        Setting::given([
            ("--admin-address", "adminAddress", args.admin_address.clone()),
            ("--topology-address", "topology.address", args.topology_address.clone()),
            ("--delay-matrix", "topology.source", source),
            ("--delay-matrix", "topology.matrix", args.delay_matrix.clone()),
            ("--metadata", "topology.metadata", args.metadata.clone()),
        ])
    }

    async fn run(args: Args, config: Config, shutdown: Shutdown) -> Result<(), Error> {
        let (question, how) = match args.command {
            None => return running::run(config, shutdown).await,
            Some(Command::Explain { pod, how }) => (Question::Explain(pod), how),
            Some(Command::Topology { how }) => (Question::Summary, how),
        };
        println!("{}", ask(&config, &question, &how, &shutdown).await?.trim_end());
        Ok(())
    }
}
