//! The embedded store: SQLite, WAL, `synchronous=FULL`, one writer thread with group commit, a small pool of readers,
//! checkpoints elsewhere.

mod broadcast;
mod delivery;
mod import;
mod ingest;
mod manifest;
mod put;
mod query;
mod receipt;
mod replay;
mod rows;
mod subscriber;
mod upkeep;
pub mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ring::hmac;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use self::writer::{Writer, failed};
use super::*;

const MIGRATIONS: &[&str] = &[include_str!("../schema.sql")];
const READERS: usize = 2;

pub struct Sqlite {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    reading: tokio::sync::Semaphore,
    key: hmac::Key,
    epoch: i64,
    /// Ends the checkpointing thread.
    checkpoints: Option<std::sync::mpsc::Sender<()>>,
    /// Held by the process that sends.
    _owned: Option<std::fs::File>,
}

impl Sqlite {
    /// Opens or creates the file for the process that sends from it; an older schema is brought up to date. A second such
    /// process on the same file is refused.
    pub fn own(path: &Path, room: usize) -> Result<Sqlite> {
        let lock = lock(path)?;
        Sqlite::with(path, |connection| Writer::thread(connection, room), true, Some(lock))
    }

    /// The same for a process that only writes much, as an import does: in memory that does not grow with the store.
    pub fn alone(path: &Path, room: usize) -> Result<Sqlite> {
        let lock = lock(path)?;
        let small = |connection: Connection| {
            if let Err(error) = connection.execute_batch("PRAGMA cache_size = -4096") {
                tracing::warn!(%error, "the cache keeps its size");
            }
            Writer::thread(connection, room)
        };
        Sqlite::with(path, small, true, Some(lock))
    }

    /// Opens the file beside its owner, for a command that sends nothing.
    pub fn visit(path: &Path) -> Result<Sqlite> {
        Sqlite::with(path, |connection| Writer::thread(connection, 1024), true, None)
    }

    /// Everything on the caller's thread, without checkpoints: for simulation.
    pub fn inline(path: &Path) -> Result<Sqlite> {
        let lock = lock(path)?;
        Sqlite::with(path, Writer::inline, false, Some(lock))
    }

    fn with(
        path: &Path,
        writer: impl FnOnce(Connection) -> Writer,
        threads: bool,
        owned: Option<std::fs::File>,
    ) -> Result<Sqlite> {
        let connection =
            Connection::open(path).map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?;
        prepare(&connection)?;
        connection.execute_batch("PRAGMA wal_autocheckpoint = 0").map_err(failed)?;
        migrate(&connection)?;
        if !threads {
            // A simulated death copies the files as they are, so nothing is gained by waiting for the disk.
            connection.execute_batch("PRAGMA synchronous = OFF").map_err(failed)?;
        }
        let key = installation_key(&connection)?;
        let epoch = if owned.is_some() { raise_epoch(&connection)? } else { 0 };
        let mut readers = Vec::new();
        let mut checkpoints = None;
        if threads {
            for _ in 0..READERS {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let reader = Connection::open_with_flags(path, flags).map_err(failed)?;
                reader.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
                reader.set_prepared_statement_cache_capacity(128);
                plan_once(&reader)?;
                readers.push(reader);
            }
            checkpoints = Some(checkpoint(path.to_path_buf())?);
        }
        Ok(Sqlite {
            path: path.into(),
            writer: writer(connection),
            reading: tokio::sync::Semaphore::new(readers.len().max(1)),
            readers: Mutex::new(readers),
            key,
            epoch,
            checkpoints,
            _owned: owned,
        })
    }

    pub fn crash_after(&self, crash: writer::Crash) {
        self.writer.crash_after(crash);
    }

    /// Reads on a pooled connection, off the asynchronous threads. Keep reads short: they hold the log.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let mut work = Some(work);
        let inline = self.writer.read_inline(|connection| match work.take() {
            Some(work) => work(connection),
            None => Err(StoreError::Failed("read twice".into())),
        });
        if let Some(result) = inline {
            return result;
        }
        let Some(work) = work else { return Err(StoreError::Failed("read twice".into())) };
        let _permit = self.reading.acquire().await.map_err(|_| StoreError::Failed("the store is closed".into()))?;
        let reader = self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let Some(reader) = reader else { return Err(StoreError::Failed("no reader is free".into())) };
        let (reader, result) = tokio::task::spawn_blocking(move || {
            let result = work(&reader);
            (reader, result)
        })
        .await
        .map_err(|_| StoreError::Failed("a read panicked".into()))?;
        self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(reader);
        result
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.run(work).await
    }
}

impl Sqlite {
    /// Keeps everyone else from sending from the file for as long as the lock is held; refused while somebody does.
    pub fn lock(path: &Path) -> Result<std::fs::File> {
        lock(path)
    }

    /// Whether a file is a whole store that this program can read.
    pub fn check(path: &Path) -> Result<()> {
        let wrong = |why: String| StoreError::Failed(format!("{}: {why}", path.display()));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(|error| wrong(error.to_string()))?;
        let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(|e| wrong(e.to_string()));
        match text("PRAGMA quick_check(1)")?.as_str() {
            "ok" => {}
            damage => return Err(wrong(format!("is damaged: {damage}"))),
        }
        text("SELECT value FROM meta WHERE name = 'key'").map_err(|_| wrong("is no store of loudhailer's".into()))?;
        let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match version as usize <= MIGRATIONS.len() {
            true => Ok(()),
            false => Err(wrong("was written by a newer program".into())),
        }
    }
}

/// The shard lease of one machine: a lock that the system drops with the process.
fn lock(path: &Path) -> Result<std::fs::File> {
    let beside = PathBuf::from(format!("{}.lock", path.display()));
    let wrong = |error: &dyn std::fmt::Display| StoreError::Failed(format!("{}: {error}", beside.display()));
    let file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&beside).map_err(|e| wrong(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Failed(format!(
            "{}: another loudhailer sends from this store; stop it first",
            path.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(wrong(&error)),
    }
}

/// A plan does not depend on the values bound to it. Without this, clearing the bindings of a cached statement makes SQLite
/// parse and plan it again at its next use, which was a quarter of the time that an event took.
fn plan_once(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop).map_err(failed)
}

fn prepare(connection: &Connection) -> Result<()> {
    plan_once(connection)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(256);
    connection
        .execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; PRAGMA journal_size_limit = 268435456;",
        )
        .map_err(failed)
}

/// Brings the schema to this version, in one transaction. It changes tables only: an upgrade tells nobody anything.
fn migrate(connection: &Connection) -> Result<()> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let version = version as usize;
    if version > MIGRATIONS.len() {
        return Err(StoreError::Failed(format!(
            "the store has schema {version}, and this program knows {}: start a newer program",
            MIGRATIONS.len()
        )));
    }
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {sql}; PRAGMA user_version = {}; COMMIT;", number + 1))
            .map_err(failed)?;
    }
    Ok(())
}

/// The key that signs delivery ids and unsubscribe links: made once, and backed up with the rest.
fn installation_key(connection: &Connection) -> Result<hmac::Key> {
    use base64::Engine;
    use ring::rand::SecureRandom;
    let mut fresh = [0u8; 32];
    ring::rand::SystemRandom::new().fill(&mut fresh).map_err(|_| StoreError::Failed("no randomness".into()))?;
    let engine = base64::engine::general_purpose::STANDARD;
    connection
        .execute("INSERT INTO meta VALUES ('key', ?1) ON CONFLICT DO NOTHING", [engine.encode(fresh)])
        .map_err(failed)?;
    let text: String =
        connection.query_row("SELECT value FROM meta WHERE name = 'key'", [], |row| row.get(0)).map_err(failed)?;
    let bytes = engine.decode(&text).map_err(|_| StoreError::Failed("meta.key is damaged".into()))?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn raise_epoch(connection: &Connection) -> Result<i64> {
    connection
        .query_row(
            "INSERT INTO meta VALUES ('epoch', '1') ON CONFLICT DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
             RETURNING CAST(value AS INTEGER)",
            [],
            |row| row.get(0),
        )
        .map_err(failed)
}

/// Moves the log into the database from a thread of its own, so that no commit waits for it.
fn checkpoint(path: PathBuf) -> Result<std::sync::mpsc::Sender<()>> {
    let connection = Connection::open(&path).map_err(failed)?;
    connection.busy_timeout(Duration::from_millis(50)).map_err(failed)?;
    connection.execute_batch("PRAGMA synchronous = FULL").map_err(failed)?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let log = PathBuf::from(format!("{}-wal", path.display()));
    std::thread::Builder::new()
        .name("checkpoint".into())
        .spawn(move || {
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(200))
            {
                let length = std::fs::metadata(&log).map_or(0, |log| log.len());
                let kind = match length {
                    0..4_194_304 => continue,
                    4_194_304..268_435_456 => "PASSIVE",
                    _ => "RESTART",
                };
                let done = connection.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |_| Ok(()));
                if let Err(error) = done {
                    tracing::debug!(%error, "checkpoint put off");
                }
            }
        })
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(stop)
}

#[async_trait]
impl Store for Sqlite {
    async fn known(&self, source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known> {
        let (source, id, key) = (source.to_string(), id.to_string(), key.to_string());
        self.read(move |db| ingest::known(db, &source, &id, &key, corrects)).await
    }

    async fn commit(&self, change: Change, draws: Vec<Draw>, templates: [u8; 32]) -> Result<Committed> {
        self.write(move |db| ingest::commit(db, change, draws, templates)).await
    }

    async fn tick(&self, tick: Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<BroadcastId>>> {
        self.write(move |db| ingest::tick(db, tick, templates, now)).await
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>> {
        self.read(move |db| ingest::incident(db, id)).await
    }

    async fn updates(&self, id: IncidentId) -> Result<Vec<UpdateRow>> {
        self.read(move |db| ingest::updates(db, id)).await
    }

    async fn open_incidents(&self) -> Result<Vec<Incident>> {
        self.read(ingest::open_incidents).await
    }

    async fn freeze(&self, frozen: Frozen) -> Result<()> {
        self.write(move |db| upkeep::freeze(db, &frozen)).await
    }

    async fn frozen(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>> {
        self.read(move |db| upkeep::frozen(db, &digest)).await
    }

    async fn dead(&self, record: DeadRecord, now: Time) -> Result<()> {
        self.write(move |db| upkeep::dead(db, &record, now)).await
    }

    async fn broadcast(&self, id: BroadcastId) -> Result<Option<Broadcast>> {
        self.read(move |db| broadcast::one(db, id)).await
    }

    async fn live(&self) -> Result<Vec<Broadcast>> {
        self.read(broadcast::live).await
    }

    async fn release(&self, id: BroadcastId, now: Time, by: &str) -> Result<bool> {
        let by = by.to_string();
        self.write(move |db| broadcast::release_held(db, id, now, &by)).await
    }

    async fn change_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        now: Time,
        by: &str,
    ) -> Result<bool> {
        let by = by.to_string();
        self.write(move |db| broadcast::change_state(db, id, &from, to, now, &by)).await
    }

    async fn due_timers(&self, now: Time) -> Result<(Vec<Timer>, Option<Time>)> {
        self.read(move |db| broadcast::due_timers(db, now)).await
    }

    async fn end_timer(&self, kind: TimerKind, subject: i64, due: Time) -> Result<()> {
        self.write(move |db| broadcast::end_timer(db, kind, subject, due)).await
    }

    async fn page(&self, broadcast: &Broadcast, shard: u8, after: i64, limit: usize) -> Result<(Vec<Member>, bool)> {
        let (audience, id, incident) = (broadcast.audience.clone(), broadcast.id, broadcast.incident);
        let (selection, released) = (broadcast.selection.clone(), broadcast.released.unwrap_or(broadcast.created));
        self.read(move |db| manifest::page(db, id, incident, &audience, &selection, released, shard, after, limit))
            .await
    }

    async fn decide(&self, manifest: Manifest, rows: Vec<Fact>, wordings: Vec<Wording>) -> Result<()> {
        let own = self.epoch;
        let key = self.key.clone();
        self.write(move |db| manifest::decide(db, &key, own, manifest, rows, &wordings)).await
    }

    async fn record(&self, facts: Vec<Fact>, closed: Vec<ManifestKey>) -> Result<BTreeMap<BroadcastId, i64>> {
        let key = self.key.clone();
        self.write(move |db| delivery::record(db, &key, &facts, &closed)).await
    }

    async fn due(&self, lane: ChannelId, priority: Priority, now: Time, limit: usize) -> Result<Vec<OpenRow>> {
        self.read(move |db| delivery::due(db, lane, priority, now, limit)).await
    }

    async fn next_due(&self, lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>> {
        self.read(move |db| delivery::next_due(db, lane, priority, now)).await
    }

    async fn again(&self, broadcast: &Broadcast, rows: Vec<OpenRow>) -> Result<Vec<Again>> {
        let (id, incident, audience) = (broadcast.id, broadcast.incident, broadcast.audience.clone());
        let selection = broadcast.selection.clone();
        self.read(move |db| delivery::again(db, id, incident, &audience, &selection, rows)).await
    }

    async fn wake(&self, now: Time) -> Result<()> {
        self.write(move |db| delivery::wake(db, now)).await
    }

    async fn unfinished(&self, after: Option<ManifestKey>) -> Result<Option<Unfinished>> {
        self.read(move |db| manifest::unfinished(db, after)).await
    }

    async fn wording(&self, broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>> {
        let key = key.clone();
        self.read(move |db| upkeep::wording(db, broadcast, &key)).await
    }

    async fn word(&self, wordings: Vec<Wording>) -> Result<()> {
        self.write(move |db| upkeep::word(db, &wordings)).await
    }

    async fn epoch(&self) -> Result<i64> {
        Ok(self.epoch)
    }

    async fn channels(&self, names: Vec<String>) -> Result<Vec<(String, ChannelId, bool)>> {
        self.write(move |db| upkeep::channels(db, &names)).await
    }

    async fn pause_channel(&self, channel: ChannelId, paused: bool) -> Result<()> {
        self.write(move |db| upkeep::pause_channel(db, channel, paused)).await
    }

    async fn breakers(&self) -> Result<Vec<BreakerRow>> {
        self.read(upkeep::breakers).await
    }

    async fn set_breaker(&self, row: BreakerRow) -> Result<()> {
        self.write(move |db| upkeep::set_breaker(db, &row)).await
    }

    async fn spent(&self, name: &str, from: i64) -> Result<Vec<(i64, i64)>> {
        let name = name.to_string();
        self.read(move |db| upkeep::spent(db, &name, from)).await
    }

    async fn spend(&self, name: &str, bucket: i64, count: i64) -> Result<()> {
        let name = name.to_string();
        self.write(move |db| upkeep::spend(db, &name, bucket, count)).await
    }

    async fn upsert(&self, drafts: Vec<SubscriberDraft>, now: Time) -> Result<Vec<Upserted>> {
        let key = self.key.clone();
        self.write(move |db| put::upsert(db, &key, drafts, now)).await
    }

    async fn import(&self, rows: Arc<Vec<Row>>, seen: Arc<Mutex<Seen>>, now: Time) -> Result<Vec<Imported>> {
        let key = self.key.clone();
        self.write(move |db| import::import(db, &key, &rows, &seen, now)).await
    }

    async fn subscriber(&self, id: SubscriberId) -> Result<Option<Subscriber>> {
        self.read(move |db| subscriber::one(db, id)).await
    }

    async fn subscriber_by_key(&self, key: &str) -> Result<Option<Subscriber>> {
        let key = key.to_string();
        self.read(move |db| subscriber::by_key(db, &key)).await
    }

    async fn subscriber_by_address(&self, kind: &str, value: &str) -> Result<Option<Subscriber>> {
        let blind = subscriber::blind(&self.key, kind, value);
        self.read(move |db| subscriber::by_blind(db, &blind)).await
    }

    async fn subscribers(
        &self,
        after: Option<SubscriberId>,
        audience: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Subscriber>> {
        let audience = audience.map(str::to_string);
        self.read(move |db| subscriber::list(db, after, audience.as_deref(), limit)).await
    }

    async fn remove_subscriber(&self, id: SubscriberId, now: Time) -> Result<bool> {
        let key = self.key.clone();
        self.write(move |db| subscriber::remove(db, &key, id, now)).await
    }

    async fn suppress(&self, kind: &str, value: &str, reason: &str, now: Time) -> Result<Option<SubscriberId>> {
        let blind = subscriber::blind(&self.key, kind, value);
        let reason = reason.to_string();
        self.write(move |db| subscriber::suppress(db, &blind, &reason, now)).await
    }

    async fn unsuppress(&self, kind: &str, value: &str) -> Result<Option<SubscriberId>> {
        let blind = subscriber::blind(&self.key, kind, value);
        self.write(move |db| subscriber::unsuppress(db, &blind)).await
    }

    async fn audiences(&self) -> Result<Vec<(String, i64)>> {
        self.read(subscriber::audiences).await
    }

    async fn incidents(&self, before: Option<IncidentId>, open: bool, limit: usize) -> Result<Vec<Incident>> {
        self.read(move |db| query::incidents(db, before, open, limit)).await
    }

    async fn incident_by_key(&self, key: &str) -> Result<Option<IncidentId>> {
        let key = key.to_string();
        self.read(move |db| Ok(ingest::by_key(db, &key)?.map(|incident| incident.id))).await
    }

    async fn broadcasts(&self, filter: BroadcastFilter, limit: usize) -> Result<Vec<(Broadcast, Counts)>> {
        self.read(move |db| query::broadcasts(db, &filter, limit)).await
    }

    async fn counts(&self, broadcast: &Broadcast) -> Result<(Counts, i64)> {
        let broadcast = broadcast.clone();
        self.read(move |db| Ok((query::counts(db, broadcast.id)?, query::unread(db, &broadcast)?))).await
    }

    async fn deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.read(move |db| query::deliveries(db, &filter, limit)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>> {
        self.read(move |db| query::delivery(db, id)).await
    }

    async fn wordings(&self, broadcast: BroadcastId) -> Result<Vec<(WordingKey, Vec<u8>)>> {
        self.read(move |db| query::wordings(db, broadcast)).await
    }

    async fn oldest_due(&self, priority: Priority) -> Result<Option<Time>> {
        self.read(move |db| query::oldest_due(db, priority.rank())).await
    }

    async fn journal_end(&self) -> Result<i64> {
        self.read(query::journal_end).await
    }

    async fn replay(&self, id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed> {
        let by = by.to_string();
        self.write(move |db| replay::replay(db, id, due, now, &by)).await
    }

    async fn decided(&self, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Option<(Time, Decided)>> {
        self.read(move |db| manifest::decided(db, broadcast, subscriber)).await
    }

    async fn receipt(&self, receipt: ReceiptFact) -> Result<Option<(DeliveryId, i64)>> {
        let key = self.key.clone();
        self.write(move |db| receipt::take(db, &key, &receipt)).await
    }

    async fn meta(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_string();
        self.read(move |db| upkeep::meta(db, &name)).await
    }

    async fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (name.to_string(), value.to_string());
        self.write(move |db| upkeep::set_meta(db, &name, &value)).await
    }

    async fn add_token(&self, hash: [u8; 32], row: TokenRow, now: Time) -> Result<bool> {
        self.write(move |db| upkeep::add_token(db, &hash, &row, now)).await
    }

    async fn tokens(&self) -> Result<Vec<([u8; 32], TokenRow)>> {
        self.read(upkeep::tokens).await
    }

    async fn remove_token(&self, name: &str) -> Result<bool> {
        let name = name.to_string();
        self.write(move |db| upkeep::remove_token(db, &name)).await
    }

    async fn journal(&self, after: i64, limit: usize) -> Result<Vec<JournalRow>> {
        self.read(move |db| upkeep::journal(db, after, limit)).await
    }

    async fn backup(&self, to: &Path) -> Result<()> {
        let (from, to) = (self.path.clone(), to.to_path_buf());
        tokio::task::spawn_blocking(move || upkeep::backup(&from, &to))
            .await
            .map_err(|_| StoreError::Failed("the backup panicked".into()))?
    }

    async fn retain(&self, incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64> {
        self.write(move |db| upkeep::retain(db, incidents, events, journal, receipts)).await
    }

    async fn ready(&self) -> Result<()> {
        match self.writer.failed() {
            true => Err(StoreError::Failed("the last commit failed".into())),
            false => self.write(|_| Ok(())).await,
        }
    }

    async fn close(&self) -> Result<()> {
        self.write(|_| Ok(())).await
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.checkpoints.take();
    }
}
