//! What can be seen.

use http_body_util::BodyExt;
use loudhailer::ingest::DeadRecord;
use serde_json::json;

use crate::harness::{Broker, Sink, event, outage, webhooks, within};

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_shown_with_its_timeline() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    broker.post("/v1/events", &outage("a-1")).await;
    sink.next().await;
    broker.settled().await;
    let second = json!({ "status": "identified", "at": "2021-10-04T15:50:30Z", "summary": "A route is missing." });
    let answer = broker.post("/v1/events", &event("a-2", second)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    sink.next().await;
    broker.settled().await;
    let list = broker.get("/v1/incidents?open=true").await.json();
    assert_eq!(list["items"][0]["key"], "web-down");
    let id = list["items"][0]["id"].as_str().expect("an id");
    let by_id = broker.get(&format!("/v1/incidents/{id}")).await.json();
    assert_eq!(by_id, broker.get("/v1/incidents/web-down").await.json());
    let occasions: Vec<&str> =
        by_id["updates"].as_array().expect("a list").iter().filter_map(|u| u["occasion"].as_str()).collect();
    assert_eq!(occasions, ["investigating", "identified"]);
    let told = |n: usize| {
        let of = by_id["updates"][n]["broadcasts"].as_array().expect("a list");
        of.iter().find(|b| b["audience"] == "businesses").map(|b| b["counts"]["told"].clone())
    };
    assert_eq!((told(0), told(1)), (Some(json!(1)), Some(json!(1))), "{by_id}");
    assert_eq!(by_id["updates"][0]["taken"], "2021-10-04T15:51:00Z");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_in_which_nothing_is_missing_or_twice() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    for n in 0..7 {
        broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", sink.url())).await;
    }
    for n in 0..3 {
        broker.post("/v1/events", &event(&format!("a-{n}"), json!({ "incident": format!("i-{n}") }))).await;
    }
    broker.settled().await;
    let listed = broker.get("/v1/broadcasts?limit=1000").await.json();
    let businesses = listed["items"].as_array().expect("a list").iter().find(|b| b["audience"] == "businesses");
    let broadcast = businesses.expect("drawn")["id"].as_str().expect("an id");
    for (path, all) in [
        ("/v1/incidents?".to_string(), 3),
        (format!("/v1/deliveries?broadcast={broadcast}&"), 7),
        ("/v1/subscribers?".to_string(), 7),
        ("/v1/subscribers?audience=businesses&".to_string(), 7),
    ] {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let page = broker.get(&format!("{path}limit=2{after}")).await.json();
            ids.extend(page["items"].as_array().expect("a list").iter().map(|i| i["id"].to_string()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (all, all), "{path}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_shows_its_state_and_obeys_its_brake() {
    let sink = Sink::start().await;
    let config = "[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\nrate = [\"100/s\"]\n";
    let broker = Broker::start(config).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let paused = broker.post("/v1/channels/hooks:pause", &json!({})).await.json();
    assert_eq!((&paused["health"], &paused["paused"]), (&json!("paused"), &json!(true)), "{paused}");
    broker.post("/v1/events", &outage("a-1")).await;
    let list = broker.get("/v1/channels").await.json();
    assert_eq!(list["items"][0]["limits"]["rate"], json!(["100/s"]), "{list}");
    assert_eq!(list["items"][0]["breaker"]["state"], "closed");
    let resumed = broker.post("/v1/channels/hooks:resume", &json!({})).await.json();
    assert_eq!(resumed["health"], "working");
    broker.clock.advance(std::time::Duration::from_secs(1)); // a limiter starts empty
    sink.next().await;
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_registered_is_listed() {
    let broker =
        Broker::start(&webhooks("[components.web]\ntitle = \"Website\"\n[regions.eu]\ntitle = \"Europe\"\n")).await;
    assert_eq!(broker.get("/v1/components").await.json()["items"][0]["title"], "Website");
    assert_eq!(broker.get("/v1/regions").await.json()["items"][0]["id"], "eu");
    let plans = broker.get("/v1/plans").await.json();
    assert!(plans["items"].as_array().is_some_and(|plans| plans.iter().any(|plan| plan["name"] == "outage")));
    broker.webhook("alex", "businesses", "http://127.0.0.1:9/").await;
    let audiences = broker.get("/v1/audiences").await.json();
    let businesses = audiences["items"].as_array().expect("a list").iter().find(|a| a["id"] == "businesses").cloned();
    assert_eq!(businesses, Some(json!({ "id": "businesses", "clearance": "partner", "members": 1 })));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_count_what_was_done() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    broker.post("/v1/events", &outage("a-1")).await;
    sink.next().await;
    broker.settled().await;
    let ready = broker.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["kafka"].clone()), (200, json!("not configured")));
    let metrics = broker.get("/metrics").await.text;
    for name in [
        "loudhailer_ingest_seconds_bucket",
        "loudhailer_wait_seconds_bucket",
        "loudhailer_send_seconds_bucket",
        "loudhailer_attempts_total",
        "loudhailer_lane_waiting{",
        "loudhailer_breaker_open{",
        "loudhailer_oldest_waiting_seconds{",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    assert!(!metrics.contains(&sink.url()) && !metrics.contains("whsec_"), "neither address nor secret");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_what_happens_and_resumes_where_it_was_cut() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let mut body = broker.client.begin("GET", "/v1/stream", &[], Vec::new()).await.into_body();
    let mut read = String::new();
    let mut read_until = async |words: &str, read: &mut String| {
        while !read.contains(words) {
            let frame = within("came", body.frame()).await.expect("goes on").expect("no error");
            read.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
            assert!(!read.contains("still here"), "{words} never came: {read}");
        }
    };
    read_until(": here", &mut read).await;
    broker.post("/v1/events", &outage("a-1")).await;
    sink.next().await;
    read_until("event: broadcast", &mut read).await;
    broker.settled().await;
    read_until("\"state\":\"done\"", &mut read).await;
    read_until("event: progress", &mut read).await;
    let ids: Vec<i64> = read.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{read}");
    let first = ids[0].to_string();
    let resumed = broker.client.begin("GET", "/v1/stream", &[("last-event-id", &first)], Vec::new()).await;
    let mut resumed = resumed.into_body();
    let mut text = String::new();
    while !text.contains(&format!("id: {}\n", ids[1])) {
        let frame = within("came", resumed.frame()).await.expect("goes on").expect("no error");
        text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
    }
    assert!(!text.contains(&format!("id: {first}\n")), "{text}");
    // Stopping is not delayed by who listens.
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_configuration_wants_is_deleted_and_the_rest_is_not() {
    let broker = Broker::start(&webhooks("[retention]\nincidents = \"10d\"\nevents = \"5d\"\njournal = \"3d\"")).await;
    let ended = json!({ "incident": "over", "status": "resolved" });
    assert_eq!(broker.post("/v1/events", &event("a-1", json!({ "incident": "over" }))).await.status, 202);
    assert_eq!(broker.post("/v1/events", &event("a-2", ended)).await.status, 202);
    assert_eq!(broker.post("/v1/events", &event("a-3", json!({ "incident": "open" }))).await.status, 202);
    let dead = DeadRecord {
        topic: "incidents".into(),
        partition: 0,
        offset: 7,
        reason: "is not JSON".into(),
        body: Some(b"no event".to_vec()),
    };
    broker.app.store.dead(dead, broker.clock.calendar()).await.expect("written");
    broker.settled().await;
    let store = rusqlite::Connection::open(broker.folder().join("loudhailer.db")).expect("opens");
    let rows = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        store.query_row(&sql, [], |row| row.get::<_, i64>(0)).expect("counts")
    };
    let day = std::time::Duration::from_secs(24 * 3600);
    let gone = async |table: &'static str, left: i64| {
        within("goes", async {
            while rows(table) != left {
                // Upkeep looks every hour, and may not have begun to wait for the next one as the days went by.
                broker.clock.advance(std::time::Duration::from_secs(60));
                broker.get("/healthz").await;
            }
        })
        .await;
    };
    // Reminders write on; these are the lines of the first hours.
    let journal = "journal WHERE at < 1633400000000";
    assert!(rows(journal) > 0);
    broker.clock.advance(day * 4);
    gone(journal, 0).await;
    assert_eq!((rows("event"), rows("dead_record"), rows("incident")), (3, 1, 2));
    broker.clock.advance(day * 2);
    gone("event", 0).await;
    assert_eq!((rows("dead_record"), rows("incident")), (0, 2));
    broker.clock.advance(day * 5);
    gone("incident", 1).await;
    let left = broker.get("/v1/incidents").await.json();
    assert_eq!(left["items"][0]["key"], "open", "{left}");
    broker.stop().await;
}
