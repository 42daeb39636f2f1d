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
use super::{simulated, the_same_twice};

/// What CI runs.
const SEEDS: u64 = 300;

/// Seeds that once failed, and run first ever since.
const ONCE_FAILED: &[u64] = &[1005, 1096, 218];

#[test]
fn simulate_nodes() {
    simulated(run, "simulate_nodes", SEEDS, ONCE_FAILED);
}

#[test]
fn a_seed_gives_the_same_nodes_twice() {
    the_same_twice(run);
}
