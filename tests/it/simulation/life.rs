//! One life of the process: from its start to its death, to its handing over, or to the end of the world.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use loudhailer::app::App;
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use loudhailer::dispatch::lane;
use loudhailer::id::BroadcastId;
use loudhailer::incident::Mode;
use loudhailer::plan::{Held, Plans};
use loudhailer::store::sqlite::{Crash, Sqlite};
use loudhailer::store::{Broadcast, BroadcastState, Frozen, Manifest, ManifestKey, Store, StoreError, Upserted};

use super::act::{Outside, act, last_word};
use super::channels::lanes;
use super::known::{Ending, LINGERS};
use super::reports::reports;
use super::turning;
use super::variety::Variety;
use super::words::{DEADLINE, plans, templates};
use super::world::{START, World, lock};

#[derive(Clone)]
pub struct Life {
    pub app: Arc<App>,
    pub store: Arc<dyn Store>,
    /// What the store stands on.
    pub disk: Arc<Sqlite>,
    pub clock: Arc<Clock>,
    pub base: Duration,
}

/// How a life is to end.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// In the middle of a commit: the disk stops, and the process a moment later.
    Commit(u64),
    /// At some moment, after so many turns of its tasks within it.
    Moment(Duration, u32),
    HandOver(Duration),
    /// When everything has come to its end.
    Last,
}

impl Fate {
    pub fn draw(world: &World) -> Fate {
        let moment = world.span(Duration::from_secs(240));
        match world.pick(10) {
            0..4 => Fate::Commit(world.chance().u64(1..100)),
            4..7 => Fate::Moment(moment, world.chance().u32(..60)),
            _ => Fate::HandOver(moment),
        }
    }
}

impl Life {
    pub fn now(&self) -> Duration {
        self.base + self.clock.monotonic()
    }

    async fn begin(world: &Arc<World>, path: &Path, seed: u64) -> Life {
        let base = *lock(&world.passed);
        let clock = Arc::new(Clock::from(Time(START + base.as_millis() as i64)));
        let store = Arc::new(Sqlite::inline(path).expect("opens").noting_outcomes(true));
        let lanes = lanes(world, &clock, base, None);
        let app = started_small(&world.variety, &clock, store.clone(), lanes, seed).await.expect("assembles");
        if world.watched {
            tokio::spawn(turning::watch(world.clone(), app.clone()));
        }
        Life { app, store: store.clone(), disk: store, clock, base }
    }
}

/// How many members a page decides. Small as the lanes are, so that both are often full.
pub const PAGE: usize = 2;

/// The application over simulated lanes, of the usual size, with its engine running.
pub async fn started(clock: &Arc<Clock>, store: &Arc<Sqlite>, lanes: Vec<lane::Settings>, seed: u64) -> Arc<App> {
    let config = Config::from_toml("", "none", std::iter::empty()).expect("default");
    tried(config, plans(&Variety::default()), clock, store.clone(), lanes, seed).await.expect("assembles")
}

/// The same with lanes and pages that are soon full, and the plans of a world.
pub async fn started_small(
    variety: &Variety,
    clock: &Arc<Clock>,
    store: Arc<dyn Store>,
    lanes: Vec<lane::Settings>,
    seed: u64,
) -> anyhow::Result<Arc<App>> {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let small = format!("[engine]\nlane = 4\npage = {PAGE}\nattempt_room = 16");
    let config =
        CONFIG.get_or_init(|| Config::from_toml(&small, "small", std::iter::empty()).expect("a configuration"));
    tried(config.clone(), plans(variety), clock, store, lanes, seed).await
}

async fn tried(
    config: Config,
    plans: Plans,
    clock: &Arc<Clock>,
    store: Arc<dyn Store>,
    lanes: Vec<lane::Settings>,
    seed: u64,
) -> anyhow::Result<Arc<App>> {
    let (app, outcomes) = App::assemble(config, clock.clone(), store, plans, templates(), lanes, seed).await?;
    app.engine.start(outcomes);
    Ok(Arc::new(app))
}

/// A store with nothing in it but what every start writes: made once, and copied for each world.
pub fn empty_store() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("empty.db");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let store = Sqlite::inline(&path).expect("opens");
            let set = templates();
            let frozen = Frozen { digest: set.digest(), kind: "templates", bytes: set.to_bytes() };
            store.freeze(frozen).await.expect("freezes");
        });
        drop(runtime);
        // Small pages: a commit writes whole ones, and a world is small.
        let small = "PRAGMA journal_mode = DELETE; PRAGMA page_size = 2048; VACUUM; PRAGMA journal_mode = WAL;";
        let store = rusqlite::Connection::open(&path).expect("opens");
        store.execute_batch(small).expect("shrinks");
        drop(store);
        std::fs::read(&path).expect("reads")
    })
}

/// Lives to the end that `fate` has for it. `next`: where the file is that the next life finds after a death.
pub async fn live(world: &Arc<World>, path: &Path, next: &Path, fate: Fate, outside: &mut Outside, seed: u64) -> Life {
    let life = Life::begin(world, path, seed).await;
    if outside.people.iter().any(|person| person.id.0 < 0) {
        be_known(&life, path, world.variety.crowded, None, outside).await;
    }
    let stopped = Arc::new(tokio::sync::Notify::new());
    let log = Arc::new(Mutex::new(None));
    if let Fate::Commit(commits_left) = fate {
        let (notify, before) = (stopped.clone(), log.clone());
        let at = Box::new(move |length| {
            *lock(&before) = Some(length);
            notify.notify_one();
        });
        life.disk.crash_after(Crash { commits_left, at });
    }
    let end = async {
        match fate {
            Fate::Commit(_) => {
                stopped.notified().await;
                life.clock.sleep(world.span(LINGERS)).await;
            }
            Fate::Moment(moment, turns) => {
                life.clock.sleep(moment).await;
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Fate::HandOver(moment) => life.clock.sleep(moment).await,
            Fate::Last => std::future::pending().await,
        }
    };
    let script = async {
        for _ in 0..12 {
            act(&life, world, outside).await;
            let pause = if world.percent(25) { Duration::ZERO } else { world.span(Duration::from_secs(30)) };
            life.clock.sleep(pause).await;
        }
        match fate {
            Fate::Last => settle(&life, world, outside).await,
            _ => life.clock.sleep(Duration::from_secs(300)).await,
        }
    };
    tokio::select! {
        biased;
        () = end => {}
        () = script => {}
        () = reports(&life, world) => {}
    }
    let known = &mut outside.known;
    known.unanswered();
    match fate {
        Fate::Last => {}
        Fate::HandOver(_) => {
            let refused = hand_over(&life, path).await;
            known.fenced.push(refused);
            known.ends(life.now(), Ending::HandedOver, 0);
            world.say(|| format!("{:?} hands over", life.now()));
            std::fs::copy(path, next).expect("copy");
            std::fs::copy(wal(path), wal(next)).expect("copy");
        }
        Fate::Commit(_) | Fate::Moment(..) => {
            known.ends(life.now(), Ending::Died, 0);
            world.say(|| format!("{:?} dies, {fate:?}", life.now()));
            die(world, path, next, *lock(&log));
        }
    }
    *lock(&world.passed) += life.clock.monotonic();
    life
}

fn wal(path: &Path) -> String {
    format!("{}-wal", path.display())
}

/// What is on the disk at this moment. Of the commit in which it stopped there may be any part.
fn die(world: &World, path: &Path, next: &Path, before: Option<u64>) {
    std::fs::copy(path, next).expect("copy");
    let mut log = std::fs::read(wal(path)).unwrap_or_default();
    let surely = before.map_or(log.len(), |before| (before as usize).min(log.len()));
    log.truncate(world.chance().usize(surely..=log.len()));
    std::fs::write(wal(next), log).expect("copy");
}

/// Another has taken the shards: no attempt begins any more, those under way are recorded, and decisions are refused. Answers
/// whether one was.
async fn hand_over(life: &Life, path: &Path) -> bool {
    life.app.engine.stop.cancel();
    // It may come while the disk was full: that would be refused for another reason.
    life.disk.refuse(false);
    let successor = Sqlite::inline(path).expect("opens");
    let key = ManifestKey { broadcast: BroadcastId(1), shard: 0, number: 1_000_000 };
    let at = life.clock.calendar();
    let late = Manifest {
        key,
        at,
        epoch: life.app.engine.leases.epoch(0).expect("it owns all"),
        decided: Vec::new(),
        end: false,
    };
    let answer = life.store.decide(vec![late], Vec::new(), Vec::new()).await;
    life.app.engine.shut_down(Duration::from_secs(60)).await;
    drop(successor);
    matches!(answer, Err(StoreError::Fenced))
}

/// Everyone is written into the store. `apart`: as far apart as the shards are.
pub async fn be_known(life: &Life, path: &Path, crowded: bool, apart: Option<&World>, outside: &mut Outside) {
    let together = match (apart, crowded) {
        (Some(_), _) => 1,
        (None, true) => 2,
        (None, false) => outside.people.len(),
    };
    for people in outside.people.chunks_mut(together) {
        match apart {
            // Around all shards: to the one before.
            Some(world) if crowded && world.percent(70) => go_on_by(path, 63),
            Some(world) => go_on_by(path, world.pick(30) as i64 + 1),
            None if crowded => begin_again_at_the_first_shard(path),
            None => {}
        }
        let drafts = people.iter().map(|person| person.draft()).collect();
        let written = life.disk.upsert(drafts, Time(START)).await.expect("writes");
        for (person, written) in people.iter_mut().zip(written) {
            match written {
                Upserted::Created(id) | Upserted::Unchanged(id) => {
                    person.id = id;
                    outside.known.wants_quiet(id, &person.wanted, Duration::ZERO);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Numbers go round the shards: as if all the others had been given to somebody.
fn begin_again_at_the_first_shard(path: &Path) {
    let store = rusqlite::Connection::open(path).expect("opens");
    let next = "UPDATE id_block SET next = (next / 64 + 1) * 64 + 1 WHERE kind = 'subscriber'";
    store.execute(next, ()).expect("writes");
}

fn go_on_by(path: &Path, shards: i64) {
    let store = rusqlite::Connection::open(path).expect("opens");
    store.execute("UPDATE id_block SET next = next + ?1 WHERE kind = 'subscriber'", [shards]).expect("writes");
}

/// Nothing is in the way any more: everything has to come to its end.
pub async fn settle(life: &Life, world: &World, outside: &mut Outside) {
    calm(life, world, outside, Duration::from_secs(3600)).await;
    if world.percent(60) {
        last_word(life, world, outside, true).await;
    }
    life.clock.sleep(DEADLINE).await;
    for _ in 0..20 {
        if life.store.live().await.expect("reads").is_empty() {
            break;
        }
        life.clock.sleep(Duration::from_secs(60)).await;
    }
}

/// The same without waiting for deadlines, since several nodes have much to do in all that time: what only a person or the end of
/// an exercise would end is stopped.
pub async fn settle_soon(life: &Life, world: &World, outside: &mut Outside) {
    // Nobody wants quiet any more by then.
    let patience = if world.variety.quiet { 4500 } else { 1500 };
    calm(life, world, outside, Duration::from_secs(patience)).await;
    last_word(life, world, outside, true).await;
    let waits = |b: &Broadcast| b.selection.mode == Mode::Exercise || b.state == BroadcastState::Held;
    for _ in 0..20 {
        life.clock.sleep(Duration::from_secs(60)).await;
        if life.store.live().await.expect("reads").iter().all(waits) {
            break;
        }
    }
    for broadcast in life.store.live().await.expect("reads").iter().filter(|broadcast| waits(broadcast)) {
        use BroadcastState::{Cancelled, Held, Paused, Running};
        let from = vec![Held, Running, Paused];
        life.app.engine.change_state(broadcast.id, from, Cancelled, "world").await.expect("stops");
        outside.known.stopped.push((broadcast.id, life.now()));
    }
    // Others hear of it.
    life.clock.sleep(Duration::from_secs(10)).await;
}

/// Channels accept everything, and for so long everything is given time; what runs on all the same is noted.
async fn calm(life: &Life, world: &World, outside: &mut Outside, time: Duration) {
    world.calms_down();
    last_word(life, world, outside, false).await;
    for broadcast in life.store.live().await.expect("reads") {
        use BroadcastState::{Paused, Running};
        if broadcast.state == Paused {
            let now = life.now();
            let of = outside.known.paused.iter_mut().filter(|(id, pause)| *id == broadcast.id && pause.to.is_none());
            of.for_each(|(_, pause)| pause.to = Some(now));
            life.app.engine.change_state(broadcast.id, vec![Paused], Running, "world").await.expect("resumes");
        }
    }
    life.clock.sleep(time).await;
    let patience = Duration::from_secs(1200);
    let now = life.clock.calendar();
    let running = life.store.live().await.expect("reads");
    // What an exercise says is down stays so for its own broadcasts.
    let stuck = running.into_iter().filter(|b| now.since(b.created) > patience && b.selection.mode == Mode::Real);
    // What nobody has approved is held until its deadline.
    let stuck = stuck.filter(|b| (b.state, b.held) != (BroadcastState::Held, Held::Approval));
    outside.known.stuck = stuck.collect();
}
