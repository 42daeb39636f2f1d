//! A channel whose credentials somebody else has: nothing goes by it, over restarts, too, what its platform reports counts no more,
//! and it goes on only with other credentials, or where a person says that they may stay.

use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};

use super::cli::run;
use super::harness::{Broker, Reply, Request, START, Sink, accepting, event, kannel, outage, report};

/// `a` is used, one at a time, and `b` where `a` is not.
fn both(a: &Sink, b: &Sink) -> String {
    kannel("a", a.port(), "concurrency = 1") + &kannel("b", b.port(), "weight = 0")
}

async fn people(broker: &Broker, count: usize) {
    for n in 0..count {
        let phone = format!("+49151000000{n:02}");
        broker.subscriber(&format!("p{n}"), "businesses", &[("phone", &phone)], |_| ()).await;
    }
}

async fn again(broker: Broker, config: &str) -> Broker {
    let folder = broker.stop().await;
    Broker::open(config, Clock::manual(Time::parse(START).expect("a time")), folder).await
}

async fn a(broker: &Broker) -> Value {
    broker.get("/v1/channels/a").await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_by_a_compromised_channel_until_its_credentials_are_others() {
    const PEOPLE: usize = 5;
    let hold_first = |number, _: &Request| if number == 0 { Reply::Hold } else { Reply::accepted() };
    let (used, other) = (Sink::answering(hold_first).await, accepting().await);
    let config = both(&used, &other);
    let broker = Broker::start(&config).await;
    people(&broker, PEOPLE).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    used.next().await;
    broker.queued("a", "high", PEOPLE - 1).await;
    let answer = broker.post("/v1/channels/a:compromised", &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
    assert_eq!((&shown["health"], &shown["paused"]), (&json!("compromised"), &json!(true)), "{shown}");
    assert_eq!(shown["compromised"], json!({ "since": START, "same_secrets": ["b"] }), "{shown}");
    // What waited moves. What was on the wire ends as it ends: an answer that says nothing, so it is told by the other, too.
    for _ in 1..PEOPLE {
        other.next().await;
    }
    assert_eq!(used.all().len(), 1);
    used.release();
    other.next().await;
    broker.settled().await;
    let metrics = broker.get("/metrics").await.text;
    assert!(metrics.contains("loudhailer_channel_compromised{channel=\"a\"} 1"), "{metrics}");
    assert!(metrics.contains("loudhailer_channel_compromised{channel=\"b\"} 0"), "{metrics}");
    let console = broker.get("/console/channels").await.text;
    assert!(console.contains("Compromised since"), "{console}");

    // A pause said again does not lift it, and neither does a restart with the same credentials.
    assert_eq!(broker.post("/v1/channels/a:pause", &json!({})).await.json()["health"], "compromised");
    let broker = again(broker, &config).await;
    assert_eq!(a(&broker).await["health"], "compromised");
    let second = event("b-1", json!({ "incident": "mail-down", "title": "Mail is down" }));
    assert_eq!(broker.post("/v1/events", &second).await.status, 202);
    for _ in 0..PEOPLE {
        other.next().await;
    }
    broker.settled().await;
    let refused = broker.post("/v1/channels/a:resume", &json!({})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.text.contains("(password)") && refused.text.contains("--same-credentials"), "{refused:?}");
    assert_eq!(used.all().len(), 1, "nothing more went by it");

    let changed = config.replacen("password = \"p\"", "password = \"q\"", 1);
    let broker = again(broker, &changed).await;
    assert_eq!(a(&broker).await["health"], "compromised", "it goes on when a person says so");
    let resumed = broker.post("/v1/channels/a:resume", &json!({})).await.json();
    assert_eq!((&resumed["health"], &resumed["compromised"]), (&json!("working"), &Value::Null), "{resumed}");
    let third = event("c-1", json!({ "incident": "shop-down", "title": "The shop is down" }));
    assert_eq!(broker.post("/v1/events", &third).await.status, 202);
    broker.settled().await;
    assert_eq!(used.all().len(), 1 + PEOPLE);
    let broker = again(broker, &changed).await;
    assert_eq!(a(&broker).await["health"], "working", "and that outlives a restart");
    broker.stop().await;
    assert_eq!((used.all().len(), other.all().len()), (1 + PEOPLE, 2 * PEOPLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_credentials_stay_only_where_it_is_said_on_purpose() {
    let sink = accepting().await;
    let hooks = "[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\n";
    let broker = Broker::start(&(kannel("a", sink.port(), "") + hooks)).await;
    for channel in ["a", "hooks"] {
        assert_eq!(broker.post(&format!("/v1/channels/{channel}:compromised"), &json!({})).await.status, 200);
        let resume = format!("/v1/channels/{channel}:resume");
        for (wish, status) in [
            (json!({}), 409),
            (json!({ "same_credentials": false }), 409),
            (json!({ "same_credentials": "true" }), 400),
            (json!({ "same_credential": true }), 400),
            (json!([]), 400),
        ] {
            let answer = broker.post(&resume, &wish).await;
            assert_eq!(answer.status, status, "{wish}: {answer:?}");
        }
        let resumed = broker.post(&resume, &json!({ "same_credentials": true })).await;
        assert_eq!((resumed.status, &resumed.json()["health"]), (200, &json!("working")), "{resumed:?}");
    }
    // Of one that is only paused nothing is asked.
    assert_eq!(broker.post("/v1/channels/a:pause", &json!({})).await.json()["health"], "paused");
    assert_eq!(broker.post("/v1/channels/a:resume", &json!({})).await.json()["health"], "working");
    assert_eq!(broker.post("/v1/channels/none:compromised", &json!({})).await.status, 404);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_report_counts_while_its_channel_is_compromised_and_a_repeated_one_does_afterwards() {
    let sink = accepting().await;
    let broker = Broker::start(&kannel("a", sink.port(), "")).await;
    people(&broker, 1).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let sent = sink.next().await;
    broker.settled().await;
    assert_eq!(broker.post("/v1/channels/a:compromised", &json!({})).await.status, 200);
    let forged = report(&broker, &sent, "2").await;
    assert_eq!((forged.status, forged.header("retry-after")), (503, Some("600")), "{forged:?}");
    broker.settled().await;
    let listed = broker.get("/v1/broadcasts").await.json();
    let told = listed["items"].as_array().expect("a list").iter().filter_map(|one| one["counts"]["told"].as_u64());
    assert_eq!(told.sum::<u64>(), 1, "the bounce did not count: {listed}");
    let metrics = broker.get("/metrics").await.text;
    assert!(metrics.contains("loudhailer_receipts_refused_total{channel=\"a\"} 1"), "{metrics}");
    broker.post("/v1/channels/a:resume", &json!({ "same_credentials": true })).await;
    let delivered = report(&broker, &sent, "1").await;
    assert_eq!((delivered.status, &delivered.json()["matched"]), (200, &json!(1)), "{delivered:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_declared_compromised_and_resumed_by_command() {
    let sink = accepting().await;
    let broker = Broker::start(&(kannel("a", sink.port(), "") + &kannel("b", sink.port(), ""))).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let command = async |arguments: &[&str]| run(&folder, Some(&url), arguments, "").await;
    let quiet = command(&["status", "--json"]).await;
    assert_eq!(quiet.json()["compromised"], json!([]), "{quiet:?}");
    let declared = command(&["channel", "compromised", "a"]).await;
    assert_eq!(declared.code, Some(0), "{declared:?}");
    for said in ["a is compromised", "loudhailer channel compromised b", "loudhailer channel resume a"] {
        assert!(declared.out.contains(said), "{said}: {declared:?}");
    }
    let status = command(&["status"]).await;
    assert!(status.out.contains("! the channel a is compromised"), "{status:?}");
    let list = command(&["channel", "list"]).await;
    assert!(list.out.contains("a\tkannel\tsms\tcompromised"), "{list:?}");
    let refused = command(&["channel", "resume", "a"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("is compromised since"), "{refused:?}");
    let resumed = command(&["channel", "resume", "a", "--same-credentials"]).await;
    assert!(resumed.code == Some(0) && resumed.out.contains("a is working"), "{resumed:?}");
    broker.stop().await;
}
