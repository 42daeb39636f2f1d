//! The store for more than one machine: PostgreSQL, under the same promises as the embedded one. A pool of connections that
//! outlives the server's restarts; every write is a transaction that locks what it is about (`lock.rs`), and is repeated only where
//! it is known not to have been written (`transaction.rs`). Any number of nodes send from one database, each what it owns (`node.rs`).

mod access;
mod attempt;
mod backup;
mod block;
mod broadcast;
mod carry;
mod confirm;
mod connection;
mod delivery;
mod earlier;
mod fresh;
mod grant;
mod import;
mod ingest;
mod line;
mod lock;
mod manifest;
mod migrate;
mod put;
mod query;
mod receipt;
mod recipient;
mod registry;
mod replay;
mod restore;
mod retention;
mod rows;
mod server;
mod signal;
mod store;
mod subscriber;
mod transaction;
mod upkeep;
mod value;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use ring::hmac;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::connection::NOW;
pub use self::restore::{Restored, Restoring};
use self::rows::first;
pub use self::server::Server;
use self::transaction::{Marks, read, write};
use self::value::values;
use crate::channel::tls::Tls;
use crate::clock::Clock;
use crate::store::node::Node;
use crate::store::{Leases, Registry, Result, StoreError, installation};

/// How long somebody waits for a connection that others have.
const BUSY: Duration = Duration::from_secs(10);
const CONNECTING: Duration = Duration::from_secs(6);

pub struct Postgres {
    pool: Pool,
    key: hmac::Key,
    marks: Marks,
    /// Of what comes from outside.
    places: Arc<Semaphore>,
    /// `None`: nothing is sent from here.
    node: Option<Node>,
    leases: Arc<Leases>,
    outcomes: bool,
}

impl Postgres {
    /// Opens the database for a node that sends from it; an older schema is brought up to date. Shards that nobody owns are its own
    /// when this returns, as far as they are its share.
    pub async fn own(server: &Server, clock: Arc<Clock>, connections: usize, room: usize) -> Result<Postgres> {
        Postgres::open(server, connections, room, Some(clock)).await
    }

    /// Opens it beside its nodes, for a command that sends nothing.
    pub async fn visit(server: &Server) -> Result<Postgres> {
        Postgres::open(server, 2, 1024, None).await
    }

    /// What deliveries come to stands in the journal, too, where somebody asks for it.
    pub fn noting_outcomes(mut self, wanted: bool) -> Postgres {
        self.outcomes = wanted;
        self
    }

    /// What nodes share, by itself.
    pub fn registry(server: &Server) -> Result<Box<dyn Registry>> {
        Ok(Box::new(registry::Server { config: server.config(), tls: tls(server)? }))
    }

    async fn open(server: &Server, connections: usize, room: usize, node: Option<Arc<Clock>>) -> Result<Postgres> {
        let tls = tls(server)?;
        let recycling_method = RecyclingMethod::Verified;
        let manager = Manager::from_config(server.config(), tls.clone(), ManagerConfig { recycling_method });
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
            marks: Marks::new(0),
            places: Arc::new(Semaphore::new(room)),
            node: None,
            leases: Arc::new(Leases::none()),
            outcomes: false,
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
        if let Some(clock) = node {
            let old = format!("DELETE FROM last_commit WHERE at < {NOW} - 7 * 86400000");
            write!(store, db => rows::run(db, &old, values![]))?;
            let node = Node::join(Box::new(registry::Server { config: server.config(), tls }), clock).await?;
            store.leases = node.leases.clone();
            store.node = Some(node);
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

    fn id(&self) -> i64 {
        self.node.as_ref().map_or(0, Node::id)
    }

    fn leased(&self) -> Result<()> {
        match &self.node {
            Some(node) if !node.lasts() => Err(StoreError::Failed("the node's lease has ended".into())),
            _ => Ok(()),
        }
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
