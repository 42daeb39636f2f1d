//! Foreign webhooks: what vendors post comes in by `/v1/sources`, and becomes incidents that begin, change and end.

use std::path::Path;
use std::process::{Command, Stdio};

use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};

use super::faults::process::BINARY;
use super::harness::{Answer, Broker, START};
use super::peers::{eventually, peers};

const SOURCES: &str = r#"
[sources.prometheus]
format = "alertmanager"
[sources.gatus]
[sources.github]
secret = "It's a Secret to Everybody"
[sources.status]
format = "statuspage"
[sources.own]
format = "generic"
[sources.own.event]
title = "'Ours: ' ~ doc.title"
"#;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sources/examples").join(name);
    std::fs::read_to_string(path).expect("a document")
}

/// At a time when what the documents say has just happened.
async fn broker(at: &str) -> Broker {
    let at = Time::parse(at).expect("a time");
    Broker::open(SOURCES, Clock::manual(at), tempfile::tempdir().expect("a folder")).await
}

async fn post(broker: &Broker, source: &str, body: &str) -> Answer {
    broker.send("POST", &format!("/v1/sources/{source}"), &[("content-type", "application/json")], body).await
}

async fn incident(broker: &Broker, key: &str) -> Value {
    let listed = broker.get("/v1/incidents").await.json();
    let found = listed["items"].as_array().expect("a list").iter().find(|incident| incident["key"] == key);
    found.unwrap_or_else(|| panic!("no {key} in {listed}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_alerts_is_one_incident_from_its_beginning_to_its_end() {
    let broker = broker("2026-11-30T15:50:00Z").await;
    let key = "alertmanager/{}:{alertname=\"HighRequestLatency\"}";
    let first = post(&broker, "prometheus", &document("alertmanager/two-firing.json")).await;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.json()["results"][0]["key"], key);
    // A repeat says nothing new, however often it comes.
    for _ in 0..2 {
        let again = post(&broker, "prometheus", &document("alertmanager/two-firing.json")).await;
        assert_eq!((again.status, &again.json()["results"][0]["duplicate"]), (200, &json!(true)), "{again:?}");
    }
    let shown = incident(&broker, key).await;
    assert_eq!(shown["facts"]["severity"], "critical", "{shown}");
    let change = post(&broker, "prometheus", &document("alertmanager/one-of-two-resolved.json")).await;
    assert_eq!(change.status, 202, "{change:?}");
    assert_eq!(incident(&broker, key).await["facts"]["severity"], "minor");
    let over = document("alertmanager/one-of-two-resolved.json").replace("\"firing\"", "\"resolved\"");
    assert_eq!(post(&broker, "prometheus", &over).await.status, 202);
    let shown = incident(&broker, key).await;
    assert_eq!(shown["facts"]["status"], "resolved", "{shown}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_words_are_news_again_once_others_were_said() {
    let broker = broker("2026-11-30T15:50:00Z").await;
    let (down, up) = (document("gatus/triggered.json"), document("gatus/resolved.json"));
    // The end of what never began begins nothing.
    let nothing = post(&broker, "gatus", &up).await;
    assert_eq!(nothing.status, 200, "{nothing:?}");
    assert!(nothing.json()["results"][0]["nothing"].is_string(), "{nothing:?}");
    assert_eq!(broker.get("/v1/incidents").await.json()["items"], json!([]));
    let mut updates = Vec::new();
    for (body, status) in [(&down, 202), (&down, 200), (&up, 202), (&up, 200), (&down, 202), (&down, 200), (&up, 202)] {
        let answer = post(&broker, "gatus", body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        updates.extend(answer.json()["results"][0]["update"].as_str().map(String::from));
    }
    // Nor does a repetition say anything against what a person has said since.
    let broken = post(&broker, "gatus", &down).await.json();
    let key = broken["results"][0]["key"].as_str().expect("a key").to_string();
    let at = broker.clock.calendar();
    let said = json!({ "source": "people", "id": "p1", "incident": key, "at": at, "status": "identified" });
    assert_eq!(broker.post("/v1/events", &said).await.status, 202);
    assert_eq!(post(&broker, "gatus", &down).await.status, 200);
    assert_eq!(incident(&broker, &key).await["facts"]["status"], "identified");
    updates.dedup();
    assert_eq!(updates.len(), 4, "two outages, with two updates each: {updates:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vendor_sends_again_under_its_own_id_is_the_same() {
    let broker = broker("2017-12-26T07:33:00Z").await;
    let (created, over) = (document("statuspage/incident-created.json"), document("statuspage/incident-resolved.json"));
    for (body, status) in [(&created, 202), (&created, 200)] {
        let answer = post(&broker, "status", body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    broker.clock.advance(std::time::Duration::from_secs(300));
    for (body, status) in [(&over, 202), (&over, 200), (&created, 200)] {
        let answer = post(&broker, "status", body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let shown = incident(&broker, "statuspage/z3lct0r596n4").await;
    assert_eq!((&shown["facts"]["status"], &shown["updates"]), (&json!("resolved"), &json!(2)), "{shown}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_from_a_topic_of_ours_is_refused() {
    let topics = "[sources.cloudwatch]\ntopics = [\"arn:aws:sns:eu-west-1:1:alarms\"]\n";
    let at = Clock::manual(Time::parse(START).expect("a time"));
    let broker = Broker::open(topics, at, tempfile::tempdir().expect("a folder")).await;
    let answer = post(&broker, "cloudwatch", &document("cloudwatch/alarm.json")).await;
    assert!(answer.status == 403 && answer.text.contains("none of the source's topics"), "{answer:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_proves_itself_by_its_signature_and_others_send_a_token_as_they_can() {
    let broker = broker("2026-11-30T15:50:00Z").await;
    let token = broker.token("vendor", false, &["ingest"]).await;
    let reader = broker.token("reader", false, &["read"]).await;
    let body = document("github/ping.json");
    let signature = |secret: &str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = ring::hmac::sign(&key, body.as_bytes());
        format!("sha256={}", tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let bearer = format!("Bearer {token}");
    for (secret, status) in [("It's a Secret to Everybody", 200), ("another", 403)] {
        let signed = signature(secret);
        // A token is no signature.
        let headers = [("x-hub-signature-256", signed.as_str()), ("authorization", bearer.as_str())];
        let answer = broker.send("POST", "/v1/sources/github", &headers, &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(broker.send("POST", "/v1/sources/github", &[("authorization", &bearer)], &body).await.status, 403);
    let basic = |password: &str| {
        use base64::Engine;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("any:{password}")))
    };
    let body = document("statuspage/component-under-maintenance.json");
    for (path, header, status) in [
        ("/v1/sources/status", Some(bearer.clone()), 200),
        ("/v1/sources/status", Some(basic(&token)), 200),
        (&*format!("/v1/sources/status?token={token}"), None, 200),
        ("/v1/sources/status", None, 401),
        ("/v1/sources/status", Some("Bearer nobody".into()), 401),
        ("/v1/sources/status", Some(basic("nobody")), 401),
        ("/v1/sources/status?token=nobody", None, 401),
        ("/v1/sources/status", Some(format!("Bearer {reader}")), 403),
        (&*format!("/v1/events?token={token}"), None, 401),
    ] {
        let headers: Vec<(&str, &str)> = header.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = broker.send("POST", path, &headers, &body).await;
        assert_eq!(answer.status, status, "{path} {header:?}: {answer:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muted_source_is_answered_and_nothing_comes_of_it_until_it_counts_again() {
    let broker = broker("2026-11-30T15:50:00Z").await;
    let muted = broker.post("/v1/sources/gatus:mute", &json!({})).await;
    assert_eq!((muted.status, &muted.json()["muted"]), (200, &json!(true)));
    let answer = post(&broker, "gatus", &document("gatus/triggered.json")).await;
    assert_eq!((answer.status, &answer.json()["muted"]), (200, &json!(true)), "{answer:?}");
    assert_eq!(broker.get("/v1/incidents").await.json()["items"], json!([]));
    // It outlives the process.
    let at = Clock::manual(broker.clock.calendar());
    let broker = Broker::open(SOURCES, at, broker.stop().await).await;
    let listed = broker.get("/v1/sources").await.json();
    let of = |name: &str| listed["items"].as_array().expect("a list").iter().find(|s| s["name"] == name).cloned();
    assert_eq!(of("gatus").expect("there")["muted"], json!(true), "{listed}");
    assert_eq!(of("github").expect("there")["signed"], json!(true), "{listed}");
    assert_eq!(broker.post("/v1/sources/gatus:unmute", &json!({})).await.status, 200);
    assert_eq!(post(&broker, "gatus", &document("gatus/triggered.json")).await.status, 202);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_are_muted_at_one_moment_are_all_muted() {
    let broker = broker(START).await;
    let listed = broker.get("/v1/sources").await.json();
    let names: Vec<String> =
        listed["items"].as_array().expect("a list").iter().map(|s| s["name"].to_string()).collect();
    let names: Vec<&str> = names.iter().map(|name| name.trim_matches('"')).collect();
    assert!(names.len() > 2, "{listed}");
    let is_muted = async |broker: &Broker| {
        let listed = broker.get("/v1/sources").await.json();
        let muted = listed["items"].as_array().expect("a list").iter().filter(|source| source["muted"] == json!(true));
        muted.count()
    };
    futures_util::future::join_all(names.iter().map(|name| broker.app.mute_source(name, true))).await;
    assert_eq!(is_muted(&broker).await, names.len());
    let at = Clock::manual(broker.clock.calendar());
    let broker = Broker::open(SOURCES, at, broker.stop().await).await;
    assert_eq!(is_muted(&broker).await, names.len(), "of them are muted after a new start");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_document_is_said_with_its_place_and_an_operators_expression_goes_before_the_files() {
    let broker = broker(START).await;
    let missing = post(&broker, "prometeus", "{}").await;
    assert!(missing.status == 404 && !missing.text.contains("gatus"), "{missing:?}");
    let broken = post(&broker, "own", "{").await;
    assert!(broken.status == 400 && broken.text.contains("no JSON"), "{broken:?}");
    let wrong = post(&broker, "own", r#"{"id":"a","title":"T","status":"open","started_at":"soon"}"#).await;
    assert_eq!((wrong.status, &wrong.json()["pointer"]), (400, &json!("event.started_at")), "{wrong:?}");
    let taken = post(&broker, "own", r#"{"id":"a","title":"Orders fail","status":"open"}"#).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    assert_eq!(incident(&broker, "generic/a").await["facts"]["title"], "Ours: Orders fail");
    broker.stop().await;
}

fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    use std::io::Write;
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("input").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_document_is_tried_by_hand_and_a_file_that_is_wrong_says_where() {
    let (status, out, _) = run(&["source", "try", "alertmanager"], &document("alertmanager/two-firing.json"));
    let events: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((status, &events[0]["components"]), (Some(0), &json!(["checkout"])), "{out}");
    let (status, out, said) = run(&["source", "try", "alertmanager"], &document("alertmanager/watchdog.json"));
    assert_eq!((status, out.trim()), (Some(0), "[]"));
    assert!(said.contains("says nothing"), "{said}");
    let header = ["source", "try", "sentry", "--header", "Sentry-Hook-Resource: metric_alert"];
    let (status, out, said) = run(&header, &document("sentry/metric-warning.json"));
    assert!(status == Some(0) && out.contains("\"incident\""), "{out}{said}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.toml");
    std::fs::write(&file, "title = \"T\"\ndocs = \"d\"\n[event]\nincident = \"doc.a\"\nseverty = \"'major'\"\n")
        .expect("written");
    let (status, _, said) = run(&["source", "try", file.to_str().expect("a path")], "{}");
    assert_eq!(status, Some(2));
    assert!(said.contains("own.toml:5: an event has no \"severty\"; did you mean \"severity\"?"), "{said}");
    let (status, _, said) = run(&["source", "try", "alertmanger"], "{}");
    assert!(status == Some(2) && said.contains("did you mean \"alertmanager\"?"), "{said}");
    let (status, out, _) = run(&["source", "formats", "--json"], "");
    let formats: Value = serde_json::from_str(&out).expect("JSON");
    assert!(status == Some(0) && formats.as_array().is_some_and(|formats| formats.len() >= 13), "{out}");
}

/// The real one fires, repeats what was not answered, and resolves.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_fires_and_resolves() {
    let Some([program, tool]) = peers(["alertmanager", "amtool"]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::open(SOURCES, Clock::system(), tempfile::tempdir().expect("a folder")).await;
    let token = broker.token("alertmanager", false, &["ingest"]).await;
    let admin = format!("Bearer {}", broker.token("reader", false, &["read"]).await);
    let config = format!(
        "route: {{ receiver: broker, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1m }}\n\
         receivers:\n  - name: broker\n    webhook_configs:\n      - url: {}/v1/sources/prometheus\n        send_resolved: true\n        \
         http_config: {{ authorization: {{ credentials: {token} }} }}\n",
        broker.url()
    );
    std::fs::write(folder.path().join("alertmanager.yml"), config).expect("written");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let listen = format!("127.0.0.1:{port}");
    let log = std::fs::File::create(folder.path().join("log")).expect("a log");
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", folder.path().join("alertmanager.yml").display()));
    command.arg(format!("--storage.path={}", folder.path().join("data").display()));
    command.args([&*format!("--web.listen-address={listen}"), "--cluster.listen-address="]);
    let mut process = Ends(command.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("starts"));
    let alert = |end: &[&str]| {
        let mut add = Command::new(&tool);
        add.arg(format!("--alertmanager.url=http://{listen}"));
        add.args(["alert", "add", "DiskFull", "severity=critical", "service=orders", "--annotation=summary=Disk full"]);
        add.args(end).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let fired = tokio::task::block_in_place(|| eventually(|| alert(&[]).then_some(())));
    assert!(fired.is_some(), "{}", std::fs::read_to_string(folder.path().join("log")).unwrap_or_default());
    let becomes = async |what: &str, status: &str| {
        let seen = async || {
            let answer = broker.send("GET", "/v1/incidents", &[("authorization", &admin)], "").await.json();
            let found = answer["items"].as_array().and_then(|items| items.first().cloned());
            found.filter(|found| found["facts"]["status"] == status)
        };
        broker.until(what, seen).await
    };
    let open = becomes("the alert became an incident", "investigating").await;
    assert_eq!(open["key"], "alertmanager/{}:{alertname=\"DiskFull\"}");
    assert_eq!(
        (&open["facts"]["severity"], &open["facts"]["components"]),
        (&json!("critical"), &json!(["orders"])),
        "{open}"
    );
    let ended = jiff::Timestamp::now().to_string();
    assert!(tokio::task::block_in_place(|| alert(&[&format!("--end={ended}")])));
    let over = becomes("its end became the incident's", "resolved").await;
    assert_eq!(over["key"], open["key"]);
    process.0.kill().expect("ends");
    broker.stop().await;
}

/// A process that ends with the test.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
