//! A node: registered with a lease that it extends, and the shards that it owns. Promised: what one node owns no other has, until its
//! lease has ended by the server's clock, or it has given it away with nothing of it on the wire.
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
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::announced::{Announced, Payload};
use super::connection::NOW;
use super::line::{Line, NAME};
use crate::clock::{Clock, Instant};
use crate::store::settled::lock;
use crate::store::{Heard, Leases, Notice, Notices, Result, SHARDS, StoreError};

/// How long a node owns what it owns without saying that it is there.
pub const LEASE: Duration = Duration::from_secs(5);
/// So much earlier it stops by itself.
const MARGIN: Duration = Duration::from_millis(500);
const BEAT: Duration = Duration::from_secs(1);
/// While shards are being given away.
const SOON: Duration = Duration::from_millis(50);
/// Whoever was not heard for longer does not judge others: where the server was away, nobody was heard.
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
    pub async fn join(config: Config, tls: MakeRustlsConnect, clock: Arc<Clock>) -> Result<Node> {
        let (sender, notices) = mpsc::channel(ROOM);
        let mut keeper = Keeper {
            config,
            tls,
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
        let line = Line::open(&keeper.config, &keeper.tls).await?;
        keeper.beat(&line).await?;
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
    config: Config,
    tls: MakeRustlsConnect,
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
    async fn run(mut self, mut line: Line) {
        let leaving = self.leaving.clone();
        loop {
            tokio::select! {
                biased;
                () = leaving.cancelled() => return self.leave(&line).await,
                () = self.keep(&mut line) => {}
            }
            tracing::warn!("the node's connection to PostgreSQL is gone; connecting again");
            line = tokio::select! {
                biased;
                () = leaving.cancelled() => return,
                line = self.connect() => line,
            };
        }
    }

    /// Until the connection ends.
    async fn keep(&mut self, line: &mut Line) {
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
                    let Some(payload) = payload else { return };
                    match serde_json::from_str(&payload) {
                        Ok(Payload::Says { from, sequence, notices }) if from != self.id() => {
                            if notices.contains(&Notice::Shards) {
                                next = Instant::ZERO;
                            }
                            if !self.hear(notices, (from, sequence), &done) {
                                return;
                            }
                        }
                        Ok(Payload::Obeys { from, sequence, by }) if from == self.id() => {
                            self.announced.heard(sequence, by);
                        }
                        Ok(_) => {}
                        Err(error) => tracing::debug!(%error, "a notice does not read; a newer node may have written it"),
                    }
                }
            }
        }
    }

    /// A connection by which everything is heard from now on, and nothing that was missed is left.
    async fn connect(&mut self) -> Line {
        loop {
            match Line::open(&self.config, &self.tls).await {
                Ok(line) => {
                    let (heard, done) = Heard::new(Notice::Missed);
                    if !self.listens() || self.listener.send(heard).await.is_err() || done.await.is_ok() {
                        lock(&self.unheard).clear();
                        return line;
                    }
                }
                Err(error) => tracing::debug!(%error, "PostgreSQL is away"),
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

    async fn obeys(&self, line: &Line, from: i64, sequence: i64) -> Result<()> {
        let payload = payload(&Payload::Obeys { from, sequence, by: self.id() });
        // Nothing that would have to outlive a fall of the server.
        line.batch(&format!("BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {NAME}, '{payload}'; COMMIT")).await
    }

    fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    /// Says that the node is there, and sees to it that it has its share.
    async fn beat(&mut self, line: &Line) -> Result<()> {
        let began = self.clock.monotonic();
        if lock(&self.unheard).values().next().is_some_and(|oldest| began.saturating_sub(*oldest) > HEARS) {
            tracing::error!("what other nodes have written is not done in time; the lease is not extended");
            return Ok(());
        }
        let lease = LEASE.as_millis() as i64;
        let extend = format!("UPDATE node SET until = {NOW} + $2, leaving = $3 WHERE id = $1");
        if self.id() == 0 || line.execute(&extend, &[&self.id(), &lease, &self.leases.leaving()]).await? == 0 {
            self.register(line, lease).await?;
        }
        self.leases.extend(began + LEASE - MARGIN, began);
        if self.last_beat.replace(began).is_some_and(|last| began.saturating_sub(last) < LATELY) {
            for gone in line.query(&format!("DELETE FROM node WHERE until < {NOW} RETURNING id"), &[]).await? {
                tracing::warn!(node = gone.get::<_, i64>(0), "the lease of another node has ended");
            }
        }
        self.share(line).await
    }

    async fn register(&mut self, line: &Line, lease: i64) -> Result<()> {
        if self.id() != 0 {
            tracing::error!("the node's lease had ended, and its shards are others'; it joins anew");
            (0..SHARDS).for_each(|shard| self.leases.give(shard));
            self.giving.clear();
        }
        let sql = format!("INSERT INTO node (id, until) VALUES (nextval('epoch'), {NOW} + $1) RETURNING id");
        let rows = line.query(&sql, &[&lease]).await?;
        let id = rows.first().map(|row| row.get::<_, i64>(0));
        self.id.store(id.ok_or_else(|| StoreError::Failed("a node was not registered".into()))?, Ordering::Release);
        Ok(())
    }

    async fn share(&mut self, line: &Line) -> Result<()> {
        let id = self.id();
        let owned = line.query("SELECT id, epoch FROM shard WHERE node = $1 ORDER BY id", &[&id]).await?;
        let owned: BTreeMap<u8, i64> = owned.iter().map(|row| (row.get::<_, i16>(0) as u8, row.get(1))).collect();
        let alive = line.query(&format!("SELECT count(*) FROM node WHERE until > {NOW} AND NOT leaving"), &[]).await?;
        let nodes = alive.first().map_or(1, |row| row.get::<_, i64>(0)).max(1);
        let share = if self.leases.leaving() { 0 } else { usize::from(SHARDS).div_ceil(nodes as usize) };
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
            self.acquire(line, share - kept).await?;
        }
        Ok(())
    }

    /// What nobody owns.
    async fn acquire(&mut self, line: &Line, most: usize) -> Result<()> {
        let free = "NOT EXISTS (SELECT 1 FROM node n WHERE n.id = s.node)";
        if line.query(&format!("SELECT 1 FROM shard s WHERE {free} LIMIT 1"), &[]).await?.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "WITH free AS (SELECT id FROM shard s WHERE {free} ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED),
               next AS (SELECT nextval('epoch') AS epoch)
             UPDATE shard SET node = $1, epoch = next.epoch FROM free, next WHERE shard.id = free.id
             RETURNING shard.id, shard.epoch"
        );
        for row in line.query(&sql, &[&self.id(), &(most as i64)]).await? {
            self.leases.take(row.get::<_, i16>(0) as u8, row.get(1));
        }
        Ok(())
    }

    /// Shards of which nothing is under way any more.
    async fn give(&mut self, line: &Line) -> Result<()> {
        let over: Vec<i16> = self
            .giving
            .keys()
            .filter(|shard| self.leases.under_way(**shard) == 0)
            .map(|shard| i16::from(*shard))
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        line.execute("UPDATE shard SET node = 0 WHERE node = $1 AND id = ANY($2)", &[&self.id(), &over]).await?;
        self.giving.retain(|shard, _| !over.contains(&i16::from(*shard)));
        self.offer(line).await
    }

    async fn offer(&self, line: &Line) -> Result<()> {
        let says = Payload::Says { from: self.id(), sequence: 0, notices: vec![Notice::Shards] };
        line.batch(&format!("NOTIFY {NAME}, '{}'", payload(&says))).await
    }

    async fn leave(&mut self, line: &Line) {
        (0..SHARDS).for_each(|shard| self.leases.give(shard));
        let left = async {
            line.execute("DELETE FROM node WHERE id = $1", &[&self.id()]).await?;
            self.offer(line).await
        };
        if let Err(error) = left.await {
            tracing::debug!(%error, "the node could not say that it leaves; its lease ends by itself");
        }
    }
}

/// Numbers and our own words alone: nothing in it ends a literal.
fn payload(says: &Payload) -> String {
    serde_json::to_string(says).unwrap_or_default().replace('\'', "''")
}

/// The notices of a transaction, as they go on the wire.
pub fn says(from: i64, sequence: i64, notices: Vec<Notice>) -> String {
    /// What PostgreSQL carries, less what is around it.
    const MOST: usize = 7000;
    let text = |notices| serde_json::to_string(&Payload::Says { from, sequence, notices }).unwrap_or_default();
    let whole = text(notices);
    if whole.len() <= MOST { whole } else { text(vec![Notice::Missed]) }
}
