use chassis::config::EXIT_USAGE;
use chassis::program::log_filter;
use chassis::shutdown::{self, Shutdown};
use clap::Parser;
use edge_demo::run::{self, Args, Ending};
use std::process::ExitCode;

/// What shells report of a program that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let filter = match log_filter(&args.log_level) {
        Ok(filter) => filter,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        if let Err(error) = shutdown::on_signals(&shutdown) {
            eprintln!("cannot install signal handlers: {error}");
            return ExitCode::FAILURE;
        }
        match run::run(args, shutdown).await {
            Ok(Ending::Held) => ExitCode::SUCCESS,
            Ok(Ending::Failed) => {
                eprintln!("a check did not hold");
                ExitCode::FAILURE
            }
            Ok(Ending::Interrupted) => {
                eprintln!("interrupted before the checks were made; everything that ran has ended");
                ExitCode::from(EXIT_INTERRUPTED)
            }
            Err(error) => {
                eprintln!("edge-demo: {error:#}");
                ExitCode::FAILURE
            }
        }
    })
}
