//! After a world has ended: every promise, against what the channels saw, what was answered and what the store says.

mod around;
mod confirmed;
mod corrected;
mod evidence;
mod leaks;
mod limits;
mod lost;
mod once;
mod order;
mod unknown;
mod urgent;
mod wanted;

use loudhailer::store::BroadcastState;

use self::evidence::Evidence;
use super::known::Known;
use super::life::Life;
use super::people::Person;
use super::variety::COUNTED;
use super::world::{Answer, World};

/// A promise that did not hold. 0: the program panicked.
#[derive(Debug, Clone)]
pub struct Broken {
    pub promise: usize,
    pub how: String,
}

#[derive(Default)]
pub struct Found {
    /// How often each promise was really put to the test.
    pub applied: [u64; 9],
    /// What is varied, as `COUNTED` names it.
    pub varied: [u64; COUNTED.len()],
    /// The first of each promise.
    pub broken: Vec<Broken>,
    pub supersessions: u64,
    pub unknowns: u64,
}

impl Found {
    fn holds(&mut self, promise: usize, holds: bool, how: impl FnOnce() -> String) {
        self.applied[promise - 1] += 1;
        if !holds && self.broken.iter().all(|broken| broken.promise != promise) {
            self.broken.push(Broken { promise, how: how() });
        }
    }
}

pub async fn check(life: &Life, world: &World, known: &Known, people: &[Person]) -> Found {
    let evidence = Evidence::read(life, world, known, people).await;
    let mut found = Found::default();
    lost::check(&evidence, &mut found);
    once::check(&evidence, &mut found);
    urgent::check(&evidence, &mut found);
    limits::check(&evidence, &mut found);
    order::check(&evidence, &mut found);
    corrected::check(&evidence, &mut found);
    confirmed::check(&evidence, &mut found);
    around::check(&evidence, &mut found);
    wanted::check(&evidence, &mut found);
    leaks::check(&evidence, &mut found);
    unknown::check(&evidence, &mut found);
    let superseded = |b: &&loudhailer::store::Broadcast| b.state == BroadcastState::Superseded;
    found.supersessions = evidence.broadcasts.values().filter(superseded).count() as u64;
    found.unknowns = evidence.attempts.iter().filter(|seen| seen.was(Answer::Unknown)).count() as u64;
    found
}
