//! Flags, and what they run.

use crate::{
    config::Config,
    running::{self, Error},
};
use chassis::{
    program::{Program, Setting},
    shutdown::Shutdown,
};

/// Flags of edge-router besides the common ones.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the Node that this router runs on
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Address that clients connect to
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen_address: Option<String>,
    /// Address of the admin port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_address: Option<String>,
}

pub struct EdgeRouter;

impl Program for EdgeRouter {
    const NAME: &'static str = "edge-router";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "Steers requests to the placed pods, nearest and freest first";
    type Args = Args;
    type Config = Config;
    type Error = Error;

    fn settings(args: &Args) -> Vec<Setting> {
        Setting::given([
            ("--node-name", "nodeName", args.node_name.clone()),
            ("--listen-address", "listenAddress", args.listen_address.clone()),
            ("--admin-address", "adminAddress", args.admin_address.clone()),
        ])
    }

    async fn run(_args: Args, config: Config, shutdown: Shutdown) -> Result<(), Error> {
        running::run(config, shutdown).await
    }
}
