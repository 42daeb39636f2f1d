//! The properties of what parses, attacked with mutated seeds. `fuzz/` attacks the same with a fuzzer.
//!
//! `FUZZ_CASES` changes how many mutations a target gets, `FUZZ_SEED` which.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use loudhailer::fuzz::{Property, TARGETS};

use super::harness::number;

/// What parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"{{",
    b"}}",
    b"{{#if a}}",
    b"{{/if}}",
    b"{{else}}",
    b"{{#*inline \"body\"}}",
    b"{{> body}}",
    b"(",
    b"[",
    b"{",
    b"\"",
    b"\\",
    b"\r\n",
    b"\n",
    b"250-",
    b"250 ",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xae",
    b"%",
    b"%zz",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"9999-12-31T23:59:60Z",
    b"ce-",
    b":",
    b",",
    b"retry-after: 99999999999\n",
    b"<!DOCTYPE alert [<!ENTITY a \"aaaa\">]>",
    b"<info>",
    b"</alert>",
    b"<![CDATA[",
    b"&a;",
    b"&#0;",
    b"xmlns:a=\"urn:a\" ",
    b"\nContent-Type: multipart/mixed; boundary=x\n\n--x\n",
    b"\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n",
];

fn mutated(chance: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[chance.usize(..seeds.len())].clone();
    for _ in 0..chance.usize(1..=6) {
        let at = chance.usize(..=bytes.len());
        let to = (at + chance.usize(..40)).min(bytes.len());
        match chance.u32(..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.u32(..8),
            1 => bytes.insert(at, chance.u8(..)),
            2 => drop(bytes.drain(at..to)),
            3 => bytes.truncate(at),
            // The same again and again: what nests, nests deep.
            4 => {
                let word = WORDS[chance.usize(..WORDS.len())].repeat(chance.usize(1..3000));
                drop(bytes.splice(at..at, word));
            }
            5 => {
                let part = bytes[at..to].repeat(chance.usize(1..200));
                drop(bytes.splice(at..to, part));
            }
            6 => {
                let other = &seeds[chance.usize(..seeds.len())];
                let from = chance.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => drop(bytes.splice(at..at, WORDS[chance.usize(..WORDS.len())].iter().copied())),
        }
        bytes.truncate(1 << 17);
    }
    bytes
}

fn holds(name: &str, property: Property, what: &str, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| property(bytes))).is_err() {
        panic!("{name} does not hold for {what}: \"{}\"", bytes[..bytes.len().min(4096)].escape_ascii());
    }
}

#[test]
fn what_parses_bears_whatever_comes_in() {
    let cases = number("FUZZ_CASES").unwrap_or(3000);
    let first = number("FUZZ_SEED").unwrap_or(1);
    for (name, property) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = files.map(|file| file.expect("listed").path()).collect();
        paths.sort();
        let mut seeds = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path).expect("read");
            holds(name, *property, &path.display().to_string(), &bytes);
            seeds.push(bytes);
        }
        // Words that parse are loaded beside all that ship, and a document is read by every format, which takes longer.
        let cases = if ["template", "source"].contains(name) { cases / 10 } else { cases };
        for case in first..first + cases {
            let bytes = mutated(&mut fastrand::Rng::with_seed(case), &seeds);
            holds(name, *property, &format!("seed {case}"), &bytes);
        }
    }
}

#[test]
fn a_fuzzer_attacks_the_same_properties() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let cargo: toml::Table = std::fs::read_to_string(folder.join("Cargo.toml")).expect("read").parse().expect("TOML");
    let bins = cargo["bin"].as_array().expect("targets").iter();
    let mut bins: Vec<(&str, &str)> =
        bins.map(|bin| (bin["name"].as_str().expect("a name"), bin["path"].as_str().expect("a path"))).collect();
    for (name, _) in TARGETS {
        let at = bins.iter().position(|(bin, _)| bin == name).unwrap_or_else(|| panic!("fuzz/ has no target {name}"));
        let text = std::fs::read_to_string(folder.join(bins.remove(at).1)).expect("read");
        assert!(text.contains(&format!("|bytes: &[u8]| loudhailer::fuzz::{name}(bytes)")), "{text}");
    }
    assert!(bins.is_empty(), "no properties of ours: {bins:?}");
}
