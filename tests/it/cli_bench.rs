//! `loudhailer bench` as people type it: beside a configuration whose channels lead to real counterparties, none of which hears
//! anything.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

async fn bench(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loudhailer"));
    command.env_clear().current_dir(folder).args(["bench", "--config", "own.toml"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let patience = std::time::Duration::from_secs(180);
    let output = tokio::time::timeout(patience, command.output()).await.expect("it never ends").expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// An installation with a store, and a webhook channel and a relay that may be used for real.
fn installation(folder: &Path, relay: &str) {
    let config = format!(
        "[store]\nurl = \"sqlite:{}/own.db\"\n[engine]\npage = 123\n\
         [channels.hooks]\nplatform = \"webhook\"\nallow_private = true\nconcurrency = 20\n\
         [channels.relay]\nplatform = \"smtp\"\n[channels.relay.settings]\nurl = \"smtp://{relay}\"\ntls = \"none\"\n",
        folder.display()
    );
    std::fs::write(folder.join("own.toml"), config).expect("writes");
    std::fs::write(folder.join("own.db"), "whatever it is").expect("writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_measures_both_ways_and_touches_neither_the_store_nor_a_channel() {
    let folder = tempfile::tempdir().expect("a folder");
    // Whoever connects stands in its queue until it is asked.
    let relay = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    installation(folder.path(), &relay.local_addr().expect("an address").to_string());
    let (code, out, err) = bench(folder.path(), &["--recipients", "300", "--json", "--report", "report.html"]).await;
    assert_eq!(code, Some(0), "{err}");
    let numbers: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    for way in ["webhook", "mail"] {
        let leg = &numbers[way];
        let number = |name: &str| leg[name].as_f64().unwrap_or_else(|| panic!("{name}: {numbers}"));
        assert_eq!(leg["recipients"], 300, "{numbers}");
        // Everyone once, and ten for each urgent event.
        assert_eq!(number("messages"), 300.0 + 10.0 * number("urgent_events"), "{numbers}");
        assert!(number("per_s") > 0.0 && number("urgent_events") >= 1.0, "{numbers}");
        assert!(number("urgent_p99_ms") >= number("urgent_p50_ms") && number("urgent_p50_ms") > 0.0, "{numbers}");
        assert!(number("taken_p99_ms") >= number("taken_p50_ms") && number("taken_p50_ms") > 0.0, "{numbers}");
    }
    let page = std::fs::read_to_string(folder.path().join("report.html")).expect("a report");
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() == 4, "{page}");
    assert!(page.contains("engine.page 123"), "{page}");
    let dots = (
        page.matches("class=\"dot\"").count(),
        10 * ["webhook", "mail"].map(|way| numbers[way]["urgent_events"].as_u64().unwrap_or(0)).iter().sum::<u64>(),
    );
    assert_eq!(dots.0 as u64, dots.1, "every urgent message is drawn");

    assert_eq!(std::fs::read(folder.path().join("own.db")).expect("there"), b"whatever it is");
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("reads").map(|file| file.expect("a file").file_name()).collect();
    left.sort();
    assert_eq!(left, ["own.db", "own.toml", "report.html"], "nothing stays behind");
    relay.set_nonblocking(true).expect("set");
    let came = relay.accept().map(|(_, from)| from);
    assert!(
        matches!(&came, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        "a configured relay: {came:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_prints_a_table_and_refuses_what_would_say_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    installation(folder.path(), "127.0.0.1:9");
    let (code, out, err) = bench(folder.path(), &["--recipients", "100"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(
        ["webhook", "mail", "a second", "urgent p99 ms", "100 people"].iter().all(|word| out.contains(word)),
        "{out}"
    );
    assert_eq!(bench(folder.path(), &["--recipients", "3"]).await.0, Some(2));
}
