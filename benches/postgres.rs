//! The PostgreSQL server that a measurement of nodes is given (`PEER_POSTGRES`, as `tests/run --with` sets it): databases of our own on it,
//! and the processor time of all its processes.

use std::collections::BTreeSet;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

pub struct Server {
    runtime: Runtime,
    address: String,
    user: String,
    pub password: String,
    /// Of the process that all others of the server are children of.
    main: u64,
}

impl Server {
    pub fn given() -> anyhow::Result<Server> {
        let variable = |name: &str| {
            std::env::var(name).with_context(|| {
                format!("{name} is not set: PEERS=postgres tests/run --with cargo bench --bench ratios -- --only nodes")
            })
        };
        let mut server = Server {
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?,
            address: variable("PEER_POSTGRES")?,
            user: variable("PEER_POSTGRES_USER")?,
            password: variable("PEER_POSTGRES_PASSWORD")?,
            main: 0,
        };
        let own = server.number("postgres", "SELECT pg_backend_pid()::bigint")?;
        server.main = stat(own.unsigned_abs()).context("a process of the server, on this machine")?.parent;
        Ok(server)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}@{}/{database}", self.user, self.address)
    }

    fn connect(&self, database: &str) -> anyhow::Result<Client> {
        let mut config: tokio_postgres::Config = self.url(database).parse()?;
        config.password(&self.password);
        self.runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })
    }

    pub fn run(&self, sql: &str) -> anyhow::Result<()> {
        let client = self.connect("postgres")?;
        Ok(self.runtime.block_on(client.batch_execute(sql))?)
    }

    pub fn number(&self, database: &str, sql: &str) -> anyhow::Result<i64> {
        let client = self.connect(database)?;
        Ok(self.runtime.block_on(client.query_one(sql, &[]))?.try_get(0)?)
    }

    /// Seconds of processor time of the server so far, of its processes that have ended, too.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let mut ticks = stat(self.main).context("the server lives")?.of_ended;
        let processes = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        for process in processes.collect::<BTreeSet<u64>>() {
            ticks += stat(process).filter(|stat| stat.parent == self.main).map_or(0, |stat| stat.own);
        }
        Ok(ticks as f64 / 100.0)
    }
}

struct Stat {
    parent: u64,
    /// In steps of 10 ms, user and system.
    own: u64,
    of_ended: u64,
}

/// `None`: there is no such process any more.
fn stat(process: u64) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat { parent: field(1)?, own: field(11)? + field(12)?, of_ended: field(13)? + field(14)? })
}
