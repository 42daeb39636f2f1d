//! Expansion: the real planner over the real store, with lanes that nobody empties. Members are read, routes decided, words
//! rendered, and manifests written and synced, until everyone is in a lane.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use loudhailer::app::App;
use loudhailer::cli::bench::cpu;
use loudhailer::clock::Clock;
use loudhailer::config::Config;
use loudhailer::dispatch::planner;
use loudhailer::ingest::Intake;
use loudhailer::ingest::event::{Principal, parse_native};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::broker::event;
use super::compare::round;
use super::people::{self, Group};
use super::place::{Place, Plan, Setup};
use super::process::{MEASURED, Process, pins};
use super::sink::HOSTS;
use super::{Args, Measured};

const ALL: Plan =
    Plan { severity: "critical", component: "", audience: "businesses", routes: "\"hooks\"", priority: "high" };

#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    pub config: PathBuf,
    pub count: u64,
}

pub fn expand(args: &Args) -> anyhow::Result<Measured> {
    let count = args.expanded;
    // Nobody listens there, and nothing is sent.
    let places: Vec<String> = (1..=HOSTS).map(|host| format!("127.0.0.{host}:9")).collect();
    let mut setup = Setup::new(&[ALL], "127.0.0.1:9");
    setup.lane = Some(2 * count as usize + 4096); // a lane takes pages while half of it is free
    let place = Place::new(&setup)?;
    people::write(&place.store(), &[Group { audience: "businesses", count, places: &places }])?;
    let task = Task { config: place.path().join("loudhailer.toml"), count };
    let ended = Process::role(MEASURED, "expand", &json!(task))?.json()?;
    let number = |name: &str| ended[name].as_f64().unwrap_or(f64::NAN);
    Ok(Measured {
        figures: vec![("expand_per_s", (count as f64 / number("seconds")).round())],
        raw: json!({
            "recipients": count, "pins": pins(), "seconds": round(number("seconds"), 3),
            "cpu_us": round(number("cpu") * 1e6 / count as f64, 3),
        }),
    })
}

pub async fn run(task: Task) -> anyhow::Result<()> {
    let config = Config::load(Some(&task.config), std::iter::empty())?;
    let built = App::build(config, Arc::new(Clock::system())).await?;
    let app = built.app.clone();
    let body = event("e", "outage", "critical").to_string();
    let event = parse_native(body.as_bytes(), &Principal::Machine("bench".into()))?;
    let drawn = app.ingest(event).await?;
    let id = *drawn.broadcasts.first().context("a broadcast")?;
    let live = app.engine.live(id).context("it runs")?;
    let before = cpu::own().context("/proc")?;
    let began = Instant::now();
    let mut happenings = app.engine.happenings();
    // Without the lanes' own tasks, so that all of it stays where it was put.
    let planning = tokio::spawn(planner::run(app.engine.clone()));
    while !live.paged(u64::MAX) {
        tokio::time::timeout(Duration::from_secs(60), happenings.changed()).await.context("it has stopped")??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu::own().context("/proc")? - before;
    app.engine.stop.cancel();
    planning.await?;
    let waiting: usize = app.engine.lanes.values().map(|lane| lane.waiting().iter().sum::<usize>()).sum();
    let broadcast = app.store.broadcast(id).await?.context("a broadcast")?;
    let (counts, unread) = app.store.counts(&broadcast).await?;
    ensure!(
        waiting as u64 == task.count && counts.selected as u64 == task.count && unread == 0,
        "void: {waiting} are in lanes, and the store has {counts:?}, {unread} unread"
    );
    println!("{}", json!({ "seconds": seconds, "cpu": cpu }));
    Ok(())
}
