//! Small things that every statement needs: JSON in and out of TEXT columns, one-row reads, ids from blocks, the journal.

use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::writer::failed;
use crate::clock::Time;
use crate::store::outcomes::{OUTCOMES, Outcomes};
use crate::store::{Result, StoreError};

pub fn run(db: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    db.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(failed)
}

pub fn first<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    db.prepare_cached(sql).and_then(|mut statement| statement.query_row(params, read).optional()).map_err(failed)
}

pub fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    about(db, 0, sql, params, read)
}

/// As `all`, with room for so many from the start: many large rows would be moved as the list grows.
pub fn about<T>(
    db: &Connection,
    count: usize,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let read_into = |mut statement: rusqlite::CachedStatement<'_>| {
        let mut found = Vec::with_capacity(count);
        for row in statement.query_map(params, read)? {
            found.push(row?);
        }
        Ok(found)
    };
    db.prepare_cached(sql).and_then(read_into).map_err(failed)
}

pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string()))
}

/// A column that holds one of our words.
pub fn word<T: std::str::FromStr<Err = String>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: String| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    })
}

/// A column that holds JSON.
pub fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<[u8; 32]> {
    let bytes: Vec<u8> = row.get(column)?;
    bytes.try_into().map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, 32))
}

/// The next id of a kind.
pub fn next_id(db: &Connection, kind: &str) -> Result<i64> {
    Ok(next_ids(db, kind, 1)?.start)
}

/// The next `count` ids of a kind; those that are not used are never used.
pub fn next_ids(db: &Connection, kind: &str, count: i64) -> Result<std::ops::Range<i64>> {
    let from = first(
        db,
        "INSERT INTO id_block VALUES (?1, 1 + ?2) ON CONFLICT DO UPDATE SET next = next + ?2 RETURNING next - ?2",
        (kind, count),
        |row| row.get::<_, i64>(0),
    )?;
    from.map(|from| from..from + count).ok_or_else(|| StoreError::Failed("id_block gave no id".into()))
}

pub fn journal(db: &Connection, at: Time, kind: &str, body: &serde_json::Value) -> Result<()> {
    run(db, "INSERT INTO journal (at, kind, body) VALUES (?1, ?2, ?3)", (at.0, kind, json(body)?)).map(drop)
}

/// What deliveries came to, before anything that follows from it.
pub fn journal_outcomes(db: &Connection, outcomes: &mut Outcomes) -> Result<()> {
    outcomes.rows().iter().try_for_each(|(at, body)| journal(db, *at, OUTCOMES, body))
}

#[cfg(test)]
mod tests {
    use super::super::Sqlite;
    use super::*;

    #[tokio::test]
    async fn a_statement_that_is_used_again_is_not_planned_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Sqlite::inline(&folder.path().join("store.db")).expect("opens");
        let sql = "SELECT audience, status FROM thread WHERE incident = ?1 ORDER BY audience LIMIT ?2";
        let planned = store.read(move |db| {
            for n in 0..100i64 {
                all(db, sql, (n, n + 10), |row| row.get::<_, String>(0))?;
            }
            let statement = db.prepare_cached(sql).map_err(failed)?;
            Ok(statement.get_status(rusqlite::StatementStatus::RePrepare))
        });
        assert_eq!(planned.await.expect("reads"), 0);
    }
}
