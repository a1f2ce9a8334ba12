//! `differential [--seed S] [--cases N]`: puts N generated cases to kube-scheduler's own code and to the planner, and prints `agree A of N`.
//!
//! Exit 1 where an answer differs, with the first such case made as small as it gets, or where the cases reach a plugin too seldom. The oracle is built
//! by `tests/control-plane/build oracle`.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use differential::case::{Answer, Case};
use differential::compare::{Difference, differences};
use differential::figures::Figures;
use differential::generate::{COVERED, Feature, OPEN, generate};
use differential::golden::{self, Header, Record};
use differential::oracle::{self, Oracle};
use differential::{ours, shrink::shrink};
use std::process::ExitCode;

/// Hold the planner against kube-scheduler's own code on generated clusters.
#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 7)]
    seed: u64,
    #[arg(long, default_value_t = 2000)]
    cases: u64,
    /// Look at the case of this number alone, and print it with both answers.
    #[arg(long, value_name = "NUMBER")]
    case: Option<u64>,
    /// Only these features, by name; every case has some of them.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    features: Vec<String>,
    /// Write the golden cases anew from this seed and number of cases.
    #[arg(long, conflicts_with_all = ["case", "features"])]
    write_golden: bool,
}

/// Cases on their way at once.
const BATCH: usize = 500;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let features = features(&args.features)?;
    let program = oracle::program()?;
    let mut oracle = Oracle::start(&program)?;
    if let Some(index) = args.case {
        show(&mut oracle, &generate(&features, args.seed, index))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.write_golden {
        let version = program.parent().and_then(|folder| folder.file_name()?.to_str()?.split('-').next()).context("no version")?;
        write_golden(&mut oracle, &args, version)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut figures = Figures::new(&features);
    let mut differing = Vec::new();
    let indexes: Vec<u64> = (0..args.cases).collect();
    for batch in indexes.chunks(BATCH) {
        let cases = batch.iter().map(|&index| generate(&features, args.seed, index)).collect();
        judged(&mut oracle, cases, |case, answer| {
            figures.add(&answer);
            let found = differences(&answer, &ours::answer(&case));
            if let Some(first) = found.into_iter().next() {
                differing.push((case, first));
            }
            Ok(())
        })?;
    }
    print!("{figures}");
    OPEN.iter().for_each(|(what, why)| println!("not covered: {what}: {why}"));
    println!("agree {} of {}, seed {}", args.cases as usize - differing.len(), args.cases, args.seed);
    if let Some((case, first)) = differing.first() {
        println!("differ: cases {:?}", differing.iter().map(|(case, _)| case.id).collect::<Vec<_>>());
        print_smallest(&mut oracle, case, first)?;
    }
    let too_seldom = if args.features.is_empty() { figures.too_seldom() } else { Vec::new() };
    too_seldom.iter().for_each(|line| println!("too seldom: {line}"));
    Ok(if differing.is_empty() && too_seldom.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn features(names: &[String]) -> Result<Vec<Feature>> {
    let known = || COVERED.iter().map(|feature| format!("{feature:?}")).collect::<Vec<_>>().join(", ");
    let of_name = |name: &String| {
        let found = COVERED.iter().find(|feature| format!("{feature:?}").eq_ignore_ascii_case(name));
        found.copied().with_context(|| format!("--features {name}: is none of {}", known()))
    };
    if names.is_empty() { Ok(COVERED.to_vec()) } else { names.iter().map(of_name).collect() }
}

/// Every case with the oracle's answer. An answer that is an error is a mistake of the generator.
fn judged(oracle: &mut Oracle, cases: Vec<Case>, mut take: impl FnMut(Case, Answer) -> Result<()>) -> Result<()> {
    let answers = oracle.ask(&cases)?;
    for (case, answer) in cases.into_iter().zip(answers) {
        ensure!(case.id == answer.id, "the oracle answered case {} when asked for {}", answer.id, case.id);
        if !answer.error.is_empty() {
            bail!("kube-scheduler can't judge case {}: {}", case.id, answer.error);
        }
        take(case, answer)?;
    }
    Ok(())
}

fn write_golden(oracle: &mut Oracle, args: &Args, version: &str) -> Result<()> {
    let small = |case: &Case| serde_json::to_string(case).is_ok_and(|text| text.len() <= golden::LARGEST_BYTES);
    let cases: Vec<Case> = (0..).map(|index| generate(COVERED, args.seed, index)).filter(small).take(args.cases as usize).collect();
    let mut records = Vec::new();
    judged(oracle, cases, |case, answer| {
        records.push(Record { case, answer });
        Ok(())
    })?;
    let made = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let header = Header { kubernetes: version.to_owned(), seed: args.seed, cases: records.len(), made };
    golden::write(&golden::path(), &header, records.into_iter())?;
    println!("wrote {} cases to {}", header.cases, golden::path().display());
    Ok(())
}

fn print_smallest(oracle: &mut Oracle, case: &Case, first: &Difference) -> Result<()> {
    let smallest = shrink(case, |candidate| {
        let Ok(answers) = oracle.ask(std::slice::from_ref(candidate)) else { return false };
        // What neither side can judge is no smaller form of the same difference.
        answers[0].error.is_empty()
            && differences(&answers[0], &ours::answer(candidate)).first().is_some_and(|found| found.topic == first.topic)
    });
    println!("\ncase {} made as small as it gets:", case.id);
    show(oracle, &smallest)
}

fn show(oracle: &mut Oracle, case: &Case) -> Result<()> {
    let theirs = oracle.ask(std::slice::from_ref(case))?.remove(0);
    let ours = ours::answer(case);
    println!("{}", serde_json::to_string_pretty(case)?);
    println!("kube-scheduler: {}", serde_json::to_string(&theirs)?);
    println!("ours:           {}", serde_json::to_string(&ours)?);
    differences(&theirs, &ours).iter().for_each(|difference| println!("{difference}"));
    Ok(())
}
