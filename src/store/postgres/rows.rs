//! Small things that every statement needs: its rows, JSON in and out of TEXT columns, words, numbers for what is new.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::Db;
use super::value::{Row, Value, damaged, values};
use crate::store::{Result, StoreError};

pub async fn run(db: &Db, sql: &str, values: Vec<Value<'_>>) -> Result<usize> {
    db.execute(sql, &values).await.map(|rows| rows as usize)
}

pub async fn first<T>(
    db: &Db,
    sql: &str,
    values: Vec<Value<'_>>,
    read: impl FnOnce(&Row) -> Result<T>,
) -> Result<Option<T>> {
    db.query(sql, &values).await?.into_iter().next().map(|row| read(&Row(row))).transpose()
}

pub async fn all<T>(
    db: &Db,
    sql: &str,
    values: Vec<Value<'_>>,
    mut read: impl FnMut(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    db.query(sql, &values).await?.into_iter().map(|row| read(&Row(row))).collect()
}

/// Whether there is such a row.
pub async fn exists(db: &Db, sql: &str, values: Vec<Value<'_>>) -> Result<bool> {
    Ok(!db.query(sql, &values).await?.is_empty())
}

pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string()))
}

/// A column that holds one of our words.
pub fn word<T: std::str::FromStr<Err = String>>(row: &Row, column: usize) -> Result<T> {
    row.get::<String>(column)?.parse().map_err(|error: String| damaged(column, &error))
}

/// A column that holds JSON.
pub fn parsed<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T> {
    serde_json::from_str(&row.get::<String>(column)?).map_err(|error| damaged(column, &error.to_string()))
}

pub fn digest(row: &Row, column: usize) -> Result<[u8; 32]> {
    row.bytes(column)?.try_into().map_err(|_| damaged(column, "is no digest"))
}

/// The next id of a kind. A sequence makes nobody wait for whoever took the number before; one that is not used is never used.
pub async fn next_id(db: &Db, kind: &str) -> Result<i64> {
    let ids = next_ids(db, kind, 1).await?;
    ids.first().copied().ok_or_else(|| StoreError::Failed(format!("{kind}_id gave no id")))
}

pub async fn next_ids(db: &Db, kind: &str, count: i64) -> Result<Vec<i64>> {
    let sequence = format!("{kind}_id");
    let sql = "SELECT nextval($1::text::regclass) FROM generate_series(1, $2::bigint)";
    all(db, sql, values![sequence, count], |row| row.get(0)).await
}
