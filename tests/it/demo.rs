//! The demo as a user runs it: the real binary, judged by what it prints; and the README's quick start, taken out and run as it
//! stands there.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_loudhailer")
}

/// Ended when the test is, by its own process id.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn the_outage_of_2021_reaches_everyone_once_and_goes_around_whatsapp() {
    let began = Instant::now();
    let output = Command::new(binary()).args(["demo", "--exit", "--json"]).output().expect("runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
    let numbers: Value = serde_json::from_str(&out).expect("JSON and nothing else");
    let number = |name: &str| numbers[name].as_u64().unwrap_or_else(|| panic!("{name} in {numbers}"));
    assert_eq!(numbers.as_object().map(|object| object.len()), Some(8), "{numbers}");
    assert!(number("accepted") > 14_000, "{numbers}");
    assert_eq!(number("accepted"), number("expected"));
    assert_eq!(number("accepted"), number("catcher_distinct"));
    assert_eq!(number("catcher_duplicates"), 0);
    assert_eq!(number("whatsapp_attempts_while_down"), 0);
    assert_eq!(number("unknown"), 0);
    assert_eq!(number("unreachable"), 24 * 7, "24 people, in each update but the last");
    // Twelve of those 24 and four businesses have a mailbox that is refused: once, then the address is left alone.
    assert_eq!(number("rejected"), 16);
}

/// The commands between the marks: what stands in fences.
fn quick_start() -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("a README");
    let (_, rest) = readme.split_once("<!-- quick-start -->").expect("the README has a quick start");
    let (block, _) = rest.split_once("<!-- /quick-start -->").expect("the quick start ends");
    block
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|fenced| fenced.split_once('\n'))
        .map(|(_, commands)| commands)
        .collect()
}

/// The first command starts the demo; those after it are run as they stand, once it says that it is ready.
#[test]
fn the_quick_start_of_the_readme_brings_ones_own_words_into_the_catcher() {
    let block = quick_start();
    let (_, rest) = block.split_once("cargo run --release -- demo").expect("it starts the demo");
    let (_, rest) = rest.split_once('\n').expect("and goes on");
    let child = Command::new(binary()).arg("demo").stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut running = Running(child.expect("starts"));
    let mut lines = BufReader::new(running.0.stdout.take().expect("piped")).lines();
    let mut said = Vec::new();
    let mut place = |word: &str| {
        let line = lines.by_ref().map_while(Result::ok).find(|line| {
            said.push(line.clone());
            line.trim_start().starts_with(word)
        });
        let line = line.unwrap_or_else(|| panic!("the demo never said where its {word} is"));
        let (_, rest) = line.split_once("http://").expect("an address");
        rest.split('/').next().unwrap_or_default().to_string()
    };
    // The demo says where it is: the ports that the README names may be taken here.
    let (broker, catcher) = (place("console"), place("messages"));
    shows_what_became_of_everyone(&said);
    let script = rest.replace("127.0.0.1:8080", &broker).replace("127.0.0.1:8025", &catcher);
    let began = Instant::now();
    let output = Command::new("sh").args(["-ec", &script]).output().expect("sh");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
    // What the last command shows is what lies in the catcher.
    let words = "my own words";
    assert!(script.contains(words), "{script}");
    let shown = out.find("\"newest\"").map_or("", |at| &out[at..]);
    assert!(shown.contains(words), "own words never came: {out}\n{err}");
}

/// A table by audience and channel, whose sum is what the last line says, and a message to each audience.
fn shows_what_became_of_everyone(said: &[String]) {
    let cells = |line: &String| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let columns = "audience channel accepted deferred rejected unknown unreachable first within last within";
    assert!(said.iter().any(|line| cells(line).join(" ") == columns), "{said:#?}");
    let mut accepted = 0;
    for audience in ["businesses", "customers", "executives", "press", "regulators", "staff"] {
        let rows: Vec<Vec<String>> =
            said.iter().map(cells).filter(|cells| cells.len() > 6 && cells[0] == audience).collect();
        assert!(!rows.is_empty(), "no row of {audience}");
        let numbers = rows.iter().filter(|row| row[1] != "no").map(|row| row[2].parse::<u64>().expect("a number"));
        accepted += numbers.sum::<u64>();
        let sample = said.iter().position(|line| line.starts_with(&format!("── {audience}, as "))).expect(audience);
        assert!(said[sample..].iter().take(10).any(|line| line.contains("Facebook")), "{audience}: {said:#?}");
    }
    let public = said.iter().map(cells).filter(|cells| cells.len() > 6 && cells[0] == "public");
    accepted += public.map(|row| row[2].parse::<u64>().expect("a number")).sum::<u64>();
    let total = format!("{accepted} of {accepted} messages accepted. 24 people have no way that works.");
    assert!(said.contains(&total), "{total}: {said:#?}");
}
