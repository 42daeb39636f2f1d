//! A page that somebody else publishes: it is what a test makes of it, and answers 304 to who knows it already.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Broker, Reply, Request, Sink, within};

type Shown = dyn Fn(&Request) -> Reply + Send + Sync;

pub struct Page {
    pub sink: Sink,
    shown: Arc<Mutex<Arc<Shown>>>,
}

impl Page {
    pub async fn of(body: &str) -> Page {
        let page = Page::answering(|_| Reply::Status(204)).await;
        page.shows(body);
        page
    }

    pub async fn answering(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Page {
        let shown: Arc<Mutex<Arc<Shown>>> = Arc::new(Mutex::new(Arc::new(answer)));
        let now = shown.clone();
        let sink = Sink::answering(move |_, request| {
            let answer = now.lock().expect("not poisoned").clone();
            answer(request)
        })
        .await;
        Page { sink, shown }
    }

    pub fn answers(&self, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.shown.lock().expect("not poisoned") = Arc::new(answer);
    }

    /// From now on it holds this, under an entity tag of its own.
    pub fn shows(&self, body: &str) {
        let (body, tag) =
            (body.to_string(), format!("\"{:x}-{}\"", body.len(), body.bytes().map(u64::from).sum::<u64>()));
        self.answers(move |request| match request.header("if-none-match") {
            Some(known) if known == tag => Reply::Full(304, format!("ETag: {tag}\r\n"), String::new()),
            _ => Reply::Full(200, format!("ETag: {tag}\r\n"), body.clone()),
        });
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.sink.port())
    }
}

/// Components, and watchers of them that may reach loopback: `(name, URL, further keys)`.
pub fn watching(watchers: &[(&str, &str, &str)]) -> String {
    let mut config = "[components.web]\ntitle = \"Website\"\n[components.api]\ntitle = \"API\"\n".to_string();
    for (name, url, more) in watchers {
        config.push_str(&format!("[watchers.{name}]\nurl = {url:?}\nallow_private = true\n{more}\n"));
    }
    config
}

/// Waits until a watcher has looked so many times since the start.
pub async fn looked(broker: &Broker, name: &str, times: u64) {
    let mut turns = broker.app.watchers.get(name).expect("it is set up").turns();
    within(&format!("{name} looked {times} times"), turns.wait_for(|turns| *turns >= times)).await.expect("it lives");
}

/// Waits until a watcher waits: the clock may have been moved for another one, and woken this one, too.
pub async fn idle(broker: &Broker, name: &str) {
    let watcher = broker.app.watchers.get(name).expect("it is set up");
    let mut turns = watcher.turns();
    let waits = async {
        while watcher.view().next.is_none_or(|next| next <= broker.clock.calendar()) {
            turns.changed().await.expect("it lives");
        }
    };
    within(&format!("{name} waited"), waits).await;
}

/// Lets a watcher look once more: moves the clock to when it wants to.
pub async fn again(broker: &Broker, name: &str) {
    idle(broker, name).await;
    let watcher = broker.app.watchers.get(name).expect("it is set up");
    let turns = *watcher.turns().borrow();
    let next = watcher.view().next.expect("it has a next time");
    broker.clock.advance(next.since(broker.clock.calendar()) + Duration::from_millis(1));
    looked(broker, name, turns + 1).await;
}

/// How long it wants to wait.
pub fn wait(broker: &Broker, name: &str) -> Duration {
    let next = broker.app.watchers.get(name).expect("it is set up").view().next.expect("it has a next time");
    next.since(broker.clock.calendar())
}

/// As the API shows it.
pub async fn shown(broker: &Broker, name: &str) -> Value {
    idle(broker, name).await;
    let all = broker.get("/v1/watchers").await.json();
    let all = all["items"].as_array().expect("a list");
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {all:?}")).clone()
}

/// What it says, `component: text`, and the same as signals of its origin.
pub async fn says(broker: &Broker, name: &str) -> Vec<String> {
    let of = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().expect("a list").iter();
        let word = |value: &Value| value.as_str().expect("a text").to_string();
        rows.map(|row| format!("{}: {}", word(&row["component"]), word(&row["text"]))).collect()
    };
    let says = of(&shown(broker, name).await["says"]);
    let mut signals = broker.get("/v1/signals").await.json()["items"].as_array().expect("a list").clone();
    signals.retain(|signal| signal["origin"] == format!("watcher/{name}"));
    let mut signals = of(&signals.into());
    signals.sort();
    assert_eq!(says, signals, "what it says is a signal, and nothing else is");
    says
}

/// The incidents that are open.
pub async fn open(broker: &Broker) -> Vec<Value> {
    let all = broker.get("/v1/incidents").await.json();
    let all = all["items"].as_array().expect("a list").iter();
    all.filter(|incident| incident["closed"].is_null()).cloned().collect()
}
