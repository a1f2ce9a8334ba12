//! A process under measurement: its processor time and memory, as the kernel counts them.

use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Over this time...
const STILL: Duration = Duration::from_secs(1);
/// ... a process that is at rest uses no more than this. A renewed lease is allowed for.
const AT_REST_S: f64 = 0.03;

/// Ends with this value.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start(mut command: Command, log: &Path) -> Result<Process> {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(std::fs::File::create(log)?);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        Ok(Process { child, log: log.to_owned() })
    }

    pub fn write(&mut self, line: &str) -> Result<()> {
        Ok(self.child.stdin.as_mut().context("its standard input is closed")?.write_all(line.as_bytes())?)
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    pub fn cpu_s(&self) -> Result<f64> {
        cpu_s(self.child.id())
    }

    /// The most memory that it had resident, in 10^6 bytes.
    pub fn peak_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1.024 / 1_000.0)
    }

    /// Waits until it does nothing more, for so long at most.
    pub async fn rest(&mut self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let before = self.cpu_s()?;
            tokio::time::sleep(STILL).await;
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended early: {status}: {}", self.last_words());
            }
            let used = self.cpu_s()? - before;
            if used <= AT_REST_S {
                return Ok(());
            }
            if begun.elapsed() > limit {
                bail!("it still works after {} s ({used:.2} CPU s a second): {}", limit.as_secs(), self.last_words());
            }
        }
    }
}

/// User and system time that a process has had.
pub fn cpu_s(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no process name")?.1.split(' ').collect();
    // The 14th and 15th of all, the first two being the id and the name.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
