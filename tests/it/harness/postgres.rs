//! Databases of PostgreSQL, one for each test that asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use loudhailer::config::Secret;
use loudhailer::store::postgres::Server;
use tokio_postgres::NoTls;

use crate::peers::peers;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A new and empty database on the shared server.
#[derive(Clone)]
pub struct Database {
    address: String,
    user: String,
    password: String,
    name: String,
}

impl Database {
    /// On the peer of that name; `None`: it is not there, and the test is skipped.
    pub async fn on(peer: &'static str) -> Option<Database> {
        let [address, user, password] = peers([peer, "postgres_user", "postgres_password"])?;
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let database = Database { address, user, password, name };
        database.run("postgres", &format!("CREATE DATABASE {}", database.name)).await;
        Some(database)
    }

    pub fn url(&self) -> String {
        self.url_at(self.at())
    }

    /// By another way to it.
    pub fn url_at(&self, at: SocketAddr) -> String {
        format!("postgres://{}@{at}/{}", self.user, self.name)
    }

    pub fn at(&self) -> SocketAddr {
        self.address.parse().expect("an address and a port")
    }

    pub fn password(&self) -> &str {
        &self.password
    }

    pub fn server(&self) -> Server {
        self.server_with("")
    }

    /// With options of the URL.
    pub fn server_with(&self, options: &str) -> Server {
        Server::parse(&format!("{}{options}", self.url()), Secret::new(self.password.clone())).expect("a server")
    }

    async fn connect(&self, database: &str) -> tokio_postgres::Client {
        let mut config: tokio_postgres::Config =
            format!("postgres://{}@{}/{database}", self.user, self.address).parse().expect("a configuration");
        config.password(&self.password);
        let (client, connection) = config.connect(NoTls).await.expect("connects");
        tokio::spawn(connection);
        client
    }

    async fn run(&self, database: &str, sql: &str) {
        self.connect(database).await.batch_execute(sql).await.expect("runs");
    }

    /// A statement past the store.
    pub async fn execute(&self, sql: &str) {
        self.run(&self.name, sql).await;
    }

    /// One number past the store.
    pub async fn number(&self, sql: &str) -> i64 {
        self.connect(&self.name).await.query_one(sql, &[]).await.expect("runs").get(0)
    }

    /// Why a statement past the store fails.
    pub async fn refuses(&self, sql: &str) -> String {
        let error = self.connect(&self.name).await.batch_execute(sql).await.expect_err("it is refused");
        error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_string())
    }

    pub async fn rows(&self, sql: &str) -> Vec<tokio_postgres::Row> {
        self.connect(&self.name).await.query(sql, &[]).await.expect("runs")
    }
}
