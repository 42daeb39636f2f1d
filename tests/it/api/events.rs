//! Events come in.

use serde_json::json;

use crate::harness::{Broker, Sink, event, outage, webhooks, within};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_leaves_as_a_signed_webhook() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let answer = broker.post("/v1/events", &outage("a-1")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let taken = answer.json();
    assert_eq!((&taken["duplicate"], &taken["late"]), (&json!(false), &json!(false)));
    assert!(taken["incident"].as_str().expect("an id").starts_with("inc_"), "{taken}");
    assert!(taken["update"].as_str().expect("an id").starts_with("upd_"), "{taken}");
    assert!(taken["broadcasts"][0].as_str().expect("an id").starts_with("brd_"), "{taken}");
    let request = sink.next().await;
    let said = request.json();
    assert_eq!((&said["type"], &said["data"]["incident"]), (&json!("incident.update"), &json!("web-down")));
    assert!(request.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
    assert!(request.header("webhook-id").is_some_and(|id| id.starts_with("dlv_")));
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_again_is_the_same_answer_and_no_second_message() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let mut first = broker.post("/v1/events", &outage("a-1")).await.json();
    let again = broker.post("/v1/events", &outage("a-1")).await;
    first["duplicate"] = json!(true);
    assert_eq!((again.status, again.json()), (200, first));
    let other = broker.post("/v1/events", &event("a-1", json!({ "title": "Something else" }))).await;
    assert_eq!(other.status, 409, "{other:?}");
    assert_eq!(other.header("content-type"), Some("application/problem+json"));
    let drill = broker.post("/v1/events", &event("a-2", json!({ "mode": "exercise" }))).await;
    assert_eq!(drill.status, 409, "{drill:?}");
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_or_too_old_is_kept_and_tells_nobody() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let taken = broker.post("/v1/events", &event("a-2", json!({ "status": "identified" }))).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    sink.next().await;
    let before = event("a-1", json!({ "at": "2021-10-04T15:45:00Z", "title": "Something is wrong" }));
    let replayed = event("old", json!({ "incident": "older", "at": "2021-09-01T15:45:00Z" }));
    for (what, said) in [("late", before), ("replayed", replayed)] {
        let answer = broker.post("/v1/events", &said).await;
        assert_eq!((answer.status, &answer.json()["broadcasts"]), (202, &json!([])), "{what}: {answer:?}");
        assert_eq!(answer.json()["late"], true, "{what}");
        let kept = broker.get("/v1/incidents").await.text;
        assert!(what == "late" || kept.contains("older"), "{kept}");
    }
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudevents_come_in_every_mode() {
    let broker = Broker::start(&webhooks("")).await;
    let mut data = outage("x");
    let object = data.as_object_mut().expect("an object");
    object.remove("id");
    object.remove("source");
    let envelope = |id: &str| json!({ "specversion": "1.0", "type": "loudhailer.incident", "id": id, "source": "/tool", "data": data });
    let structured = [("content-type", "application/cloudevents+json")];
    let answer = broker.send("POST", "/v1/events", &structured, &envelope("1").to_string()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "loudhailer.incident"),
        ("ce-id", "2"),
        ("ce-source", "/tool"),
    ];
    let answer = broker.send("POST", "/v1/events", &binary, &data.to_string()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let batch = json!([envelope("1"), { "specversion": "1.0" }, envelope("3")]).to_string();
    let batched = [("content-type", "application/cloudevents-batch+json")];
    let answer = broker.send("POST", "/v1/events", &batched, &batch).await;
    let results = answer.json();
    let statuses: Vec<i64> =
        results["results"].as_array().expect("a list").iter().filter_map(|item| item["status"].as_i64()).collect();
    assert_eq!((answer.status, statuses), (200, vec![200, 400, 202]), "{results}");
    assert!(results["results"][1]["pointer"].is_string(), "{results}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_moment_for_one_incident_are_all_kept() {
    let broker = Broker::start(&webhooks("")).await;
    let events: Vec<_> = (0..8)
        .map(|n| event(&format!("a-{n}"), json!({ "source": format!("s{n}"), "title": format!("Title {n}") })))
        .collect();
    let posts = events.iter().map(|event| broker.post("/v1/events", event));
    let answers = within("answers", futures_util::future::join_all(posts)).await;
    let mut updates: Vec<String> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 202, "{answer:?}");
            answer.json()["update"].as_str().expect("an id").to_string()
        })
        .collect();
    updates.sort();
    updates.dedup();
    assert_eq!(updates.len(), 8);
    let incident = broker.get("/v1/incidents/web-down").await.json();
    assert_eq!(incident["updates"].as_array().map(Vec::len), Some(8));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_an_event_is_said_with_its_place_and_the_nearest_name() {
    let broker = Broker::start("").await;
    for (body, pointer, words) in [
        (event("a", json!({ "sumary": "x" })).to_string(), "/sumary", "did you mean \"summary\"?"),
        (event("a", json!({ "title": 7 })).to_string(), "/title", "expected"),
        (event("a", json!({ "title": "a\r\nBcc: b" })).to_string(), "/title", "control character"),
        (event("a", json!({ "severity": "huge" })).to_string(), "/severity", "critical"),
        (event("a", json!({ "title": "x".repeat(2000) })).to_string(), "/title", "the most is"),
        ("{".to_string(), "", "is not JSON"),
        ("{\"id\":\"1\",\"id\":\"2\"}".to_string(), "", "id"),
        ("[]x".to_string(), "", "is not JSON"),
    ] {
        let answer = broker.send("POST", "/v1/events", &[("content-type", "application/json")], &body).await;
        let problem = answer.json();
        assert_eq!((answer.status, &problem["status"]), (400, &json!(400)), "{problem}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{problem}");
        assert!(pointer.is_empty() || problem["pointer"] == pointer, "{problem}");
    }
    let listed = broker.get("/v1/incidents").await.json();
    assert_eq!(listed["items"], json!([]), "nothing is half done");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_persons_token_confirms_a_cause() {
    let broker = Broker::start(&webhooks("")).await;
    let machine = broker.client.with(&broker.token("monitoring", false, &["ingest", "read"]).await);
    let person = broker.client.with(&broker.token("maria", true, &["ingest", "read"]).await);
    let cause = json!({ "category": "technical_failure", "text": "A backbone change", "confirmed_by": "nobody" });
    let answer = machine.json("POST", "/v1/events", &event("a-1", json!({ "cause": cause }))).await;
    let facts = |answer: crate::harness::Answer| answer.json()["facts"]["cause"]["confirmed_by"].clone();
    if answer.status == 202 {
        assert_eq!(facts(machine.get("/v1/incidents/web-down").await), json!(null));
    }
    let cause = json!({ "category": "technical_failure", "text": "A backbone change", "confirmed_by": "maria" });
    let answer = person.json("POST", "/v1/events", &event("a-2", json!({ "cause": cause }))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(facts(person.get("/v1/incidents/web-down").await), json!("maria"));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_has_no_room_for_is_sent_away_until_later() {
    let broker = std::sync::Arc::new(Broker::start("[server]\nqueue = 1\n").await);
    // Somebody else writes, so that one event is under way, one waits, and there is room for no other.
    let other = rusqlite::Connection::open(broker.folder().join("loudhailer.db")).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("begins");
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..4 {
        let broker = broker.clone();
        let said = event(&format!("e{n}"), json!({ "incident": format!("i{n}") }));
        posts.spawn(async move { (said.clone(), broker.post("/v1/events", &said).await) });
    }
    let (said, full) = within("answered", posts.join_next()).await.expect("one").expect("no panic");
    assert_eq!(full.status, 503, "{full:?}");
    assert!(full.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{full:?}");
    other.execute_batch("ROLLBACK").expect("lets go");
    let mut taken = 0;
    while let Some(answer) = within("answered", posts.join_next()).await {
        let (_, answer) = answer.expect("no panic");
        assert!(matches!(answer.status, 202 | 503), "{answer:?}");
        taken += usize::from(answer.status == 202);
    }
    assert!(taken >= 1, "nothing was taken");
    // Nothing of it was half done: the same again is new.
    assert_eq!(broker.post("/v1/events", &said).await.status, 202);
    let kept = broker.get("/v1/incidents").await.json()["items"].as_array().expect("a list").len();
    assert_eq!(kept, taken + 1);
    let Ok(broker) = std::sync::Arc::try_unwrap(broker) else { panic!("somebody holds it") };
    broker.stop().await;
}
