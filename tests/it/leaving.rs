//! What leaves the house, to the letter: one outage, from its first word to its end, with a correction and an exercise after
//! it, to people on every platform that ships, in every language. Each snapshot is all that one of them got, in order; only
//! what chance makes is written over (tags of ids, signatures, check codes, boundaries, ports).
//!
//! The files in `leaving/snapshots` are there to be read. After a change of words: `INSTA_UPDATE=always`, then read the diff.

mod people;
mod shown;

use std::collections::BTreeMap;

use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};

use crate::harness::{Broker, Mailbox, Sink};

/// When, what is said over the scene of the demo's facts, and how many messages leave beside the outbox.
struct Scene {
    at: &'static str,
    name: &'static str,
    says: fn() -> Value,
    leave: usize,
}

const SCENES: [Scene; 8] = [
    Scene { at: "15:51", name: "investigating", says: investigating, leave: 19 },
    Scene { at: "16:10", name: "identified", says: identified, leave: 19 },
    // Half an hour without a word: nothing is said, and executives are reminded.
    Scene { at: "16:40", name: "a reminder", says: || Value::Null, leave: 2 },
    Scene { at: "16:45", name: "an update, the cause confirmed", says: confirmed, leave: 19 },
    Scene { at: "16:55", name: "a correction of it", says: corrected, leave: 19 },
    Scene { at: "17:15", name: "monitoring", says: monitoring, leave: 19 },
    Scene { at: "17:40", name: "resolved", says: resolved, leave: 19 },
    Scene { at: "18:00", name: "an exercise", says: exercise, leave: 5 },
];

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_an_outage_are_these() {
    let platforms = Sink::answering(|_, request| people::answer(request)).await;
    let mailbox = Mailbox::start().await;
    let plans = people::plans();
    let config = people::config(plans.path(), platforms.port(), mailbox.port());
    // Limits start empty: by the first word of the outage they are full.
    let clock = Clock::manual(Time::parse("2021-10-04T15:00:00Z").expect("a time"));
    let mut broker = Broker::open(&config, clock, tempfile::tempdir().expect("a folder")).await;
    let token = broker.token("vera", true, &["admin"]).await;
    broker.client = broker.client.with(&token);
    people::move_in(&broker, platforms.port()).await;

    let mut requests = 0;
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, scene) in SCENES.iter().enumerate() {
        let at = Time::parse(&format!("2021-10-04T{}:00Z", scene.at)).expect("a time");
        broker.clock.advance(at.since(broker.clock.calendar()));
        let mut says = (scene.says)();
        if !says.is_null() {
            says["id"] = json!(format!("scene-{number}"));
            says["at"] = json!(at);
            let answer = broker.post("/v1/events", &says).await;
            assert_eq!(answer.status, 202, "{}: {answer:?}", scene.name);
        }
        let mut left = BTreeMap::new();
        for _ in 0..scene.leave {
            let parts = tokio::select! {
                request = platforms.next() => {
                    requests += 1;
                    shown::request(&request)
                }
                mail = mailbox.next() => shown::mail(&mail),
            };
            for (whom, text) in parts {
                let before = left.insert(whom.clone(), text);
                assert!(before.is_none(), "{whom} was told twice of {}", scene.name);
            }
        }
        broker.settled().await;
        left.extend(outbox(&broker, &got).await);
        for (whom, text) in left {
            got.entry(whom).or_default().push(format!("━━━ {} {}\n\n{text}", scene.at, scene.name));
        }
    }
    let codes = codes(&broker).await;
    broker.stop().await;
    assert_eq!(platforms.all().len(), requests, "and nothing else");

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("leaving/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (whom, texts) in &got {
            insta::assert_snapshot!(whom.replace(' ', "-"), codes.replace_all(&texts.join("\n\n\n"), "CODE"));
        }
    });
}

/// What was put into the outbox since.
async fn outbox(broker: &Broker, got: &BTreeMap<String, Vec<String>>) -> Option<(String, String)> {
    let whom = String::from("public by outbox");
    let listed = broker.get("/v1/broadcasts?limit=1000").await.json();
    let mut ids: Vec<(&str, &str)> = listed["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|broadcast| broadcast["audience"] == "public")
        .filter_map(|broadcast| Some((broadcast["created"].as_str()?, broadcast["id"].as_str()?)))
        .collect();
    ids.sort_unstable();
    let (_, id) = ids.get(got.get(&whom).map_or(0, Vec::len))?;
    let messages = broker.get(&format!("/v1/broadcasts/{id}/messages")).await.json();
    // What nobody got is not there.
    (messages["preview"] == false).then(|| (whom, shown::json(&messages["items"])))
}

/// Any broadcast's check code, where it stands as a word.
async fn codes(broker: &Broker) -> regex::Regex {
    let listed = broker.get("/v1/broadcasts?limit=1000").await.json();
    let items = listed["items"].as_array().expect("a list");
    let codes: Vec<&str> = items.iter().filter_map(|broadcast| broadcast["check_code"].as_str()).collect();
    regex::Regex::new(&format!(r"\b({})\b", codes.join("|"))).expect("a pattern")
}

/// A scene of the demo, in the words that it has in every language.
fn scene(number: usize, over: Value) -> Value {
    let facts: Vec<Value> =
        serde_json::from_str(include_str!("../../src/cli/demo/facts.json")).expect("the demo's facts");
    let mut says = facts[number].clone();
    says.as_object_mut().expect("an object").remove("occasion");
    says["source"] = json!("monitoring/eu");
    says["incident"] = json!("apps-down");
    for (key, value) in over.as_object().expect("an object") {
        says[key] = value.clone();
    }
    says
}

fn investigating() -> Value {
    scene(
        0,
        json!({
            "title": {
                "en": "Facebook and Instagram unreachable", "de": "Facebook und Instagram nicht erreichbar",
                "es": "Facebook e Instagram, inaccesibles", "pt": "Facebook e Instagram sem acesso",
                "hi": "Facebook और Instagram बंद"
            },
            "severity": "critical", "components": ["facebook", "instagram"], "regions": ["global"], "owner": "vera",
            "started_at": "2021-10-04T15:39:00Z", "next_update_at": "2021-10-04T16:10:00Z",
            "impact": { "users": 3_500_000_000_u64, "businesses": 200_000_000, "functions": ["login", "messages"], "data": "none" },
            "support_url": "https://status.meta.example/help",
            "internal_notes": "The bridge is open. Badges do not work: doors are opened by hand."
        }),
    )
}

fn identified() -> Value {
    // Not confirmed: nobody may read it.
    let cause = json!({ "category": "human_error", "text": "A command took the backbone down." });
    scene(3, json!({ "next_update_at": "2021-10-04T16:45:00Z", "cause": cause }))
}

fn confirmed() -> Value {
    let mut says = scene(4, json!({ "next_update_at": "2021-10-04T17:15:00Z" }));
    let cause = says["cause"].as_object_mut().expect("a cause");
    cause.remove("confirmed");
    cause.insert("confirmed_by".into(), json!(true));
    says
}

fn corrected() -> Value {
    json!({
        "source": "monitoring/eu", "incident": "apps-down", "corrects": 3,
        "summary": {
            "en": "Only the first data centre is connected again. The others follow.",
            "de": "Erst ein Rechenzentrum ist wieder angeschlossen. Die anderen folgen.",
            "es": "Solo el primer centro de datos está conectado de nuevo. Los demás seguirán.",
            "pt": "Só o primeiro centro de dados foi religado. Os outros virão em seguida.",
            "hi": "अभी सिर्फ़ पहला डेटा सेंटर फिर जुड़ा है। बाकी बाद में जुड़ेंगे।"
        }
    })
}

fn monitoring() -> Value {
    scene(5, json!({ "next_update_at": "2021-10-04T17:40:00Z", "restored_percent": 40 }))
}

fn resolved() -> Value {
    scene(7, json!({ "ended_at": "2021-10-04T17:40:00Z" }))
}

fn exercise() -> Value {
    scene(
        0,
        json!({
            "incident": "drill", "mode": "exercise", "severity": "critical", "components": ["facebook"],
            "title": { "en": "Facebook unreachable", "de": "Facebook nicht erreichbar" },
            "started_at": "2021-10-04T18:00:00Z", "next_update_at": "2021-10-04T18:30:00Z"
        }),
    )
}
