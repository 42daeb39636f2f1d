//! What outlives a death: chance, the time that has passed, and what the channels saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use loudhailer::channel::{Fault, Outcome};

use tokio::sync::Notify;

use super::reports::Reported;
use super::variety::Variety;

/// The first moment of every world.
pub const START: i64 = 1_633_361_940_000;

/// One attempt, as a channel saw it begin and end.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub at: Duration,
    /// `None`: the process died first.
    pub answered: Option<Duration>,
    pub channel: u16,
    /// Which node began it; 0 where there is but one.
    pub node: usize,
    pub id: String,
    pub to: String,
    /// The date that a mail says.
    pub dated: i64,
    pub body: String,
    pub answer: Answer,
    /// What a platform calls it.
    pub reference: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Deferred,
    Rejected(Fault),
    Unknown,
}

impl Attempt {
    pub fn was(&self, answer: Answer) -> bool {
        self.answered.is_some() && self.answer == answer
    }
}

pub struct World {
    pub variety: Variety,
    chance: Mutex<fastrand::Rng>,
    pub attempts: Mutex<Vec<Attempt>>,
    /// Simulated time that former lives have used.
    pub passed: Mutex<Duration>,
    /// Until when a channel fails at everything.
    pub storms: Mutex<[Duration; 4]>,
    calm: AtomicBool,
    /// What platforms have reported.
    pub reported: Mutex<Vec<Reported>>,
    /// When platforms will report which attempts, by their numbers.
    due: Mutex<BTreeMap<Duration, usize>>,
    pub more_due: Notify,
    /// Whether somebody watches that the engine turns, how often they have looked, and what they say hangs.
    pub watched: bool,
    pub looks: Mutex<usize>,
    pub hanging: Mutex<Vec<String>>,
    /// Where somebody wants to read it.
    trace: Option<Mutex<Vec<String>>>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl World {
    pub fn new(seed: u64, traced: bool) -> World {
        World {
            variety: Variety::of(seed),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            attempts: Mutex::default(),
            passed: Mutex::default(),
            storms: Mutex::default(),
            calm: AtomicBool::new(false),
            reported: Mutex::default(),
            due: Mutex::default(),
            more_due: Notify::new(),
            watched: false,
            looks: Mutex::default(),
            hanging: Mutex::default(),
            trace: traced.then(Mutex::default),
        }
    }

    pub fn chance(&self) -> MutexGuard<'_, fastrand::Rng> {
        lock(&self.chance)
    }

    /// True so many times in a hundred.
    pub fn percent(&self, percent: u32) -> bool {
        self.chance().u32(..100) < percent
    }

    pub fn pick(&self, of: usize) -> usize {
        self.chance().usize(..of.max(1))
    }

    pub fn span(&self, most: Duration) -> Duration {
        Duration::from_millis(self.chance().u64(..=most.as_millis() as u64))
    }

    pub fn say(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            lock(trace).push(line());
        }
    }

    pub fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| std::mem::take(&mut *lock(trace))).unwrap_or_default()
    }

    /// From here on every channel accepts everything.
    pub fn calms_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn begins(&self, attempt: Attempt) -> usize {
        let mut attempts = lock(&self.attempts);
        attempts.push(attempt);
        attempts.len() - 1
    }

    pub fn ends(&self, number: usize, at: Duration) {
        lock(&self.attempts)[number].answered = Some(at);
    }

    pub fn will_report(&self, at: Duration, number: usize) {
        lock(&self.due).insert(at, number);
        self.more_due.notify_one();
    }

    /// When which attempt will be reported next.
    pub fn next_report(&self) -> Option<(Duration, usize)> {
        lock(&self.due).first_key_value().map(|(at, number)| (*at, *number))
    }

    pub fn reported_at(&self, at: Duration) {
        lock(&self.due).remove(&at);
    }

    /// What a channel will answer, and after how long.
    pub fn fate(&self, channel: u16, now: Duration, reference: &str) -> (Outcome, Duration) {
        let mut chance = self.chance();
        let latency = match chance.u32(..100) {
            0..85 => chance.u64(1..400),
            85..97 => chance.u64(400..4_000),
            _ => chance.u64(4_000..20_000),
        };
        let storm = now < lock(&self.storms)[usize::from(channel) - 1];
        let outcome = match chance.u32(..100) {
            _ if self.calm.load(Ordering::Relaxed) => accepted(reference),
            0..50 if storm => deferred(None, false),
            50..60 if storm => Outcome::Rejected { fault: Fault::Channel, detail: "simulated".into() },
            _ if storm => Outcome::Unknown { detail: "simulated".into() },
            0..74 => accepted(reference),
            74..79 => deferred(None, false),
            79..82 => deferred(None, true),
            82..84 => deferred(Some(Duration::from_secs(7)), true),
            84..86 => Outcome::Rejected { fault: Fault::Address, detail: "simulated".into() },
            86..89 => Outcome::Rejected { fault: Fault::Message, detail: "simulated".into() },
            89..91 => Outcome::Rejected { fault: Fault::Channel, detail: "simulated".into() },
            _ => Outcome::Unknown { detail: "simulated".into() },
        };
        (outcome, Duration::from_millis(latency))
    }
}

fn accepted(reference: &str) -> Outcome {
    Outcome::Accepted { reference: Some(reference.into()) }
}

fn deferred(after: Option<Duration>, throttled: bool) -> Outcome {
    Outcome::Deferred { after, holds: loudhailer::channel::Holds::Channel, throttled, detail: "simulated".into() }
}

impl From<&Outcome> for Answer {
    fn from(outcome: &Outcome) -> Answer {
        match outcome {
            Outcome::Accepted { .. } => Answer::Accepted,
            Outcome::Deferred { .. } => Answer::Deferred,
            Outcome::Rejected { fault, .. } => Answer::Rejected(*fault),
            Outcome::Unknown { .. } => Answer::Unknown,
        }
    }
}
