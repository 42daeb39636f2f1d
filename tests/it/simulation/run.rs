//! A seed from beginning to end, and many of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::act::Outside;
use super::check::{Broken, Found, check};
use super::life::{Fate, Life, empty_store, live};
use super::people::Person;
use super::variety::COUNTED;
use super::world::{World, lock};

/// What happened in one world or in many, and what was found of it.
#[derive(Debug, Default)]
pub struct Report {
    pub seeds: u64,
    pub deliveries: u64,
    pub crashes: u64,
    pub handovers: u64,
    pub supersessions: u64,
    pub unknowns: u64,
    pub receipts: u64,
    /// How often each promise was checked.
    pub promises: [u64; 9],
    /// What only happens to nodes, by its name.
    pub of_nodes: BTreeMap<&'static str, u64>,
    /// As `COUNTED` names it.
    pub varied: [u64; COUNTED.len()],
    /// At most one of each promise for each seed.
    pub broken: Vec<(u64, Broken)>,
    pub trace: Vec<String>,
}

/// One world of a seed.
pub type Run = fn(seed: u64, traced: bool) -> Report;

pub fn run(seed: u64, traced: bool) -> Report {
    contained(seed, traced, |world| {
        let end =
            async |life: &Life, outside: &Outside, first: &[Person]| check(life, world, &outside.known, first).await;
        let (outside, found) = lives(seed, world, end);
        reported(seed, world, &outside, found)
    })
}

/// A world in which something panics has broken a promise, too.
pub fn contained(seed: u64, traced: bool, of: impl FnOnce(&Arc<World>) -> Report) -> Report {
    let world = Arc::new(World::new(seed, traced));
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| of(&world)));
    let mut report = lived.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default();
        let broken = Broken { promise: 0, how: format!("panicked: {said}") };
        Report { broken: vec![(seed, broken)], ..Report::default() }
    });
    report.seeds = 1;
    report.trace = world.trace();
    report
}

/// A folder in memory, where there is one.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// All lives of a seed; `end` looks at the last one before it is over, with the people as they were at first.
pub fn lives<T>(seed: u64, world: &Arc<World>, end: impl AsyncFn(&Life, &Outside, &[Person]) -> T) -> (Outside, T) {
    let folder = folder();
    let mut path = folder.path().join("0.db");
    std::fs::write(&path, empty_store()).expect("writes");
    let mut outside = Outside::of(world);
    let first = outside.people.clone();
    let lives = world.chance().usize(1..4);
    let mut found = None;
    for n in 1..=lives {
        let fate = if n == lives { Fate::Last } else { Fate::draw(world) };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        let next = folder.path().join(format!("{n}.db"));
        runtime.block_on(async {
            let life = live(world, &path, &next, fate, &mut outside, seed).await;
            if n == lives {
                outside.known.reports(&lock(&world.reported));
                let ids = outside.people.iter().map(|person| person.id);
                let first: Vec<_> = first.iter().zip(ids).map(|(person, id)| person.known_as(id)).collect();
                found = Some(end(&life, &outside, &first).await);
            }
        });
        drop(runtime);
        path = next;
    }
    (outside, found.expect("the last life has come"))
}

pub fn reported(seed: u64, world: &World, outside: &Outside, found: Found) -> Report {
    let endings = &outside.known.endings;
    let died = endings.iter().filter(|(_, ending)| *ending == super::known::Ending::Died).count() as u64;
    Report {
        seeds: 1,
        deliveries: lock(&world.attempts).len() as u64,
        crashes: died,
        handovers: endings.len() as u64 - died,
        supersessions: found.supersessions,
        unknowns: found.unknowns,
        receipts: outside.known.reported.len() as u64,
        promises: found.applied,
        of_nodes: BTreeMap::new(),
        varied: found.varied,
        broken: found.broken.into_iter().map(|broken| (seed, broken)).collect(),
        trace: Vec::new(),
    }
}

/// Runs seeds on every core, each in a world of its own, until one is not as `good` wants it.
pub fn seeds(run: Run, seeds: impl Iterator<Item = u64> + Send, good: impl Fn(&Report) -> bool + Sync) -> Report {
    let next = Mutex::new(seeds.enumerate());
    let stop = AtomicBool::new(false);
    let all = Mutex::new((Report::default(), BTreeMap::new()));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let Some((number, seed)) = lock(&next).next() else { return };
            let report = run(seed, false);
            if !good(&report) {
                stop.store(true, Ordering::Relaxed);
            }
            let (sum, broken) = &mut *lock(&all);
            broken.insert(number, report.broken.clone());
            sum.add(&report);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
        work();
    });
    let (mut sum, broken) = all.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    sum.broken = broken.into_values().flatten().collect();
    sum
}

impl Report {
    pub fn add(&mut self, other: &Report) {
        self.seeds += other.seeds;
        self.broken.extend(other.broken.iter().cloned());
        self.deliveries += other.deliveries;
        self.crashes += other.crashes;
        self.handovers += other.handovers;
        self.supersessions += other.supersessions;
        self.unknowns += other.unknowns;
        self.receipts += other.receipts;
        other.of_nodes.iter().for_each(|(name, times)| *self.of_nodes.entry(name).or_default() += times);
        self.varied.iter_mut().zip(other.varied).for_each(|(sum, more)| *sum += more);
        self.promises.iter_mut().zip(other.promises).for_each(|(sum, more)| *sum += more);
    }

    pub fn failed(&self) -> Option<&(u64, Broken)> {
        self.broken.first()
    }

    fn counts(&self) -> Vec<(String, u64)> {
        let counted = [
            ("seeds", self.seeds),
            ("deliveries", self.deliveries),
            ("crashes", self.crashes),
            ("handovers", self.handovers),
            ("supersessions", self.supersessions),
            ("unknowns", self.unknowns),
            ("receipts", self.receipts),
        ];
        let promises =
            self.promises.iter().enumerate().map(|(n, times)| (format!("promise {} checked", n + 1), *times));
        let of_nodes = self.of_nodes.iter().map(|(name, times)| (name.to_string(), *times));
        let varied = COUNTED.iter().zip(self.varied).map(|(name, times)| (name.to_string(), times));
        counted
            .map(|(name, times)| (name.to_string(), times))
            .into_iter()
            .chain(of_nodes)
            .chain(varied)
            .chain(promises)
            .collect()
    }

    /// What never happened, so that nothing was proved by it.
    pub fn idle(&self) -> Vec<String> {
        self.counts().into_iter().filter(|(_, times)| *times == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.counts().iter().map(|(name, times)| format!("{name} {times}")).collect();
        write!(f, "{}", counts.join(", "))?;
        self.broken
            .iter()
            .try_for_each(|(seed, broken)| write!(f, "\nseed {seed} breaks promise {}: {}", broken.promise, broken.how))
    }
}
