//! A real Kubernetes control plane on loopback, for suites: `tests/control-plane/up` and `down`, with a client.
//!
//! One instance serves a whole test program (see [`Shared`]); each has a folder of its own under `.edge-tests/`, which stays, with the logs, when a
//! test panicked.

mod access;
mod faults;

pub use access::{PROGRAMS, established, token};
pub use faults::Component;

use chassis::client::{ClientConfig, ConnectError, connect};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// Longest time for a call of kubectl.
const KUBECTL_TIMEOUT: Duration = Duration::from_secs(120);

/// What runs; see the header of `tests/control-plane/up`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Nodes `node-1`… that are there, Ready, from the start.
    pub nodes: u32,
    pub kubelets: Kubelets,
    pub controllers: bool,
    pub scheduler: bool,
    /// Whether [`ControlPlane::audit_log`] is written.
    pub audit: bool,
}

/// Who plays the kubelets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kubelets {
    /// kwok, for every node: pods become Running.
    #[default]
    Kwok,
    /// Nobody: pods that are bound stay Pending.
    None,
}

/// Why there is no control plane, or why it did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its programs are not built here. A test says so and ends; it does not fail.
    #[error("{why}")]
    Unavailable { why: String },
    #[error("cannot run {command}")]
    Run { command: String, source: io::Error },
    #[error("{command} failed: {output}")]
    Failed { command: String, output: String },
    #[error("{command} did not end within {} s", KUBECTL_TIMEOUT.as_secs())]
    TimedOut { command: String },
    #[error("cannot make a client")]
    Connect(#[from] ConnectError),
    #[error("cannot {what}")]
    Api { what: String, source: kube::Error },
    #[error("cannot {what} the file {}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot read or write the kubeconfig {}", path.display())]
    Kubeconfig { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{0} does not run")]
    NotRunning(&'static str),
}

/// A running control plane; dropping it ends it.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the checkout")
}

fn script(name: &str) -> Command {
    Command::new(root().join("tests/control-plane").join(name))
}

/// The folder of its programs, kubectl among them. [`Error::Unavailable`] unless they are built.
pub fn programs() -> Result<PathBuf, Error> {
    let mut check = script("build");
    check.arg("--check");
    let built = check.output().map_err(|source| Error::Run { command: format!("{check:?}"), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if built.status.success() { Ok(text(&built.stdout).into()) } else { Err(Error::Unavailable { why: text(&built.stderr) }) }
}

/// Runs to the end; an exit status other than 0 is left to the caller.
async fn output(command: Command) -> Result<Output, Error> {
    let name = format!("{command:?}");
    let run = |source| Error::Run { command: name.clone(), source };
    tokio::process::Command::from(command).output().await.map_err(run)
}

fn succeeded(command: &str, output: &Output) -> Result<String, Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Error::Failed { command: command.to_owned(), output: format!("{}\n{}", output.status, text(&output.stderr)) })
}

impl ControlPlane {
    /// Starts one in a folder of its own. Takes seconds; `up` bounds every wait. [`Error::Unavailable`] unless its programs are built.
    pub async fn start(options: Options) -> Result<Self, Error> {
        programs()?;
        end_orphans().await;
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let serial = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = root().join(format!(".edge-tests/{FOLDER_PREFIX}{}-{serial}", std::process::id()));
        // From here on dropping cleans up, also where `up` fails.
        let plane = Self { folder };
        let mut up = script("up");
        up.arg(&plane.folder).args(["--nodes", &options.nodes.to_string()]);
        up.args(["--kubelets", if options.kubelets == Kubelets::Kwok { "kwok" } else { "none" }]);
        for (wanted, flag) in [(options.controllers, "--controllers"), (options.scheduler, "--scheduler"), (options.audit, "--audit")] {
            up.args(wanted.then_some(flag));
        }
        succeeded("tests/control-plane/up", &output(up).await?)?;
        Ok(plane)
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Events of `audit.k8s.io/v1`, one a line, with [`Options::audit`].
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// For files of the tests that go with the control plane.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A client of the administrator, without a limit on its rate. It belongs to the runtime it is made in.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        client(&self.kubeconfig()).await
    }

    /// Runs the kubectl of the control plane's version, in the checkout's root. How it ends is the caller's to judge.
    pub async fn kubectl(&self, kubeconfig: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Output, Error> {
        let mut kubectl = Command::new(self.folder.join("bin/kubectl"));
        kubectl.arg("--kubeconfig").arg(kubeconfig).args(arguments).current_dir(root());
        // Without a cache of what is served: tests add resources, and ports come again.
        kubectl.env("KUBECACHEDIR", "/dev/null");
        let command = format!("{kubectl:?}");
        tokio::time::timeout(KUBECTL_TIMEOUT, output(kubectl)).await.unwrap_or(Err(Error::TimedOut { command }))
    }

    /// As [`Self::kubectl`] for the administrator; what it prints, if it succeeds.
    pub async fn kubectl_as_admin(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String, Error> {
        succeeded("kubectl", &self.kubectl(&self.kubeconfig(), arguments).await?)
    }
}

/// A client by a kubeconfig, without a limit on its rate.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client, Error> {
    let config = ClientConfig { kubeconfig: Some(kubeconfig.to_owned()), qps: 0.0, ..ClientConfig::default() };
    Ok(connect(&config, concat!("edge-tests/", env!("CARGO_PKG_VERSION"))).await?.client)
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if !self.folder.exists() {
            return; // `up` did not get that far
        }
        let down = script("down").arg(&self.folder).output();
        match down {
            Ok(output) if output.status.success() => {}
            other => eprintln!("tests/control-plane/down {} failed: {other:?}", self.folder.display()),
        }
        if std::thread::panicking() || self.folder.join("run").exists() {
            eprintln!("the control plane's logs are in {}", self.folder.join("logs").display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

const FOLDER_PREFIX: &str = "control-plane-";

/// Ends what test programs left running that could not end it themselves (Ctrl-C): their folders are named by process id.
async fn end_orphans() {
    let Ok(folders) = std::fs::read_dir(root().join(".edge-tests")) else { return };
    for folder in folders.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(FOLDER_PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let orphaned = owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if orphaned && folder.path().join("run").exists() {
            let mut down = script("down");
            down.arg(folder.path());
            if let Err(error) = output(down).await {
                eprintln!("{error}: {}", folder.path().display());
            }
        }
    }
}

/// One control plane for the tests of a program that run at the same time: started by whoever needs it first, ended when nobody holds it any more.
///
/// ```ignore
/// static PLANE: Shared = Shared::new(Options { nodes: 10, controllers: true, ..DEFAULT });
/// let Some(plane) = PLANE.get("a_pod_runs").await else { return };
/// ```
pub struct Shared {
    options: Options,
    running: Mutex<Weak<ControlPlane>>,
}

impl Shared {
    pub const fn new(options: Options) -> Self {
        Self { options, running: Mutex::const_new(Weak::new()) }
    }

    /// The control plane, or `None` after saying, in the form `tests/run` counts, that `test` is left out. Panics where it is there and does not start.
    pub async fn get(&self, test: &str) -> Option<Arc<ControlPlane>> {
        let mut running = self.running.lock().await;
        if let Some(plane) = running.upgrade() {
            return Some(plane);
        }
        match ControlPlane::start(self.options).await {
            Ok(plane) => {
                let plane = Arc::new(plane);
                *running = Arc::downgrade(&plane);
                Some(plane)
            }
            Err(Error::Unavailable { why }) => {
                println!("SKIPPED {test}: {why}");
                None
            }
            Err(error) => panic!("no control plane: {error}"),
        }
    }
}
