//! The pipeline, the engine and the SQLite store under one seeded clock on one thread; docs/PROMISES.md says what these worlds leave
//! out. Channels, time, chance and the disk are simulated: people who come, go, move and fall silent; channels that fail in every way; events, stops, pauses and receipts at
//! random moments; a process that dies between any two turns of its tasks or in the middle of a commit, or hands over to another.
//! After each seed every promise is checked against what the channels saw and what the store says.
//!
//! `SEEDS=n` changes how many are run and `SEED_BASE=n` where they begin; `SEED=n` runs one and prints its trace.

mod act;
mod barrier;
mod changes;
mod channels;
mod check;
mod explained;
mod full;
mod in_step;
mod known;
mod life;
mod nodes;
mod pace;
mod people;
mod reports;
mod resumption;
mod run;
mod turning;
mod variety;
mod wordless;
mod words;
mod world;

#[cfg(feature = "faults")]
mod net;

use std::io::Write;

use run::{Report, Run, run, seeds};

use super::harness::number;

/// Seeds that once failed, and run first ever since.
const ONCE_FAILED: &[u64] =
    &[1617, 493, 88, 85, 359, 467, 1433, 3242, 4308, 1707, 6952, 21899, 22536, 24924, 26025, 5891, 3101];

/// What CI runs.
const SEEDS: u64 = 1000;

/// To the terminal also where the test passes and its output is kept back.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// How many seeds are run: none would prove nothing.
fn count(otherwise: u64) -> u64 {
    let count = number("SEEDS").unwrap_or(otherwise);
    assert_ne!(count, 0, "SEEDS in the environment is 0, and that proves nothing: ask for one at least");
    count
}

/// Runs what the environment asks for, or what CI does, of worlds of one kind, and first what once failed.
fn simulated(run: Run, test: &str, seeds_of_ci: u64, once_failed: &[u64]) {
    #[cfg(not(feature = "faults"))]
    assert_eq!(std::env::var_os("FAULT"), None, "FAULT needs a build with the feature faults: run tests/faults");
    if let Some(seed) = number("SEED") {
        let report = run(seed, true);
        report.trace.iter().for_each(say);
        say(&report);
        assert!(report.broken.is_empty(), "seed {seed} breaks {} promises", report.broken.len());
        return;
    }
    let base = number("SEED_BASE").unwrap_or(0);
    let all = once_failed.iter().copied().chain(base..base + count(seeds_of_ci));
    let report = seeds(run, all, |report| report.broken.is_empty());
    say(&report);
    if let Some((seed, broken)) = report.failed() {
        panic!(
            "seed {seed} breaks promise {}: {}\nrun it alone: SEED={seed} cargo test --release --test it {test} -- --nocapture",
            broken.promise, broken.how
        );
    }
    assert_eq!(report.idle(), Vec::<String>::new(), "never happened");
}

/// A seed gives the same world twice.
fn the_same_twice(run: Run) {
    for seed in [3, 17] {
        let Report { trace, deliveries, .. } = run(seed, true);
        assert!(deliveries > 0);
        assert_eq!(trace, run(seed, true).trace, "seed {seed}");
    }
}

#[test]
fn simulate() {
    simulated(run, "simulate", SEEDS, ONCE_FAILED);
}

#[test]
fn a_seed_gives_the_same_world_twice() {
    the_same_twice(run);
}
