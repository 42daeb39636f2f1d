//! No limit is exceeded: what arrives at a sink, by the clock in the test's hand or by the sink's own, with restarts in between.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use loudhailer::clock::{Clock, Time};
use loudhailer::id::DeliveryId;
use serde_json::json;

use crate::harness::{Broker, Reply, START, Sink, event, kannel, outage, webhooks};

const RATE: usize = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// The pace at which a limit of 20/s lets attempts begin.
const STEP: Duration = Duration::from_millis(50);

/// Time that goes on over restarts, which make new clocks, and when each request arrived by it.
#[derive(Default)]
struct Timeline {
    millis: AtomicU64,
    arrived: Mutex<Vec<Duration>>,
}

impl Timeline {
    fn now(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn advance(&self, broker: &Broker, span: Duration) {
        // First the sink's: what begins in the new time never arrives in the old.
        self.millis.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
        broker.clock.advance(span);
    }

    /// A clock for the next life.
    fn clock(&self) -> Clock {
        Clock::manual(Time::parse(START).expect("a time").plus(self.now()))
    }

    /// The most that arrived in any half-open window.
    fn most(&self, window: Duration) -> usize {
        let arrived = self.arrived.lock().expect("not poisoned");
        let within = |from: Duration| arrived.iter().filter(|at| (from..from + window).contains(*at)).count();
        arrived.iter().map(|from| within(*from)).max().unwrap_or(0)
    }
}

async fn sink(timeline: &Arc<Timeline>) -> Sink {
    let timeline = timeline.clone();
    Sink::answering(move |_, _| {
        timeline.arrived.lock().expect("not poisoned").push(timeline.now());
        Reply::Status(204)
    })
    .await
}

/// So many as the limit lets go, step by step.
async fn go_on(timeline: &Timeline, broker: &Broker, sink: &Sink, steps: usize) {
    for _ in 0..steps {
        timeline.advance(broker, STEP);
        sink.next().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_sees_more_than_the_limit_and_everyone_is_told_once_over_three_restarts() {
    let timeline = Arc::new(Timeline::default());
    let sink = sink(&timeline).await;
    let config = webhooks("") + "rate = [\"20/s\"]\n";
    let mut broker = Broker::open(&config, timeline.clock(), tempfile::tempdir().expect("a folder")).await;
    const PEOPLE: usize = 1 + 4 * 30;
    broker.crowd(PEOPLE, "businesses", &sink.url()).await;
    // A limit that has rested lets no crowd go at once.
    timeline.advance(&broker, Duration::from_secs(5));
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    go_on(&timeline, &broker, &sink, 30).await;
    for _ in 0..3 {
        // The new life knows nothing of what the old one sent a moment ago, and no time has passed.
        let folder = broker.stop_as_it_is().await;
        broker = Broker::open(&config, timeline.clock(), folder).await;
        broker.queued("hooks", "high", 1).await;
        go_on(&timeline, &broker, &sink, 30).await;
    }
    broker.stop().await;
    assert_eq!(timeline.most(WINDOW), RATE, "full use of the limit, and no more");
    let requests = sink.all();
    let people: BTreeSet<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!((requests.len(), people.len()), (PEOPLE, PEOPLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_limit_counts_what_went_before_a_restart() {
    const LIMIT: usize = 60;
    const LONG: Duration = Duration::from_secs(600);
    let timeline = Arc::new(Timeline::default());
    let sink = sink(&timeline).await;
    let config = webhooks("") + "rate = [\"20/s\", \"60/10min\"]\n";
    let broker = Broker::open(&config, timeline.clock(), tempfile::tempdir().expect("a folder")).await;
    broker.crowd(1_000, "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    go_on(&timeline, &broker, &sink, 30).await;
    let folder = broker.stop_as_it_is().await;
    let broker = Broker::open(&config, timeline.clock(), folder).await;
    go_on(&timeline, &broker, &sink, LIMIT - 30).await;
    // All are spent: whatever is let go now arrives while the clock is moved and the broker answers.
    for _ in 0..60 {
        timeline.advance(&broker, STEP * 4);
        assert_eq!(broker.get("/v1/channels/hooks").await.status, 200);
    }
    timeline.advance(&broker, LONG);
    sink.next().await;
    let stopped = broker.post("/v1/broadcasts:stop", &json!({})).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    broker.stop().await;
    assert_eq!(timeline.most(LONG), LIMIT);
}

/// A platform whose channels may belong to one account, with limits of account, host and address.
const TEAM: &str = r#"
title = "Team"
docs = "https://example.org"
driver = "webhook"
kind = "webhook"
format = "webhook"
repeat = "safe"
[settings.team]
example = "ours"
[address]
kind = "url"
pattern = '^https?://[^\s]+$'
example = "https://hooks.example.com/a"
[limits]
account = "{{settings.team}}"
rate = ["60/3s"]
address = "1/2s"
host = { rate = "15/3s" }
[send]
url = "{{to}}"
text = "{{text}}"
[[answer]]
when = { status = "2xx" }
then = "accepted"
[[example]]
to = "https://hooks.example.com/a"
text = "x"
secrets = ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
url = "https://hooks.example.com/a"
body = "x"
[[example]]
answer = { status = 200 }
then = "accepted"
"#;

/// When something arrived at a real sink, where, and as which delivery.
struct Arrival {
    at: Duration,
    host: usize,
    path: String,
    id: String,
    /// Known once the broker is asked.
    channel: u16,
}

/// The most in any half-open window.
fn most(mut times: Vec<Duration>, window: Duration) -> usize {
    times.sort_unstable();
    let within = |from: &Duration| times.iter().filter(|at| (*from..*from + window).contains(*at)).count();
    times.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_sinks_see_no_more_than_the_limits_of_account_host_and_address_over_restarts() {
    const PEOPLE: usize = 35;
    let began = Instant::now();
    let arrivals: Arc<Mutex<Vec<Arrival>>> = Arc::default();
    let mut sinks = Vec::new();
    for host in 0..2 {
        let arrivals = arrivals.clone();
        let arrive = move |_, request: &crate::harness::Request| {
            let (at, path) = (began.elapsed(), request.path.clone());
            let id = request.header("webhook-id").expect("an id").to_string();
            arrivals.lock().expect("not poisoned").push(Arrival { at, host, path, id, channel: 0 });
            Reply::Status(204)
        };
        sinks.push(Sink::answering(arrive).await);
    }
    let platforms = tempfile::tempdir().expect("a folder");
    std::fs::write(platforms.path().join("team.toml"), TEAM).expect("written");
    let channel =
        |name| format!("[channels.{name}]\nplatform = \"team\"\nallow_private = true\nsettings.team = \"ours\"\n");
    let config = format!("[paths]\nchannels = {:?}\n{}{}", platforms.path(), channel("a"), channel("b"));
    let clock = || Clock::from(Time::parse(START).expect("a time").plus(began.elapsed()));
    let mut broker = Broker::open(&config, clock(), tempfile::tempdir().expect("a folder")).await;
    for (host, sink) in sinks.iter().enumerate() {
        for n in 0..PEOPLE {
            broker.webhook(&format!("{host}-{n}"), "businesses", &format!("{}/{host}-{n}", sink.url())).await;
        }
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let second = event("b-1", json!({ "incident": "mail-down", "title": "Mail is down" }));
    assert_eq!(broker.post("/v1/events", &second).await.status, 202);
    for sink in &sinks {
        for _ in 0..15 {
            sink.next().await;
        }
        let folder = broker.stop_as_it_is().await;
        broker = Broker::open(&config, clock(), folder).await;
    }
    broker.settled().await;
    let mut arrivals = std::mem::take(&mut *arrivals.lock().expect("not poisoned"));
    assert_eq!(arrivals.len(), 2 * 2 * PEOPLE);
    // How long each was on its way from its beginning, which the broker wrote down in milliseconds.
    let mut ways = Vec::new();
    let mut channels = BTreeSet::new();
    for arrival in &mut arrivals {
        let id = DeliveryId::read(&arrival.id, &broker.app.key).expect("our id");
        let (row, _) = broker.app.store.delivery(id).await.expect("read").expect("a row");
        ways.push(arrival.at.saturating_sub(row.began.since(Time::parse(START).expect("a time"))));
        arrival.channel = row.channel.0;
        channels.insert(arrival.channel);
    }
    broker.stop().await;
    assert_eq!(channels.len(), 2, "both channels were used");
    // As much may have passed between the permit and the beginning.
    let least = ways.iter().min().copied().unwrap_or_default();
    let jitter = ways.iter().max().map_or(Duration::ZERO, |longest| (*longest - least) * 2) + Duration::from_millis(2);
    let seen = |of: &dyn Fn(&Arrival) -> bool| -> Vec<Duration> {
        arrivals.iter().filter(|arrival| of(arrival)).map(|arrival| arrival.at).collect()
    };
    let (three, two) = (Duration::from_secs(3), Duration::from_secs(2));
    assert!(jitter < Duration::from_secs(1), "a sink so slow shows too little: {jitter:?}");
    let account = most(seen(&|_| true), three - jitter);
    assert!(account <= 60, "{account} of the account, with a jitter of {jitter:?}");
    for (host, channel) in (0..2).flat_map(|host| channels.iter().map(move |channel| (host, *channel))) {
        let host = most(seen(&|arrival| (arrival.host, arrival.channel) == (host, channel)), three - jitter);
        assert!(host <= 15, "{host} at one host by one channel, with a jitter of {jitter:?}");
    }
    let addresses: BTreeSet<&str> = arrivals.iter().map(|arrival| arrival.path.as_str()).collect();
    assert_eq!(addresses.len(), 2 * PEOPLE);
    for path in addresses {
        let times = seen(&|arrival| arrival.path == path);
        assert_eq!((times.len(), most(times, two - jitter)), (2, 1), "{path}, with a jitter of {jitter:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_taught_is_kept_and_shown() {
    const PEOPLE: usize = 12;
    // Kannel's queue to an SMSC that throttles is full, once.
    let sink = Sink::answering(|number, _| match number {
        0 => Reply::Full(503, String::new(), "Temporal failure, try again later.".into()),
        _ => Reply::accepted(),
    })
    .await;
    let broker = Broker::start(&kannel("sms", sink.port(), "concurrency = 1")).await;
    for n in 0..PEOPLE {
        let phone = format!("+49151000000{n:02}");
        broker.subscriber(&format!("p{n}"), "businesses", &[("phone", &phone)], |_| ()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    // One a second was too much.
    let learned = async || {
        let shown = broker.get("/v1/channels/sms").await.json();
        (shown["limits"]["learned"] == "1/2s").then_some(())
    };
    broker.until("learned 1/2s", learned).await;
    let metrics = broker.get("/metrics").await.text;
    assert!(metrics.contains("loudhailer_learned_limit_per_second{channel=\"sms\"} 0.5"), "{metrics}");
    // The first of them again, too.
    for told in 1..=PEOPLE {
        broker.off_the_wire("sms").await;
        broker.clock.advance(Duration::from_millis(1_990));
        assert_eq!(broker.get("/v1/channels/sms").await.json()["on_wire"], 0);
        assert_eq!(sink.all().len(), told, "too early");
        broker.clock.advance(Duration::from_millis(10));
        sink.next().await;
    }
    broker.stop().await;
    assert_eq!(sink.all().len(), PEOPLE + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_taught_outlives_a_restart() {
    let timeline = Timeline::default();
    let sink = Sink::answering(|number, _| Reply::Status(if number == 0 { 429 } else { 204 })).await;
    let config = webhooks("");
    let broker = Broker::open(&config, timeline.clock(), tempfile::tempdir().expect("a folder")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    let learned = async |broker: &Broker| {
        let learned = async || (broker.channel("hooks").await["limits"]["learned_by_hosts"] == 1).then_some(());
        broker.until("learned of one host", learned).await;
    };
    learned(&broker).await;
    let folder = broker.stop_as_it_is().await;
    timeline.millis.fetch_add(60_000, Ordering::SeqCst);
    let broker = Broker::open(&config, timeline.clock(), folder).await;
    learned(&broker).await;
    let folder = broker.stop_as_it_is().await;
    timeline.millis.fetch_add(3_600_000, Ordering::SeqCst);
    let broker = Broker::open(&config, timeline.clock(), folder).await;
    assert_eq!(broker.channel("hooks").await["limits"]["learned_by_hosts"], 0, "no lesson lasts an hour");
    broker.stop().await;
}
