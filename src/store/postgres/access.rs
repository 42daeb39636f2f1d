//! Tokens and sessions.

use async_trait::async_trait;

use super::Postgres;
use super::connection::Db;
use super::rows::{all, digest, first, json, parsed, run};
use super::transaction::{read, write};
use super::value::values;
use crate::clock::Time;
use crate::store::Result;
use crate::store::access::{Access, SESSIONS, TokenRow};

#[async_trait]
impl Access for Postgres {
    async fn begin_session(&self, word: [u8; 32], token: [u8; 32], ends: Time, now: Time) -> Result<()> {
        write!(self, db => begin_session(db, &word, &token, ends, now))
    }

    async fn session(&self, word: [u8; 32], now: Time) -> Result<Option<[u8; 32]>> {
        read!(self, db => session(db, &word, now))
    }

    async fn end_session(&self, word: [u8; 32]) -> Result<()> {
        write!(self, db => end_session(db, &word))
    }

    async fn add_token(&self, hash: [u8; 32], row: TokenRow, now: Time) -> Result<bool> {
        write!(self, db => add_token(db, &hash, &row, now))
    }

    async fn tokens(&self) -> Result<Vec<([u8; 32], TokenRow)>> {
        read!(self, db => tokens(db))
    }

    async fn remove_token(&self, name: &str) -> Result<bool> {
        write!(self, db => remove_token(db, name))
    }
}

async fn begin_session(db: &Db, word: &[u8; 32], token: &[u8; 32], ends: Time, now: Time) -> Result<()> {
    run(db, "DELETE FROM session WHERE ends <= $1", values![now.0]).await?;
    run(db, "INSERT INTO session VALUES ($1, $2, $3)", values![&word[..], &token[..], ends.0]).await?;
    let sql = "DELETE FROM session WHERE word IN (SELECT word FROM session ORDER BY ends DESC OFFSET $1)";
    run(db, sql, values![SESSIONS as i64]).await.map(drop)
}

async fn session(db: &Db, word: &[u8; 32], now: Time) -> Result<Option<[u8; 32]>> {
    let sql = "SELECT token FROM session WHERE word = $1 AND ends > $2";
    first(db, sql, values![&word[..], now.0], |row| digest(row, 0)).await
}

async fn end_session(db: &Db, word: &[u8; 32]) -> Result<()> {
    run(db, "DELETE FROM session WHERE word = $1", values![&word[..]]).await.map(drop)
}

async fn add_token(db: &Db, hash: &[u8; 32], row: &TokenRow, now: Time) -> Result<bool> {
    let sql = "INSERT INTO token VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    Ok(run(db, sql, values![&hash[..], &row.name, row.person, json(&row.scopes)?, now.0]).await? == 1)
}

async fn tokens(db: &Db) -> Result<Vec<([u8; 32], TokenRow)>> {
    all(db, "SELECT hash, name, person, scopes FROM token ORDER BY name", values![], |row| {
        Ok((digest(row, 0)?, TokenRow { name: row.get(1)?, person: row.get(2)?, scopes: parsed(row, 3)? }))
    })
    .await
}

async fn remove_token(db: &Db, name: &str) -> Result<bool> {
    Ok(run(db, "DELETE FROM token WHERE name = $1", values![name]).await? == 1)
}
