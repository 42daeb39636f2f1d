//! What the environment asks of a test in words that it does not know is an error that says so: a test that then ran with something
//! else would prove something else.

use std::process::Command;

fn refused(test: &str, name: &str, value: &str) {
    let itself = std::env::current_exe().expect("this test");
    let output = Command::new(itself).args(["--exact", test, "--nocapture"]).env(name, value).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{test} passes with {name}={value}");
    assert!(
        said.contains(name) && said.contains(value),
        "{test} does not say what is wrong with {name}={value}: {said}"
    );
}

#[test]
fn a_number_that_is_none_is_refused() {
    for name in ["SEED", "SEEDS", "SEED_BASE"] {
        refused("simulation::simulate", name, "abc");
    }
    refused("simulation::simulate", "SEEDS", "0");
    for name in ["FUZZ_CASES", "FUZZ_SEED"] {
        refused("fuzz::what_parses_bears_whatever_comes_in", name, "1.5");
    }
    let killed =
        "faults::killed::twenty_kills_at_random_moments_lose_nobody_and_repeat_only_what_had_no_outcome_on_disk";
    for name in ["FAULTS_RECIPIENTS", "FAULTS_KILLS", "FAULTS_SEED"] {
        refused(killed, name, "-1");
    }
}

#[cfg(feature = "faults")]
#[test]
fn a_fault_that_is_none_or_that_another_test_is_for_is_refused() {
    let every = "simulation::net::every_fault_is_found_and_without_one_nothing_is";
    for test in ["simulation::simulate", "simulation::net::one_fault_is_found", every] {
        refused(test, "FAULT", "wrong");
    }
    refused(every, "FAULT", "bulk-first");
}

#[cfg(not(feature = "faults"))]
#[test]
fn a_fault_is_refused_where_none_is_built_in() {
    refused("simulation::simulate", "FAULT", "bulk-first");
}
