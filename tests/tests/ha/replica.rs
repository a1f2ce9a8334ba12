//! One replica of the scheduler: a process of its own that its keeper starts again when it ends, as a kubelet does.

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// Longest wait for a process that must end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// How a replica is started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of its pod.
    pub name: String,
    pub kubeconfig: PathBuf,
    pub config: PathBuf,
    pub log: PathBuf,
    pub clock_ahead_s: i64,
    pub lease_unchecked: bool,
}

pub struct Replica {
    plan: Plan,
    child: Child,
    /// Length of the log when it was started last.
    log_from: u64,
}

impl Replica {
    pub fn start(plan: Plan) -> Replica {
        let (log_from, child) = start(&plan);
        Replica { plan, child, log_from }
    }

    pub fn name(&self) -> &str {
        &self.plan.name
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32)).unwrap_or_else(|| panic!("{} has ended", self.plan.name));
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(ENDS_WITHIN, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("{} does not end: {}", self.plan.name, tail(&self.plan.log))).unwrap()
    }

    /// Starts it again if it has ended.
    pub fn keep(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            (self.log_from, self.child) = start(&self.plan);
        }
    }

    /// Whether it has started as far as to follow the election.
    pub fn takes_part(&self) -> bool {
        let text = std::fs::read(&self.plan.log).unwrap_or_default();
        String::from_utf8_lossy(&text[self.log_from as usize..]).contains("topology service open")
    }
}

fn start(plan: &Plan) -> (u64, Child) {
    let log = std::fs::File::options().create(true).append(true).open(&plan.log).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_faulty-scheduler"));
    command.arg("--kubeconfig").arg(&plan.kubeconfig).arg("--config").arg(&plan.config);
    command.args(["--clock-ahead-s", &plan.clock_ahead_s.to_string()]);
    command.args(plan.lease_unchecked.then_some("--lease-unchecked"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
    let log_from = std::fs::metadata(&plan.log).unwrap().len();
    (log_from, command.spawn().unwrap())
}

/// The end of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
