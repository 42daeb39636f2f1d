//! One connection of the pool, while somebody works on it: statements, and the transaction that they are in. What is left in the
//! middle of a transaction, or has lost its server, does not go back to the pool.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use deadpool_postgres::Object;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CopyInSink, CopyOutStream, Row};

use super::line;
use super::registry::says;
use super::rows::json;
use super::value::{Value, values};
use crate::clock::Time;
use crate::store::outcomes::{OUTCOMES, Outcomes};
use crate::store::{Notice, Result, StoreError};

/// What stood in the way of the last statement that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Someone else was in the way, and has the right to it: nothing was written, and the same is worth another try.
    Others,
    /// The server, or the way to it, is gone.
    Lost,
    /// It would fail again.
    Lasting,
}

/// What a transaction writes of itself: by it, whoever lost the answer to its commit learns whether it was committed.
#[derive(Debug, Clone)]
pub struct Mark {
    pub process: i64,
    /// Of this process, one for each transaction that is under way.
    pub slot: i64,
    pub token: i64,
}

/// The server's clock as it goes on within a transaction, in microseconds.
pub const CLOCK: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// The server's clock when the transaction began, in milliseconds.
pub const NOW: &str = "(extract(epoch FROM now()) * 1000)::bigint";

pub struct Db {
    client: Option<Object>,
    in_transaction: bool,
    trouble: AtomicU8,
    journal: Mutex<Vec<(i64, String, String)>>,
    notices: Mutex<Vec<Notice>>,
}

impl Db {
    pub fn new(client: Object) -> Db {
        Db {
            client: Some(client),
            in_transaction: false,
            trouble: AtomicU8::new(0),
            journal: Mutex::default(),
            notices: Mutex::default(),
        }
    }

    fn client(&self) -> Result<&Object> {
        self.client.as_ref().ok_or_else(|| StoreError::Failed("the connection was given back".into()))
    }

    pub fn trouble(&self) -> Trouble {
        match self.trouble.load(Ordering::Relaxed) {
            0 => Trouble::None,
            1 => Trouble::Others,
            2 => Trouble::Lost,
            _ => Trouble::Lasting,
        }
    }

    pub fn failed(&self, error: tokio_postgres::Error) -> StoreError {
        self.trouble.store(trouble(&error) as u8, Ordering::Relaxed);
        StoreError::Failed(said(&error))
    }

    pub async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await.map_err(|error| self.failed(error))?;
        client.query(&statement, &parameters(values)).await.map_err(|error| self.failed(error))
    }

    pub async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await.map_err(|error| self.failed(error))?;
        client.execute(&statement, &parameters(values)).await.map_err(|error| self.failed(error))
    }

    /// Of the columns that it answers.
    pub async fn types(&self, sql: &str) -> Result<Vec<Type>> {
        let statement = self.client()?.prepare_cached(sql).await.map_err(|error| self.failed(error))?;
        Ok(statement.columns().iter().map(|column| column.type_().clone()).collect())
    }

    pub async fn copy_in(&self, sql: &str) -> Result<CopyInSink<Bytes>> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await.map_err(|error| self.failed(error))?;
        client.copy_in(&statement).await.map_err(|error| self.failed(error))
    }

    pub async fn copy_out(&self, sql: &str) -> Result<CopyOutStream> {
        self.client()?.copy_out(sql).await.map_err(|error| self.failed(error))
    }

    /// Statements without values, for what cannot be prepared.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        self.client()?.batch_execute(sql).await.map_err(|error| self.failed(error))
    }

    /// Begins a transaction that writes, with its mark; the server is asked for both at once.
    pub async fn begin(&mut self, mark: Option<&Mark>) -> Result<()> {
        let Some(Mark { process, slot, token }) = mark else {
            self.in_transaction = true;
            return self.batch("BEGIN").await;
        };
        let sql = format!(
            "INSERT INTO last_commit VALUES ($1, $2, $3, {NOW})
             ON CONFLICT (process, slot) DO UPDATE SET token = excluded.token, at = excluded.at"
        );
        let statement = self.client()?.prepare_cached(&sql).await.map_err(|error| self.failed(error))?;
        self.in_transaction = true;
        let values = values![*process, *slot, *token];
        let values = parameters(&values);
        let client = self.client()?;
        let (begun, marked) = tokio::join!(biased; client.batch_execute("BEGIN"), client.execute(&statement, &values));
        begun.and(marked).map_err(|error| self.failed(error)).map(drop)
    }

    /// Begins to read at one moment.
    pub async fn begin_snapshot(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// A row of the journal, written at the end of the transaction.
    pub fn journal(&self, at: Time, kind: &str, body: &serde_json::Value) -> Result<()> {
        let row = (at.0, kind.to_string(), json(body)?);
        self.journal.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(row);
        Ok(())
    }

    /// What deliveries came to, before anything that follows from it.
    pub fn journal_outcomes(&self, outcomes: &mut Outcomes) -> Result<()> {
        outcomes.rows().iter().try_for_each(|(at, body)| self.journal(*at, OUTCOMES, body))
    }

    /// Whoever numbers rows of the journal has the counter until the commit, so that the rows become visible in their order and a
    /// reader skips none. That is why they come last: the lock is held for the length of a commit.
    pub async fn write_journal(&self) -> Result<()> {
        let rows = std::mem::take(&mut *self.journal.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        if rows.is_empty() {
            return Ok(());
        }
        let count = rows.len() as i64;
        let (mut at, mut kinds, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for (when, kind, body) in rows {
            at.push(when);
            kinds.push(kind);
            bodies.push(body);
        }
        let sql = "WITH counted AS (UPDATE journal_end SET sequence = sequence + $1 RETURNING sequence - $1 AS before)
             INSERT INTO journal SELECT counted.before + row.n, row.at, row.kind, row.body
             FROM counted, unnest($2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY AS row (at, kind, body, n)";
        let values = values![count, at, kinds, bodies];
        self.execute(sql, &values).await.map(drop)
    }

    /// Other nodes hear of it with the commit.
    pub fn notice(&self, notice: Notice) {
        let mut notices = self.notices.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Notice::Broadcasts(more) = notice else {
            if !notices.contains(&notice) {
                notices.push(notice);
            }
            return;
        };
        // Told of together, so that they are taken up at one time.
        let known = notices.iter_mut().find_map(|known| match known {
            Notice::Broadcasts(ids) => Some(ids),
            _ => None,
        });
        match known {
            Some(ids) => ids.extend(more),
            None => notices.push(Notice::Broadcasts(more)),
        }
    }

    /// Tells what this transaction has to say, and answers which nodes will hear it. Whoever joins after that reads it.
    pub async fn announce(&self, from: i64, sequence: impl FnOnce() -> i64) -> Result<Option<(i64, BTreeSet<i64>)>> {
        let notices = std::mem::take(&mut *self.notices.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        if notices.is_empty() {
            return Ok(None);
        }
        let sequence = sequence();
        let sql = format!(
            "SELECT array(SELECT id FROM node WHERE id <> $1 AND until > {NOW}), pg_notify('{}', $2::text)",
            line::NAME
        );
        let values = values![from, says(from, sequence, notices)];
        let rows = self.query(&sql, &values).await?;
        let nodes: Vec<i64> = rows.first().and_then(|row| row.try_get(0).ok()).unwrap_or_default();
        Ok(Some((sequence, nodes.into_iter().collect())))
    }

    pub async fn commit(&mut self) -> Result<()> {
        let done = self.batch("COMMIT").await;
        self.in_transaction = done.is_err();
        done
    }

    pub async fn roll_back(&mut self) {
        if self.in_transaction && self.batch("ROLLBACK").await.is_ok() {
            self.in_transaction = false;
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        if (self.in_transaction || self.trouble() == Trouble::Lost)
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

fn parameters<'a>(values: &'a [Value<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// With what the server says; the library's own words name only the kind.
pub fn said(error: &tokio_postgres::Error) -> String {
    let mut said = match error.as_db_error() {
        Some(db) => {
            format!("PostgreSQL: {}{}", db.message(), db.hint().map(|hint| format!(" ({hint})")).unwrap_or_default())
        }
        None => format!("PostgreSQL: {error}"),
    };
    let mut source = std::error::Error::source(error).filter(|_| error.as_db_error().is_none());
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        source = cause.source();
    }
    said
}

pub fn trouble(error: &tokio_postgres::Error) -> Trouble {
    let Some(code) = error.code() else {
        // Anything but the server's own answer: the connection is of no more use.
        let io = std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
        return if error.is_closed() || io { Trouble::Lost } else { Trouble::Lasting };
    };
    const OTHERS: &[SqlState] = &[
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::UNIQUE_VIOLATION,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    const LOST: &[SqlState] = &[
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    match code {
        code if OTHERS.contains(code) => Trouble::Others,
        code if LOST.contains(code) || code.code().starts_with("08") => Trouble::Lost,
        _ => Trouble::Lasting,
    }
}
