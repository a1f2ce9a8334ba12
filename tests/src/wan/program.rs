//! The project's programs as processes in namespaces.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::namespace::Namespace;
use crate::control_plane::root;

/// How long a program may take from SIGTERM to its end.
const END: Duration = Duration::from_secs(15);

/// A program could not be built or started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProgramError {
    #[error("cannot run {command}")]
    Run { command: String, source: io::Error },
    #[error("{command} failed: {output}")]
    Failed { command: String, output: String },
    #[error("this test program lies in no build folder: {0:?}")]
    NoFolder(PathBuf),
    #[error("cannot write the log {}", path.display())]
    Log { path: PathBuf, source: io::Error },
}

/// Builds these programs, in the profile of this test, and returns the folder they are in. Takes a moment where they are built already.
pub fn build(programs: &[&str]) -> Result<PathBuf, ProgramError> {
    let exe = std::env::current_exe().map_err(|source| ProgramError::Run { command: "this test program".into(), source })?;
    // target/PROFILE/deps/TEST-HASH
    let found = exe.parent().and_then(Path::parent).zip(exe.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')));
    let Some((folder, (test, _hash))) = found else { return Err(ProgramError::NoFolder(exe)) };
    let folder = folder.to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["build", "--quiet", "--locked", "--offline", "--bins"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    // What cargo tells this test about its own crate would be news to build scripts that look at it (ring's), and everything above them built anew.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    // With this very test among them, features come out as they did for it, and no crate is built twice.
    cargo.args(["--test", test]);
    for package in programs.iter().chain([&"edge-tests"]) {
        cargo.args(["--package", package]);
    }
    let command = format!("{cargo:?}");
    let output = cargo.output().map_err(|source| ProgramError::Run { command: command.clone(), source })?;
    match output.status.success() {
        true => Ok(folder),
        false => Err(ProgramError::Failed { command, output: String::from_utf8_lossy(&output.stderr).into_owned() }),
    }
}

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `program` in the namespace. What it prints goes to `log`.
    pub fn start(namespace: &Namespace, program: &Path, arguments: &[&str], log: PathBuf) -> Result<Program, ProgramError> {
        let mut command = namespace.command(program);
        let text = format!("{command:?}");
        let file = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = file.map_err(|source| ProgramError::Log { path: log.clone(), source })?;
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().map_err(|source| ProgramError::Run { command: text, source })?;
        Ok(Program { child, log })
    }

    /// Whether it runs still.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end with SIGTERM and waits; whether it ended in time and with success.
    pub fn stop(mut self) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| self.runs()) else { return false };
        if kill_process(pid, Signal::TERM).is_err() {
            return false;
        }
        let deadline = Instant::now() + END;
        while self.runs() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.try_wait().is_ok_and(|status| status.is_some_and(|status| status.success()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.runs() {
            // Both fail only where it has just ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
