//! The oracle as a child process: cases go in, answers come out, in the same order.

use crate::case::{Answer, Case};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Oracle {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// The path of its program. An error says why it is not built and what builds it.
pub fn program() -> Result<PathBuf> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../control-plane/build");
    let checked = Command::new(&build).args(["--check", "oracle"]).output().with_context(|| format!("cannot run {}", build.display()))?;
    ensure!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr).trim());
    Ok(String::from_utf8_lossy(&checked.stdout).trim().into())
}

impl Oracle {
    pub fn start(program: &Path) -> Result<Oracle> {
        let mut command = Command::new(program);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("the oracle has no stdout")?);
        Ok(Oracle { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// One answer per case. Writes and reads at once, since neither pipe holds them all.
    pub fn ask(&mut self, cases: &[Case]) -> Result<Vec<Answer>> {
        let mut lines = Vec::new();
        for case in cases {
            serde_json::to_writer(&mut lines, case)?;
            lines.push(b'\n');
        }
        let Oracle { stdin, stdout, .. } = self;
        let stdin = stdin.as_mut().context("the oracle has no stdin")?;
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || stdin.write_all(&lines).and_then(|()| stdin.flush()));
            let mut answers = Vec::with_capacity(cases.len());
            let mut line = String::new();
            while answers.len() < cases.len() {
                line.clear();
                if stdout.read_line(&mut line)? == 0 {
                    bail!("the oracle ended after {} of {} answers", answers.len(), cases.len());
                }
                answers.push(serde_json::from_str(&line).with_context(|| format!("cannot read the oracle's answer {line}"))?);
            }
            let written = writer.join().map_err(|_| anyhow::anyhow!("the thread that writes to the oracle panicked"))?;
            written.context("cannot write to the oracle")?;
            Ok(answers)
        })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // Not by the end of its input: it might wait for somebody to read its answers.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
