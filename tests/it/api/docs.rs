//! What the API says of itself, held against what it does.

use std::time::Duration;

use loudhailer::id::{Confirmation, Withdrawal};
use serde_json::{Value, json};

use super::schema::wrong;
use crate::harness::{Answer, Broker, Client, Reply, Sink, event, kannel, outage, webhooks, within};

/// An operation of the description.
struct Operation {
    method: String,
    path: String,
    body: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, body) in methods.as_object().expect("methods") {
            all.push(Operation { method: method.to_uppercase(), path: path.clone(), body: body.clone() });
        }
    }
    // What ends things comes after what looks at them.
    let rank = |operation: &Operation| match (operation.method.as_str(), operation.path.as_str()) {
        ("GET", _) => 0,
        ("DELETE", _) => 3,
        (_, path) if path.ends_with("stop") => 2,
        _ => 1,
    };
    all.sort_by_key(rank);
    all
}

impl Operation {
    fn id(&self) -> &str {
        self.body["operationId"].as_str().expect("a name")
    }

    /// The description of an answer with this status.
    fn response<'a>(&'a self, document: &'a Value, status: u16) -> Option<&'a Value> {
        let response = self.body["responses"].get(status.to_string())?;
        let reference = response["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        reference.map_or(Some(response), |pointer| document.pointer(pointer))
    }

    /// What is wrong with an answer, by the description.
    fn wrong(&self, document: &Value, answer: &Answer) -> Vec<String> {
        let Some(response) = self.response(document, answer.status) else {
            return vec![format!("{} is not described: {}", answer.status, answer.text)];
        };
        let media = answer.header("content-type").and_then(|text| text.split(';').next()).unwrap_or_default();
        let contents = response["content"].as_object();
        let content = contents.and_then(|contents| contents.get(media).or_else(|| contents.get("*/*")));
        match content {
            Some(content) if media.ends_with("json") => wrong(document, &content["schema"], &answer.json()),
            Some(_) => Vec::new(),
            None if answer.text.is_empty() && contents.is_none() => Vec::new(),
            None => vec![format!("{media} is not described")],
        }
    }
}

/// A broker in which every id of a path can be filled in with one that is there.
struct Scene {
    broker: Broker,
    _sink: Sink,
    incident: String,
    broadcast: String,
    delivery: String,
    subscriber: String,
    unsubscribe: String,
    confirm: String,
}

impl Scene {
    async fn set() -> Scene {
        let sink = Sink::answering(|_, request| match request.json()["data"]["challenge"].as_str() {
            Some(text) => {
                let body = json!({ "challenge": text }).to_string();
                Reply::Full(200, "Content-Type: application/json\r\n".into(), body)
            }
            None => Reply::Status(204),
        })
        .await;
        let more = format!(
            "[components.web]\ntitle = \"Website\"\n[regions.global]\ntitle = \"The world\"\n\
             [sources.hooks]\nformat = \"gatus\"\n\
             [watchers.page]\nkind = \"statuspage\"\nurl = \"http://127.0.0.1:9/\"\ncomponent = \"web\"\n{}",
            kannel("sms", sink.port(), "")
        );
        let broker = Broker::start(&webhooks(&more)).await;
        let id = broker.webhook("alex", "businesses", &sink.url()).await;
        let answer = broker.post("/v1/events", &outage("a-1")).await.json();
        broker.settled().await;
        let all = broker.get("/v1/broadcasts").await.json();
        let all = all["items"].as_array().expect("items");
        let broadcast =
            all.iter().find(|broadcast| broadcast["audience"] == "businesses").expect("drawn")["id"].clone();
        let broadcast = broadcast.as_str().expect("an id").to_string();
        let deliveries = broker.get(&format!("/v1/deliveries?broadcast={broadcast}")).await.json();
        let until = broker.clock.calendar().plus(Duration::from_secs(60));
        Scene {
            incident: answer["incident"].as_str().expect("an id").into(),
            delivery: deliveries["items"][0]["id"].as_str().expect("an id").into(),
            subscriber: id.to_string(),
            unsubscribe: Withdrawal { subscriber: id, place: 1 }.public(&broker.app.key),
            confirm: Confirmation { subscriber: id, place: 1, until }.public(&broker.app.key),
            broker,
            broadcast,
            _sink: sink,
        }
    }

    fn path(&self, operation: &Operation) -> String {
        let nouns = ["incidents", "broadcasts", "deliveries", "subscribers"];
        let id = match operation.path.split('/').rev().find(|part| nouns.contains(part)) {
            Some("incidents") => &self.incident,
            Some("broadcasts") => &self.broadcast,
            Some("deliveries") => &self.delivery,
            _ => &self.subscriber,
        };
        let token = if operation.path.starts_with("/confirm") { &self.confirm } else { &self.unsubscribe };
        let name = if operation.path.starts_with("/assets") { "console.css" } else { "hooks" };
        let query = match operation.id() {
            "listDeliveries" => format!("?broadcast={}", self.broadcast),
            "explainRecipient" => format!("?subscriber={}", self.subscriber),
            "takeReceiptsInQuery" => format!("?id={}", self.delivery),
            "showMail" => "?message=email.en".into(),
            _ => String::new(),
        };
        let told = self.incident.replacen("inc_", "upd_", 1) + "_1";
        let path = operation.path.replace("{id}", id).replace("{place}", "1").replace("{token}", token);
        path.replace("{name}", name).replace("{channel}", "sms").replace("{update}", &told) + &query
    }

    /// A body that the operation takes, with its type.
    fn body(operation: &Operation) -> (&'static str, String) {
        let json = |body: Value| ("application/json", body.to_string());
        match operation.id() {
            "takeEvents" => json(event("a-2", json!({ "at": "2021-10-04T15:50:30Z", "summary": "More is known." }))),
            "preview" => json(json!({ "event": outage("a-3"), "plan": "outage" })),
            "send" => json(json!({ "event": event("a-4", json!({ "severity": "major" })) })),
            "createSubscriber" => json(json!({ "key": "sam", "audiences": ["press"] })),
            "changeSubscriber" => json(json!({ "name": "Alex", "quiet_hours": "22:00-07:00" })),
            "importSubscribers" => {
                ("text/csv", "key,audiences,email\nkim,press,kim@example.org\nbad,nobody,x\n".into())
            }
            "takeDocument" => json(json!({ "name": "orders", "group": "core", "status": "TRIGGERED" })),
            "report" => json(json!({ "component": "web" })),
            "sendReport" => ("application/x-www-form-urlencoded", "component=web".into()),
            // It was declared compromised.
            "resumeChannel" => json(json!({ "same_credentials": true })),
            "signIn" => ("application/x-www-form-urlencoded", "token=x".into()),
            _ => ("text/plain", String::new()),
        }
    }

    async fn ask(&self, client: &Client, operation: &Operation) -> Answer {
        let (media, body) = Scene::body(operation);
        client.send(&operation.method, &self.path(operation), &[("content-type", media)], body.into_bytes()).await
    }
}

async fn document(client: &Client) -> Value {
    let answer = client.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_answers_what_its_description_says() {
    let scene = Scene::set().await;
    let document = document(&scene.broker.client).await;
    let mut all = 0;
    for operation in operations(&document) {
        let Operation { method, path, .. } = &operation;
        if operation.id() == "follow" {
            let answer = scene.broker.client.begin("GET", "/v1/stream", &[], Vec::new()).await;
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["content-type"]),
                (200, &"text/event-stream".parse().expect("a value"))
            );
            all += 1;
            continue;
        }
        let answer = scene.ask(&scene.broker.client, &operation).await;
        // The mail of a broadcast that has none.
        let may_lack = operation.id() == "showMail";
        assert!(answer.status != 405 && (answer.status != 404 || may_lack), "{method} {path}: {answer:?}");
        let wrong = operation.wrong(&document, &answer);
        assert!(wrong.is_empty(), "{method} {path} answered {}: {wrong:#?}", answer.status);
        all += 1;
    }
    assert!(all > 50, "{all}");
    scene.broker.stop_as_it_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_needs_the_scope_that_its_description_says_and_the_description_needs_none() {
    let scene = Scene::set().await;
    let mut clients = Vec::new();
    for scope in ["ingest", "read", "broadcast", "admin"] {
        let token = scene.broker.token(scope, false, &[scope]).await;
        clients.push((scope, scene.broker.client.with(&token)));
    }
    scene.broker.clock.advance(Duration::from_secs(3));
    let document = document(&scene.broker.client).await;
    for place in ["/docs", "/docs/problems"] {
        assert_eq!(scene.broker.get(place).await.status, 200, "{place}");
    }
    for operation in operations(&document) {
        let Operation { method, path, .. } = &operation;
        if operation.id() == "follow" {
            continue;
        }
        let needed = operation.body["security"][0]["token"][0].as_str();
        let answer = scene.ask(&scene.broker.client, &operation).await;
        let refused = answer.status == 401 || answer.header("location").is_some_and(|to| to.contains("/sign-in?next="));
        assert_eq!(refused, needed.is_some(), "{method} {path} without a token: {answer:?}");
        let Some(needed) = needed else { continue };
        for (scope, client) in &clients {
            // What it would do is seen elsewhere; here only who may.
            if *scope == needed || *scope == "admin" {
                continue;
            }
            let answer = scene.ask(client, &operation).await;
            assert_eq!(answer.status, 403, "{method} {path} with {scope}: {answer:?}");
        }
        let (_, client) = clients.iter().find(|(scope, _)| *scope == needed).expect("a scope");
        let answer = scene.ask(client, &operation).await;
        assert!(!matches!(answer.status, 401 | 403), "{method} {path} with {needed}: {answer:?}");
    }
    scene.broker.stop_as_it_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_leads_to_an_entry_that_explains_it() {
    let broker = Broker::start(&webhooks("[server]\nrate = \"11/s\"\nbody_limit = \"1KiB\"\n")).await;
    let page = broker.get("/docs/problems").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let document = document(&broker.client).await;
    let long = "x".repeat(2000);
    let mut seen = Vec::new();
    for (method, path, headers, body, word) in [
        ("POST", "/v1/events", vec![], "{}", "bad-request"),
        ("GET", "/v1/incidents?limit=0", vec![], "", "bad-request"),
        ("GET", "/v1/incidents", vec![("authorization", "Basic x")], "", "unauthorized"),
        ("GET", "/v1/incidents", vec![("origin", "https://evil.example")], "", "forbidden"),
        ("GET", "/v1/incidents/inc_7", vec![], "", "not-found"),
        ("GET", "/nowhere", vec![], "", "not-found"),
        ("DELETE", "/v1/incidents", vec![], "", "method"),
        ("POST", "/v1/events", vec![], &long, "too-large"),
        ("GET", "/v1/plans", vec![], "", ""),
        ("GET", "/v1/plans", vec![], "", ""),
        ("GET", "/v1/plans", vec![], "", "too-many-requests"),
    ] {
        let answer = broker.send(method, path, &headers, body).await;
        if word.is_empty() {
            continue;
        }
        let problem = answer.json();
        assert_eq!(problem["type"], format!("/docs/problems#{word}"), "{method} {path}: {problem}");
        assert_eq!(
            wrong(&document, &json!({ "$ref": "#/components/schemas/Problem" }), &problem),
            Vec::<String>::new()
        );
        assert_eq!(problem["status"], answer.status);
        seen.push(word);
    }
    // Every word that the code has, seen here or not.
    let listed: Vec<&str> = loudhailer::api::kinds::ALL.iter().map(|kind| kind.word).collect();
    assert!(seen.iter().all(|word| listed.contains(word)));
    for word in listed {
        assert!(page.text.contains(&format!("id=\"{word}\"")), "{word} is not explained");
        assert!(document["components"]["responses"].get(word).is_some(), "{word} is not described");
    }
    within("stops", broker.stop()).await;
}
