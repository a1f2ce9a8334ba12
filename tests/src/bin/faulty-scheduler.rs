//! edge-scheduler with two flags that only tests of faults may have. Without them it is edge-scheduler: the same library, configuration and flags.

use chassis::program::{Program, Setting};
use chassis::shutdown::Shutdown;
use edge_scheduler::running::{Deviations, run_deviating};
use edge_scheduler::{Config, Error, Scheduler};
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
struct FaultyArgs {
    #[command(flatten)]
    scheduler: edge_scheduler::Args,
    /// Sends bindings without asking whether the lease is held
    #[arg(long)]
    lease_unchecked: bool,
    /// How far the clock of the election is ahead, in seconds; negative: behind
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    clock_ahead_s: i64,
}

struct FaultyScheduler;

impl Program for FaultyScheduler {
    const NAME: &'static str = Scheduler::NAME;
    const VERSION: &'static str = Scheduler::VERSION;
    const ABOUT: &'static str = "edge-scheduler for tests of faults";
    type Args = FaultyArgs;
    type Config = Config;
    type Error = Error;

    fn settings(args: &FaultyArgs) -> Vec<Setting> {
        Scheduler::settings(&args.scheduler)
    }

    async fn run(args: FaultyArgs, config: Config, shutdown: Shutdown) -> Result<(), Error> {
        let deviations =
            Deviations { lease_unchecked: args.lease_unchecked, clock_ahead: jiff::SignedDuration::from_secs(args.clock_ahead_s) };
        run_deviating(config, deviations, shutdown).await
    }
}

fn main() -> ExitCode {
    chassis::program::main::<FaultyScheduler>()
}
