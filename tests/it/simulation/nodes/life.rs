//! A world of several nodes, from its beginning to its end: what the outside does goes to one of those that live, while another thing
//! befalls them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loudhailer::clock::{Clock, Time};
use loudhailer::store::sqlite::Sqlite;
use tokio_util::task::TaskTracker;

use super::cluster::Cluster;
use super::link::{CUT, Link};
use super::store::Shared;
use crate::simulation::act::{Outside, act};
use crate::simulation::channels::lanes;
use crate::simulation::check::check;
use crate::simulation::known::Ending;
use crate::simulation::life::{Life, be_known, empty_store, settle_soon, started_small};
use crate::simulation::reports::reports;
use crate::simulation::run::{Report, contained, folder, reported};
use crate::simulation::world::{START, World, lock};

/// Calendars of nodes are apart by so much at most.
const APART: Duration = Duration::from_secs(10);
const MOST: usize = 3;

#[derive(Clone)]
struct Running {
    link: Arc<Link>,
    life: Life,
}

struct Nodes {
    world: Arc<World>,
    cluster: Arc<Cluster>,
    seed: u64,
    running: Mutex<Vec<Running>>,
    started: Mutex<usize>,
    happened: Mutex<BTreeMap<&'static str, u64>>,
    /// Nodes that are on their way out.
    leaving: TaskTracker,
    /// When which node came to its end, and how.
    ended: Arc<Mutex<Vec<(Duration, Ending, usize)>>>,
    apart: Duration,
}

impl Nodes {
    fn happens(&self, what: &'static str) {
        *lock(&self.happened).entry(what).or_default() += 1;
    }

    /// A process that can't start, as while nothing can be written, is started again.
    async fn start(&self) {
        while let Err(error) = self.begin().await {
            self.world.say(|| format!("{:?} a node can't start: {error:#}", self.cluster.now()));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn begin(&self) -> anyhow::Result<()> {
        let number = {
            let mut started = lock(&self.started);
            *started += 1;
            *started
        };
        let link = Arc::new(Link::new(number, self.world.clone()));
        let base = self.cluster.now();
        let skew = self.world.span(self.apart).as_millis() as i64;
        let clock = Arc::new(Clock::from(Time(START + base.as_millis() as i64 + skew)));
        let store = Arc::new(Shared::join(&self.cluster, &link, &clock).await?);
        let lanes = lanes(&self.world, &clock, base, Some(link.clone()));
        let seed = self.seed ^ (number as u64) << 32;
        let started = started_small(&self.world.variety, &clock, store.clone(), lanes, seed).await;
        let app = started.inspect_err(|_| link.dies())?;
        self.world.say(|| format!("{:?} node {number} has started, its calendar {skew} ms ahead", self.cluster.now()));
        let life = Life { app, store, disk: self.cluster.disk.clone(), clock, base };
        lock(&self.running).push(Running { link, life });
        Ok(())
    }

    fn one(&self) -> Option<Running> {
        let running = lock(&self.running);
        running.get(self.world.pick(running.len())).cloned()
    }

    /// Takes one out of those that live; there may be none.
    fn take(&self) -> Option<Running> {
        let mut running = lock(&self.running);
        let at = self.world.pick(running.len());
        (at < running.len()).then(|| running.remove(at))
    }

    /// What befalls nodes, one thing after the other.
    async fn trouble(&self) {
        loop {
            tokio::time::sleep(self.world.span(Duration::from_secs(45))).await;
            let living = lock(&self.running).len();
            match self.world.pick(100) {
                0..30 => {
                    if let Some(node) = self.take() {
                        self.world.say(|| format!("{:?} node {} dies", self.cluster.now(), node.link.node));
                        self.happens("nodes killed");
                        lock(&self.ended).push((self.cluster.now(), Ending::Died, node.link.node));
                        node.link.dies();
                    }
                }
                30..55 => {
                    if let Some(node) = self.one() {
                        let span = self.world.span(CUT);
                        self.world.say(|| {
                            format!("{:?} node {} is cut off for {span:?}", self.cluster.now(), node.link.node)
                        });
                        self.happens("nodes cut off");
                        node.link.cut(span);
                    }
                }
                55..70 if living > 1 => {
                    if let Some(node) = self.take() {
                        self.world.say(|| format!("{:?} node {} leaves", self.cluster.now(), node.link.node));
                        self.happens("nodes that left");
                        let (cluster, ended) = (self.cluster.clone(), self.ended.clone());
                        self.leaving.spawn(async move {
                            node.life.app.engine.shut_down(Duration::from_secs(20)).await;
                            node.life.app.store.close().await.expect("closes");
                            lock(&ended).push((cluster.now(), Ending::HandedOver, node.link.node));
                            node.link.dies();
                        });
                    }
                }
                _ if living < MOST => self.start().await,
                _ => {}
            }
            if lock(&self.running).is_empty() {
                tokio::time::sleep(self.world.span(Duration::from_secs(15))).await;
                self.start().await;
            }
        }
    }

    async fn script(&self, outside: &mut Outside) {
        for _ in 0..16 {
            match self.one() {
                Some(node) => tokio::select! {
                    biased;
                    () = node.link.died() => {
                        outside.known.unanswered();
                        self.cluster.disk.refuse(false);
                    }
                    () = act(&node.life, &self.world, outside) => {}
                },
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
            let pause = if self.world.percent(25) { Duration::ZERO } else { self.world.span(Duration::from_secs(30)) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Platforms report to whoever lives.
    async fn reports(&self) {
        loop {
            match self.one() {
                Some(node) => tokio::select! {
                    biased;
                    () = node.link.died() => {}
                    () = reports(&node.life, &self.world) => {}
                    () = tokio::time::sleep(Duration::from_secs(20)) => {}
                },
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// One that lives, once nothing is in its way.
    async fn last(&self) -> Running {
        if lock(&self.running).is_empty() {
            self.start().await;
        }
        lock(&self.running).iter().for_each(|node| node.link.mend());
        self.one().expect("one lives")
    }
}

pub fn run(seed: u64, traced: bool) -> Report {
    contained(seed, traced, |world| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        let folder = folder();
        let path = folder.path().join("0.db");
        std::fs::write(&path, empty_store()).expect("writes");
        runtime.block_on(lived(seed, world, &path))
    })
}

async fn lived(seed: u64, world: &Arc<World>, path: &Path) -> Report {
    let mut outside = Outside::of(world);
    let disk = Arc::new(Sqlite::inline(path).expect("opens").noting_outcomes(true));
    let cluster = Arc::new(Cluster::new(disk, world.clone()));
    // Quiet hours are looked at to the second.
    let apart = if world.variety.quiet || world.percent(40) { Duration::ZERO } else { APART };
    let nodes = Nodes {
        world: world.clone(),
        cluster: cluster.clone(),
        seed,
        running: Mutex::default(),
        started: Mutex::default(),
        happened: Mutex::default(),
        leaving: TaskTracker::new(),
        ended: Arc::default(),
        apart,
    };
    outside.known.apart = Some(apart);
    let first = world.pick(2) + 2;
    nodes.start().await;
    let life = nodes.one().expect("one lives").life;
    be_known(&life, path, world.variety.crowded, Some(world), &mut outside).await;
    for _ in 1..first {
        nodes.start().await;
    }
    let people = outside.people.clone();
    tokio::select! {
        biased;
        () = nodes.trouble() => {}
        () = nodes.reports() => {}
        () = nodes.script(&mut outside) => {}
    }
    outside.known.unanswered();
    cluster.disk.refuse(false);
    let last = nodes.last().await;
    tokio::select! {
        biased;
        () = reports(&last.life, world) => {}
        () = settle_soon(&last.life, world, &mut outside) => {}
    }
    outside.known.unleased = cluster.buried();
    for (node, lost) in &outside.known.unleased {
        nodes.happens("leases that ended");
        lock(&nodes.ended).push((lost.from, Ending::Died, *node));
    }
    for (at, ending, node) in std::mem::take(&mut *lock(&nodes.ended)) {
        outside.known.ends(at, ending, node);
    }
    *lock(&nodes.happened).entry("shards taken over").or_default() += cluster.moved();
    outside.known.reports(&lock(&world.reported));
    let found = check(&last.life, world, &outside.known, &people).await;
    let mut report = reported(seed, world, &outside, found);
    report.of_nodes = std::mem::take(&mut *lock(&nodes.happened));
    report
}
