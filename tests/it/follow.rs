//! Messages that follow an earlier one: updates under the first of their incident or in its place, corrections in the place of what was
//! wrong; by a platform of the tests that lets messages be answered and changed.

use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};

use crate::harness::{Broker, Reply, Request, START, Sink, event, outage, plan};

const TALK: &str = r#"
title = "Talk"
docs = "https://talk.example"
driver = "http"
kind = "chat"
format = "chat"
[settings]
url = { help = "Where it is", example = "https://talk.example" }
[address]
kind = "talk"
pattern = '^[a-z]+$'
example = "operations"
[send]
url = "{{settings.url}}/{{to}}"
json = { text = "{{text}}" }
[reply]
json = { text = "{{text}}", under = "{{ref.number}}" }
[edit]
method = "PUT"
url = "{{settings.url}}/{{to}}/{{ref.id}}"
[[answer]]
when = { status = "200" }
then = "accepted"
ref = { id = "/id" }
[[answer]]
when = { status = "404" }
then = "rejected"
fault = "gone"
[[example]]
to = "operations"
text = "Back."
json = { text = "Back." }
[[example]]
to = "operations"
text = "Back."
reply = "7"
json = { text = "Back.", under = 7 }
[[example]]
to = "operations"
text = "Back."
edit = "7"
url = "https://talk.example/operations/7"
json = { text = "Back." }
[[example]]
answer = { status = 200, json = { id = 7 } }
then = "accepted"
ref = "7"
[[example]]
edit = "7"
answer = { status = 404 }
then = "rejected"
fault = "gone"
"#;

/// The broker with that platform, one channel of it and one reader; `follow` is what its plan says.
struct Talk {
    broker: Broker,
    config: String,
    _folders: (tempfile::TempDir, tempfile::TempDir),
}

impl Talk {
    async fn start(follow: &str, sink: &Sink) -> Talk {
        let (plans, config) = plan(&format!(
            "title = \"Talk\"\n[[step]]\nname = \"staff\"\naudience = \"staff\"\nroutes = [\"chat\"]\n\
             priority = \"high\"\n{follow}\n"
        ));
        let platforms = tempfile::tempdir().expect("a folder");
        std::fs::write(platforms.path().join("talk.toml"), TALK).expect("written");
        let config = format!(
            "{config}channels = {:?}\n[channels.talk]\nplatform = \"talk\"\nsettings.url = \"http://127.0.0.1:{}\"\n",
            platforms.path(),
            sink.port()
        );
        let broker = Broker::start(&config).await;
        broker.subscriber("alex", "staff", &[("talk", "operations")], |_| ()).await;
        Talk { broker, config, _folders: (plans, platforms) }
    }

    /// Says something of the outage; answers the update's number.
    async fn says(&self, id: &str, over: Value) -> Value {
        let taken = self.broker.post("/v1/events", &event(id, over)).await;
        assert_eq!(taken.status, 202, "{taken:?}");
        taken.json()["update"].clone()
    }

    async fn update(&self, id: &str, minute: u32) -> Value {
        let at = format!("2021-10-04T15:{minute}:00Z");
        self.says(id, json!({ "title": format!("As of {id}"), "at": at })).await
    }

    /// The newest broadcast's one delivery.
    async fn delivery(&self) -> Value {
        let listed = self.broker.get("/v1/broadcasts").await.json();
        let id = listed["items"][0]["id"].as_str().expect("an id").to_string();
        let listed = self.broker.get(&format!("/v1/deliveries?broadcast={id}")).await.json();
        let id = listed["items"][0]["id"].as_str().expect("an id").to_string();
        self.broker.get(&format!("/v1/deliveries/{id}")).await.json()
    }
}

fn numbered(number: usize) -> Reply {
    Reply::Full(200, String::new(), json!({ "id": number }).to_string())
}

/// Each request: how, where, and under which message.
fn seen(sink: &Sink) -> Vec<String> {
    let one = |request: &Request| match &request.json()["under"] {
        Value::Null => format!("{} {}", request.method, request.path),
        under => format!("{} {} under {under}", request.method, request.path),
    };
    sink.all().iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_posted_under_the_first_message_and_a_correction_stands_in_the_place_of_what_was_wrong() {
    let sink = Sink::answering(|n, _| numbered(n + 1)).await;
    let talk = Talk::start("follow = \"thread\"", &sink).await;
    assert_eq!(talk.broker.post("/v1/events", &outage("a-1")).await.status, 202);
    talk.broker.settled().await;
    let wrong = talk.update("a-2", 52).await;
    talk.broker.settled().await;
    let shown = talk.delivery().await;
    assert_eq!((&shown["follows"], &shown["reference"]), (&json!({ "how": "reply", "reference": "1" }), &json!("2")));
    talk.says("a-3", json!({ "title": "Right", "corrects": wrong, "at": "2021-10-04T15:53:00Z" })).await;
    talk.broker.settled().await;
    let shown = talk.delivery().await;
    assert_eq!((&shown["follows"], &shown["reference"]), (&json!({ "how": "edit", "reference": "2" }), &json!("2")));
    talk.update("a-4", 54).await;
    talk.broker.settled().await;
    assert_eq!(
        seen(&sink),
        ["POST /operations", "POST /operations under 1", "PUT /operations/2", "POST /operations under 1"]
    );
    talk.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_stands_in_the_place_of_the_first_message_and_is_one_of_its_own_where_that_is_gone() {
    let sink = Sink::answering(|n, _| if n == 2 { Reply::Status(404) } else { numbered(n + 1) }).await;
    let talk = Talk::start("follow = \"edit\"", &sink).await;
    assert_eq!(talk.broker.post("/v1/events", &outage("a-1")).await.status, 202);
    talk.broker.settled().await;
    for (id, minute) in [("a-2", 52), ("a-3", 53), ("a-4", 54)] {
        talk.update(id, minute).await;
        talk.broker.settled().await;
        let shown = talk.delivery().await;
        let gone = if id == "a-3" { json!("gone") } else { Value::Null };
        assert_eq!((&shown["state"], &shown["attempts"][0]["fault"]), (&json!("told"), &gone), "{id}");
    }
    assert_eq!(
        seen(&sink),
        ["POST /operations", "PUT /operations/1", "PUT /operations/1", "POST /operations", "PUT /operations/4"]
    );
    talk.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_plan_says_nothing_only_a_correction_follows() {
    let sink = Sink::answering(|n, _| numbered(n + 1)).await;
    let talk = Talk::start("", &sink).await;
    assert_eq!(talk.broker.post("/v1/events", &outage("a-1")).await.status, 202);
    talk.broker.settled().await;
    let wrong = talk.update("a-2", 52).await;
    talk.broker.settled().await;
    let retracted = json!({ "corrects": wrong, "retracts": true, "at": "2021-10-04T15:53:00Z" });
    talk.says("a-3", retracted).await;
    talk.broker.settled().await;
    assert_eq!(seen(&sink), ["POST /operations", "POST /operations", "PUT /operations/2"]);
    talk.broker.stop().await;
}

/// The update comes while the first message is on the wire: what that is known by is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_waits_until_it_is_known_what_the_first_message_is_called() {
    let late = |n: usize| Reply::Late(200, json!({ "id": n + 1 }).to_string());
    let sink = Sink::answering(move |n, _| if n == 0 { late(n) } else { numbered(n + 1) }).await;
    let talk = Talk::start("follow = \"thread\"", &sink).await;
    assert_eq!(talk.broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    talk.update("a-2", 52).await;
    sink.release();
    talk.broker.settled().await;
    assert_eq!(seen(&sink), ["POST /operations", "POST /operations under 1"]);
    talk.broker.stop().await;
}

/// The process ends while an update is on the wire, or between what has gone and the message in its stead.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_same_message_is_followed_and_what_has_gone_stays_gone() {
    for gone in [false, true] {
        let sink = Sink::answering(move |n, _| match (n, gone) {
            (1, true) => Reply::Status(404),
            (1, false) | (2, true) => Reply::Hold,
            _ => numbered(n + 1),
        })
        .await;
        let talk = Talk::start("follow = \"thread\"", &sink).await;
        assert_eq!(talk.broker.post("/v1/events", &outage("a-1")).await.status, 202);
        talk.broker.settled().await;
        talk.update("a-2", 52).await;
        for _ in 0..2 + usize::from(gone) {
            sink.next().await;
        }
        let other = tempfile::tempdir().expect("a folder");
        let copy = other.path().join("loudhailer.db");
        talk.broker.app.store.backup(&copy, std::sync::Arc::new(|_| ())).await.expect("copied");
        // That machine is gone: it begins nothing more.
        talk.broker.app.engine.stop.cancel();
        sink.release();
        let Talk { broker, config, _folders } = talk;
        let _old = broker.stop_as_it_is().await;
        let before = seen(&sink);
        let clock = Clock::manual(Time::parse(START).expect("a time").plus(std::time::Duration::from_secs(300)));
        let broker = Broker::open(&config, clock, other).await;
        sink.next().await;
        broker.settled().await;
        broker.stop().await;
        let after = seen(&sink);
        assert_eq!(after.len(), before.len() + 1, "{after:?}");
        assert_eq!(after.last(), before.last(), "{after:?}");
        let requests = sink.all();
        let [.., tried, repeated] = &requests[..] else { panic!("two: {requests:?}") };
        assert_eq!(tried.body, repeated.body, "the same bytes");
        let expected = if gone { "POST /operations" } else { "POST /operations under 1" };
        assert_eq!(after.last().map(String::as_str), Some(expected));
    }
}
