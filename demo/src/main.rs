use chassis::shutdown::{self, Shutdown};
use clap::Parser;
use edge_demo::run::{self, Args};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(format!("{},kube_client=off", args.log_level));
    let Ok(filter) = filter else {
        eprintln!("--log-level: got {:?}: expected error, warn, info, debug or trace", args.log_level);
        return ExitCode::from(chassis::config::EXIT_USAGE);
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
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => {
                eprintln!("a check did not hold");
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("edge-demo: {error:#}");
                ExitCode::FAILURE
            }
        }
    })
}
