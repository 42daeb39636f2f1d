//! What is linked into the binary may be given on: no dependency leaves only the GPL, the LGPL or the AGPL to choose.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Whether an SPDX expression allows something else. `/` is an older way to write `OR`; `AND` binds more tightly.
fn free(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let free = any(&words, &mut at);
    free && at == words.len()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut free = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        free |= all(words, at);
    }
    free
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut free = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        free &= one(words, at);
    }
    free
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let free = any(words, at);
        *at += 1;
        return free;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    !["GPL", "LGPL", "AGPL"].iter().any(|family| word.starts_with(family))
}

/// The packages that are linked, by what `cargo metadata` prints: normal dependencies of normal dependencies, whose licences
/// leave no choice.
fn bound(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();
    let mut linked = BTreeSet::new();
    let mut open = vec![text(&metadata["resolve"]["root"])];
    while let Some(id) = open.pop() {
        let normal = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let dependencies =
            list(&nodes[&id]["deps"]).into_iter().filter(normal).map(|dependency| text(&dependency["pkg"]));
        if linked.insert(id.clone()) {
            open.extend(dependencies);
        }
    }
    let packages = list(&metadata["packages"]);
    assert!(linked.len() > 50 && linked.len() < packages.len(), "{} of {} are linked", linked.len(), packages.len());
    let linked = packages.iter().filter(|package| linked.contains(&text(&package["id"])));
    let bound = linked.filter(|package| !package["license"].as_str().is_some_and(free));
    bound.map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"])).collect()
}

#[test]
fn nothing_is_linked_that_leaves_only_the_gpl() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // Other systems' packages were never fetched.
    let rustc = std::process::Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let rustc = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let output = std::process::Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--locked",
            "--filter-platform",
            host,
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(bound(&metadata), Vec::<String>::new());
    // The same with one linked package under another licence.
    let packages = metadata["packages"].as_array_mut().expect("a list");
    packages.iter_mut().find(|package| package["name"] == "tokio").expect("linked")["license"] = "GPL-3.0-only".into();
    assert_eq!(bound(&metadata).len(), 1);
}

#[test]
fn a_choice_is_free_if_one_side_is() {
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", true),
        ("(MIT OR GPL-2.0) AND Unicode-3.0", true),
        ("GPL-3.0", false),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("AGPL-3.0-only OR LGPL-2.1-or-later", false),
        ("MIT AND LGPL-3.0", false),
        ("(GPL-2.0 OR LGPL-2.1) AND MIT", false),
        ("", false),
    ] {
        assert_eq!(free(expression), expected, "{expression}");
    }
}
