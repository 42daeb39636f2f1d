//! The store for more than one machine: PostgreSQL, under the same promises as the embedded one. A pool of connections that
//! outlives the server's restarts; every write is a transaction that locks what it is about (`lock.rs`), and is repeated only where
//! it is known not to have been written (`transaction.rs`). For now one node alone may send from a database.

mod block;
mod broadcast;
mod confirm;
mod connection;
mod delivery;
mod import;
mod ingest;
mod lock;
mod manifest;
mod migrate;
mod owner;
mod put;
mod query;
mod receipt;
mod recipient;
mod replay;
mod retention;
mod rows;
mod server;
mod signal;
mod store;
mod subscriber;
mod transaction;
mod upkeep;
mod value;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use ring::hmac;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::connection::NOW;
use self::owner::Owner;
use self::rows::first;
pub use self::server::Server;
use self::transaction::{Marks, read, write};
use self::value::values;
use crate::channel::tls::Tls;
use crate::store::{Result, StoreError, installation};

/// How long somebody waits for a connection that others have.
const BUSY: Duration = Duration::from_secs(10);
const CONNECTING: Duration = Duration::from_secs(6);

pub struct Postgres {
    pool: Pool,
    key: hmac::Key,
    epoch: i64,
    marks: Marks,
    /// Of what comes from outside.
    places: Arc<Semaphore>,
    /// Held by the process that sends.
    owner: Mutex<Option<Owner>>,
    owns: bool,
}

impl Postgres {
    /// Opens the database for the process that sends from it; an older schema is brought up to date. A second such process is
    /// refused.
    pub async fn own(server: &Server, connections: usize, room: usize) -> Result<Postgres> {
        Postgres::open(server, connections, room, true).await
    }

    /// Opens it beside its owner, for a command that sends nothing.
    pub async fn visit(server: &Server) -> Result<Postgres> {
        Postgres::open(server, 2, 1024, false).await
    }

    async fn open(server: &Server, connections: usize, room: usize, owns: bool) -> Result<Postgres> {
        let tls = tls(server)?;
        let owner = match owns {
            true => Some(Owner::take(server.config(), tls.clone(), &server.name()).await?),
            false => None,
        };
        let recycling_method = RecyclingMethod::Verified;
        let manager = Manager::from_config(server.config(), tls, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(BUSY))
            .create_timeout(Some(CONNECTING))
            .recycle_timeout(Some(CONNECTING))
            .build()
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        let mut store = Postgres {
            pool,
            key: hmac::Key::new(hmac::HMAC_SHA256, &[]),
            epoch: 0,
            marks: Marks::new(0),
            places: Arc::new(Semaphore::new(room)),
            owner: Mutex::new(owner),
            owns,
        };
        store.synced().await?;
        write!(store, db => migrate::migrate(db))?;
        store.marks = Marks::new(fastrand::i64(1..));
        let fresh = installation::fresh_key()?;
        let key = write!(store, db => async {
            rows::run(db, "INSERT INTO meta VALUES ('key', $1) ON CONFLICT DO NOTHING", values![&fresh]).await?;
            upkeep::meta(db, "key").await
        })?;
        store.key = installation::key(&key.unwrap_or_default())?;
        if owns {
            let old = format!("DELETE FROM last_commit WHERE at < {NOW} - 7 * 86400000");
            write!(store, db => rows::run(db, &old, values![]))?;
            let raise = "INSERT INTO meta VALUES ('epoch', '1')
                 ON CONFLICT (name) DO UPDATE SET value = (meta.value::bigint + 1)::text RETURNING value::bigint";
            let epoch = write!(store, db => first(db, raise, values![], |row| row.get::<i64>(0)))?;
            store.epoch = epoch.ok_or_else(|| StoreError::Failed("meta.epoch was not raised".into()))?;
        }
        Ok(store)
    }

    /// What is answered has to be on disk.
    async fn synced(&self) -> Result<()> {
        for setting in ["fsync", "synchronous_commit"] {
            let value = read!(self, db => first(db, "SELECT current_setting($1::text)", values![setting], |row| {
                row.get::<String>(0)
            }))?;
            if value.as_deref() == Some("off") {
                return Err(StoreError::Failed(format!(
                    "PostgreSQL has {setting} = off: what is answered could be lost; switch it on"
                )));
            }
        }
        Ok(())
    }

    /// As many as there is room for may wait; more is an answer.
    fn place(&self) -> Result<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().map_err(|_| StoreError::Full)
    }

    fn owner(&self) -> std::sync::MutexGuard<'_, Option<Owner>> {
        self.owner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn owned(&self) -> Result<()> {
        match self.owns && !self.owner().as_ref().is_some_and(Owner::held) {
            true => Err(StoreError::Failed("the lock of the node that sends is not held".into())),
            false => Ok(()),
        }
    }

    fn release(&self) {
        self.owner().take();
    }
}

fn tls(server: &Server) -> Result<MakeRustlsConnect> {
    let wrong = |why: String| StoreError::Failed(format!("{}: {why}", server.name()));
    let tls = match &server.authorities {
        Some(file) => Tls::with_authorities(file).map_err(wrong)?,
        None => Tls::default(),
    };
    let config = match server.tls {
        true => tls.without_alpn().config(),
        // Never spoken; a machine without a trust store may have PostgreSQL beside it all the same.
        false => Tls::none(),
    };
    Ok(MakeRustlsConnect::new(config.map_err(|error| wrong(error.to_string()))?))
}
