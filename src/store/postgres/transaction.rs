//! How the store reads and writes through a server that may go away: work is repeated where that is safe. What failed before its
//! commit was not written. Where the answer to a commit is lost, the transaction's own mark is looked for, so that
//! nothing is written twice and nothing that was written is reported as failed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio::time::Instant;

use super::Postgres;
use super::connection::{Db, Mark, NOW, Trouble, said, trouble};
use super::rows::first;
use super::value::values;
use crate::store::node::Node;
use crate::store::settled::lock;
use crate::store::{Result, StoreError};

/// How long a server may be away before whoever asks is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// And before it is given up to learn what became of a commit.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// How often work makes way for others' that was in its way.
const GIVES_WAY: u32 = 20;

/// Runs work in a transaction until it is committed, or fails for good. It may be run more than once, and what it did is undone in
/// between.
macro_rules! write {
    ($store:expr, $db:ident => $work:expr) => {{
        let mut tries = $crate::store::postgres::transaction::Tries::new();
        loop {
            let transaction = $store.begin(&mut tries).await?;
            let $db = &transaction.db;
            let done = $work.await;
            if let Some(answer) = $store.end(transaction, done, &mut tries).await {
                break answer;
            }
        }
    }};
}
pub(super) use write;

/// Reads, on another connection where that one's server went away.
macro_rules! read {
    ($store:expr, $db:ident => $work:expr) => {{
        let mut tries = $crate::store::postgres::transaction::Tries::new();
        loop {
            let reading = $store.reading(&mut tries).await?;
            let $db = &reading;
            let done = $work.await;
            if let Some(answer) = $store.was_read(reading, done, &mut tries).await {
                break answer;
            }
        }
    }};
}
pub(super) use read;

/// The same, all at one moment.
macro_rules! snapshot {
    ($store:expr, $db:ident => $work:expr) => {{
        let mut tries = $crate::store::postgres::transaction::Tries::new();
        loop {
            let mut reading = $store.reading(&mut tries).await?;
            let done = match reading.begin_snapshot().await {
                Ok(()) => {
                    let $db = &reading;
                    $work.await
                }
                Err(error) => Err(error),
            };
            reading.roll_back().await;
            if let Some(answer) = $store.was_read(reading, done, &mut tries).await {
                break answer;
            }
        }
    }};
}
pub(super) use snapshot;

pub struct Transaction {
    pub db: Db,
    /// `None`: the tables are not made yet.
    mark: Option<Slotted>,
}

/// How often work has been tried.
pub struct Tries {
    since: Instant,
    wait: Duration,
    others: u32,
}

impl Tries {
    pub fn new() -> Tries {
        Tries { since: Instant::now(), wait: SHORTEST, others: 0 }
    }

    /// Waits for the server, if it is not given up yet.
    async fn again(&mut self, patience: Duration) -> bool {
        if self.since.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST);
        true
    }

    async fn after(&mut self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::Lost => self.again(PATIENCE).await,
            Trouble::Others => {
                self.others += 1;
                // Not all of them at one moment.
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=u64::from(self.others) * 4))).await;
                self.others <= GIVES_WAY
            }
            Trouble::None | Trouble::Lasting => false,
        }
    }
}

impl Postgres {
    /// A connection of the pool, to a server that answers.
    pub(super) async fn reading(&self, tries: &mut Tries) -> Result<Db> {
        loop {
            let (why, trouble) = match self.pool.get().await {
                Ok(client) => return Ok(Db::new(client)),
                Err(PoolError::Backend(error)) => (said(&error), trouble(&error)),
                Err(PoolError::Timeout(deadpool_postgres::TimeoutType::Wait)) => {
                    return Err(StoreError::Failed("every connection to PostgreSQL is busy".into()));
                }
                Err(error @ PoolError::Timeout(_)) => (format!("PostgreSQL: {error}"), Trouble::Lost),
                Err(error) => (format!("PostgreSQL: {error}"), Trouble::Lasting),
            };
            if !tries.after(trouble).await {
                return Err(StoreError::Failed(why));
            }
        }
    }

    pub(super) async fn was_read<T>(&self, db: Db, done: Result<T>, tries: &mut Tries) -> Option<Result<T>> {
        let trouble = db.trouble();
        drop(db);
        match done {
            Err(_) if tries.after(trouble).await => None,
            done => Some(done),
        }
    }

    pub(super) async fn begin(&self, tries: &mut Tries) -> Result<Transaction> {
        let mark = self.marks.take();
        loop {
            let mut db = self.reading(tries).await?;
            match db.begin(mark.as_ref().map(|slotted| &slotted.mark)).await {
                Ok(()) => return Ok(Transaction { db, mark }),
                Err(error) => {
                    let trouble = db.trouble();
                    drop(db);
                    if !tries.after(trouble).await {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// `None`: it is to be done again.
    pub(super) async fn end<T>(
        &self,
        transaction: Transaction,
        done: Result<T>,
        tries: &mut Tries,
    ) -> Option<Result<T>> {
        let Transaction { mut db, mark } = transaction;
        let written = match done {
            Ok(value) => match db.write_journal().await {
                Ok(()) => self.announce(&db).await.map(|said| (value, said)),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let (value, said) = match written {
            Ok(written) => written,
            Err(error) => {
                let trouble = db.trouble();
                db.roll_back().await;
                drop(db);
                return if tries.after(trouble).await { None } else { Some(Err(error)) };
            }
        };
        let Err(error) = db.commit().await else { return Some(Ok(value)) };
        let trouble = db.trouble();
        drop(db);
        if trouble != Trouble::Lost {
            said.into_iter().for_each(|said| self.taken_back(said));
            return if tries.after(trouble).await { None } else { Some(Err(error)) };
        }
        let Some(mark) = mark else { return Some(Err(error)) };
        match self.committed(&mark.mark).await {
            Ok(true) => Some(Ok(value)),
            Ok(false) => {
                said.into_iter().for_each(|said| self.taken_back(said));
                if tries.after(trouble).await { None } else { Some(Err(error)) }
            }
            Err(unknown) => Some(Err(unknown)),
        }
    }

    /// What other nodes are to hear goes with the commit; answers under which number.
    async fn announce(&self, db: &Db) -> Result<Option<i64>> {
        let from = self.node.as_ref().map_or(0, Node::id);
        let number = || self.node.as_ref().map_or(0, |node| node.announced.number());
        let Some((sequence, nodes)) = db.announce(from, number).await? else { return Ok(None) };
        self.node.iter().for_each(|node| node.announced.said(sequence, nodes.clone()));
        Ok(Some(sequence))
    }

    fn taken_back(&self, sequence: i64) {
        self.node.iter().for_each(|node| node.announced.taken_back(sequence));
    }

    /// What became of a transaction whose answer was lost. Where it is still under way, as where the network alone is gone, its mark
    /// is not to be had until it ends.
    async fn committed(&self, mark: &Mark) -> Result<bool> {
        let mut tries = Tries::new();
        let sql = format!(
            "INSERT INTO last_commit AS l VALUES ($1, $2, 0, {NOW}) ON CONFLICT (process, slot) DO UPDATE SET token = l.token
             RETURNING token"
        );
        loop {
            let asked = match self.reading(&mut tries).await {
                Ok(db) => first(&db, &sql, values![mark.process, mark.slot], |row| row.get::<i64>(0)).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(found) => return Ok(found == Some(mark.token)),
                Err(_) if tries.again(LONG_PATIENCE).await => {}
                Err(_) => {
                    return Err(StoreError::Failed(
                        "the answer to a commit was lost, and PostgreSQL does not say what became of it".into(),
                    ));
                }
            }
        }
    }
}

/// The marks of this process.
pub struct Marks {
    process: i64,
    /// Those that no transaction has, and the next that there never was.
    free: Arc<Mutex<(Vec<i64>, i64)>>,
}

impl Marks {
    pub fn new(process: i64) -> Marks {
        Marks { process, free: Arc::default() }
    }

    /// Of the next transaction. `None` where there are no tables yet.
    fn take(&self) -> Option<Slotted> {
        if self.process == 0 {
            return None;
        }
        let mut free = lock(&self.free);
        let slot = free.0.pop().unwrap_or_else(|| {
            free.1 += 1;
            free.1
        });
        let mark = Mark { process: self.process, slot, token: fastrand::i64(1..) };
        Some(Slotted { mark, free: self.free.clone() })
    }
}

/// A mark whose slot is given back when the transaction has ended, and its end is known.
struct Slotted {
    mark: Mark,
    free: Arc<Mutex<(Vec<i64>, i64)>>,
}

impl Drop for Slotted {
    fn drop(&mut self) {
        lock(&self.free).0.push(self.mark.slot);
    }
}
