//! No secret and no address in the log, however much of it is asked for: the real binary at work with everything logged.

use std::process::Command;

use loudhailer::clock::Clock;
use serde_json::json;

use super::faults::process::{BINARY, Place, Process};
use super::harness::{Client, Mailbox, SECRET, Sink, event};

const PLAN: &str = r#"
title = "Outage"
[[step]]
name = "businesses"
audience = "businesses"
routes = ["webhook", "email"]
priority = "high"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_address_is_in_the_log() {
    let (sink, mailbox) = (Sink::start().await, Mailbox::start().await);
    let place = Place::new(&format!("127.0.0.1:{}", mailbox.port()), &[("outage.toml", PLAN)]);
    let config = place.path("loudhailer.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&config, text.replace("filter = \"warn\"", "filter = \"trace\"")).expect("written");
    let made = Command::new(BINARY)
        .args(["token", "create", "--name", "ci", "--scope", "ingest,read,admin", "--config"])
        .arg(&config)
        .output()
        .expect("runs");
    assert!(made.status.success(), "{made:?}");
    let token = String::from_utf8(made.stdout).expect("text").trim().to_string();
    let mut process = Process::serve(&place);
    let port = process.host.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let client = Client::to(port).with(&token);
    let hook = format!("{}/private-hook", sink.url());
    let file = format!(
        "key,audiences,email,url,url_secret\nalex,businesses,,{hook},{SECRET}\nkim,businesses,kim.mail@example.org,,\n\
         bad,businesses,not-an-address@,,\n"
    );
    let csv = [("content-type", "text/csv")];
    let imported = client.send("POST", "/v1/subscribers:import?verified=true", &csv, file.into_bytes()).await;
    assert_eq!(imported.status, 200, "{imported:?}");
    let asked =
        json!({ "audiences": ["businesses"], "addresses": [{ "kind": "email", "address": "lou.mail@example.org" }] });
    assert_eq!(client.json("POST", "/v1/subscribers", &asked).await.status, 201);
    mailbox.next().await; // asks for a confirmation
    let taken = client.json("POST", "/v1/events", &event("a-1", json!({ "at": Clock::system().calendar() }))).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    assert_eq!(sink.next().await.path, "/hook/private-hook");
    assert_eq!(mailbox.next().await.to, ["kim.mail@example.org"]);
    process.terminate();
    assert!(process.ended().await.success());
    let log = std::fs::read_to_string(place.path("log")).expect("a log");
    assert!(log.contains("TRACE") && log.lines().count() > 50, "nothing was traced: {log}");
    for hidden in [token.as_str(), SECRET, &SECRET[6..], "private-hook", "kim.mail", "lou.mail", "not-an-address"] {
        let line = log.lines().find(|line| line.contains(hidden));
        assert_eq!(line, None, "{hidden} is in the log");
    }
}
