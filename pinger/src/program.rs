//! Flags, and what they run.

use crate::config::Config;
use crate::once::PeerArg;
use crate::running::{self, Error};
use chassis::program::{Program, Setting};
use chassis::shutdown::Shutdown;

/// Flags of edge-pinger besides the common ones.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of this agent's Node
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Address of the admin port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_address: Option<String>,
    /// Probes every peer five times, prints a table and exits
    #[arg(long)]
    pub once: bool,
    /// With --once: a peer to probe, instead of those the topology service names; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", requires = "once")]
    pub peer: Vec<PeerArg>,
}

pub struct Pinger;

impl Program for Pinger {
    const NAME: &'static str = "edge-pinger";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "Measures RTT between nodes and the devices of this node";
    type Args = Args;
    type Config = Config;
    type Error = Error;

    fn settings(args: &Args) -> Vec<Setting> {
        let node_name = args.node_name.clone().or_else(|| (args.once && !args.peer.is_empty()).then(|| "this machine".to_owned()));
        Setting::given([("--node-name", "nodeName", node_name), ("--admin-address", "adminAddress", args.admin_address.clone())])
    }

    async fn run(args: Args, config: Config, shutdown: Shutdown) -> Result<(), Error> {
        match args.once {
            true => running::once(config, args.peer, &shutdown).await,
            false => running::run(config, shutdown).await,
        }
    }
}
