use super::*;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use std::path::PathBuf;

/// Feeds answers in us (`None`: lost), one a second.
fn fed(outcomes: impl IntoIterator<Item = Option<u32>>) -> Window {
    let mut window = Window::default();
    feed(&mut window, outcomes);
    window
}

fn feed(window: &mut Window, outcomes: impl IntoIterator<Item = Option<u32>>) {
    for outcome in outcomes {
        let now = Timestamp(window.answered_at.map_or(0, |at| at.0 + 1000));
        match outcome {
            Some(us) => window.answered(Micros(us), now),
            None => window.lost(now),
        }
    }
}

fn ramp(range: std::ops::RangeInclusive<u32>) -> Vec<Option<u32>> {
    range.map(|i| Some(10_000 + (i * 7919) % 100)).collect()
}

/// p50 and p90 in us.
fn check(outcomes: Vec<Option<u32>>, expected: Option<(u32, u32)>) {
    let window = fed(outcomes);
    assert_eq!(window.figures().map(|f| (f.p50.0, f.p90.0)), expected, "{window:?}");
}

#[test]
fn few_samples_give_their_maximum_many_their_p90() {
    check(vec![Some(1), Some(2), Some(3), Some(4)], None);
    check(vec![Some(3), Some(1), Some(2), Some(9), Some(4)], Some((3, 9)));
    // The outermost first, so that the last ones are inside the band: 1, n, 2, n - 1, …
    let one_to = |n: u32| (0..n).map(|i| Some(if i % 2 == 0 { i / 2 + 1 } else { n - i / 2 })).collect::<Vec<_>>();
    check(one_to(15), Some((8, 15)));
    check(one_to(16), Some((8, 15)));
    check(one_to(20), Some((10, 18)));
}

#[test]
fn the_window_is_bounded_and_forgets() {
    let window = fed((0..200).map(|i| if i % 4 == 0 { None } else { Some(20_000) }));
    assert_eq!((window.samples(), window.losses(), window.figures().unwrap().loss_permille), (48, 16, 250));
}

#[test]
fn losses_fail_a_pair_and_an_answer_heals_it() {
    let mut window = fed(ramp(1..=20));
    feed(&mut window, [None, None]);
    assert!(!window.failing());
    feed(&mut window, [None]);
    assert!(window.failing());
    assert_eq!(window.figures().unwrap().loss_permille, 130);
    feed(&mut window, [Some(10_050)]);
    assert!(!window.failing());
    feed(&mut window, vec![None; 64]);
    assert_eq!((window.figures(), window.samples()), (None, 0), "nothing but losses is unmeasured");
}

#[test]
fn jitter_is_the_mean_step_between_answers() {
    let window = fed([Some(10), None, Some(20), Some(10), Some(10), Some(30)]);
    assert_eq!(window.figures().unwrap().jitter, Micros((10 + 10 + 20) / 4));
}

#[test]
fn a_long_silence_starts_the_window_anew() {
    let mut window = fed(ramp(1..=20));
    let last = window.answered_at.unwrap().0;
    window.answered(Micros(9), Timestamp(last + GAP.0));
    assert_eq!(window.samples(), 21);
    window.answered(Micros(9), Timestamp(last + 2 * GAP.0 + 1));
    assert_eq!((window.samples(), window.figures()), (1, None));
}

/// After `level` for a full window, how many samples of the other level it takes until p50 and p90 stand at it.
fn check_step(from: u32, to: u32, at_most: usize) {
    let around = |level: u32, i: u32| Some(level + (i * 7919) % 200);
    let mut window = fed((0..64).map(|i| around(from, i)));
    let near = |us: Micros| us.0.abs_diff(to) <= 200;
    let seen = (1..=64).find(|&i| {
        feed(&mut window, [around(to, i)]);
        window.figures().is_some_and(|f| near(f.p50) && near(f.p90))
    });
    assert!(seen.is_some_and(|seen| seen as usize <= at_most), "{from} to {to}: seen after {seen:?} samples");
}

#[test]
fn a_step_up_or_down_is_seen_within_eight_samples() {
    check_step(20_000, 45_000, 8);
    check_step(45_000, 20_000, 8);
    check_step(1_000, 1_500, 8);
    check_step(0, 60_000_000, 8);
}

#[test]
fn jitter_and_single_spikes_are_no_step() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut window = Window::default();
    let (mut restarts, mut before) = (0, 0);
    for i in 0..20_000u32 {
        let spike = if i % 50 == 0 { 100_000 } else { 0 };
        feed(&mut window, [Some(20_000 + rng.next_u32() % 10_000 + spike)]);
        restarts += u32::from(window.samples() < before);
        before = window.samples();
    }
    // 0.0012 a sample: 24 expected; 5 of 8 instead of 6 would give 200.
    assert!(restarts <= 48, "{restarts} restarts in 20,000 samples of a steady series");
}

/// A log as ping(8) prints it; a gap in `icmp_seq` is a loss.
fn ping_log(text: &str) -> Vec<Option<u32>> {
    let field = |line: &str, name: &str| line.split(name).nth(1).and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    let mut outcomes = Vec::new();
    let mut expected = 1;
    for line in text.lines() {
        let (Some(seq), Some(ms)) = (field(line, "icmp_seq="), field(line, "time=")) else { continue };
        let (seq, ms): (usize, f64) = (seq.parse().unwrap(), ms.parse().unwrap());
        outcomes.extend((expected..seq).map(|_| None));
        expected = seq.max(expected) + 1;
        outcomes.push(Some((ms * 1000.0) as u32));
    }
    outcomes
}

#[test]
fn real_ping_logs_of_a_phone_over_5g() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/det6g/ProcessingDelayDistribution1/raw");
    let folders = ["ORAN_MEC", "mmWave_delay"].map(|folder| std::fs::read_dir(root.join(folder)));
    let mut logs: Vec<PathBuf> = folders.into_iter().flatten().flatten().flatten().map(|entry| entry.path()).collect();
    logs.sort();
    if logs.is_empty() {
        eprintln!("SKIPPED real_ping_logs_of_a_phone_over_5g: {} is not there", root.display());
        return;
    }
    for path in logs {
        let outcomes = ping_log(&std::fs::read_to_string(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(outcomes.len() > 800, "{name}: {} pings", outcomes.len());
        let mut window = Window::default();
        let mut admitted_above = 0usize;
        let (mut restarts, mut judged, mut before) = (0, 0usize, 0);
        for (i, &outcome) in outcomes.iter().enumerate() {
            if let (Some(figures), Some(us)) = (window.figures(), outcome) {
                judged += 1;
                admitted_above += usize::from(us > figures.p90.0);
            }
            feed(&mut window, [outcome]);
            restarts += usize::from(usize::from(window.samples()) + 1 < before);
            before = window.samples().into();
            if let Some(figures) = window.figures() {
                let recent: Vec<u32> = outcomes[..=i].iter().rev().take(64).flatten().copied().collect();
                let (low, high) = (*recent.iter().min().unwrap(), *recent.iter().max().unwrap());
                assert!(low <= figures.p50.0 && figures.p50 <= figures.p90 && figures.p90.0 <= high, "{name} at {i}: {figures:?}");
                assert!(figures.jitter.0 <= high - low, "{name} at {i}");
            }
        }
        let share = admitted_above as f64 / judged as f64;
        println!(
            "{name}: {} pings, next answer above p90 in {:.1} %, {restarts} restarts, {:?}",
            outcomes.len(),
            share * 100.0,
            window.figures()
        );
        assert!(share < 0.2, "{name}: the next answer is above the window's p90 in {share:.3} of all cases");
    }
}
