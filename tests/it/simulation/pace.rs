//! How fast lanes go, in simulated time: limits that channels share, limits of hosts and addresses, what a platform's answers teach,
//! and how what has come back is tried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::app::App;
use loudhailer::audience::Quiet;
use loudhailer::channel::registry::Rates;
use loudhailer::channel::{Driver, Holds, Outcome, Parcel};
use loudhailer::clock::{Clock, Time};
use loudhailer::dispatch::lane;
use loudhailer::ingest::event::{Principal, parse_value};
use loudhailer::pipeline;
use loudhailer::quantity::Limit;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Store, SubscriberDraft};
use serde_json::json;

use super::channels::lane_of;
use super::life::started;
use super::world::START;
use crate::harness::draft;

/// What a channel's other side does with an attempt that begins then, after so many others.
type Does = dyn FnMut(Duration) -> Outcome + Send;

/// Records what begins, answers after a while as it is told.
struct Recording {
    clock: Arc<Clock>,
    lane: u16,
    begun: Arc<Mutex<Vec<Begun>>>,
    does: Arc<Mutex<Does>>,
    takes: Duration,
}

#[derive(Debug, Clone)]
struct Begun {
    at: Duration,
    lane: u16,
    to: String,
    urgent: bool,
}

#[async_trait]
impl Driver for Recording {
    async fn send(&self, parcel: Parcel) -> Outcome {
        let at = self.clock.monotonic();
        self.begun.lock().expect("begun").push(Begun {
            at,
            lane: self.lane,
            to: parcel.to.to_string(),
            urgent: parcel.urgent,
        });
        let outcome = self.does.lock().expect("does")(at);
        self.clock.sleep(self.takes).await;
        outcome
    }

    fn host<'a>(&self, to: &'a str) -> Option<&'a str> {
        Some(to.strip_prefix("https://")?.split('/').next().unwrap_or_default())
            .filter(|host| host.starts_with("shared"))
    }
}

fn accepts() -> Arc<Mutex<Does>> {
    Arc::new(Mutex::new(|_| Outcome::Accepted { reference: None }))
}

fn deferred(throttled: bool) -> Outcome {
    Outcome::Deferred { after: None, holds: Holds::Channel, throttled, detail: "simulated".into() }
}

/// An engine whose every attempt is seen.
struct Stage {
    clock: Arc<Clock>,
    store: Arc<Sqlite>,
    begun: Arc<Mutex<Vec<Begun>>>,
    events: usize,
    app: Option<Arc<App>>,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Sqlite::inline(&folder.path().join("0.db")).expect("opens"));
        let clock = Arc::new(Clock::from(Time(START)));
        Stage { clock, store, begun: Arc::default(), events: 0, app: None, _folder: folder }
    }

    /// A channel for addresses of a kind; 64 attempts at one time, each takes a tenth of a second.
    fn lane(&self, id: u16, address_kind: &str, rates: Rates, does: Arc<Mutex<Does>>) -> lane::Settings {
        let takes = Duration::from_millis(100);
        let (clock, begun) = (self.clock.clone(), self.begun.clone());
        let driver = Recording { clock, lane: id, begun, does, takes };
        let kind = if address_kind == "url" { "hook" } else { "sms" };
        let name = format!("{kind}-{id}");
        lane::Settings { concurrency: 64, rates, ..lane_of(id, &name, kind, address_kind, Arc::new(driver)) }
    }

    async fn open(&mut self, lanes: Vec<lane::Settings>) {
        self.app = Some(started(&self.clock, &self.store, lanes, 1).await);
    }

    fn app(&self) -> &Arc<App> {
        self.app.as_ref().expect("opened")
    }

    async fn people(&self, audience: &str, addresses: impl Iterator<Item = (String, String)>) {
        let drafts = addresses.map(|(kind, value)| subscriber(audience, &kind, value)).collect();
        self.store.upsert(drafts, Time(START)).await.expect("upserts");
    }

    /// An event of an incident; `down` is what it says is.
    async fn event(&mut self, incident: &str, down: &[&str]) {
        self.events += 1;
        let event = json!({
            "source": "world", "id": self.events.to_string(), "incident": incident, "sequence": self.events,
            "at": self.clock.calendar(), "status": "investigating", "severity": "major", "title": "Outage",
            "platforms_down": down
        });
        let event = parse_value(event, &Principal::Machine("world".into())).expect("event");
        pipeline::ingest(self.app(), event, None).await.expect("ingests");
    }

    async fn pass(&self, millis: u64) {
        self.clock.sleep(Duration::from_millis(millis)).await;
    }

    fn begun(&self) -> Vec<Begun> {
        self.begun.lock().expect("begun").clone()
    }
}

fn subscriber(audience: &str, kind: &str, value: String) -> SubscriberDraft {
    SubscriberDraft { id: None, subscriber: draft(&value, audience, &[(kind, &value)]) }
}

fn urls(host: &str, numbers: std::ops::Range<usize>) -> impl Iterator<Item = (String, String)> {
    numbers.map(move |n| ("url".into(), format!("https://{}/{n}", host.replace("{}", &n.to_string()))))
}

fn rates(channel: &[&str], account: &[&str], host: &[&str], address: &[&str]) -> Rates {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a limit")).collect::<Vec<Limit>>();
    Rates { channel: parse(channel), account: parse(account), host: parse(host), address: parse(address) }
}

/// In any half-open window.
fn most(times: &[Duration], window: Duration) -> usize {
    let within = |from: Duration| times.iter().filter(|at| (from..from + window).contains(*at)).count();
    times.iter().map(|from| within(*from)).max().unwrap_or(0)
}

fn simulated<F: Future<Output = ()> + Send + 'static>(body: F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
    // Spawned, so that it takes its turn among the engine's tasks.
    runtime.block_on(async { tokio::spawn(body).await.expect("holds") });
}

#[test]
fn an_address_that_rests_costs_its_channel_nothing() {
    simulated(async {
        let mut stage = Stage::new();
        stage.open(vec![stage.lane(1, "url", rates(&["10/s"], &[], &[], &["1/20s"]), accepts())]).await;
        stage.people("press", urls("h{}", 0..30)).await;
        // The limiter of addresses starts empty, too.
        for incident in ["a", "b", "c"] {
            stage.event(incident, &[]).await;
        }
        stage.pass(23_500).await;
        let begun = stage.begun();
        assert_eq!(begun.len(), 30, "each once, and none too early");
        assert!(begun[0].at >= Duration::from_secs(20), "{:?}", begun[0].at);
        assert!(begun[29].at - begun[0].at <= Duration::from_millis(2_950), "{:?}", begun[29].at - begun[0].at);
        // Sixty wait for their addresses; who comes now does not wait for them.
        stage.people("press", urls("new{}", 0..10)).await;
        stage.event("d", &[]).await;
        stage.pass(1_150).await;
        let late = stage.begun();
        assert_eq!(late[30..].iter().filter(|one| one.to.contains("new")).count(), 10, "{:?}", &late[30..]);
        stage.pass(100_000).await;
        let mut by_address: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for one in stage.begun() {
            by_address.entry(one.to).or_default().push(one.at);
        }
        assert!(by_address.values().all(|times| most(times, Duration::from_secs(20)) == 1));
        let times: Vec<usize> = by_address.values().map(Vec::len).collect();
        assert_eq!((times.len(), times.iter().sum::<usize>()), (40, 30 * 4 + 10));
    });
}

#[test]
fn the_limits_of_an_account_hold_for_its_channels_together_and_the_urgent_goes_first() {
    simulated(async {
        let mut stage = Stage::new();
        let shared = rates(&[], &["10/s", "200/h"], &[], &[]);
        let lanes = [(1, "phone"), (2, "url")].map(|(id, kind)| lane::Settings {
            account: Some("ours".into()),
            ..stage.lane(id, kind, shared.clone(), accepts())
        });
        stage.open(lanes.into()).await;
        stage.people("press", urls("h{}", 0..300)).await;
        stage.people("staff", (0..5).map(|n| ("phone".into(), format!("+49{n:05}")))).await;
        stage.event("a", &[]).await;
        stage.pass(5_000).await;
        // Staff heard of it at once; of another incident they hear through the crowd that waits.
        let before = stage.begun();
        stage.event("b", &[]).await;
        stage.pass(600).await;
        let urgent = |all: &[Begun]| all.iter().filter(|one| one.urgent).count();
        assert_eq!(urgent(&stage.begun()) - urgent(&before), 5, "{:?}", &stage.begun()[before.len()..]);
        stage.pass(60_000).await;
        let begun = stage.begun();
        let times: Vec<Duration> = begun.iter().map(|one| one.at).collect();
        assert_eq!(most(&times, Duration::from_secs(1)), 10, "no more, and no less");
        assert_eq!(times.len(), 200, "the hour's");
        assert!([1, 2].iter().all(|lane| begun.iter().any(|one| one.lane == *lane)));
    });
}

#[test]
fn an_account_that_asks_for_a_rest_rests_with_all_its_channels() {
    const REST: Duration = Duration::from_secs(20);
    simulated(async {
        let mut stage = Stage::new();
        let rests = |_| Outcome::Deferred {
            after: Some(REST),
            holds: Holds::Account,
            throttled: false,
            detail: "the account is to rest".into(),
        };
        let ours = |lane: lane::Settings| lane::Settings { account: Some("ours".into()), ..lane };
        let lanes = vec![
            ours(stage.lane(1, "phone", Rates::default(), Arc::new(Mutex::new(rests)))),
            ours(stage.lane(2, "url", Rates::default(), accepts())),
        ];
        stage.open(lanes).await;
        stage.people("staff", [("phone".into(), "+4900001".into())].into_iter()).await;
        stage.event("a", &[]).await;
        stage.pass(1_000).await;
        let asked = stage.begun().last().map(|one| one.at).expect("the account was asked");
        stage.people("press", urls("h{}", 0..50)).await;
        stage.event("b", &[]).await;
        stage.pass(60_000).await;
        let others: Vec<Duration> = stage.begun().iter().filter(|one| one.lane == 2).map(|one| one.at).collect();
        assert_eq!(others.len(), 50, "all of them in the end");
        assert!(others.iter().all(|at| *at >= asked + REST), "{:?} after {asked:?}", others.iter().min());
    });
}

#[test]
fn who_is_still_in_a_lane_when_their_quiet_hours_begin_is_told_when_they_end() {
    simulated(async {
        let mut stage = Stage::new();
        // One every twelve seconds.
        stage.open(vec![stage.lane(1, "url", rates(&["5/min"], &[], &[], &[]), accepts())]).await;
        let minute = (START / 60_000 % 1440) as u16;
        let quiet = Quiet { from: minute + 1, to: minute + 11 };
        let drafts = urls("h{}", 0..10).map(|(kind, value)| {
            let mut draft = subscriber("press", &kind, value);
            draft.subscriber.quiet = Some(quiet);
            draft
        });
        stage.store.upsert(drafts.collect(), Time(START)).await.expect("upserts");
        stage.event("a", &[]).await;
        stage.pass(20 * 60_000).await;
        let times: Vec<Duration> = stage.begun().iter().map(|one| one.at).collect();
        let before = times.iter().filter(|at| **at < Duration::from_secs(60)).count();
        let within = times.iter().filter(|at| (60..660).contains(&at.as_secs())).count();
        assert!((1..10).contains(&before), "{before} before it was quiet");
        assert_eq!((within, times.len()), (0, 10), "{times:?}");
    });
}

#[test]
fn a_host_with_a_limit_gets_what_it_allows_and_the_others_do_not_wait_for_it() {
    simulated(async {
        let mut stage = Stage::new();
        stage.open(vec![stage.lane(1, "url", rates(&[], &[], &["5/s"], &[]), accepts())]).await;
        stage.people("press", urls("shared", 0..200)).await;
        stage.people("press", urls("sharedtoo-{}", 0..200)).await;
        stage.event("a", &[]).await;
        stage.pass(2_000).await;
        let of = |all: &[Begun], host: &str| {
            all.iter().filter(|one| one.to.starts_with(host)).map(|one| one.at).collect::<Vec<Duration>>()
        };
        assert_eq!(of(&stage.begun(), "https://sharedtoo").len(), 200, "each has a host of its own");
        stage.pass(120_000).await;
        let times = of(&stage.begun(), "https://shared/");
        assert_eq!((times.len(), most(&times, Duration::from_secs(1))), (200, 5));
        let span = times[199] - times[0];
        assert!(span <= Duration::from_secs(43), "{span:?} for what the host takes in forty seconds");
    });
}

#[test]
fn a_platform_that_throttles_is_tried_about_as_fast_as_it_can_take() {
    simulated(async {
        const PEOPLE: usize = 4_000;
        const TAKES: usize = 50;
        let mut stage = Stage::new();
        let refused = Arc::new(Mutex::new(0));
        let (mut taken, count) = (Vec::<Duration>::new(), refused.clone());
        let does = move |at: Duration| {
            taken.retain(|before| at - *before < Duration::from_secs(1));
            if taken.len() >= TAKES {
                *count.lock().expect("refused") += 1;
                return deferred(true);
            }
            taken.push(at);
            Outcome::Accepted { reference: None }
        };
        stage.open(vec![stage.lane(1, "url", Rates::default(), Arc::new(Mutex::new(does)))]).await;
        stage.people("press", urls("h{}", 0..PEOPLE)).await;
        stage.event("a", &[]).await;
        stage.pass(60_000).await;
        let lane = stage.app().engine.lanes.values().next().expect("one").clone();
        let limit = lane.lessons(stage.clock.monotonic()).learned.expect("it said that it was too much");
        assert!(limit.window == Duration::from_secs(1) && (10..=80).contains(&limit.count), "{limit}");
        let mut seconds = 60;
        while stage
            .store
            .live()
            .await
            .expect("reads")
            .iter()
            .any(|live| live.progress.values().any(|of| of.ended < of.selected))
        {
            stage.pass(1_000).await;
            seconds += 1;
            assert!(seconds < 400, "{} of {PEOPLE} tries so far", stage.begun().len());
        }
        let refused = *refused.lock().expect("refused");
        assert!(refused < PEOPLE / 10, "{refused} of {} were refused", stage.begun().len());
        assert!(seconds < 3 * PEOPLE / TAKES, "{seconds} seconds for {PEOPLE}");
    });
}

#[test]
fn what_a_platform_taught_outlives_the_process_until_it_is_given_back() {
    simulated(async {
        const PEOPLE: usize = 3_000;
        let mut stage = Stage::new();
        // One in the first second is too much; from then on it takes everything.
        let mut number = 0;
        let does = move |_: Duration| {
            number += 1;
            if number == 100 { deferred(true) } else { Outcome::Accepted { reference: None } }
        };
        let does: Arc<Mutex<Does>> = Arc::new(Mutex::new(does));
        stage.open(vec![stage.lane(1, "url", Rates::default(), does.clone())]).await;
        stage.people("press", urls("h{}", 0..PEOPLE)).await;
        stage.event("a", &[]).await;
        let learned = |stage: &Stage| {
            let lane = stage.app().engine.lanes.values().next().expect("one").clone();
            lane.lessons(stage.clock.monotonic()).learned
        };
        stage.pass(5_000).await;
        let taught = learned(&stage).expect("it said that it was too much");
        let restart = async |stage: &mut Stage| {
            stage.app().engine.shut_down(Duration::from_secs(5)).await;
            stage.open(vec![stage.lane(1, "url", Rates::default(), does.clone())]).await;
        };
        restart(&mut stage).await;
        let restored = learned(&stage).expect("it is known still");
        assert!(restored.count.abs_diff(taught.count) <= taught.count / 10, "{restored}, and it was {taught}");
        let mut minutes = 0;
        while learned(&stage).is_some() {
            stage.pass(60_000).await;
            stage.event(&format!("more-{minutes}"), &[]).await;
            minutes += 1;
            assert!(minutes < 60, "{:?}", learned(&stage));
        }
        stage.pass(60_000).await;
        restart(&mut stage).await;
        assert_eq!(learned(&stage), None, "it was given back");
    });
}

/// Comes back cold: at first it takes eight a second, and twice as many in each second in which it has something to do. More knock
/// it over: then it answers nothing but failures for half a minute, and is cold again.
struct Frail {
    down_until: Duration,
    second: u64,
    begun: u32,
    takes: u32,
    falls: u32,
}

impl Frail {
    fn attempt(&mut self, at: Duration) -> Outcome {
        if at < self.down_until {
            return deferred(false);
        }
        if at.as_secs() != self.second {
            self.takes = if self.begun > 0 { self.takes.saturating_mul(2) } else { self.takes };
            (self.second, self.begun) = (at.as_secs(), 0);
        }
        self.begun += 1;
        if self.begun > self.takes {
            self.falls += 1;
            (self.down_until, self.takes, self.begun) = (at + Duration::from_secs(30), 8, 0);
            return deferred(false);
        }
        Outcome::Accepted { reference: None }
    }

    fn new(down_until: Duration) -> Arc<Mutex<Frail>> {
        Arc::new(Mutex::new(Frail { down_until, second: 0, begun: 0, takes: 8, falls: 0 }))
    }

    fn does(frail: &Arc<Mutex<Frail>>) -> Arc<Mutex<Does>> {
        let frail = frail.clone();
        Arc::new(Mutex::new(move |at| frail.lock().expect("frail").attempt(at)))
    }
}

#[test]
fn what_has_come_back_is_not_knocked_over_again() {
    simulated(async {
        const PEOPLE: usize = 2_000;
        let mut stage = Stage::new();
        let frail = Frail::new(Duration::from_secs(40));
        stage.open(vec![stage.lane(1, "url", Rates::default(), Frail::does(&frail))]).await;
        stage.people("press", urls("h{}", 0..PEOPLE)).await;
        stage.event("a", &[]).await;
        stage.pass(120_000).await;
        assert_eq!(frail.lock().expect("frail").falls, 0, "its breaker has closed");
        let told = stage.begun().iter().filter(|one| one.at >= Duration::from_secs(40)).count();
        assert_eq!(told, PEOPLE, "and it is used");
    });
}

#[test]
fn a_platform_that_an_incident_said_was_down_is_not_knocked_over_when_it_is_up_again() {
    simulated(async {
        const PEOPLE: usize = 2_000;
        let mut stage = Stage::new();
        let frail = Frail::new(Duration::ZERO);
        stage.open(vec![stage.lane(1, "url", Rates::default(), Frail::does(&frail))]).await;
        // Of the incident of the network nobody hears: they come later.
        stage.event("network", &["hook-net"]).await;
        stage.pass(1_000).await;
        stage.people("press", urls("h{}", 0..PEOPLE)).await;
        stage.event("a", &[]).await;
        stage.pass(30_000).await;
        assert_eq!(stage.begun().len(), 0, "it is down");
        stage.event("network", &[]).await;
        stage.pass(60_000).await;
        assert_eq!(frail.lock().expect("frail").falls, 0);
        assert_eq!(stage.begun().len(), PEOPLE);
    });
}
