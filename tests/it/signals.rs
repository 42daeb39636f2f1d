//! Signals: reports of people and systems, the incident that they propose, and who confirms it.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Answer, Broker, Client, Sink, event, webhooks};

const COMPONENTS: &str =
    "[components.web]\ntitle = { en = \"Website\", de = \"Webseite\" }\n[components.mail]\ntitle = \"Mail\"\n";

async fn report(client: &Client, body: Value) -> Answer {
    client.json("POST", "/v1/reports", &body).await
}

/// A report that has to be taken: how many origins there are, and the incident that is open.
async fn counted(client: &Client, body: Value) -> (i64, Option<String>) {
    let answer = report(client, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = answer.json();
    (answer["origins"].as_i64().expect("a number"), answer["incident"].as_str().map(str::to_string))
}

/// With a business that is told of everything, a client that may report, and a person.
async fn broker(more: &str) -> (Broker, Sink, Client, Client) {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks(&format!("{COMPONENTS}{more}"))).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let desk = broker.client.with(&broker.token("desk", false, &["ingest"]).await);
    let person = broker.client.with(&broker.token("Ada", true, &["broadcast", "read"]).await);
    broker.clock.advance(Duration::from_secs(3));
    (broker, sink, desk, person)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reports_of_one_origin_raise_nothing_and_a_second_origin_does_which_tells_nobody_until_confirmed() {
    let (broker, sink, desk, person) = broker("[server]\nrate = \"5000/s\"\n").await;
    for _ in 0..20 {
        let fifty = (0..50).map(|_| counted(&desk, json!({ "component": "web", "text": "Nothing loads." })));
        for said in futures_util::future::join_all(fifty).await {
            assert_eq!(said, (1, None));
        }
    }
    assert_eq!(counted(&desk, json!({ "component": "mail", "origin": "line 2" })).await, (1, None), "of another thing");
    let (origins, proposed) = counted(&desk, json!({ "component": "web", "origin": "line 2" })).await;
    let id = proposed.expect("proposed");
    assert_eq!(origins, 2);
    // Another says so, too: it is the same incident.
    assert_eq!(counted(&desk, json!({ "component": "web", "origin": "line 3" })).await, (3, Some(id.clone())));

    let incident = person.get(&format!("/v1/incidents/{id}")).await.json();
    let seen = (&incident["proposed"], &incident["facts"]["components"], &incident["facts"]["title"]["de"]);
    assert_eq!(seen, (&json!(true), &json!(["web"]), &json!("Mögliche Störung: Webseite")), "{incident}");
    assert_eq!(person.get("/v1/broadcasts").await.json()["items"], json!([]), "nobody is told");
    let signals = person.get("/v1/signals").await.json();
    let of_desk = signals["items"].as_array().expect("a list").iter().find(|one| one["origin"] == "token/desk");
    let of_desk = of_desk.expect("it is listed");
    assert_eq!((&of_desk["count"], &of_desk["text"]), (&json!(1000), &json!("Nothing loads.")));
    // What others say of it by its key tells nobody either.
    let key = incident["key"].as_str().expect("a key");
    let more = event("x-1", json!({ "incident": key, "severity": "critical" }));
    let taken = broker.client.with(&broker.token("m", false, &["admin"]).await).json("POST", "/v1/events", &more).await;
    assert_eq!((taken.status, &taken.json()["broadcasts"]), (202, &json!([])), "{taken:?}");

    let refused = desk.json("POST", &format!("/v1/incidents/{id}:confirm"), &json!({})).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let wrong = person.json("POST", &format!("/v1/incidents/{id}:confirm"), &json!({ "mode": "exercise" })).await;
    assert_eq!((wrong.status, &wrong.json()["pointer"]), (400, &json!("/mode")), "{wrong:?}");
    let says = json!({ "severity": "major", "summary": "Nobody can open the website." });
    let confirmed = person.json("POST", &format!("/v1/incidents/{id}:confirm"), &says).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let told = sink.next().await.json();
    assert_eq!(told["data"]["status"], "investigating", "{told}");
    assert!(told.to_string().contains("Nobody can open the website."), "{told}");
    let again = person.json("POST", &format!("/v1/incidents/{id}:confirm"), &says).await;
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)), "{again:?}");
    let late = person.json("POST", &format!("/v1/incidents/{id}:dismiss"), &json!({})).await;
    assert_eq!(late.status, 409, "{late:?}");
    broker.settled().await;
    let updates = person.get(&format!("/v1/incidents/{id}")).await.json();
    let last = updates["updates"].as_array().and_then(|all| all.last()).expect("an update");
    assert_eq!((&last["by"], &last["occasion"]), (&json!("Ada"), &json!("investigating")), "{last}");
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dismissed_tells_nobody_ever_and_only_newer_signals_propose_again() {
    let (broker, sink, desk, person) = broker("").await;
    counted(&desk, json!({ "component": "web", "origin": "a" })).await;
    let id = counted(&desk, json!({ "component": "web", "origin": "b" })).await.1.expect("proposed");
    let dismissed = person.json("POST", &format!("/v1/incidents/{id}:dismiss"), &json!({})).await;
    assert_eq!(dismissed.status, 200, "{dismissed:?}");
    let shown = person.get(&format!("/v1/incidents/{id}")).await.json();
    assert!(shown["closed"].is_string(), "{shown}");
    broker.clock.advance(Duration::from_secs(60));
    // One of those who spoke before says it again: that is one.
    assert_eq!(counted(&desk, json!({ "component": "web", "origin": "a" })).await.1, None);
    let other = counted(&desk, json!({ "component": "web", "origin": "c" })).await.1.expect("proposed again");
    assert_ne!(other, id);
    let late = person.json("POST", &format!("/v1/incidents/{id}:confirm"), &json!({})).await;
    assert_eq!(late.status, 409, "{late:?}");
    // What nobody repeats within the window counts no more.
    person.json("POST", &format!("/v1/incidents/{other}:dismiss"), &json!({})).await;
    broker.clock.advance(Duration::from_secs(60));
    assert_eq!(counted(&desk, json!({ "component": "web", "origin": "d" })).await.1, None);
    broker.clock.advance(Duration::from_secs(15 * 60 + 1));
    assert_eq!(counted(&desk, json!({ "component": "web", "origin": "e" })).await, (1, None));
    broker.stop().await;
    assert_eq!(sink.all().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_origins_say_in_one_moment_is_one_incident() {
    let names: Vec<String> = (0..30).map(|n| format!("c{n}")).collect();
    let components: String = names.iter().map(|name| format!("[components.{name}]\ntitle = \"{name}\"\n")).collect();
    let (broker, _sink, desk, person) = broker(&components).await;
    for name in &names {
        assert_eq!(counted(&desk, json!({ "component": name, "origin": "a" })).await, (1, None));
    }
    broker.clock.advance(Duration::from_secs(60));
    let said = |name: &String, origin: &str| counted(&desk, json!({ "component": name, "origin": origin }));
    futures_util::future::join_all(names.iter().flat_map(|name| [said(name, "a"), said(name, "b")])).await;
    let mut about: Vec<String> = Vec::new();
    for incident in person.get("/v1/incidents?limit=100").await.json()["items"].as_array().expect("a list") {
        about.push(incident["facts"]["components"][0].as_str().expect("a name").into());
    }
    about.sort();
    let mut names = names.clone();
    names.sort();
    assert_eq!(about, names);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_may_report_as_one_of_their_network_within_limits_and_no_address_is_kept() {
    let proxied = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[signals]\nrate = \"3/10min\"\n";
    let (broker, sink, _, person) = broker(proxied).await;
    let from = async |address: &str, body: Value| {
        let headers = [("x-forwarded-for", address), ("content-type", "application/json")];
        broker.send("POST", "/v1/reports", &headers, &body.to_string()).await
    };
    let web = || json!({ "component": "web" });
    for address in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
        let answer = from(address, web()).await;
        assert_eq!((answer.status, &answer.json()["origins"]), (202, &json!(1)), "{answer:?}");
    }
    let enough = from("198.51.100.9", web()).await;
    assert_eq!(enough.status, 429, "{enough:?}");
    assert!(enough.json()["detail"].as_str().is_some_and(|detail| detail.contains("signals.rate")), "{enough:?}");
    assert!(enough.header("retry-after").is_some(), "{enough:?}");
    for (body, pointer) in [
        (json!({ "component": "wbe" }), "/component"),
        (json!({ "component": "web", "text": "x".repeat(1001) }), "/text"),
        (json!({ "component": "web", "origin": "somebody else" }), "/origin"),
    ] {
        let wrong = from("2001:db8::1", body).await;
        assert_eq!((wrong.status, &wrong.json()["pointer"]), (400, &json!(pointer)), "{wrong:?}");
    }
    let near = from("2001:db8::1", json!({ "component": "wbe" })).await.json();
    assert!(near["detail"].as_str().is_some_and(|detail| detail.contains("did you mean \"web\"")), "{near}");
    // What was wrong has cost nothing; a whole IPv6 /48 is one origin.
    for address in ["2001:db8:0:1::1", "2001:db8:0:2::1"] {
        assert_eq!(from(address, web()).await.json()["origins"], 2);
    }
    let kept = person.get("/v1/signals").await.json().to_string();
    assert!(kept.contains("\"public/") && !kept.contains("198.51") && !kept.contains("2001:db8"), "{kept}");
    broker.stop().await;
    assert_eq!(sink.all().len(), 0);

    let closed = Broker::start(&webhooks(&format!("{COMPONENTS}[signals]\npublic = false\n"))).await;
    assert_eq!(report(&closed.client, web()).await.status, 401);
    assert_eq!(closed.get("/report").await.status, 404);
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_takes_a_report_without_a_script_and_says_what_is_missing() {
    let (broker, _sink, desk, person) = broker("").await;
    let status = broker.get("/").await;
    assert!(status.text.contains("href=\"/report\""), "{status:?}");
    let form = broker.get("/report").await.text;
    assert!(form.contains("<option value=\"web\">Website</option>"), "{form}");
    let send = async |body: &str, site: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", site)];
        broker.send("POST", "/report", &headers, body).await
    };
    let lacking = send("component=&text=Nothing+%3Cloads%3E", "same-origin").await;
    assert_eq!(lacking.status, 400, "{lacking:?}");
    assert!(lacking.text.contains("Please say what does not work.") && lacking.text.contains("Nothing &lt;loads&gt;"));
    assert_eq!(send("component=web", "cross-site").await.status, 403);
    // Who fills in what no person sees is thanked, and not heard.
    let thanked = send("component=web&website=spam", "same-origin").await;
    assert!(thanked.text.contains("Thank you"), "{thanked:?}");
    assert_eq!(person.get("/v1/signals").await.json()["items"], json!([]));
    let thanked = send("component=web&text=Nothing+loads", "same-origin").await;
    assert!(thanked.status == 200 && thanked.text.contains("Thank you"), "{thanked:?}");
    // The public is one origin, and the desk another.
    let (origins, incident) = counted(&desk, json!({ "component": "web" })).await;
    assert_eq!(origins, 2);
    let id = incident.expect("proposed");
    let headers = [("authorization", "Bearer lht_test-Ada")];
    let console = broker.send("GET", &format!("/console/incidents/{id}"), &headers, "").await.text;
    assert!(console.contains("Proposed") && console.contains(&format!("loudhailer confirm {id}")), "{console}");
    assert!(!broker.get("/").await.text.contains("Possible problem"), "the public hears nothing of it");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_says_so_confirms_what_enough_trusted_origins_say() {
    let plan = "title = \"By itself\"\nconfirm_signals = 2\n[match]\ncomponents = [\"web\"]\n\
        [[step]]\nname = \"b\"\naudience = \"businesses\"\nroutes = [\"webhook\"]\npriority = \"high\"\n";
    let (_plans, paths) = super::harness::plan(plan);
    let (broker, sink, desk, person) = broker(&paths).await;
    // Two of the public do not count for the plan, only for what is proposed.
    counted(&broker.client, json!({ "component": "web" })).await;
    let id = counted(&desk, json!({ "component": "web", "origin": "a" })).await.1.expect("proposed");
    assert_eq!(person.get(&format!("/v1/incidents/{id}")).await.json()["proposed"], true);
    assert_eq!(counted(&desk, json!({ "component": "web", "origin": "b" })).await.1, Some(id.clone()));
    sink.next().await;
    let shown = person.get(&format!("/v1/incidents/{id}")).await.json();
    assert_eq!(shown["proposed"], false);
    let updates = shown["updates"].as_array().expect("updates");
    assert!(updates.iter().any(|update| update["by"] == "plan plan"), "{shown}");
    // A plan for other components confirms nothing.
    counted(&desk, json!({ "component": "mail", "origin": "a" })).await;
    let other = counted(&desk, json!({ "component": "mail", "origin": "b" })).await.1.expect("proposed");
    assert_eq!(person.get(&format!("/v1/incidents/{other}")).await.json()["proposed"], true);
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}
