//! The nodes and their shards in PostgreSQL, and what they say to each other, by NOTIFY.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::NOW;
use super::line::{self, NAME};
use crate::store::announced::Payload;
use crate::store::node::LEASE;
use crate::store::registry::{Line, Registry};
use crate::store::{Notice, Result, StoreError};

pub struct Server {
    pub config: Config,
    pub tls: MakeRustlsConnect,
}

#[async_trait]
impl Registry for Server {
    async fn open(&self) -> Result<Box<dyn Line>> {
        Ok(Box::new(line::Line::open(&self.config, &self.tls).await?))
    }
}

fn lease() -> i64 {
    LEASE.as_millis() as i64
}

#[async_trait]
impl Line for line::Line {
    async fn extend(&self, node: i64, leaving: bool) -> Result<bool> {
        let sql = format!("UPDATE node SET until = {NOW} + $2, leaving = $3 WHERE id = $1");
        Ok(self.execute(&sql, &[&node, &lease(), &leaving]).await? == 1)
    }

    async fn register(&self) -> Result<i64> {
        let sql = format!("INSERT INTO node (id, until) VALUES (nextval('epoch'), {NOW} + $1) RETURNING id");
        let rows = self.query(&sql, &[&lease()]).await?;
        let id = rows.first().map(|row| row.get::<_, i64>(0));
        id.ok_or_else(|| StoreError::Failed("a node was not registered".into()))
    }

    async fn bury(&self) -> Result<Vec<i64>> {
        let gone = self.query(&format!("DELETE FROM node WHERE until < {NOW} RETURNING id"), &[]).await?;
        Ok(gone.iter().map(|row| row.get(0)).collect())
    }

    async fn owned(&self, node: i64) -> Result<BTreeMap<u8, i64>> {
        let owned = self.query("SELECT id, epoch FROM shard WHERE node = $1 ORDER BY id", &[&node]).await?;
        Ok(owned.iter().map(|row| (row.get::<_, i16>(0) as u8, row.get(1))).collect())
    }

    async fn nodes(&self) -> Result<usize> {
        let sql = format!("SELECT count(*) FROM node WHERE until > {NOW} AND NOT leaving");
        let counted = self.query(&sql, &[]).await?;
        Ok(counted.first().map_or(0, |row| row.get::<_, i64>(0)) as usize)
    }

    /// Whose owner is nobody is found out first, and then asked of each shard by its column alone: where another has taken one meanwhile,
    /// PostgreSQL looks at the new owner once more before it locks the row, and at nothing else (EvalPlanQual). Numbers of nodes do not
    /// come back.
    async fn acquire(&self, node: i64, most: usize) -> Result<Vec<(u8, i64)>> {
        let gone = "SELECT DISTINCT node FROM shard s WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.id = s.node)";
        let gone: Vec<i64> = self.query(gone, &[]).await?.iter().map(|row| row.get(0)).collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let sql =
            "WITH free AS (SELECT id FROM shard WHERE node = ANY($3) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED),
               next AS (SELECT nextval('epoch') AS epoch)
             UPDATE shard SET node = $1, epoch = next.epoch FROM free, next WHERE shard.id = free.id
             RETURNING shard.id, shard.epoch";
        let taken = self.query(sql, &[&node, &(most as i64), &gone]).await?;
        Ok(taken.iter().map(|row| (row.get::<_, i16>(0) as u8, row.get(1))).collect())
    }

    async fn release(&self, node: i64, shards: &[u8]) -> Result<()> {
        let shards: Vec<i16> = shards.iter().copied().map(i16::from).collect();
        self.execute("UPDATE shard SET node = 0 WHERE node = $1 AND id = ANY($2)", &[&node, &shards]).await.map(drop)
    }

    async fn leave(&self, node: i64) -> Result<()> {
        self.execute("DELETE FROM node WHERE id = $1", &[&node]).await.map(drop)
    }

    async fn say(&self, payload: &Payload) -> Result<()> {
        // Numbers and our own words alone: nothing in it ends a literal.
        let text = serde_json::to_string(payload).unwrap_or_default().replace('\'', "''");
        // Nothing that would have to outlive a fall of the server.
        self.batch(&format!("BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {NAME}, '{text}'; COMMIT")).await
    }

    async fn next(&mut self) -> Option<Payload> {
        loop {
            let payload = self.payload().await?;
            match serde_json::from_str(&payload) {
                Ok(payload) => return Some(payload),
                Err(error) => tracing::debug!(%error, "a notice does not read; a newer node may have written it"),
            }
        }
    }
}

/// The notices of a transaction, as they go on the wire.
pub fn says(from: i64, sequence: i64, notices: Vec<Notice>) -> String {
    /// What PostgreSQL carries, less what is around it.
    const MOST: usize = 7000;
    let text = |notices| serde_json::to_string(&Payload::Says { from, sequence, notices }).unwrap_or_default();
    let whole = text(notices);
    if whole.len() <= MOST { whole } else { text(vec![Notice::Missed]) }
}
