//! `demo-audit [FILE]`: judges a run of `edge-demo --output json` by its output alone.
//!
//! Shares no code with the programs it judges: labels, quantities and references are read here a second time, on purpose.

mod bounds;
mod capacity;
mod record;
mod requests;

use anyhow::{Context, Result, bail};
use clap::Parser;
use record::Record;
use serde::Serialize;
use std::io::{BufRead, BufReader, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

/// Recompute every check of a demo run from its JSON lines.
#[derive(Parser)]
struct Args {
    /// Output of `edge-demo --output json`; standard input when absent.
    file: Option<PathBuf>,
    /// Judge a negative control: at least this percentage of the delay bounds must be violated.
    #[arg(long, value_name = "PERCENT")]
    expect_violations: Option<f64>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    figure: f64,
    unit: &'static str,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let input: Box<dyn BufRead> = match &args.file {
        Some(path) => Box::new(BufReader::new(std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?)),
        None => Box::new(stdin().lock()),
    };
    let record = Record::read(input)?;
    if record.world.nodes.is_empty() {
        bail!("the output has no \"world\" line, so there is nothing to judge against");
    }
    let checks = judge(&record, args.expect_violations);
    for check in &checks {
        eprintln!("{} {:<26} {} {}", if check.ok { "ok    " } else { "FAILED" }, check.name, check.figure, check.unit);
    }
    println!("{}", serde_json::json!({ "summary": { "checks": checks } }));
    Ok(if checks.iter().all(|c| c.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge(record: &Record, expect_violations: Option<f64>) -> Vec<Check> {
    let bounds = bounds::judge(record);
    let capacity = capacity::judge(record);
    let requests = requests::judge(record);
    for line in bounds.findings.iter().chain(&capacity.findings).chain(&requests.findings) {
        eprintln!("{line}");
    }
    let count = |name, ok, figure: usize, unit| Check { name, ok, figure: figure as f64, unit };
    let mut checks = vec![
        count("pods-bound", capacity.bound > 0, capacity.bound, "pods"),
        count("nodes-overcommitted", capacity.overcommitted == 0, capacity.overcommitted, "nodes"),
        count("double-bindings", capacity.double_bindings == 0, capacity.double_bindings, "pods"),
    ];
    let share = 100.0 * bounds.violated as f64 / bounds.checked.max(1) as f64;
    match expect_violations {
        Some(percent) => checks.push(Check { name: "bounds-violated-share", ok: share >= percent, figure: share, unit: "%" }),
        None => checks.extend([
            count("requests-served", requests.served > 0, requests.served, "requests"),
            count("bounds-checked", bounds.checked > 0, bounds.checked, "bounds"),
            count("bounds-violated", bounds.violated == 0, bounds.violated, "bounds"),
            count("requests-outside-bound", requests.outside == 0, requests.outside, "requests"),
            count("pairs-excluded-by-bound", requests.pairs_excluded > 0, requests.pairs_excluded, "pairs"),
        ]),
    }
    checks
}
