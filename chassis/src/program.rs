//! What every program's `main` does: read flags and configuration, set up logs, run, and turn the outcome into an exit code.

use crate::{
    config::{self, Configuration, EXIT_USAGE, Layers},
    shutdown::{self, Shutdown},
};
use clap::{Args as _, FromArgMatches as _, ValueEnum};
use std::{
    collections::BTreeMap, error::Error, ffi::OsString, future::Future, io::Write, path::PathBuf, process::ExitCode, time::Duration,
};
use tracing_subscriber::EnvFilter;

/// A program: its name, flags, configuration and main function. Implemented in its crate, run by [`main`].
pub trait Program {
    /// `edge-scheduler`; the environment's prefix is `EDGE_SCHEDULER`.
    const NAME: &'static str;
    const VERSION: &'static str;
    /// One line for `--help`.
    const ABOUT: &'static str;
    /// Flags and subcommands besides [`CommonArgs`].
    type Args: clap::Args;
    type Config: Configuration;
    type Error: Error + Send + Sync + 'static;

    /// Which configuration keys the program's own flags set.
    fn settings(_args: &Self::Args) -> Vec<Setting> {
        Vec::new()
    }

    /// Runs until `shutdown`, and returns only when everything it started has ended.
    fn run(args: Self::Args, config: Self::Config, shutdown: Shutdown) -> impl Future<Output = Result<(), Self::Error>>;
}

/// A configuration key given by a typed flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As the user wrote it, for errors: `--admin-address`.
    pub flag: &'static str,
    /// `admin.address`.
    pub key: &'static str,
    pub value: String,
}

impl Setting {
    /// Those of (flag, key, value) that were given.
    pub fn given(flags: impl IntoIterator<Item = (&'static str, &'static str, Option<String>)>) -> Vec<Setting> {
        flags.into_iter().filter_map(|(flag, key, value)| Some(Setting { flag, key, value: value? })).collect()
    }
}

/// Flags that every program has.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonArgs {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// Sets one configuration key; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE", global = true)]
    pub set: Vec<String>,
    /// Prints the effective configuration as YAML and exits
    #[arg(long, global = true)]
    pub print_config: bool,
    /// error, warn, info, debug or trace; also per module: info,edge_router=debug
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How long what a program started may take to end once `run` has returned.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// The whole of a program's `main`: exits with 0, with 1 when it fails while running, with [`EXIT_USAGE`] for wrong flags or configuration.
pub fn main<P: Program>() -> ExitCode {
    // A variable that is not UTF-8 cannot be one of ours.
    let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let parsed = match parse::<P>(std::env::args_os(), env, &mut std::io::stdout()) {
        Ok(parsed) => parsed,
        Err(Exit { code, message }) => {
            if !message.is_empty() {
                eprintln!("{message}");
            }
            return ExitCode::from(code);
        }
    };
    init_logs(parsed.filter, parsed.format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(P::NAME).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        if let Err(error) = shutdown::on_signals(&shutdown) {
            tracing::error!(%error, "cannot install signal handlers");
            return ExitCode::FAILURE;
        }
        tracing::info!(version = P::VERSION, "{} starts", P::NAME);
        let outcome = P::run(parsed.args, parsed.config, shutdown.clone()).await;
        shutdown.trigger();
        if let Err(error) = shutdown.wait_all(STRAGGLERS).await {
            tracing::warn!(%error, "not everything ended");
        }
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{}", chain(&error));
                ExitCode::FAILURE
            }
        }
    })
}

/// An error with all its causes, outermost first.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&inner) {
            text = format!("{text}: {inner}");
        }
        cause = error.source();
    }
    text
}

struct Parsed<P: Program> {
    args: P::Args,
    config: P::Config,
    filter: EnvFilter,
    format: LogFormat,
}

/// The end before anything ran; `message` goes to standard error.
#[derive(Debug, PartialEq, Eq)]
struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    fn usage(message: impl ToString) -> Self {
        Self { code: EXIT_USAGE, message: message.to_string() }
    }
}

fn env_prefix(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn command<P: Program>() -> clap::Command {
    let prefix = env_prefix(P::NAME);
    // A doc comment on the program's `Args` would become the description: ours is set last.
    P::Args::augment_args(CommonArgs::augment_args(clap::Command::new(P::NAME)))
        .version(P::VERSION)
        .about(P::ABOUT)
        .long_about(None)
        .after_help(format!(
            "Every configuration key has a variable, {prefix}_KEY_PATH; so have the flags above: {prefix}_CONFIG, {prefix}_LOG_LEVEL, ….\n\
             Later wins: defaults, file, environment, flags."
        ))
}

fn parse<P: Program>(
    args: impl IntoIterator<Item = OsString>,
    env: BTreeMap<String, String>,
    out: &mut dyn Write,
) -> Result<Parsed<P>, Exit> {
    let matches = command::<P>().try_get_matches_from(args).map_err(|error| {
        let help = !error.use_stderr();
        if help {
            // Help that nobody reads is no failure.
            let _ = write!(out, "{}", error.render());
        }
        let message = if help { String::new() } else { error.render().to_string().trim_end().to_owned() };
        Exit { code: if help { 0 } else { EXIT_USAGE }, message }
    })?;
    let common = CommonArgs::from_arg_matches(&matches).map_err(Exit::usage)?;
    let args = P::Args::from_arg_matches(&matches).map_err(Exit::usage)?;
    let prefix = env_prefix(P::NAME);
    let fallback = |flag: &Option<String>, suffix: &str| flag.clone().or_else(|| env.get(&format!("{prefix}_{suffix}")).cloned());

    let mut layers = Layers::new(&prefix);
    let file = common.config.clone().or_else(|| env.get(&format!("{prefix}_CONFIG")).map(PathBuf::from));
    if let Some(file) = file {
        layers.file(&file);
    }
    if let Some(path) = fallback(&common.kubeconfig, "KUBECONFIG") {
        layers.flag("--kubeconfig", "client.kubeconfig", &path);
    }
    if let Some(context) = fallback(&common.context, "CONTEXT") {
        layers.flag("--context", "client.context", &context);
    }
    layers.env(env.clone());
    for setting in P::settings(&args) {
        layers.flag(setting.flag, setting.key, &setting.value);
    }
    for text in &common.set {
        layers.set(text);
    }
    let (config, problems) = layers.resolve::<P::Config>();

    let level = fallback(&common.log_level, "LOG_LEVEL").unwrap_or_else(|| "info".to_owned());
    let format = match (common.log_format, env.get(&format!("{prefix}_LOG_FORMAT"))) {
        (Some(format), _) => format,
        (None, Some(text)) => LogFormat::from_str(text, true)
            .map_err(|_error| Exit::usage(format!("{prefix}_LOG_FORMAT: got {text:?}: expected text or json")))?,
        (None, None) => LogFormat::default(),
    };
    let filter = log_filter(&level).map_err(Exit::usage)?;

    if common.print_config
        && let Some(config) = &config
    {
        // Also when a value is wrong: seeing it may be what was asked for.
        let yaml = config::to_yaml(config).map_err(Exit::usage)?;
        write!(out, "{yaml}").map_err(Exit::usage)?;
    }
    match (config, common.print_config) {
        (Some(config), false) if problems.0.is_empty() => Ok(Parsed { args, config, filter, format }),
        (Some(_), true) if problems.0.is_empty() => Err(Exit { code: 0, message: String::new() }),
        _ => Err(Exit::usage(problems)),
    }
}

/// What `--log-level` selects; the error says what it takes.
pub fn log_filter(level: &str) -> Result<EnvFilter, String> {
    let wrong = || format!("--log-level: got {level:?}: expected error, warn, info, debug or trace, or info,module=debug");
    // A bare word that is no level would pass as the name of a module, and silence everything.
    let bare_ok = level
        .split(',')
        .filter(|part| !part.contains('='))
        .all(|part| part.parse::<tracing::level_filters::LevelFilter>().is_ok() && !part.is_empty());
    if !bare_ok {
        return Err(wrong());
    }
    // The client's own log repeats each failed call that its caller reports.
    let quiet = if level.contains("kube_client") { String::new() } else { ",kube_client=off".to_owned() };
    EnvFilter::try_new(format!("{level}{quiet}")).map_err(|_error| wrong())
}

fn init_logs(filter: EnvFilter, format: LogFormat) {
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails when a subscriber is installed already, in tests: then that one stays.
    let _ = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Example;

    struct Test;

    /// Not the description.
    #[derive(Debug, clap::Args)]
    struct TestArgs {
        #[arg(long)]
        workers: Option<u16>,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Debug, PartialEq, clap::Subcommand)]
    enum Command {
        Explain { pod: String },
    }

    impl Program for Test {
        const NAME: &'static str = "edge-test";
        const VERSION: &'static str = "1.2.3";
        const ABOUT: &'static str = "Tests";
        type Args = TestArgs;
        type Config = Example;
        type Error = std::io::Error;

        fn settings(args: &TestArgs) -> Vec<Setting> {
            args.workers.iter().map(|workers| Setting { flag: "--workers", key: "workers", value: workers.to_string() }).collect()
        }

        async fn run(_args: TestArgs, _config: Example, shutdown: Shutdown) -> Result<(), std::io::Error> {
            shutdown.signalled().await;
            Ok(())
        }
    }

    fn run(args: &[&str], env: &[(&str, &str)]) -> (Result<Parsed<Test>, Exit>, String) {
        let mut out = Vec::new();
        let args = ["edge-test"].iter().chain(args).map(OsString::from);
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let parsed = parse::<Test>(args, env, &mut out);
        (parsed, String::from_utf8(out).unwrap())
    }

    fn check_refused(args: &[&str], env: &[(&str, &str)], code: u8, part: &str) {
        let (parsed, _) = run(args, env);
        let exit = parsed.err().expect("refused");
        assert_eq!(exit.code, code, "{args:?}: {}", exit.message);
        assert!(exit.message.contains(part), "{args:?}: {}", exit.message);
    }

    #[test]
    fn flags_win_over_the_environment() {
        let env = [("EDGE_TEST_WORKERS", "2"), ("EDGE_TEST_NAME", "env"), ("EDGE_TEST_KUBECONFIG", "/k"), ("EDGE_TEST_LOG_FORMAT", "json")];
        let (parsed, _) = run(&["--workers", "3", "explain", "ns/pod", "--set", "topology.maxAge=1m", "--context", "c"], &env);
        let parsed = parsed.unwrap_or_else(|exit| panic!("{}", exit.message));
        assert_eq!((parsed.config.workers, parsed.config.name.as_str()), (3, "env"));
        assert_eq!(parsed.config.topology.max_age, config::Duration::from_secs(60));
        assert_eq!(parsed.config.client.kubeconfig, Some("/k".into()));
        assert_eq!(parsed.config.client.context.as_deref(), Some("c"));
        assert_eq!(parsed.args.command, Some(Command::Explain { pod: "ns/pod".to_owned() }));
        assert_eq!(parsed.format, LogFormat::Json);
    }

    #[test]
    fn what_is_wrong_exits_64() {
        check_refused(&["--frob"], &[], EXIT_USAGE, "--frob");
        check_refused(&["--set", "worker=1"], &[], EXIT_USAGE, r#"did you mean "workers"?"#);
        check_refused(&["--config", "/nowhere.yaml"], &[], EXIT_USAGE, "/nowhere.yaml");
        check_refused(&[], &[("EDGE_TEST_WORKERS", "x")], EXIT_USAGE, "an integer from 0 to 65535");
        check_refused(&["--log-level", "loud"], &[], EXIT_USAGE, "expected error, warn, info");
        check_refused(&["--log-level", "a=b=c"], &[], EXIT_USAGE, "expected error, warn, info");
        check_refused(&[], &[("EDGE_TEST_LOG_FORMAT", "xml")], EXIT_USAGE, "expected text or json");
        check_refused(&["--help"], &[], 0, "");
    }

    #[test]
    fn prints_the_effective_configuration() {
        let (parsed, out) = run(&["--print-config", "--workers", "9"], &[]);
        assert_eq!(parsed.err(), Some(Exit { code: 0, message: String::new() }));
        assert!(out.contains("workers: 9\n") && out.contains("  maxAge: 15m\n"), "{out}");
        assert!(run(&["--version"], &[]).1.contains("1.2.3"));
        let help = run(&["--help"], &[]).1;
        assert!(help.starts_with("Tests\n") && help.contains("EDGE_TEST_LOG_LEVEL"), "{help}");
        let (parsed, out) = run(&["--print-config", "--workers", "0"], &[]);
        assert_eq!(parsed.err().map(|exit| exit.code), Some(EXIT_USAGE));
        assert!(out.contains("workers: 0\n"), "{out}");
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        let inner = std::io::Error::other("refused");
        let outer = crate::serve::BindError::Other { address: ([127, 0, 0, 1], 80).into(), source: inner };
        assert_eq!(chain(&outer), "cannot listen on 127.0.0.1:80: refused");
    }
}
