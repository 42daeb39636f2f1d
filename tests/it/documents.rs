//! The documents say what is so: the map has every file, what is commented in the defaults can be used, and the variables of the
//! peers, the deliberate faults and the tests are those that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::faults::process::BINARY;

pub fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between a mark and the next, such as backticks.
fn marked(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1).step_by(2)
}

/// The names of the files in each folder under `folder`. What is one file a case is named as a folder alone.
fn files(folder: &Path, name: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let own = entry.file_name().into_string().expect("a name");
        match entry.path().is_dir() {
            true if ["tests", "snapshots", "schema", "pages", "assets"].contains(&own.as_str()) => {}
            true => files(&entry.path(), &format!("{name}{own}/"), found),
            false if own == "tests.rs" => {}
            false => drop(found.entry(name.to_string()).or_default().insert(own)),
        }
    }
}

#[test]
fn the_map_has_every_file_of_the_source_under_its_name_and_no_other() {
    let document = read("docs/ARCHITECTURE.md");
    let (_, section) = document.split_once("### Every file").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let mut mapped = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_matches('|').split(" | ");
        let folder = cells.next().expect("a folder").trim().trim_matches('`').to_string();
        let is_file = |name: &&str| name.contains('.') && !name.contains(['(', '/', ' ']) && !name.starts_with('.');
        let names: BTreeSet<String> =
            marked(cells.next().expect("files"), '`').filter(is_file).map(str::to_string).collect();
        assert!(mapped.insert(folder.clone(), names).is_none(), "{folder} stands there twice");
    }
    let mut there = BTreeMap::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "src/", &mut there);
    for folder in mapped.keys().chain(there.keys()).collect::<BTreeSet<_>>() {
        let of = |all: &BTreeMap<String, BTreeSet<String>>| all.get(folder).cloned().unwrap_or_default();
        let (mapped, there) = (of(&mapped), of(&there));
        let missing: Vec<_> = there.difference(&mapped).collect();
        let gone: Vec<_> = mapped.difference(&there).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "docs/ARCHITECTURE.md, {folder}: missing {missing:?}, gone {gone:?}"
        );
    }
}

#[test]
fn what_documents_link_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, name) in [
        ("", "README.md"),
        ("", "CHANGELOG.md"),
        ("docs", "API.md"),
        ("docs", "ARCHITECTURE.md"),
        ("docs", "CAP.md"),
        ("docs", "CONFIGURATION.md"),
        ("docs", "OPERATIONS.md"),
        ("docs", "PERFORMANCE.md"),
        ("docs", "PLANS.md"),
        ("docs", "PLATFORMS.md"),
        ("docs", "SIGNALS.md"),
        ("docs", "SOURCES.md"),
        ("tests/evidence", "README.md"),
        ("docs", "PROMISES.md"),
        ("docs", "SUBSCRIBERS.md"),
        ("docs", "TEMPLATES.md"),
        ("channels", "README.md"),
        ("fuzz", "README.md"),
        ("tests/peers", "README.md"),
    ] {
        let folder = root.join(folder);
        let text = std::fs::read_to_string(folder.join(name)).expect("read");
        // Not what is code: a limit is written `N/[n](s|min|h|day)`.
        let text: String = text.split('`').step_by(2).collect();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().expect("a path");
            let is_there = link.contains("://") || folder.join(file).exists();
            assert!(is_there, "{name} links to {link}, and nothing is there");
        }
    }
}

#[test]
fn what_the_defaults_show_commented_out_passes_the_check() {
    let defaults = read("src/default.toml");
    let (_, examples) = defaults.split_once("# What else the operator registers").expect("the examples");
    let mut config = String::new();
    for line in examples.lines().skip(1) {
        let line = line.strip_prefix('#').unwrap_or_else(|| panic!("a line that is no comment: {line}"));
        config.push_str(&format!("{line}\n"));
    }
    let sections = config.lines().filter(|line| line.trim().starts_with("[channels.")).count();
    assert!(sections >= 2 && config.contains("account_rate") && config.contains("host_rate"), "{config}");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("own.toml"), &config).expect("written");
    let output = Command::new(BINARY)
        .args(["--config", "own.toml", "check"])
        .env_clear()
        .envs([("KANNEL_PASSWORD", "p"), ("TELEGRAM_TOKEN", "1:a"), ("GITHUB_SECRET", "s")])
        .current_dir(folder.path())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{config}");
}

#[test]
fn the_variables_of_the_peers_are_those_that_are_set() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let names = |text: &str| -> BTreeSet<String> {
        let name = |part: &str| -> String {
            part.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_').collect()
        };
        text.split("PEER_").skip(1).map(name).filter(|name| !name.is_empty()).collect()
    };
    let described = names(&read("tests/peers/README.md"));
    let mut set = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            let text = std::fs::read_to_string(path).expect("read");
            text.lines().filter(|line| line.contains("export ")).for_each(|line| set.extend(names(line)));
        }
    }
    assert_eq!(described, set);
}

#[test]
fn the_promises_name_every_deliberate_fault_and_tests_that_there_are() {
    let document = read("docs/PROMISES.md");
    for fault in loudhailer::fault::Fault::ALL {
        let row = format!("| {}. ", fault.promise());
        let row = document.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
        assert!(row.contains(&format!("`{fault}`")), "docs/PROMISES.md: {fault} is missing in: {row}");
    }
    let mut source = String::new();
    for folder in ["tests/it", "src"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut source);
    }
    let is_test = |name: &&str| name.matches('_').count() >= 4 && !name.contains(['/', ':', ' ']);
    let mut count = 0;
    for name in document.lines().flat_map(|line| marked(line, '`')).filter(is_test) {
        assert!(source.contains(&format!("fn {name}(")), "docs/PROMISES.md names {name}, and there is no such test");
        count += 1;
    }
    assert!(count > 30, "{count} tests are named");
}

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).expect("read"));
        }
    }
}
