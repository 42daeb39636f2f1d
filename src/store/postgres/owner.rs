//! The lock of the node that sends. As long as shards are not leased one by one, one node alone may send from a database: it holds a
//! lock on a connection of its own, which the server drops with the connection. Where that goes, the node takes the lock again;
//! where another has it by then, this one decides nothing more (its epoch is the older one) and says that it is not ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::said;
use super::lock::{NODE, OURS};
use crate::store::{Result, StoreError};

/// How long a start waits for the lock: the server may not have noticed yet that the process before is gone.
const PATIENCE: Duration = Duration::from_secs(3);
const BETWEEN: Duration = Duration::from_millis(250);

pub struct Owner {
    held: Arc<AtomicBool>,
    keeper: JoinHandle<()>,
}

impl Owner {
    pub async fn take(config: Config, tls: MakeRustlsConnect, name: &str) -> Result<Owner> {
        let until = Instant::now() + PATIENCE;
        let first = loop {
            match held_by(&config, &tls).await {
                Ok(Some(connected)) => break connected,
                Ok(None) if Instant::now() < until => tokio::time::sleep(BETWEEN).await,
                Ok(None) => {
                    return Err(StoreError::Failed(format!(
                        "{name}: another loudhailer sends from this store; stop it first"
                    )));
                }
                Err(error) => return Err(StoreError::Failed(format!("{name}: {}", said(&error)))),
            }
        };
        let held = Arc::new(AtomicBool::new(true));
        let flag = held.clone();
        let keeper = tokio::spawn(async move {
            let mut connected = first;
            loop {
                let Connected { client, ended } = connected;
                let _ = ended.await;
                drop(client);
                flag.store(false, Ordering::Release);
                tracing::warn!("the connection that holds the node's lock is gone; taking it again");
                connected = again(&config, &tls).await;
                flag.store(true, Ordering::Release);
            }
        });
        Ok(Owner { held, keeper })
    }

    pub fn held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

struct Connected {
    client: Client,
    /// Ends with the connection.
    ended: Driver,
}

/// The task that moves a connection on; it goes with whoever waits for it.
struct Driver(JoinHandle<()>);

impl Future for Driver {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::pin::Pin::new(&mut self.0).poll(context).map(drop)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn held_by(
    config: &Config,
    tls: &MakeRustlsConnect,
) -> std::result::Result<Option<Connected>, tokio_postgres::Error> {
    let (client, connection) = config.connect(tls.clone()).await?;
    let ended = Driver(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = said(&error), "the connection of the node's lock ended");
        }
    }));
    let row = client.query_one("SELECT pg_try_advisory_lock($1, $2)", &[&OURS, &NODE]).await?;
    Ok(row.get::<_, bool>(0).then_some(Connected { client, ended }))
}

async fn again(config: &Config, tls: &MakeRustlsConnect) -> Connected {
    loop {
        match held_by(config, tls).await {
            Ok(Some(connected)) => return connected,
            Ok(None) => tracing::error!("another loudhailer sends from this store now; this one decides nothing more"),
            Err(error) => tracing::debug!(error = said(&error), "PostgreSQL is away"),
        }
        tokio::time::sleep(BETWEEN * 4).await;
    }
}
