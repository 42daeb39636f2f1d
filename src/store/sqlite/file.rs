//! The file of a store. Enter a path, or a connection to it. Leave: the lock of the one process that sends from it, connections
//! set up to write and to read, the schema brought to this version, the installation's key and the number of this start. A file
//! that somebody sends from, or that a newer program wrote, is refused with the reason.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::hmac;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::carry::still;
use super::writer::failed;
use super::{OWNER, Sqlite, shard};
use crate::store::{Result, StoreError, installation};

const MIGRATIONS: &[&str] = &[
    include_str!("../schema/1.sql"),
    include_str!("../schema/2.sql"),
    include_str!("../schema/3.sql"),
    include_str!("../schema/4.sql"),
    include_str!("../schema/5.sql"),
    include_str!("../schema/6.sql"),
    include_str!("../schema/7.sql"),
    include_str!("../schema/8.sql"),
    include_str!("../schema/9.sql"),
];

impl Sqlite {
    /// The shard lease of one machine: keeps everyone else from sending from the file for as long as the lock is held, which
    /// the system drops with the process; refused while somebody holds it.
    pub fn lock(path: &Path) -> Result<std::fs::File> {
        let beside = PathBuf::from(format!("{}.lock", path.display()));
        let wrong = |error: &dyn std::fmt::Display| StoreError::Failed(format!("{}: {error}", beside.display()));
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&beside)
            .map_err(|e| wrong(&e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Failed(format!(
                "{}: another loudhailer sends from this store; stop it first",
                path.display()
            ))),
            Err(std::fs::TryLockError::Error(error)) => Err(wrong(&error)),
        }
    }

    /// A file has to be a whole store that this program can read. Answers whether it is of this program's schema, or of an older one.
    pub fn check(path: &Path) -> Result<bool> {
        let wrong = |why: String| StoreError::Failed(format!("{}: {why}", path.display()));
        let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        let log = std::fs::metadata(format!("{}-wal", path.display()));
        if log.is_ok_and(|log| log.len() > 0) {
            let why = "has a log beside it, so it is a store and no backup: take one with loudhailer backup";
            return Err(wrong(why.into()));
        }
        let db = still(path)?;
        let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(|e| wrong(e.to_string()));
        match text("PRAGMA quick_check(1)")?.as_str() {
            "ok" if length > 0 => {}
            "ok" => return Err(wrong("is empty".into())),
            damage => return Err(wrong(format!("is damaged: {damage}"))),
        }
        text("SELECT value FROM meta WHERE name = 'key'").map_err(|_| wrong("is no store of loudhailer's".into()))?;
        let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match MIGRATIONS.len().checked_sub(version as usize) {
            Some(behind) => Ok(behind == 0),
            None => Err(wrong(format!(
                "was written by a newer program: its schema is {version}, and this program knows {}",
                MIGRATIONS.len()
            ))),
        }
    }
}

/// Brings a file that nobody uses to this program's schema.
pub(super) fn bring_up(path: &Path) -> Result<()> {
    let db = Connection::open(path).map_err(failed)?;
    // What is left in the log of a store that was copied as it was is in the file then.
    db.execute_batch("PRAGMA journal_mode = DELETE").map_err(failed)?;
    migrate(&db)?;
    db.close().map_err(|(_, error)| failed(error))
}

/// The connection that writes, on a file of this program's schema.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let connection =
        Connection::open(path).map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?;
    prepare(&connection)?;
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0").map_err(failed)?;
    migrate(&connection)?;
    Ok(connection)
}

/// A connection that reads.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags).map_err(failed)?;
    reader.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    reader.set_prepared_statement_cache_capacity(128);
    plan_once(&reader)?;
    Ok(reader)
}

/// A plan does not depend on the values bound to it. Without this, clearing the bindings of a cached statement makes SQLite
/// parse and plan it again at its next use, which was a quarter of the time that an event took.
fn plan_once(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop).map_err(failed)
}

/// The cache is small: much of what is written is not read again, and the system keeps the file's pages, too. A larger one was
/// slower, since SQLite searches all of it at the end of most transactions in which a tree has grown.
fn prepare(connection: &Connection) -> Result<()> {
    plan_once(connection)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(256);
    connection
        .execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;
             PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; PRAGMA journal_size_limit = 268435456;",
        )
        .map_err(failed)
}

/// Brings the schema to this version, in one transaction. It changes tables only: an upgrade tells nobody anything.
pub(super) fn migrate(connection: &Connection) -> Result<()> {
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

/// Made once.
pub(super) fn installation_key(connection: &Connection) -> Result<hmac::Key> {
    connection
        .execute("INSERT INTO meta VALUES ('key', ?1) ON CONFLICT DO NOTHING", [installation::fresh_key()?])
        .map_err(failed)?;
    let text: String =
        connection.query_row("SELECT value FROM meta WHERE name = 'key'", [], |row| row.get(0)).map_err(failed)?;
    installation::key(&text)
}

/// Whoever opens the store to send from it owns every shard, under an epoch that nobody had before.
pub(super) fn raise_epoch(connection: &Connection) -> Result<i64> {
    let epoch = connection
        .query_row(
            "INSERT INTO meta VALUES ('epoch', '1') ON CONFLICT DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
             RETURNING CAST(value AS INTEGER)",
            [],
            |row| row.get(0),
        )
        .map_err(failed)?;
    shard::take_all(connection, OWNER, epoch)?;
    Ok(epoch)
}
