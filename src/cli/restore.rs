//! `loudhailer restore`: a backup in the store's place, whichever store it was taken from. It wants nobody to use that store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Failure, runtime, show};
use crate::config::{Config, Place};
use crate::store::carried::{Doing, Step, Summed, Watch};
use crate::store::postgres::{Restored, Restoring, Server};
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError};

#[derive(Parser)]
pub struct Restore {
    /// A file that loudhailer backup wrote.
    file: PathBuf,
    /// Puts it in the place of the store that is there, which is lost.
    #[arg(long)]
    force: bool,
    /// Prints every table with its rows and checksum, and what goes on, as JSON.
    #[arg(long)]
    json: bool,
}

pub fn restore(config: Config, args: Restore) -> Result<(), Failure> {
    let place = config.store.place().map_err(Failure::Wrong)?;
    let progress = Progress::new()?;
    let (name, restored) = match &place {
        Place::File(path) => {
            (path.display().to_string(), runtime()?.block_on(into_file(path, &args, progress.watch()))?)
        }
        Place::Server(server) => (server.name(), runtime()?.block_on(into_database(server, &args, progress.watch()))?),
    };
    progress.end();
    let Restored { tables, mended, live } = restored;
    if args.json {
        let live: Vec<_> = live
            .iter()
            .map(|b| json!({ "broadcast": b.id.to_string(), "audience": b.audience, "state": b.state.to_string() }))
            .collect();
        return show::json(&json!({ "store": name, "tables": tables, "mended": mended, "goes_on": live }));
    }
    print(&tables)?;
    if mended > 0 {
        show::line(&format!("{mended} texts had bytes that PostgreSQL does not keep; each is U+FFFD now"))?;
    }
    show::line(&format!("{name} is restored"))?;
    for broadcast in live {
        show::line(&format!(
            "{} ({}, {}) goes on with the next start; loudhailer stop ends it",
            broadcast.id, broadcast.audience, broadcast.state
        ))?;
    }
    Ok(())
}

async fn into_file(path: &Path, args: &Restore, watch: Watch) -> Result<Restored, Failure> {
    if path.exists() && !args.force {
        return Err(Failure::Wrong(format!("{} is there; --force puts the backup in its place", path.display())));
    }
    let done = async {
        let tables = Sqlite::restore(&args.file, path, &watch)?;
        // Opened once, so that what is wrong with it is said now; and what would go on sending is named.
        let store = Sqlite::visit(path)?;
        let live = store.live().await?;
        store.close().await?;
        Ok(Restored { tables, mended: 0, live })
    };
    done.await.map_err(failed)
}

async fn into_database(server: &Server, args: &Restore, watch: Watch) -> Result<Restored, Failure> {
    let restoring = Restoring::begin(server).await.map_err(failed)?;
    if !restoring.empty && !args.force {
        restoring.give_up().await.map_err(failed)?;
        let why = format!("{} has a store; --force puts the backup in its place", server.name());
        return Err(Failure::Wrong(why));
    }
    restoring.put(&args.file, watch).await.map_err(failed)
}

fn failed(error: StoreError) -> Failure {
    Failure::Failed(error.into())
}

/// A line a table.
pub fn print(tables: &[Summed]) -> Result<(), Failure> {
    let row = |table: &Summed| vec![table.table.to_string(), table.rows.to_string(), table.checksum.clone()];
    show::table(&["table", "rows", "checksum"], &tables.iter().map(row).collect::<Vec<_>>())
}

/// How far it is, on a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new() -> Result<Progress, Failure> {
        let style = ProgressStyle::with_template("{elapsed_precise} {msg}").map_err(anyhow::Error::from)?;
        Ok(Progress(ProgressBar::new_spinner().with_style(style)))
    }

    pub fn watch(&self) -> Watch {
        let bar = self.0.clone();
        Arc::new(move |Step { doing, table, rows }| {
            let doing = match doing {
                Doing::Copies => "copies",
                Doing::Checks => "checks",
                Doing::Indexes => "makes indexes",
            };
            bar.set_message(format!("{doing} {table} {}", HumanCount(rows)));
            bar.tick();
        })
    }

    pub fn end(self) {
        self.0.finish_and_clear();
    }
}
