//! A node's own connection, beside the pool: what other nodes write comes by it, and the node's lease is extended by it, so that no
//! lease lasts on a connection by which nothing is heard any more.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::said;
use crate::store::{Result, StoreError};

/// Under which name nodes speak.
pub const NAME: &str = "loudhailer";
/// A server that does not answer for so long is gone.
const PATIENCE: Duration = Duration::from_secs(3);
/// Payloads that have come and have not been looked at. Where there is no room for more, nothing is read any more, and so the lease
/// ends.
const ROOM: usize = 1024;

pub struct Line {
    client: Client,
    payloads: mpsc::Receiver<String>,
    reader: JoinHandle<()>,
}

impl Line {
    pub async fn open(config: &Config, tls: &MakeRustlsConnect) -> Result<Line> {
        let (client, mut connection) =
            config.connect(tls.clone()).await.map_err(|error| StoreError::Failed(said(&error)))?;
        let (sender, payloads) = mpsc::channel(ROOM);
        let reader = tokio::spawn(async move {
            let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notification(notification)) => {
                        if sender.send(notification.payload().to_string()).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(error = said(&error), "the node's connection ended");
                        return;
                    }
                }
            }
        });
        let line = Line { client, payloads, reader };
        line.batch(&format!("LISTEN {NAME}")).await?;
        Ok(line)
    }

    /// The next payload; `None`: the connection has ended.
    pub async fn payload(&mut self) -> Option<String> {
        self.payloads.recv().await
    }

    pub async fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        answered(self.client.query(sql, values)).await
    }

    pub async fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        answered(self.client.execute(sql, values)).await
    }

    pub async fn batch(&self, sql: &str) -> Result<()> {
        answered(self.client.batch_execute(sql)).await
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn answered<T>(asked: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| StoreError::Failed(said(&error))),
        Err(_) => Err(StoreError::Failed("PostgreSQL does not answer".into())),
    }
}
