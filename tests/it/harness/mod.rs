//! The real application on a free port of loopback, with a temporary store and a clock in the test's hand.
//!
//! ```ignore
//! let sink = Sink::start().await;                       // a webhook receiver; it keeps what it got
//! let broker = Broker::start(&webhooks("")).await;      // configuration: channel `hooks`, and whatever is added
//! broker.webhook("alex", "businesses", &sink.url()).await;
//! let answer = broker.post("/v1/events", &outage("a-1")).await;
//! assert_eq!(answer.status, 202, "{answer:?}");
//! let request = sink.next().await;                      // awaited by a channel: no sleeping
//! broker.settled().await;                               // every broadcast has ended or is held
//! broker.stop().await;                                  // fails if work is left over
//! ```
//!
//! `Broker::start` gives the test the clock (`broker.clock.advance(…)`); retries, limits, quiet hours and deadlines happen
//! when it is moved (a channel's limiter starts empty: with a `rate`, nothing goes before the first `advance`).
//! `Broker::open(config, clock, folder)` takes another clock, or a folder with a store from before: `broker.stop()` ends in
//! order and gives it back.
//! A sink answers 204 unless `Sink::answering` is given a function from request number to answer; `Reply::Hold` keeps a
//! request open until `sink.release()`. `Mailbox` is the same for mail: a server that takes everything.

mod http;
mod kannel;
mod mailbox;
mod postgres;
mod sink;

use std::sync::Arc;

use loudhailer::app::App;
use loudhailer::audience::{Address, Subscriber};
use loudhailer::clock::{Clock, Time};
use loudhailer::config::{Config, Secret};
use loudhailer::id::SubscriberId;
use loudhailer::incident::Severity;
use loudhailer::store::{SubscriberDraft, TokenRow, Upserted};
use serde_json::{Value, json};

pub use http::{Answer, Client};
pub use kannel::{accepting, kannel, report};
pub use mailbox::{Mail, Mailbox};
pub use postgres::Database;
pub use sink::{Reply, Request, Sink, read as read_request};

/// When the tests begin: a quarter of an hour into the outage.
pub const START: &str = "2021-10-04T15:51:00Z";

/// The secret of every webhook that `Broker::webhook` makes.
pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

pub struct Broker {
    pub app: Arc<App>,
    pub clock: Arc<Clock>,
    pub client: Client,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
    folder: tempfile::TempDir,
}

/// A configuration with one webhook channel, `hooks`, that may reach loopback; `more` is added.
pub fn webhooks(more: &str) -> String {
    format!("{more}\n[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\n")
}

/// A folder with one plan, and the configuration that takes the plans from there.
pub fn plan(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("plan.toml"), text).expect("written");
    let config = format!("[paths]\nplans = {:?}\n", folder.path());
    (folder, config)
}

/// The first event of an outage that businesses are told of by the plan that ships.
pub fn outage(id: &str) -> Value {
    json!({
        "id": id, "source": "monitoring/eu", "incident": "web-down", "at": "2021-10-04T15:50:00Z",
        "status": "investigating", "severity": "critical", "title": "The website is unreachable",
        "summary": "Nobody can open the website.", "components": ["web"], "regions": ["global"],
        "started_at": "2021-10-04T15:39:00Z", "next_update_at": "2021-10-04T16:30:00Z"
    })
}

/// `outage` with other words over it.
pub fn event(id: &str, over: Value) -> Value {
    let mut event = outage(id);
    for (key, value) in over.as_object().expect("an object") {
        event[key] = value.clone();
    }
    event
}

impl Broker {
    /// With the clock in the test's hand.
    pub async fn start(config: &str) -> Broker {
        let start = Time::parse(START).expect("a time");
        Broker::open(config, Clock::manual(start), tempfile::tempdir().expect("a folder")).await
    }

    /// With the store in `folder`, which may have been another broker's.
    pub async fn open(config: &str, clock: Clock, folder: tempfile::TempDir) -> Broker {
        left(folder.path().join("loudhailer.db.lock")).await;
        let url = format!("sqlite:{}", folder.path().join("loudhailer.db").display());
        Broker::open_at(config, clock, folder, |config| config.store.url = url).await
    }

    /// One of those whose store is the database.
    pub async fn node(config: &str, database: &Database) -> Broker {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |config: &mut Config| {
            config.store.url = database.url();
            config.store.password = Secret::new(database.password().to_string());
        };
        Broker::open_at(config, Clock::system(), folder, at).await
    }

    async fn open_at(
        config: &str,
        clock: Clock,
        folder: tempfile::TempDir,
        stored: impl FnOnce(&mut Config),
    ) -> Broker {
        let clock = Arc::new(clock);
        let mut config = Config::from_toml(config, "test.toml", std::iter::empty()).expect("a configuration");
        config.server.listen = "127.0.0.1:0".parse().expect("an address");
        stored(&mut config);
        let built = App::build(config, clock.clone()).await.expect("builds");
        let app = built.app.clone();
        let client = Client::to(built.port());
        let running = tokio::spawn(built.run_until_stopped());
        Broker { app, clock, client, running, folder }
    }

    /// Where its store is.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn url(&self) -> String {
        self.app.config.public_url()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.client.send("GET", path, &[], Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.client.json("POST", path, body).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.client.send(method, path, headers, body.as_bytes().to_vec()).await
    }

    /// A subscriber with a verified webhook, written past the API.
    pub async fn webhook(&self, key: &str, audience: &str, url: &str) -> SubscriberId {
        self.subscriber(key, audience, &[("url", url)], |_| ()).await
    }

    /// A subscriber with verified addresses, written past the API; `set` changes the rest.
    pub async fn subscriber(
        &self,
        key: &str,
        audience: &str,
        addresses: &[(&str, &str)],
        set: impl FnOnce(&mut Subscriber),
    ) -> SubscriberId {
        let mut subscriber = draft(key, audience, addresses);
        set(&mut subscriber);
        let drafts = vec![SubscriberDraft { id: None, subscriber }];
        let upserted = self.app.store.upsert(drafts, self.clock.calendar()).await.expect("written");
        match upserted.first() {
            Some(Upserted::Created(id) | Upserted::Updated(id) | Upserted::Unchanged(id)) => *id,
            other => panic!("{key} was not written: {other:?}"),
        }
    }

    /// So many subscribers with a verified webhook each, at `<url>/<n>`.
    pub async fn crowd(&self, count: usize, audience: &str, url: &str) {
        for from in (0..count).step_by(1000) {
            let drafts = (from..count.min(from + 1000)).map(|n| {
                let url = format!("{url}/{n}");
                SubscriberDraft { id: None, subscriber: draft(&format!("s{n}"), audience, &[("url", &url)]) }
            });
            self.app.store.upsert(drafts.collect(), self.clock.calendar()).await.expect("written");
        }
    }

    /// A token of these scopes; a person's may confirm causes.
    pub async fn token(&self, name: &str, person: bool, scopes: &[&str]) -> String {
        let token = format!("lht_test-{name}");
        let hash = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let hash = hash.as_ref().try_into().expect("32 bytes");
        let scopes = scopes.iter().map(|scope| scope.to_string()).collect();
        let row = TokenRow { name: name.into(), person, scopes };
        assert!(self.app.store.access().add_token(hash, row, self.clock.calendar()).await.expect("written"));
        token
    }

    /// Waits until `look` finds something: it looks now, and again whenever something has happened in the engine. Says `what` never
    /// came about, as `within` does.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut happenings = self.app.engine.happenings();
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                happenings.changed().await.expect("the engine lives");
            }
        };
        within(what, looking).await
    }

    pub async fn channel(&self, name: &str) -> Value {
        self.get(&format!("/v1/channels/{name}")).await.json()
    }

    /// Waits until so many deliveries of that priority are in a channel's lane.
    pub async fn queued(&self, channel: &str, priority: &str, least: usize) {
        let enough = async || (self.channel(channel).await["queue"][priority].as_u64()? >= least as u64).then_some(());
        self.until(&format!("had {least} {priority} deliveries in the lane of {channel}"), enough).await;
    }

    /// Waits until nothing is in a channel's lane, and nothing on its wire.
    pub async fn emptied(&self, channel: &str) {
        let empty = async || {
            let shown = self.channel(channel).await;
            let queued = shown["queue"].as_object()?.values().filter_map(Value::as_u64).sum::<u64>();
            (queued == 0 && shown["on_wire"] == 0).then_some(())
        };
        self.until(&format!("emptied the lane of {channel}"), empty).await;
    }

    /// Waits until nothing is on a channel's wire: what its lane holds may wait for the clock.
    pub async fn off_the_wire(&self, channel: &str) {
        let off = async || (self.channel(channel).await["on_wire"] == 0).then_some(());
        self.until(&format!("had nothing on the wire of {channel}"), off).await;
    }

    /// Waits until every recipient of what runs has been decided.
    pub async fn decided(&self) {
        let all = async || {
            let live = self.app.store.live().await.expect("read");
            live.iter().all(|broadcast| broadcast.shards == 0).then_some(())
        };
        self.until("decided everyone", all).await;
    }

    /// Waits until every broadcast has ended or is held.
    pub async fn settled(&self) {
        within("settles", self.app.engine.settled()).await;
    }

    /// Ends in order, and fails if work is left over.
    pub async fn stop(self) -> tempfile::TempDir {
        self.settled().await;
        self.stop_as_it_is().await
    }

    /// How the application ends by itself.
    pub async fn ended(self) -> anyhow::Result<()> {
        within("ended", self.running).await.expect("no panic")
    }

    /// Ends in order, whatever is still to be done.
    pub async fn stop_as_it_is(self) -> tempfile::TempDir {
        self.app.stop.cancel();
        within("stops", self.running).await.expect("no panic").expect("stops");
        self.folder
    }
}

/// Waits until whoever had the store before has let go of it: the last of its threads may outlive its answer for a moment.
async fn left(lock: std::path::PathBuf) {
    let waiting = tokio::task::spawn_blocking(move || std::fs::File::create(lock).and_then(|file| file.lock()));
    within("left its store", waiting).await.expect("no panic").expect("a lock");
}

pub fn draft(key: &str, audience: &str, addresses: &[(&str, &str)]) -> Subscriber {
    Subscriber {
        id: SubscriberId(0),
        version: 0,
        key: Some(key.into()),
        name: None,
        locale: "en".into(),
        zone: "UTC".into(),
        quiet: None,
        severity: Severity::Info,
        exercises: false,
        withdrawn: false,
        audiences: [audience.to_string()].into(),
        components: Default::default(),
        regions: Default::default(),
        addresses: addresses
            .iter()
            .map(|(kind, value)| Address {
                place: 0,
                kind: kind.to_string(),
                value: value.to_string(),
                verified: true,
                suppressed: false,
                secrets: if *kind == "url" { vec![SECRET.into()] } else { Vec::new() },
            })
            .collect(),
    }
}

/// A number in the environment, where one is given.
///
/// # Panics
/// If it is no number: a test that then ran with another one would prove something else.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name).filter(|text| !text.is_empty())?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(
        number.unwrap_or_else(|| panic!("{name} in the environment is to be a number, not {text:?}: mend or unset it")),
    )
}

/// Longer than anything takes on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What takes longer than a minute hangs: a test says so instead of waiting for ever.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("it never {what}"),
    }
}
