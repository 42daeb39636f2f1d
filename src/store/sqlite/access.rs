//! Tokens and sessions.

use async_trait::async_trait;
use rusqlite::Connection;

use super::Sqlite;
use super::rows::{all, digest, first, json, parsed, run};
use crate::clock::Time;
use crate::store::Result;
use crate::store::access::{Access, SESSIONS, TokenRow};

#[async_trait]
impl Access for Sqlite {
    async fn begin_session(&self, word: [u8; 32], token: [u8; 32], ends: Time, now: Time) -> Result<()> {
        self.write(move |db| begin_session(db, &word, &token, ends, now)).await
    }

    async fn session(&self, word: [u8; 32], now: Time) -> Result<Option<[u8; 32]>> {
        self.read(move |db| session(db, &word, now)).await
    }

    async fn end_session(&self, word: [u8; 32]) -> Result<()> {
        self.write(move |db| end_session(db, &word)).await
    }

    async fn add_token(&self, hash: [u8; 32], row: TokenRow, now: Time) -> Result<bool> {
        self.write(move |db| add_token(db, &hash, &row, now)).await
    }

    async fn tokens(&self) -> Result<Vec<([u8; 32], TokenRow)>> {
        self.read(tokens).await
    }

    async fn remove_token(&self, name: &str) -> Result<bool> {
        let name = name.to_string();
        self.write(move |db| remove_token(db, &name)).await
    }
}

fn begin_session(db: &Connection, word: &[u8; 32], token: &[u8; 32], ends: Time, now: Time) -> Result<()> {
    run(db, "DELETE FROM session WHERE ends <= ?1", [now.0])?;
    run(db, "INSERT INTO session VALUES (?1, ?2, ?3)", (&word[..], &token[..], ends.0))?;
    let sql = "DELETE FROM session WHERE word IN (SELECT word FROM session ORDER BY ends DESC LIMIT -1 OFFSET ?1)";
    run(db, sql, [SESSIONS as i64]).map(drop)
}

fn session(db: &Connection, word: &[u8; 32], now: Time) -> Result<Option<[u8; 32]>> {
    let sql = "SELECT token FROM session WHERE word = ?1 AND ends > ?2";
    first(db, sql, (&word[..], now.0), |row| digest(row, 0))
}

fn end_session(db: &Connection, word: &[u8; 32]) -> Result<()> {
    run(db, "DELETE FROM session WHERE word = ?1", [&word[..]]).map(drop)
}

fn add_token(db: &Connection, hash: &[u8; 32], row: &TokenRow, now: Time) -> Result<bool> {
    let written = run(
        db,
        "INSERT INTO token VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (&hash[..], &row.name, row.person, json(&row.scopes)?, now.0),
    )?;
    Ok(written == 1)
}

fn tokens(db: &Connection) -> Result<Vec<([u8; 32], TokenRow)>> {
    all(db, "SELECT hash, name, person, scopes FROM token ORDER BY name", [], |row| {
        Ok((digest(row, 0)?, TokenRow { name: row.get(1)?, person: row.get(2)?, scopes: parsed(row, 3)? }))
    })
}

fn remove_token(db: &Connection, name: &str) -> Result<bool> {
    run(db, "DELETE FROM token WHERE name = ?1", [name]).map(|removed| removed == 1)
}
