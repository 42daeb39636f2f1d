//! The net catches fish: with each deliberate fault the simulation finds that the very promise is broken which the fault breaks, and
//! without one it finds nothing in the same seeds. Run by `tests/faults`, in a build with the feature `faults`.

use std::process::Command;

use loudhailer::fault::{self, Fault};

use super::count;
use super::nodes;
use super::run::{Run, run, seeds};
use crate::harness::number;

/// Within so many seeds each has to be found.
const SEEDS: u64 = 1000;

/// The worlds in which a fault can be seen.
fn worlds(fault: Fault) -> Run {
    if fault.of_nodes() { nodes::run } else { run }
}

/// One fault, the one that is chosen by `FAULT`: says at which seed it was found. Without one, nothing may be found.
#[test]
fn one_fault_is_found() {
    let base = number("SEED_BASE").unwrap_or(0);
    let Some(fault) = fault::chosen() else {
        let report = seeds(run, base..base + count(50), |report| report.broken.is_empty());
        assert!(report.broken.is_empty(), "{report}");
        return;
    };
    let breaks = |promise: usize| promise == fault.promise();
    let report = seeds(worlds(fault), base..base + SEEDS, |report| {
        !report.broken.iter().any(|(_, broken)| breaks(broken.promise))
    });
    let caught = report.broken.iter().find(|(_, broken)| breaks(broken.promise));
    match caught {
        Some((seed, broken)) => {
            println!("\ncaught: {fault}: promise {} at seed {seed}: {}", broken.promise, broken.how)
        }
        None => panic!("{fault} breaks promise {}, and no seed shows it; {report}", fault.promise()),
    }
}

#[test]
fn every_fault_is_found_and_without_one_nothing_is() {
    if let Some(fault) = fault::chosen() {
        panic!("FAULT={fault} is in the environment, and this looks for every fault: unset it, or run tests/faults");
    }
    let (mut count, mut last) = (0, [0, 0]);
    for fault in Fault::ALL {
        // It runs on every core by itself.
        let itself = std::env::current_exe().expect("this test");
        let output = Command::new(itself)
            .args(["--exact", "simulation::net::one_fault_is_found", "--nocapture", "--test-threads=1"])
            .env("FAULT", fault.word())
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match said.lines().find_map(|line| line.strip_prefix("caught: ")) {
            Some(line) if output.status.success() => {
                println!("{line}");
                let seed = line.split("seed ").nth(1).and_then(|rest| rest.split(':').next()?.parse::<u64>().ok());
                count += 1;
                let last = &mut last[usize::from(fault.of_nodes())];
                *last = seed.expect("a seed").max(*last);
            }
            _ => println!("{fault}: not found\n{said}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
    let mut unfaulted = seeds(run, 0..=last[0], |report| report.broken.is_empty());
    unfaulted.add(&seeds(nodes::run, 0..=last[1], |report| report.broken.is_empty()));
    println!("without a fault, the same {} seeds: {} promises broken", unfaulted.seeds, unfaulted.broken.len());
    println!("{count}/{}", Fault::ALL.len());
    assert!(unfaulted.broken.is_empty(), "{unfaulted}");
    assert_eq!(count, Fault::ALL.len());
}
