//! The same worlds with two and three nodes over one store: nodes die, join, leave and are cut off from the store for longer than
//! their leases; their calendars are apart; commits and notices come late. The engine, and how a node keeps its lease and its shards
//! (`store/node.rs`), are production's; the store is one SQLite of which each node has its shards.
//!
//! `SEEDS`, `SEED_BASE` and `SEED` as for one node.

mod cluster;
mod life;
pub mod link;
mod store;

pub use self::life::run;
use super::run::seeds;
use super::{count, say};
use crate::harness::number;

/// What CI runs.
const SEEDS: u64 = 300;

/// Seeds that once failed, and run first ever since.
const ONCE_FAILED: &[u64] = &[1005, 1096, 218];

#[test]
fn simulate_nodes() {
    if let Some(seed) = number("SEED") {
        let report = run(seed, true);
        report.trace.iter().for_each(say);
        say(&report);
        assert!(report.broken.is_empty(), "seed {seed} breaks {} promises", report.broken.len());
        return;
    }
    let base = number("SEED_BASE").unwrap_or(0);
    let all = ONCE_FAILED.iter().copied().chain(base..base + count(SEEDS));
    let report = seeds(run, all, |report| report.broken.is_empty());
    say(&report);
    if let Some((seed, broken)) = report.failed() {
        panic!(
            "seed {seed} breaks promise {}: {}\nrun it alone: SEED={seed} cargo test --release --test it simulate_nodes -- --nocapture",
            broken.promise, broken.how
        );
    }
    assert_eq!(report.idle(), Vec::<String>::new(), "never happened");
}

#[test]
fn a_seed_gives_the_same_nodes_twice() {
    for seed in [3, 17] {
        let first = run(seed, true);
        assert!(first.deliveries > 0);
        assert_eq!(first.trace, run(seed, true).trace, "seed {seed}");
    }
}
