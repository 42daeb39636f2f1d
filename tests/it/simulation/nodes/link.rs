//! What a node needs from outside, and how it is cut off from it or dies: every call of its store and every answer of a channel
//! passes here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::simulation::world::{World, lock};

/// For how long a node is cut off from the store, at most: longer than its lease.
pub const CUT: Duration = Duration::from_secs(12);

pub struct Link {
    /// From 1 on, in the order in which the nodes of a world were started.
    pub node: usize,
    world: Arc<World>,
    dead: AtomicBool,
    dies: Notify,
    calm: AtomicBool,
    cut: Mutex<Option<Instant>>,
}

impl Link {
    pub fn new(node: usize, world: Arc<World>) -> Link {
        Link {
            node,
            world,
            dead: AtomicBool::new(false),
            dies: Notify::new(),
            calm: AtomicBool::new(false),
            cut: Mutex::default(),
        }
    }

    pub fn dies(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.dies.notify_waiters();
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Waits for its death.
    pub async fn died(&self) {
        let dies = self.dies.notified();
        if !self.is_dead() {
            dies.await;
        }
    }

    /// Whoever is dead does nothing any more.
    pub async fn lives(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// From now on nothing comes through, for so long.
    pub fn cut(&self, span: Duration) {
        *lock(&self.cut) = Some(Instant::now() + span);
    }

    /// The same where it hurts, now and then.
    pub fn at_a_bad_moment(&self) {
        if !self.calm.load(Ordering::Relaxed) && self.world.percent(4) {
            self.cut(self.world.span(CUT));
        }
    }

    /// From here on nothing is cut.
    pub fn mend(&self) {
        self.calm.store(true, Ordering::Relaxed);
        *lock(&self.cut) = None;
    }

    fn cut_until(&self) -> Option<Instant> {
        lock(&self.cut).filter(|until| *until > Instant::now())
    }

    /// What is on its way comes through once nothing is cut.
    pub async fn arrives(&self) {
        while let Some(until) = self.cut_until() {
            sleep_until(until).await;
        }
        self.lives().await;
    }

    /// Something goes to the store, or comes back from there: mostly at once, at times late.
    pub async fn passes(&self) {
        self.arrives().await;
        let delay = {
            let mut chance = self.world.chance();
            match chance.u32(..100) {
                0..70 => 0,
                70..95 => chance.u64(1..6),
                95..99 => chance.u64(6..300),
                _ => chance.u64(300..2_000),
            }
        };
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        self.lives().await;
    }

    /// The same within some time; false where nothing comes through for longer.
    pub async fn passes_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.passes()).await.is_ok()
    }
}
