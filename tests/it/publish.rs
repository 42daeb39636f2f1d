//! What publishes into a broker or a network of talk, against real ones: Mosquitto, NATS with JetStream, RabbitMQ, Apache Kafka, ngIRCd, Prosody. What is acknowledged has arrived, once; a broker
//! that is stopped in mid-broadcast and started again loses nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::registry::build;
use loudhailer::channel::{Driver, Outcome, Parcel, kit};
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use loudhailer::id::BroadcastId;
use loudhailer::render::message::Filled;
use loudhailer::store::{DeliveryFilter, DeliveryState};

use crate::harness::{Broker, START, outage, plan, within};

mod amqp;
mod irc;
mod kafka;
mod mqtt;
mod nats;
mod smpp;
mod xmpp;

/// A broker's server of a test's own.
mod server;

/// Short of the lane's room, more than are under way at one time.
const EACH: usize = 300;

const PLAN: &str = "title = \"By a broker\"\n\
    [[step]]\nname = \"customers\"\naudience = \"customers\"\nroutes = [\"webhook\", \"chat\"]\npriority = \"normal\"\n";

/// Settings as the configuration has them.
fn settings(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("settings.{name} = {value:?}\n")).collect()
}

/// The driver of a channel of that platform, by the way of the registry.
fn driver(platform: &str, pairs: &[(&str, &str)]) -> Arc<dyn Driver> {
    let text = format!("[channels.x]\nplatform = {platform:?}\n{}", settings(pairs));
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    let platforms = Platforms::load(None).expect("platforms");
    let clock = Arc::new(Clock::manual(Time::parse(START).expect("a time")));
    build(&config, &platforms, clock).expect("channels").pop().expect("one channel").driver
}

fn parcel(id: &str, to: &str, text: &str) -> Parcel {
    Parcel {
        id: id.into(),
        broadcast: None,
        incident: None,
        to: to.into(),
        secrets: Vec::new(),
        message: Arc::new(Filled { title: None, text: text.into(), html: None, locale: "en".into() }.into()),
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: Time::parse(START).expect("a time"),
    }
}

/// What came of it, after a look at whether it repeats a secret or the address.
async fn sent(platform: &str, driver: &dyn Driver, parcel: Parcel, secrets: &[&str]) -> Outcome {
    let to = parcel.to.clone();
    let outcome = within("answered", driver.send(parcel)).await;
    let platforms = Platforms::load(None).expect("platforms");
    let platform = platforms.get(platform).expect("a platform");
    let shown = format!("{outcome:?}");
    assert!(secrets.iter().chain([&&*to]).all(|private| !shown.contains(private)), "{shown}");
    kit::leaks(platform, &outcome, &kit::samples(platform, &BTreeMap::new())).expect("nothing leaks");
    outcome
}

/// The application with one channel, `out`, and so many customers at `<prefix><n>`; by subscriber, who is where. The folder of its plans
/// is the first.
async fn crowd(
    each: usize,
    platform: &str,
    kind: &str,
    prefix: &str,
    more: &str,
    pairs: &[(&str, &str)],
) -> (tempfile::TempDir, Broker, BTreeMap<String, String>) {
    let (plans, config) = plan(PLAN);
    let config = format!("{config}[channels.out]\nplatform = {platform:?}\n{more}{}", settings(pairs));
    let broker = Broker::start(&config).await;
    let mut addresses = BTreeMap::new();
    for n in 0..each {
        let address = format!("{prefix}{n}");
        let id = broker.subscriber(&format!("s{n}"), "customers", &[(kind, &address)], |_| ()).await;
        addresses.insert(id.to_string(), address);
    }
    (plans, broker, addresses)
}

/// Takes the outage in; the broadcast that it draws.
async fn outage_of(broker: &Broker) -> BroadcastId {
    let answer = broker.post("/v1/events", &outage("a-1")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["broadcasts"][0].as_str().expect("a broadcast").parse().expect("an id")
}

/// What is known of each delivery, by its address.
async fn states(
    broker: &Broker,
    broadcast: BroadcastId,
    addresses: &BTreeMap<String, String>,
) -> BTreeMap<String, DeliveryState> {
    let filter = DeliveryFilter { broadcast: Some(broadcast), subscriber: None, state: None, after: None };
    let rows = broker.app.store.deliveries(filter, 1000).await.expect("read");
    rows.iter().map(|row| (addresses[&row.id.subscriber.to_string()].clone(), row.state)).collect()
}

/// Ends the server while messages are under way, in mid-broadcast, and starts it again once nothing answers any more.
async fn stopped_and_started(broker: &Broker, server: &mut server::Server, signal: &str) {
    let mut happenings = broker.app.engine.happenings();
    within("tells", async {
        while count(broker, "told").await < EACH / 5 {
            broker.clock.advance(Duration::from_millis(50));
            let _ = tokio::time::timeout(Duration::from_millis(20), happenings.changed()).await;
        }
    })
    .await;
    server.signal("STOP");
    // It does not answer what it is sent now.
    broker.clock.advance(Duration::from_secs(1));
    within("has something on the wire", async {
        while broker.get("/v1/channels/out").await.json()["on_wire"] == 0 {
            // What begins is nothing that happens to a broadcast.
            let _ = tokio::time::timeout(Duration::from_millis(20), happenings.changed()).await;
        }
    })
    .await;
    server.end(signal);
    broker.off_the_wire("out").await;
    assert!(count(broker, "told").await < EACH, "it was stopped too late to be a test");
    // Tried again, and nobody there.
    broker.clock.advance(Duration::from_secs(60));
    broker.off_the_wire("out").await;
    server.start();
    within("settles", async {
        while !broker.app.engine.idle() {
            broker.clock.advance(Duration::from_secs(30));
            let _ = tokio::time::timeout(Duration::from_millis(50), happenings.changed()).await;
        }
    })
    .await;
}

/// Of the one broadcast that there is, how many ended so.
async fn count(broker: &Broker, state: &str) -> usize {
    let listed = broker.get("/v1/broadcasts?limit=10").await.json();
    listed["items"][0]["counts"][state].as_u64().unwrap_or_default() as usize
}
