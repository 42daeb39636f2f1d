//! No secret and no address in the log, however much of it is asked for: the real binary at work with everything logged.

use std::process::Command;

use loudhailer::clock::Clock;
use serde_json::json;

use super::faults::process::{BINARY, Place, Process, until};
use super::harness::{Client, Mailbox, SECRET, Sink, event};
use super::peers::peers;

const PLAN: &str = r#"
title = "Outage"
[[step]]
name = "businesses"
audience = "businesses"
routes = ["webhook", "email"]
priority = "high"
"#;

/// The binary, with a token that may all that is asked here.
fn serving(place: &Place) -> (Process, Client, String) {
    let made = Command::new(BINARY)
        .args(["token", "create", "--name", "ci", "--scope", "ingest,read,admin", "--config"])
        .arg(place.path("loudhailer.toml"))
        .output()
        .expect("runs");
    assert!(made.status.success(), "{made:?}");
    let token = String::from_utf8(made.stdout).expect("text").trim().to_string();
    let process = Process::serve(place);
    let port = process.host.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let client = Client::to(port).with(&token);
    (process, client, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_address_is_in_the_log() {
    let (sink, mailbox) = (Sink::start().await, Mailbox::start().await);
    let place = Place::new(&format!("127.0.0.1:{}", mailbox.port()), &[("outage.toml", PLAN)]);
    let config = place.path("loudhailer.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&config, text.replace("filter = \"warn\"", "filter = \"trace\"")).expect("written");
    let (mut process, client, token) = serving(&place);
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

/// One login is right, one is not, and one is refused before it is said; metrics and what the API shows are looked at, too.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_address_is_said_by_what_publishes_into_brokers() {
    let names = ["mqtt", "mqtt_user", "mqtt_password", "nats", "nats_user", "kafka_sasl", "kafka_user"];
    let Some([mqtt, mqtt_user, mqtt_password, nats, nats_user, kafka, kafka_user]) = peers(names) else { return };
    let place = Place::new("127.0.0.1:1", &[("outage.toml", PLAN)]);
    let config = place.path("loudhailer.toml");
    let mut text = std::fs::read_to_string(&config).expect("read").replace("\"warn\"", "\"trace\"");
    for (platform, place, user, password) in [
        ("mqtt", format!("url = \"mqtt://{mqtt}\""), mqtt_user, mqtt_password.as_str()),
        ("nats", format!("url = \"nats://{nats}\""), nats_user, "hunter2-nats"),
        ("kafka", format!("brokers = \"{kafka}\""), kafka_user, "hunter2-kafka"),
    ] {
        text += &format!(
            "[channels.{platform}]\nplatform = \"{platform}\"\n[channels.{platform}.settings]\n{place}\nuser = {user:?}\n\
             password = {password:?}\n"
        );
    }
    std::fs::write(&config, text).expect("written");
    let (mut process, client, token) = serving(&place);
    let file = "key,audiences,mqtt,nats,kafka\na,businesses,private/topic,,\nb,businesses,,private.subject,\n\
                c,businesses,,,private-record\n";
    let csv = [("content-type", "text/csv")];
    let imported = client.send("POST", "/v1/subscribers:import?verified=true", &csv, file.into()).await;
    assert_eq!(imported.status, 200, "{imported:?}");
    let taken = client.json("POST", "/v1/events", &event("a-1", json!({ "at": Clock::system().calendar() }))).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let metrics = until("each was tried", async || {
        let metrics = client.send("GET", "/metrics", &[], Vec::new()).await.text;
        let tried = |channel: &str, outcome: &str| {
            metrics.lines().any(|line| {
                line.contains("attempt")
                    && line.contains(&format!("\"{channel}\""))
                    && line.contains(&format!("\"{outcome}\""))
            })
        };
        let all = tried("mqtt", "accepted") && tried("nats", "rejected") && tried("kafka", "rejected");
        all.then_some(metrics)
    })
    .await;
    let channels = client.send("GET", "/v1/channels", &[], Vec::new()).await.text;
    process.terminate();
    assert!(process.ended().await.success());
    let log = std::fs::read_to_string(place.path("log")).expect("a log");
    assert!(log.contains("TRACE") && log.lines().count() > 50, "nothing was traced: {log}");
    let private = ["private/topic", "private.subject", "private-record", "hunter2-nats", "hunter2-kafka", &token];
    for hidden in private {
        for said in [&log, &metrics, &channels] {
            assert_eq!(said.lines().find(|line| line.contains(hidden)), None, "{hidden} is said");
        }
    }
}
