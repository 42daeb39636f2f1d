//! The shared store of a world: one SQLite for the data and for whose each shard is, who is there by the store's clock, and what they
//! say to each other. A `Line` is a node's connection to it, as PostgreSQL's is in production.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::clock::Time;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{LEASE, Line, Payload, Registry, Result, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::link::Link;
use crate::simulation::known::Interval;
use crate::simulation::world::{START, World, lock};

/// As long as a node waits for the store on its own connection.
const PATIENCE: Duration = Duration::from_secs(3);

pub struct Cluster {
    pub disk: Arc<Sqlite>,
    world: Arc<World>,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Numbers of nodes and epochs, as from a sequence.
    last: i64,
    nodes: BTreeMap<i64, Member>,
    lines: Vec<(mpsc::UnboundedSender<(Instant, Payload)>, Instant)>,
    /// When the next send time of each limit is, in microseconds.
    pace: BTreeMap<String, i64>,
    /// When which node of the world had no lease any more, by another's word for it, until it had one again.
    buried: Vec<(usize, Interval)>,
    moved: u64,
}

struct Member {
    until: Duration,
    leaving: bool,
    node: usize,
}

impl Cluster {
    pub fn new(disk: Arc<Sqlite>, world: Arc<World>) -> Cluster {
        let state = State { last: 1000, ..State::default() };
        Cluster { disk, world, began: Instant::now(), state: Mutex::new(state) }
    }

    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The store's own clock, which is the calendar of none of its nodes.
    pub fn clock(&self) -> Time {
        Time(START + 3_000).plus(self.now())
    }

    /// Which nodes of the world have lost their leases, and until when.
    pub fn buried(&self) -> Vec<(usize, Interval)> {
        std::mem::take(&mut lock(&self.state).buried)
    }

    /// How many shards were taken from nobody.
    pub fn moved(&self) -> u64 {
        lock(&self.state).moved
    }

    /// Everyone but `from` whose lease lasts.
    pub fn others(&self, from: i64) -> Vec<i64> {
        let now = self.now();
        let state = lock(&self.state);
        state.nodes.iter().filter(|(id, member)| **id != from && member.until > now).map(|(id, _)| *id).collect()
    }

    /// Everyone hears it, each a moment later; what is said first is heard first.
    pub fn say(&self, payload: &Payload) {
        let mut state = lock(&self.state);
        state.lines.retain(|(line, _)| !line.is_closed());
        for (line, last) in &mut state.lines {
            let delay = if self.world.percent(70) { 20 } else { 1_500 };
            let at = Instant::now() + self.world.span(Duration::from_millis(delay));
            *last = at.max(*last);
            let _ = line.send((*last, payload.clone()));
        }
    }

    /// As PostgreSQL does: the first time after which each of these limits lets one go, and then its own distance on.
    pub fn grant(&self, limits: &[(String, Duration)], count: u32) -> Duration {
        let now = self.now().as_micros() as i64;
        let mut state = lock(&self.state);
        let each: BTreeMap<&String, i64> =
            limits.iter().map(|(name, apart)| (name, apart.as_micros() as i64)).collect();
        let next = |(name, apart): (&&String, &i64)| state.pace.get(*name).copied().unwrap_or(now + apart).max(now);
        let first = each.iter().map(next).max().unwrap_or(now);
        let last = first + each.values().max().copied().unwrap_or(0) * (i64::from(count) - 1).max(0);
        for (name, apart) in each {
            state.pace.insert(name.clone(), last + apart);
        }
        Duration::from_micros(u64::try_from(first - now).unwrap_or(0))
    }

    fn number(&self) -> i64 {
        let mut state = lock(&self.state);
        state.last += 1;
        state.last
    }
}

/// How a node reaches its store.
pub struct Reach {
    pub cluster: Arc<Cluster>,
    pub link: Arc<Link>,
}

#[async_trait]
impl Registry for Reach {
    async fn open(&self) -> Result<Box<dyn Line>> {
        over(&self.link).await?;
        let (sender, payloads) = mpsc::unbounded_channel();
        lock(&self.cluster.state).lines.push((sender, Instant::now()));
        over(&self.link).await?;
        Ok(Box::new(Wire { cluster: self.cluster.clone(), link: self.link.clone(), payloads, next: None }))
    }
}

async fn over(link: &Link) -> Result<()> {
    match link.passes_within(PATIENCE).await {
        true => Ok(()),
        false => Err(StoreError::Failed("the store does not answer".into())),
    }
}

struct Wire {
    cluster: Arc<Cluster>,
    link: Arc<Link>,
    payloads: mpsc::UnboundedReceiver<(Instant, Payload)>,
    /// On its way.
    next: Option<(Instant, Payload)>,
}

impl Wire {
    async fn asked<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        over(&self.link).await?;
        let answer = work.await;
        over(&self.link).await?;
        answer
    }
}

#[async_trait]
impl Line for Wire {
    async fn extend(&self, node: i64, leaving: bool) -> Result<bool> {
        self.asked(async {
            let until = self.cluster.now() + LEASE;
            let mut state = lock(&self.cluster.state);
            let Some(member) = state.nodes.get_mut(&node) else { return Ok(false) };
            (member.until, member.leaving) = (until, leaving);
            Ok(true)
        })
        .await
    }

    async fn register(&self) -> Result<i64> {
        self.asked(async {
            let id = self.cluster.number();
            let member = Member { until: self.cluster.now() + LEASE, leaving: false, node: self.link.node };
            let now = self.cluster.now();
            let mut state = lock(&self.cluster.state);
            state.nodes.insert(id, member);
            let lost = |(node, lost): &&mut (usize, Interval)| *node == self.link.node && lost.to.is_none();
            state.buried.iter_mut().filter(lost).for_each(|(_, lost)| lost.to = Some(now));
            Ok(id)
        })
        .await
    }

    async fn bury(&self) -> Result<Vec<i64>> {
        self.asked(async {
            let now = self.cluster.now();
            let mut state = lock(&self.cluster.state);
            let over = state.nodes.iter().filter(|(_, member)| member.until < now);
            let over: Vec<(i64, usize)> = over.map(|(id, member)| (*id, member.node)).collect();
            for (id, node) in &over {
                state.nodes.remove(id);
                state.buried.push((*node, Interval::since(now)));
            }
            Ok(over.into_iter().map(|(id, _)| id).collect())
        })
        .await
    }

    async fn owned(&self, node: i64) -> Result<BTreeMap<u8, i64>> {
        self.asked(async {
            let shards = self.cluster.disk.shards().await?;
            Ok(shards.into_iter().filter(|(_, owner, _)| *owner == node).map(|(id, _, epoch)| (id, epoch)).collect())
        })
        .await
    }

    async fn nodes(&self) -> Result<usize> {
        self.asked(async {
            let now = self.cluster.now();
            let state = lock(&self.cluster.state);
            Ok(state.nodes.values().filter(|member| member.until > now && !member.leaving).count())
        })
        .await
    }

    async fn acquire(&self, node: i64, most: usize) -> Result<Vec<(u8, i64)>> {
        self.asked(async {
            let shards = self.cluster.disk.shards().await?;
            let free: Vec<(u8, i64)> = {
                let state = lock(&self.cluster.state);
                let free = shards.iter().filter(|(_, owner, _)| !state.nodes.contains_key(owner));
                free.map(|(id, owner, _)| (*id, *owner)).take(most).collect()
            };
            if free.is_empty() {
                return Ok(Vec::new());
            }
            let epoch = self.cluster.number();
            let taken = self.cluster.disk.reassign(free, node, Some(epoch)).await?;
            lock(&self.cluster.state).moved += taken.len() as u64;
            Ok(taken.into_iter().map(|shard| (shard, epoch)).collect())
        })
        .await
    }

    async fn release(&self, node: i64, shards: &[u8]) -> Result<()> {
        let shards = shards.iter().map(|shard| (*shard, node)).collect();
        self.asked(async { self.cluster.disk.reassign(shards, 0, None).await.map(drop) }).await
    }

    async fn leave(&self, node: i64) -> Result<()> {
        self.asked(async {
            lock(&self.cluster.state).nodes.remove(&node);
            Ok(())
        })
        .await
    }

    async fn say(&self, payload: &Payload) -> Result<()> {
        self.asked(async {
            self.cluster.say(payload);
            Ok(())
        })
        .await
    }

    async fn next(&mut self) -> Option<Payload> {
        if self.next.is_none() {
            self.next = Some(self.payloads.recv().await?);
        }
        let at = self.next.as_ref().map_or_else(Instant::now, |(at, _)| *at);
        sleep_until(at).await;
        self.link.arrives().await;
        self.next.take().map(|(_, payload)| payload)
    }
}
