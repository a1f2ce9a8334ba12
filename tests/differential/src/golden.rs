//! Golden cases: what the oracle answered once, replayed without it in every test run.
//!
//! `golden/cases.jsonl.gz` holds a [`Header`] and then a [`Record`] a line. `cargo run -p differential -- --write-golden` makes it anew.

use crate::case::{Answer, Case};
use anyhow::{Context, Result};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Cases of very many pods make the file large and show nothing that several smaller ones do not.
pub const LARGEST_BYTES: usize = 38_000;

/// Where the cases come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of kube-scheduler.
    pub kubernetes: String,
    pub seed: u64,
    pub cases: usize,
    /// Day on which the oracle was asked.
    pub made: jiff::civil::Date,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub case: Case,
    pub answer: Answer,
}

pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases.jsonl.gz")
}

pub fn write(path: &Path, header: &Header, records: impl Iterator<Item = Record>) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut gz = GzEncoder::new(file, Compression::best());
    let mut line = |value: serde_json::Result<String>| -> Result<()> { Ok(writeln!(gz, "{}", value?)?) };
    line(serde_json::to_string(header))?;
    for record in records {
        line(serde_json::to_string(&record))?;
    }
    gz.finish().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

pub fn read(path: &Path) -> Result<(Header, Vec<Record>)> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = BufReader::new(GzDecoder::new(file)).lines();
    let header = lines.next().with_context(|| format!("{} is empty", path.display()))??;
    let records = lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_>>()?;
    Ok((serde_json::from_str(&header)?, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::differences;
    use crate::figures::Figures;
    use crate::generate::COVERED;
    use crate::ours;

    /// Fewer than this would miss plugins that few cases reach.
    const ENOUGH: usize = 2000;

    #[test]
    fn every_golden_case_is_answered_as_kube_scheduler_answered_it() {
        let (header, records) = read(&path()).unwrap();
        assert_eq!(records.len(), header.cases);
        assert!(header.cases >= ENOUGH, "only {} golden cases", header.cases);
        println!(
            "FIGURE golden: {} answers of kube-scheduler {}, seed {}, of {}",
            header.cases, header.kubernetes, header.seed, header.made
        );
        let mut figures = Figures::new(COVERED);
        records.iter().for_each(|record| figures.add(&record.answer));
        assert_eq!(figures.too_seldom(), Vec::<String>::new(), "of what the suite generates now: write the golden cases anew");
        let differing = records.iter().filter_map(|record| {
            let found = differences(&record.answer, &ours::answer(&record.case));
            found.first().map(|first| format!("case {}: {first}", record.case.id))
        });
        let differing: Vec<String> = differing.collect();
        assert!(
            differing.is_empty(),
            "{} of {} differ:\n{}",
            differing.len(),
            header.cases,
            differing[..differing.len().min(5)].join("\n")
        );
    }
}
