//! Network namespaces by `ip netns`, with threads and programs in them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Names are this, the process id, and the node; `ip` keeps them as files here.
const PREFIX: &str = "edge-wan-";
const FOLDER: &str = "/run/netns";

/// A namespace could not be made or used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NamespaceError {
    #[error("cannot run {command}")]
    Run { command: String, source: io::Error },
    #[error("{command} failed: {output}")]
    Failed { command: String, output: String },
    #[error("cannot enter the network namespace {name}")]
    Enter { name: String, source: io::Error },
    #[error("cannot set {} to {value}", path.display())]
    Sysctl { path: PathBuf, value: String, source: io::Error },
}

/// Why this machine can have no such network, if it can't.
pub fn unavailable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces and TUN devices need root".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("/dev/net/tun is missing".into());
    }
    match Command::new("ip").arg("-V").output() {
        Ok(_) => None,
        Err(_) => Some("ip (Debian's iproute2) is missing".into()),
    }
}

/// A network namespace of this process; dropping it removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes one with only a loopback interface. `label` tells it from the others of this process.
    pub fn create(label: &str) -> Result<Namespace, NamespaceError> {
        let name = format!("{PREFIX}{}-{label}", std::process::id());
        ip(&["netns", "add", &name])?;
        let path = Path::new(FOLDER).join(&name);
        let handle = File::open(path).map_err(|source| NamespaceError::Enter { name: name.clone(), source });
        match handle {
            Ok(handle) => {
                let namespace = Namespace { name, handle };
                namespace.configure("link set lo up\n")?;
                Ok(namespace)
            }
            Err(error) => {
                remove(&name);
                Err(error)
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs commands of `ip`, one a line, in the namespace.
    pub fn configure(&self, lines: &str) -> Result<(), NamespaceError> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let text = format!("{command:?}");
        let run = |source| NamespaceError::Run { command: text.clone(), source };
        let mut child = command.spawn().map_err(run)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes()).map_err(run)?;
        }
        succeeded(text.clone(), &child.wait_with_output().map_err(run)?)
    }

    /// Runs `work` on a thread of its own in the namespace. Sockets, threads and programs that come of it stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let entered = move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network));
                entered.map(|()| work()).map_err(|error| NamespaceError::Enter { name: self.name.clone(), source: error.into() })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that runs `program` in the namespace.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Sets a value below `/proc/sys/net`, which every namespace has of its own: `ipv4/ping_group_range`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), NamespaceError> {
        let path = Path::new("/proc/sys/net").join(key);
        self.run(|| {
            std::fs::write(&path, value).map_err(|source| NamespaceError::Sysctl { path: path.clone(), value: value.into(), source })
        })?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn ip(arguments: &[&str]) -> Result<String, NamespaceError> {
    let command = format!("ip {}", arguments.join(" "));
    let output = Command::new("ip").args(arguments).output().map_err(|source| NamespaceError::Run { command: command.clone(), source })?;
    succeeded(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn succeeded(command: String, output: &std::process::Output) -> Result<(), NamespaceError> {
    match output.status.success() {
        true => Ok(()),
        false => Err(NamespaceError::Failed { command, output: String::from_utf8_lossy(&output.stderr).trim().to_owned() }),
    }
}

fn remove(name: &str) {
    if let Err(error) = ip(&["netns", "del", name]) {
        eprintln!("a network namespace stays behind: {error}");
    }
}

/// Removes the namespaces of processes that are gone, and ends the programs that still run in them. Returns how many there were.
pub fn remove_leftovers() -> usize {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return 0 };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left = names.filter(|name| owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    let mut removed = 0;
    for name in left {
        let pids = ip(&["netns", "pids", &name]).unwrap_or_default();
        for pid in pids.split_whitespace().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)) {
            // It may have ended just now.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        remove(&name);
        removed += 1;
    }
    removed
}

/// The process that made the namespace of this name, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_a_namespace_is() {
        let check = |name, expected| assert_eq!(owner(name), expected, "{name}");
        check("edge-wan-4711-node-3", Some(4711));
        check("edge-wan-x-node-3", None);
        check("blue", None);
    }
}
