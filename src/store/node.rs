//! A node of a store that several share: registered with a lease that it extends, and the shards that it owns. Promised: what one
//! node owns no other has, until its lease has ended by the store's clock, or it has given it away with nothing of it on the wire.
//!
//! Shards are divided evenly: who has more than their share gives the rest away, who has less takes what nobody owns. A node whose
//! lease has ended is deleted by another; the row that is gone is what tells it so, however late it comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::announced::{Announced, Payload};
use super::registry::{Line, Registry};
use super::settled::lock;
use super::{Heard, Leases, Notice, Notices, Result, SHARDS};
use crate::clock::{Clock, Instant};
use crate::fault::{self, Fault};

/// How long a node owns what it owns without saying that it is there.
pub const LEASE: Duration = Duration::from_secs(5);
/// So much earlier it stops by itself.
const MARGIN: Duration = Duration::from_millis(500);
const BEAT: Duration = Duration::from_secs(1);
/// While shards are being given away.
const SOON: Duration = Duration::from_millis(50);
/// Whoever was not heard for longer does not judge others: where the store was away, nobody was heard.
const LATELY: Duration = Duration::from_millis(2500);
/// Who has not done what others have written for so long may not own anything.
const HEARS: Duration = Duration::from_secs(2);
/// Notices that have come and are not done.
const ROOM: usize = 1024;

pub struct Node {
    pub leases: Arc<Leases>,
    pub announced: Arc<Announced>,
    id: Arc<AtomicI64>,
    clock: Arc<Clock>,
    notices: Mutex<Option<Notices>>,
    /// Somebody takes the notices.
    listening: Arc<AtomicBool>,
    leaving: CancellationToken,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    pub async fn join(registry: Box<dyn Registry>, clock: Arc<Clock>) -> Result<Node> {
        let (sender, notices) = mpsc::channel(ROOM);
        let mut keeper = Keeper {
            registry,
            clock,
            leases: Arc::new(Leases::none()),
            announced: Arc::default(),
            id: Arc::new(AtomicI64::new(0)),
            listener: sender,
            listening: Arc::default(),
            unheard: Arc::default(),
            last_heard: 0,
            giving: BTreeMap::new(),
            last_beat: None,
            leaving: CancellationToken::new(),
        };
        let line = keeper.registry.open().await?;
        keeper.beat(&*line).await?;
        Ok(Node {
            leases: keeper.leases.clone(),
            announced: keeper.announced.clone(),
            id: keeper.id.clone(),
            clock: keeper.clock.clone(),
            notices: Mutex::new(Some(notices)),
            listening: keeper.listening.clone(),
            leaving: keeper.leaving.clone(),
            keeper: Mutex::new(Some(tokio::spawn(keeper.run(line)))),
        })
    }

    pub fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    /// The same, as it changes where the node joins anew.
    pub fn number(&self) -> Arc<AtomicI64> {
        self.id.clone()
    }

    /// Whether what it owns is its own now.
    pub fn lasts(&self) -> bool {
        self.leases.last(self.clock.monotonic())
    }

    pub fn notices(&self) -> Option<Notices> {
        self.listening.store(true, Ordering::Release);
        lock(&self.notices).take()
    }

    /// Gives everything away at once; whoever calls this sends nothing any more.
    pub async fn leave(&self) {
        self.leaving.cancel();
        let keeper = lock(&self.keeper).take();
        if let Some(keeper) = keeper {
            let _ = tokio::time::timeout(LEASE, keeper).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.abort();
        }
    }
}

struct Keeper {
    registry: Box<dyn Registry>,
    clock: Arc<Clock>,
    leases: Arc<Leases>,
    announced: Arc<Announced>,
    id: Arc<AtomicI64>,
    listener: mpsc::Sender<Heard>,
    listening: Arc<AtomicBool>,
    /// When each of the notices came that are not done, by the order in which they did.
    unheard: Arc<Mutex<BTreeMap<u64, Instant>>>,
    last_heard: u64,
    /// Shards that are ours no more, until the last of their attempts is on disk.
    giving: BTreeMap<u8, i64>,
    last_beat: Option<Instant>,
    leaving: CancellationToken,
}

impl Keeper {
    async fn run(mut self, mut line: Box<dyn Line>) {
        let leaving = self.leaving.clone();
        loop {
            tokio::select! {
                biased;
                () = leaving.cancelled() => return self.leave(&*line).await,
                () = self.keep(&mut *line) => {}
            }
            tracing::warn!("the node's connection to the store is gone; connecting again");
            line = tokio::select! {
                biased;
                () = leaving.cancelled() => return,
                line = self.connect() => line,
            };
        }
    }

    /// Until the connection ends.
    async fn keep(&mut self, line: &mut dyn Line) {
        let (done, mut obeyed) = mpsc::unbounded_channel();
        let mut next = self.clock.monotonic();
        loop {
            let wait = next.saturating_sub(self.clock.monotonic());
            tokio::select! {
                biased;
                Some((from, sequence)) = obeyed.recv() => {
                    if self.obeys(line, from, sequence).await.is_err() {
                        return;
                    }
                }
                // Before whatever comes, however much that is.
                () = tokio::time::sleep(wait) => {
                    if let Err(error) = self.beat(line).await {
                        tracing::warn!(%error, "the node's lease could not be extended");
                        return;
                    }
                    let waits = !self.giving.is_empty() || self.leases.leaving();
                    next = self.clock.monotonic() + if waits { SOON } else { BEAT };
                }
                payload = line.next() => {
                    match payload {
                        None => return,
                        Some(Payload::Says { from, sequence, notices }) if from != self.id() => {
                            if notices.contains(&Notice::Shards) {
                                next = Instant::ZERO;
                            }
                            if !self.hear(notices, (from, sequence), &done) {
                                return;
                            }
                        }
                        Some(Payload::Obeys { from, sequence, by }) if from == self.id() => {
                            self.announced.heard(sequence, by);
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    /// A connection by which everything is heard from now on, and nothing that was missed is left.
    async fn connect(&mut self) -> Box<dyn Line> {
        loop {
            match self.registry.open().await {
                Ok(line) => {
                    let (heard, done) = Heard::new(Notice::Missed);
                    if !self.listens() || self.listener.send(heard).await.is_err() || done.await.is_ok() {
                        lock(&self.unheard).clear();
                        return line;
                    }
                }
                Err(error) => tracing::debug!(%error, "the store is away"),
            }
            tokio::time::sleep(BEAT / 4).await;
        }
    }

    /// Hands on what another node has written; false where there is no room for it.
    fn hear(&mut self, notices: Vec<Notice>, of: (i64, i64), done: &mpsc::UnboundedSender<(i64, i64)>) -> bool {
        let mut all = Vec::new();
        let listens = self.listens();
        for notice in notices.into_iter().filter(|notice| listens && *notice != Notice::Shards) {
            let (heard, obeyed) = Heard::new(notice);
            match self.listener.try_send(heard) {
                Ok(()) => all.push(obeyed),
                Err(TrySendError::Full(_)) => return false,
                Err(TrySendError::Closed(_)) => {}
            }
        }
        self.last_heard += 1;
        let number = self.last_heard;
        lock(&self.unheard).insert(number, self.clock.monotonic());
        let (unheard, done) = (self.unheard.clone(), done.clone());
        tokio::spawn(async move {
            for obeyed in all {
                let _: std::result::Result<(), oneshot::error::RecvError> = obeyed.await;
            }
            lock(&unheard).remove(&number);
            let _ = done.send(of);
        });
        true
    }

    /// Where nobody does, nothing is sent from here, and there is nothing to catch up with.
    fn listens(&self) -> bool {
        self.listening.load(Ordering::Acquire) && !self.listener.is_closed()
    }

    async fn obeys(&self, line: &dyn Line, from: i64, sequence: i64) -> Result<()> {
        line.say(&Payload::Obeys { from, sequence, by: self.id() }).await
    }

    fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    /// Says that the node is there, and sees to it that it has its share.
    async fn beat(&mut self, line: &dyn Line) -> Result<()> {
        let began = self.clock.monotonic();
        if lock(&self.unheard).values().next().is_some_and(|oldest| began.saturating_sub(*oldest) > HEARS) {
            tracing::error!("what other nodes have written is not done in time; the lease is not extended");
            return Ok(());
        }
        if self.id() == 0 || !line.extend(self.id(), self.leases.leaving()).await? {
            self.register(line).await?;
        }
        self.leases.extend(began + LEASE - MARGIN, began);
        if self.last_beat.replace(began).is_some_and(|last| began.saturating_sub(last) < LATELY) {
            for node in line.bury().await? {
                tracing::warn!(node, "the lease of another node has ended");
            }
        }
        self.share(line).await
    }

    async fn register(&mut self, line: &dyn Line) -> Result<()> {
        if self.id() != 0 {
            tracing::error!("the node's lease had ended, and its shards are others'; it joins anew");
            (0..SHARDS).for_each(|shard| self.leases.give(shard));
            self.giving.clear();
        }
        self.id.store(line.register().await?, Ordering::Release);
        Ok(())
    }

    async fn share(&mut self, line: &dyn Line) -> Result<()> {
        let owned = line.owned(self.id()).await?;
        let nodes = line.nodes().await?.max(1);
        let share = if self.leases.leaving() { 0 } else { usize::from(SHARDS).div_ceil(nodes) };
        self.giving.retain(|shard, epoch| owned.get(shard) == Some(epoch));
        for shard in 0..SHARDS {
            match owned.get(&shard).filter(|_| !self.giving.contains_key(&shard)) {
                Some(epoch) => self.leases.take(shard, *epoch),
                None => self.leases.give(shard),
            }
        }
        let kept = owned.len() - self.giving.len();
        for (shard, epoch) in owned.iter().rev().filter(|_| kept > share).take(kept.saturating_sub(share)) {
            self.leases.give(*shard);
            self.giving.insert(*shard, *epoch);
        }
        self.give(line).await?;
        if kept < share {
            for (shard, epoch) in line.acquire(self.id(), share - kept).await? {
                self.leases.take(shard, epoch);
            }
        }
        Ok(())
    }

    /// Shards of which nothing is under way any more.
    async fn give(&mut self, line: &dyn Line) -> Result<()> {
        let over = |shard: &&u8| self.leases.under_way(**shard) == 0 || fault::on(Fault::GivenWithAttempts);
        let over: Vec<u8> = self.giving.keys().filter(over).copied().collect();
        if over.is_empty() {
            return Ok(());
        }
        line.release(self.id(), &over).await?;
        self.giving.retain(|shard, _| !over.contains(shard));
        self.offer(line).await
    }

    async fn offer(&self, line: &dyn Line) -> Result<()> {
        line.say(&Payload::Says { from: self.id(), sequence: 0, notices: vec![Notice::Shards] }).await
    }

    async fn leave(&mut self, line: &dyn Line) {
        (0..SHARDS).for_each(|shard| self.leases.give(shard));
        let left = async {
            line.leave(self.id()).await?;
            self.offer(line).await
        };
        if let Err(error) = left.await {
            tracing::debug!(%error, "the node could not say that it leaves; its lease ends by itself");
        }
    }
}
