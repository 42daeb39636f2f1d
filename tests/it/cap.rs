//! Alerts of CAP 1.2: what comes in by `/v1/events` begins, changes and ends incidents, and what everyone was told goes out.

use std::process::Command;
use std::time::Duration;

use loudhailer::cap::told;
use loudhailer::incident::Clearance;
use serde_json::{Value, json};

use super::faults::process::BINARY;
use super::harness::{Answer, Broker, Reply, Sink, event, outage, plan, webhooks};

const THUNDERSTORM: &str = include_str!("../../fuzz/seeds/cap/thunderstorm.xml");
const EARTHQUAKE: &str = include_str!("../../fuzz/seeds/cap/earthquake.xml");
const AMBER: &str = include_str!("../../fuzz/seeds/cap/amber.xml");
const FLOOD: &str = include_str!("../../fuzz/seeds/cap/flood.xml");

async fn post(broker: &Broker, alert: &str) -> Answer {
    broker.send("POST", "/v1/events", &[("content-type", "application/cap+xml; charset=utf-8")], alert).await
}

/// A short alert of `sender`, sent so many minutes after 15:40, that refers to others, `sender,identifier`.
fn alert(sender: &str, identifier: &str, minute: u32, words: [&str; 2], refers: &[&str], headline: &str) -> String {
    let [status, msg_type] = words;
    let named: Vec<String> = refers.iter().map(|one| format!("{one},2021-10-04T15:40:00-00:00")).collect();
    let references =
        if named.is_empty() { String::new() } else { format!("<references>{}</references>", named.join("\n")) };
    let info = format!(
        "<info><category>Infra</category><event>{headline}</event><urgency>Immediate</urgency><severity>Extreme</severity>\
         <certainty>Observed</certainty></info>"
    );
    let info = if headline.is_empty() { "" } else { &info };
    let minute = 40 + minute;
    format!(
        "<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"><identifier>{identifier}</identifier><sender>{sender}</sender>\
         <sent>2021-10-04T15:{minute}:00-00:00</sent><status>{status}</status><msgType>{msg_type}</msgType><scope>Public</scope>\
         {references}{info}</alert>"
    )
}

async fn incidents(broker: &Broker) -> Vec<Value> {
    broker.get("/v1/incidents").await.json()["items"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_opens_an_incident_which_updates_of_updates_change_and_a_cancel_ends() {
    let broker = Broker::start(&webhooks("")).await;
    let taken = post(&broker, THUNDERSTORM).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let key = "KSTO@weather.example,KSTO1055887203";
    assert_eq!(taken.json()["key"], key);
    let again = post(&broker, &THUNDERSTORM.replace("><", "> <")).await;
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)), "{again:?}");
    assert_eq!(post(&broker, &THUNDERSTORM.replace("5 mph", "9 mph")).await.status, 409);
    let actual = |msg_type| ["Actual", msg_type];
    let first = alert("a@x", "u-1", 6, actual("Update"), &[key], "Hail");
    // Of an update, by another sender.
    let second = alert("b@y", "u-2", 7, actual("Update"), &["a@x,u-1"], "Much hail");
    for document in [&first, &second] {
        let answer = post(&broker, document).await;
        assert_eq!((answer.status, &answer.json()["key"]), (202, &json!(key)), "{answer:?}");
    }
    let facts = incidents(&broker).await[0]["facts"].clone();
    assert_eq!((&facts["title"]["en-US"], &facts["status"]), (&json!("Much hail"), &json!("investigating")));
    assert_eq!(
        (&facts["severity"], &facts["summary"], &facts["action"]),
        (&json!("critical"), &Value::Null, &Value::Null)
    );
    let cancel = post(&broker, &alert("a@x", "c-1", 8, actual("Cancel"), &["b@y,u-2"], "")).await;
    assert_eq!(cancel.status, 202, "{cancel:?}");
    let all = incidents(&broker).await;
    assert_eq!(
        (all.len(), &all[0]["facts"]["status"], &all[0]["updates"]),
        (1, &json!("resolved"), &json!(4)),
        "{all:?}"
    );
    // It begins again.
    post(&broker, &alert("a@x", "u-3", 9, actual("Update"), &["a@x,c-1"], "Hail again")).await;
    assert_eq!(incidents(&broker).await[0]["facts"]["status"], "investigating");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_tell_nobody_and_drills_stay_drills() {
    let broker = Broker::start(&webhooks("")).await;
    for (status, msg_type) in
        [("Test", "Alert"), ("System", "Alert"), ("Draft", "Alert"), ("Actual", "Ack"), ("Exercise", "Error")]
    {
        let answer = post(&broker, &alert("a@x", "t-1", 5, [status, msg_type], &["a@x,t-0"], "It burns")).await;
        let word = if status == "Actual" || status == "Exercise" { msg_type } else { status };
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json()["nothing"].as_str().is_some_and(|why| why.contains(word)), "{answer:?}");
    }
    // Read and checked all the same.
    let wrong = alert("a@x", "t-1", 5, ["Test", "Alert"], &[], "It burns").replace("Extreme", "extreme");
    assert_eq!(post(&broker, &wrong).await.status, 400);
    assert_eq!(incidents(&broker).await, Vec::<Value>::new());
    assert_eq!(post(&broker, &alert("a@x", "e-1", 5, ["Exercise", "Alert"], &[], "The drill")).await.status, 202);
    assert_eq!(post(&broker, &alert("a@x", "r-1", 5, ["Actual", "Alert"], &[], "The fire")).await.status, 202);
    for (status, refers) in [("Exercise", "a@x,r-1"), ("Actual", "a@x,e-1")] {
        let mixed = post(&broker, &alert("a@x", "m-1", 6, [status, "Cancel"], &[refers], "")).await;
        assert_eq!(mixed.status, 409, "{mixed:?}");
    }
    let modes: Vec<Value> =
        incidents(&broker).await.iter().map(|one| json!([one["mode"], one["facts"]["status"]])).collect();
    assert_eq!(modes, [json!(["real", "investigating"]), json!(["exercise", "investigating"])]);
    broker.settled().await;
    let feed = broker.get("/feed/cap.xml").await.text;
    assert!(feed.contains("The fire") && !feed.contains("The drill"), "{feed}");
    let drill = broker.get("/v1/incidents/a@x,e-1/cap").await;
    assert!(
        drill.text.contains("<status>Exercise</status>") && drill.text.contains("EXERCISE: The drill"),
        "{drill:?}"
    );
    let id = incidents(&broker).await[1]["id"].as_str().expect("an id").replace("inc_", "upd_");
    assert_eq!(broker.get(&format!("/feed/cap/{id}_1.xml")).await.status, 404, "a drill is in no feed");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_the_alert_hears_of_its_update_and_nobody_of_the_end_of_what_never_began() {
    let broker = Broker::start(&webhooks("")).await;
    for nothing in [
        alert("a@x", "c-1", 5, ["Actual", "Cancel"], &["a@x,1"], "It is over"),
        alert("a@x", "u-0", 5, ["Actual", "Update"], &["a@x,1"], ""),
        alert("a@x", "u-1", 5, ["Actual", "Update"], &["a@x,1"], "It is over")
            .replace("<urgency>", "<responseType>AllClear</responseType><urgency>"),
    ] {
        let answer = post(&broker, &nothing).await;
        assert_eq!((answer.status, answer.json()["nothing"].is_string()), (200, true), "{answer:?}");
    }
    assert_eq!(incidents(&broker).await, Vec::<Value>::new());
    let opened = post(&broker, EARTHQUAKE).await;
    assert_eq!(
        (opened.status, &opened.json()["key"]),
        (202, &json!("trinet@seismo.example,TRI13970876.1")),
        "{opened:?}"
    );
    let first = alert("trinet@seismo.example", "TRI13970876.1", 5, ["Actual", "Alert"], &[], "A shock");
    let late = post(&broker, &first).await;
    assert_eq!((late.status, &late.json()["late"]), (202, &json!(true)), "{late:?}");
    let all = incidents(&broker).await;
    assert_eq!((all.len(), &all[0]["facts"]["title"]["en-US"]), (1, &json!("EQ 3.4 Imperial County")));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_several_incidents_is_an_update_of_each_and_sent_again_it_is_none() {
    let broker = Broker::start(&webhooks("")).await;
    for identifier in ["1", "2"] {
        assert_eq!(post(&broker, &alert("a@x", identifier, 5, ["Actual", "Alert"], &[], identifier)).await.status, 202);
    }
    let cancel = alert("a@x", "3", 6, ["Actual", "Cancel"], &["a@x,2", "a@x,1", "a@x,0"], "");
    let results = post(&broker, &cancel).await.json()["results"].clone();
    assert_eq!((&results[0]["key"], &results[1]["key"]), (&json!("a@x,2"), &json!("a@x,1")), "{results}");
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!(202), &json!(202)), "{results}");
    let again = post(&broker, &cancel).await.json()["results"].clone();
    assert_eq!((&again[0]["duplicate"], &again[1]["duplicate"]), (&json!(true), &json!(true)), "{again}");
    assert!(incidents(&broker).await.iter().all(|one| one["facts"]["status"] == "resolved" && one["updates"] == 2));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_the_shapes_that_centres_send_are_taken_and_what_is_none_is_a_problem_with_its_place() {
    let broker = Broker::start(&webhooks("")).await;
    for document in [AMBER, FLOOD] {
        let answer = post(&broker, document).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let bomb = "<!DOCTYPE alert [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><alert>&b;</alert>";
    for (document, pointer, part) in [
        (
            THUNDERSTORM.replace("<severity>Severe", "<severity>Bad"),
            "/alert/info[1]/severity",
            "line 14: \"Bad\" is none of",
        ),
        (THUNDERSTORM.replace(":cap:1.2", ":cap:1.1"), "", "what is read is"),
        (THUNDERSTORM.replace("Public", "Restricted"), "/alert/restriction", "is required"),
        (bomb.into(), "", "document type"),
        ("{\"title\": \"x\"}".into(), "", "outside the alert"),
    ] {
        let answer = post(&broker, &document).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, Some("application/problem+json")),
            "{answer:?}"
        );
        let problem = answer.json();
        assert_eq!(problem["pointer"], pointer, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(part)), "{problem}");
    }
    let headers = [("content-type", "application/cap+xml; charset=utf-16")];
    let answer = broker.send("POST", "/v1/events", &headers, THUNDERSTORM).await;
    assert_eq!((answer.status, &answer.json()["pointer"]), (400, &json!("content-type")), "{answer:?}");
    let ahead = post(&broker, &alert("a@x", "1", 5, ["Actual", "Alert"], &[], "x").replace("T15:", "T18:")).await;
    assert!(ahead.status == 400 && ahead.text.contains("future"), "{ahead:?}");
    assert_eq!(post(&broker, &format!("{THUNDERSTORM}{}", " ".repeat(1 << 20))).await.status, 413);
    broker.stop().await;
}

fn hidden() -> Value {
    json!({
        "title": { "en": "Orders <fail>", "de": "Bestellungen gestört" }, "owner": "vera", "internal_notes": "badge readers",
        "compensation": "credits", "impact": { "users": 3_500_000_000_u64 }, "platforms_down": ["whatsapp"],
        "cause": { "category": "human_error", "text": "A command." }, "action": "Wait, please.",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_everyone_was_told_is_a_feed_of_alerts_that_another_broker_takes_in() {
    let broker = Broker::start(&webhooks("")).await;
    let other = Broker::start(&webhooks("")).await;
    let steps = [
        json!({}),
        json!({ "status": "identified", "summary": { "en": "We know why." }, "at": "2021-10-04T15:50:30Z" }),
        json!({ "status": "resolved", "at": "2021-10-04T15:51:00Z" }),
    ];
    let missing = broker.get("/v1/incidents/web-down/cap").await;
    assert_eq!(missing.status, 404, "{missing:?}");
    for (at, mut step) in steps.into_iter().enumerate() {
        step.as_object_mut().expect("an object").extend(hidden().as_object().expect("an object").clone());
        assert_eq!(broker.post("/v1/events", &event(&format!("a-{at}"), step)).await.status, 202);
        broker.settled().await;
        broker.clock.advance(Duration::from_secs(1));
        let feed = broker.get("/feed/cap.xml").await;
        assert_eq!((feed.status, feed.header("content-type")), (200, Some("application/atom+xml; charset=utf-8")));
        assert_eq!(feed.text.matches("<entry>").count(), at + 1, "{}", feed.text);
        let newest = feed.text.split("href=\"").nth(2).and_then(|rest| rest.split('"').next()).expect("a link");
        let path = newest.strip_prefix(&broker.url()).unwrap_or_else(|| panic!("{newest} leads elsewhere"));
        let alert = broker.get(path).await;
        assert_eq!((alert.status, alert.header("content-type")), (200, Some("application/cap+xml; charset=utf-8")));
        for kept in ["vera", "badge", "credits", "3500000000", "whatsapp", "command", "critical"] {
            assert!(
                !alert.text.contains(kept) && !feed.text.contains(kept),
                "{kept} stands in {} {}",
                feed.text,
                alert.text
            );
        }
        assert_eq!(broker.get("/v1/incidents/web-down/cap").await.text, alert.text);
        let taken = post(&other, &alert.text).await;
        assert_eq!(taken.status, 202, "{taken:?} {}", alert.text);
    }
    // What an alert is made of holds no more than everyone may know, whatever is written of it.
    let id = incidents(&broker).await[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let told = told::of(broker.app.store.as_ref(), &broker.app.config, id).await.expect("read");
    assert_eq!(told.len(), 3);
    for told in told {
        assert_eq!(told.facts, told.facts.view(Clearance::Public));
    }
    let all = incidents(&other).await;
    assert_eq!(
        (all.len(), &all[0]["facts"]["status"], &all[0]["updates"]),
        (1, &json!("resolved"), &json!(3)),
        "{all:?}"
    );
    assert_eq!(all[0]["facts"]["title"], json!({ "en": "Orders <fail>", "de": "Bestellungen gestört" }));
    assert_eq!(all[0]["facts"]["components"], json!(["web"]));
    // Identifiers and times are those of before, whenever one asks; the file is the same alert.
    let second = broker.get("/v1/incidents/web-down/cap?update=2").await.text;
    assert!(
        second.contains("<msgType>Update</msgType>") && second.contains("_1,2021-10-04T15:51:00-00:00</references>"),
        "{second}"
    );
    assert_eq!(broker.get("/v1/incidents/web-down/cap?update=9").await.status, 404);
    for (arguments, expected, code) in [
        (vec!["export", "cap", "web-down", "--update", "2"], Some(second), 0),
        (vec!["export", "cap", "nowhere"], None, 2),
    ] {
        let store = format!("sqlite:{}", broker.folder().join("loudhailer.db").display());
        let url = broker.url();
        let output = Command::new(BINARY)
            .args(&arguments)
            .env_clear()
            .envs([("LOUDHAILER__STORE__URL", &store), ("LOUDHAILER__SERVER__PUBLIC_URL", &url)])
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        if let Some(expected) = expected {
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
    }
    other.stop().await;
    // A day later it has left the feed, and keeps its place.
    let first = broker.get("/feed/cap.xml").await.text;
    let first = first.split("href=\"").nth(2).and_then(|rest| rest.split('"').next()).expect("a link").to_string();
    broker.clock.advance(Duration::from_secs(25 * 3600));
    assert!(!broker.get("/feed/cap.xml").await.text.contains("<entry>"));
    assert_eq!(broker.get(first.strip_prefix(&broker.url()).expect("ours")).await.status, 200);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_stopped_or_told_to_few_is_in_no_alert() {
    let (_folder, plans) = plan(
        "title = \"Some\"\n[match]\n[[step]]\nname = \"staff\"\naudience = \"staff\"\nroutes = [\"webhook\"]\n\
         priority = \"high\"\n[[step]]\nname = \"press\"\naudience = \"press\"\nroutes = [\"webhook\"]\n\
         priority = \"high\"\napproval = true\n",
    );
    let hold = |path: &str| if path.ends_with("/press") { Reply::Hold } else { Reply::Status(204) };
    let sink = Sink::answering(move |_, request| hold(&request.path)).await;
    let broker = Broker::start(&webhooks(&plans)).await;
    for audience in ["staff", "press"] {
        broker.webhook(audience, audience, &format!("{}/{audience}", sink.url())).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    let shown = async || {
        broker.clock.advance(Duration::from_secs(1));
        let entries = broker.get("/feed/cap.xml").await.text.matches("<entry>").count();
        (entries, broker.get("/v1/incidents/web-down/cap").await.status)
    };
    assert_eq!(shown().await, (0, 404), "staff alone was told, and the press is still to be");
    let all = broker.get("/v1/broadcasts").await.json();
    let press = all["items"].as_array().expect("a list").iter().find(|one| one["audience"] == "press");
    let press = press.expect("drawn")["id"].as_str().expect("an id");
    assert_eq!(broker.post(&format!("/v1/broadcasts/{press}:release"), &json!({})).await.status, 200);
    sink.next().await;
    assert_eq!(shown().await, (1, 200));
    assert_eq!(broker.post(&format!("/v1/broadcasts/{press}:stop"), &json!({})).await.status, 200);
    assert_eq!(shown().await, (0, 404));
    sink.release();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_goes_to_who_takes_alerts_of_what_everyone_is_told_and_later_ones_name_it() {
    let step = |audience: &str| {
        format!(
            "[[step]]\nname = \"{audience}\"\naudience = \"{audience}\"\nroutes = [\"webhook\"]\npriority = \"normal\"\n"
        )
    };
    let (_folder, plans) = plan(&format!("title = \"Alerts\"\n{}{}", step("customers"), step("businesses")));
    let sink = Sink::start().await;
    let config = plans + "[channels.alerts]\nplatform = \"cap\"\nallow_private = true\n";
    let broker = Broker::start(&config).await;
    for audience in ["customers", "businesses"] {
        let address = format!("{}/{audience}", sink.url());
        broker.subscriber(audience, audience, &[("cap", &address)], |_| ()).await;
    }
    let mut alerts = Vec::new();
    for (id, said) in [("a-1", outage("a-1")), ("a-2", event("a-2", json!({ "status": "resolved", "sequence": 2 })))] {
        let answer = broker.post("/v1/events", &said).await;
        assert_eq!(answer.status, 202, "{id}: {answer:?}");
        broker.settled().await;
        let request = sink.next().await;
        let kind = request.header("content-type").expect("a type");
        assert_eq!((request.path.rsplit('/').next(), kind), (Some("customers"), "application/cap+xml; charset=utf-8"));
        let alert = String::from_utf8(request.body).expect("UTF-8");
        assert_eq!(alert, broker.get("/v1/incidents/web-down/cap").await.text);
        alerts.push(alert);
    }
    let identifier = alerts[0].split("<identifier>").nth(1).and_then(|rest| rest.split('<').next()).expect("named");
    assert!(!alerts[0].contains("<references>") && alerts[1].contains("<msgType>Cancel</msgType>"), "{}", alerts[1]);
    let references = alerts[1].split("<references>").nth(1).and_then(|rest| rest.split('<').next()).expect("refers");
    assert!(references.contains(identifier), "{references}");
    // Partners are told more than an alert may say, and so no alert.
    assert_eq!(sink.all().len(), alerts.len());
    broker.stop().await;
}
