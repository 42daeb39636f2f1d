//! The heartbeat: a watchdog hears of us as long as all makes progress, and nothing when it does not.

use std::sync::Arc;
use std::time::Duration;

use loudhailer::api::certificate::Looked;
use loudhailer::app::App;
use loudhailer::app::heartbeat::{self, Beat, Beats};
use loudhailer::clock::Clock;
use loudhailer::config::Config;
use serde_json::json;
use tokio::sync::watch;

use super::cli::run;
use super::faults::process::{self, Process, until};
use super::harness::{Broker, Reply, Sink, outage, webhooks, within};
use super::https::pair::{self, Authority, place};

const EVERY: Duration = Duration::from_secs(30);

/// What nobody may see who is not told.
const SECRET: &str = "/c0ffee-5ec2e7";

fn section(sink: &Sink) -> String {
    format!("[heartbeat]\nurl = \"http://127.0.0.1:{}{SECRET}\"\n", sink.port())
}

/// A broker, and what came of its heartbeats.
struct Beating {
    broker: Broker,
    beats: watch::Receiver<Beats>,
}

impl Beating {
    async fn start(config: &str) -> Beating {
        let broker = Broker::start(config).await;
        let beats = broker.app.heartbeat.as_ref().expect("it is configured").beats();
        Beating { broker, beats }
    }

    /// What comes of the next one, when it is due.
    async fn next(&mut self) -> Beat {
        let count = self.beats.borrow().count + 1;
        self.broker.clock.advance(EVERY);
        let beats = within("came to a beat", self.beats.wait_for(|beats| beats.count >= count)).await;
        let beats = beats.expect("the heart beats").clone();
        assert_eq!(beats.count, count);
        beats.last.expect("a beat")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_come_while_all_is_well_end_while_the_store_refuses_and_come_again() {
    let sink = Sink::start().await;
    let mut beating = Beating::start(&webhooks(&section(&sink))).await;
    assert_eq!(beating.next().await, Beat::Sent);
    let ping = sink.next().await;
    assert_eq!((ping.method.as_str(), ping.path.as_str(), ping.body.as_slice()), ("GET", SECRET, &b""[..]));
    for _ in 0..3 {
        assert_eq!(beating.next().await, Beat::Sent);
        sink.next().await;
    }
    let other = rusqlite::Connection::open(beating.broker.folder().join("loudhailer.db")).expect("opens");
    other.busy_timeout(Duration::from_secs(60)).expect("set");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    for _ in 0..2 {
        let Beat::Withheld(why) = beating.next().await else { panic!("nothing can be stored") };
        assert!(why.starts_with("the store "), "{why}");
    }
    assert_eq!(beating.broker.get("/readyz").await.status, 503, "readiness says the same");
    other.execute_batch("ROLLBACK").expect("unlocked");
    assert_eq!(beating.next().await, Beat::Sent);
    sink.next().await;
    assert_eq!(sink.all().len(), 5);
    beating.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_end_when_dispatch_hangs() {
    let (sink, hooks) = (Sink::start().await, Sink::start().await);
    let mut beating = Beating::start(&webhooks(&section(&sink))).await;
    beating.broker.webhook("alex", "businesses", &hooks.url()).await;
    assert_eq!(beating.next().await, Beat::Sent);
    // Planner, ticker and lanes turn no more; everything else is as before.
    beating.broker.app.engine.stop.cancel();
    assert_eq!(beating.next().await, Beat::Sent, "nothing waits for them");
    let later = super::harness::event("b-1", json!({ "incident": "other" }));
    assert_eq!(beating.broker.post("/v1/events", &later).await.status, 202);
    let hang = async {
        loop {
            match beating.next().await {
                Beat::Sent => {}
                other => return other,
            }
        }
    };
    let Beat::Withheld(why) = within("was noticed", hang).await else { panic!("not withheld") };
    assert!(why.starts_with("dispatch makes no progress: planner"), "{why}");
    let pings = sink.all().len();
    for _ in 0..3 {
        assert!(matches!(beating.next().await, Beat::Withheld(_)));
    }
    assert_eq!(sink.all().len(), pings);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(beating.broker.get(path).await.status, 200, "{path}: HTTP and store know nothing of it");
    }
    beating.broker.stop_as_it_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_withheld_while_the_listener_answers_nobody() {
    let (sink, folder) = (Sink::start().await, tempfile::tempdir().expect("a folder"));
    let url = format!("sqlite:{}", folder.path().join("loudhailer.db").display());
    let text = format!("{}[server]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = {url:?}\n", section(&sink));
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    // Bound, and nobody serves it: connections are taken by the system, and none is answered.
    let built = App::build(config, Arc::new(Clock::system())).await.expect("builds");
    let mut beats = built.app.heartbeat.as_ref().expect("it is configured").beats();
    tokio::spawn(heartbeat::run(built.app.clone()));
    let beats = within("came to a beat", beats.wait_for(|beats| beats.count > 0)).await.expect("it beats").clone();
    let why = "the server's own listener: it does not answer in time";
    assert_eq!((beats.last, sink.all().len()), (Some(Beat::Withheld(why.into())), 0));
    built.app.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_pings_come_by_whatever_certificate_the_listener_shows() {
    let (sink, folder, authority) = (Sink::start().await, tempfile::tempdir().expect("a folder"), Authority::new());
    let first = authority.pair();
    place(folder.path(), &first.chain, &first.key);
    let own = format!("{}{}", pair::section(folder.path()), section(&sink));
    let mut beating = Beating::start(&webhooks(&own)).await;
    assert_eq!(beating.next().await, Beat::Sent);
    let next = authority.pair();
    place(folder.path(), &next.chain, &next.key);
    assert_eq!(beating.broker.app.certificate.as_ref().expect("it serves https").look(), Looked::Replaced);
    assert_eq!(beating.next().await, Beat::Sent);
    beating.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_that_fails_disturbs_nothing_and_shows_nobody_where_it_goes() {
    let hooks = Sink::start().await;
    let sink = Sink::answering(|n, _| match n {
        0 | 1 => Reply::Status(500),
        2 => Reply::Full(302, "Location: http://127.0.0.1:9/\r\n".into(), String::new()),
        _ => Reply::Status(200),
    })
    .await;
    let mut beating = Beating::start(&webhooks(&section(&sink))).await;
    assert_eq!(beating.next().await, Beat::Failed("it answered 500".into()));
    assert_eq!(beating.next().await, Beat::Failed("it answered 500".into()));
    assert_eq!(beating.next().await, Beat::Failed("it answered 302".into()), "nobody is led elsewhere");
    let broker = &beating.broker;
    broker.webhook("alex", "businesses", &hooks.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    hooks.next().await;
    let metrics = broker.get("/metrics").await.text;
    assert!(metrics.contains("loudhailer_heartbeats_total{what=\"failed\"}"), "{metrics}");
    assert_eq!(beating.next().await, Beat::Sent);
    beating.broker.stop().await;
    assert_eq!(sink.all().len(), 4);

    // The real thing writes a log, and neither it nor the check shows the path.
    let place = process::Place::new("127.0.0.1:9", &[]);
    let file = place.path("loudhailer.toml");
    let own = format!("\n[heartbeat]\nurl = \"http://127.0.0.1:1{SECRET}\"\n");
    let text = std::fs::read_to_string(&file).expect("read") + &own;
    std::fs::write(&file, text.replace("\"warn\"", "\"debug\"")).expect("written");
    let process = Process::serve(&place);
    let log = until("it is logged", async || {
        let log = std::fs::read_to_string(place.path("log")).expect("read");
        log.contains("the heartbeat's ping was not taken").then_some(log)
    })
    .await;
    assert!(!log.contains(SECRET), "{log}");
    drop(process);
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[heartbeat]\nurl = \"http://127.0.0.1:1{SECRET}\"\nevery = \"0s\"\n");
    for (text, code) in [(text.replace("\"0s\"", "\"1s\""), 0), (text.clone(), 2), (text.replace("http:", "htp:"), 2)] {
        std::fs::write(folder.path().join("own.toml"), &text).expect("written");
        let ran = run(folder.path(), None, &["--config", "own.toml", "check"], "").await;
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code == Some(code) && !said.contains(SECRET), "{text}: {ran:?}");
    }
}
