//! `loudhailer backup` and `restore`: the whole store as one file. A backup is taken beside a running server; a restore wants
//! nobody to use the store.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Parser;

use super::{Failure, runtime, show, store};
use crate::app::App;
use crate::config::Config;
use crate::store::Store;
use crate::store::sqlite::Sqlite;

#[derive(Parser)]
pub struct Backup {
    /// Where it goes; a file that is there is left alone.
    file: PathBuf,
}

#[derive(Parser)]
pub struct Restore {
    /// A file that loudhailer backup wrote.
    file: PathBuf,
    /// Puts it in the place of the store that is there, which is lost.
    #[arg(long)]
    force: bool,
}

pub fn backup(config: Config, args: Backup) -> Result<(), Failure> {
    if args.file.exists() {
        return Err(Failure::Wrong(format!("{} is there already", args.file.display())));
    }
    runtime()?.block_on(async {
        let store = store(&config).await?;
        let done = store.backup(&args.file).await.map_err(anyhow::Error::from);
        store.close().await.map_err(anyhow::Error::from)?;
        done.map_err(Failure::from)
    })?;
    let size = std::fs::metadata(&args.file).with_context(|| args.file.display().to_string())?.len();
    show::line(&format!("{}: {size} bytes", args.file.display()))
}

pub fn restore(config: Config, args: Restore) -> Result<(), Failure> {
    let path = App::store_path(&config).map_err(|error| Failure::Wrong(format!("{error:#}")))?;
    if path.exists() && !args.force {
        return Err(Failure::Wrong(format!("{} is there; --force puts the backup in its place", path.display())));
    }
    let _lock = Sqlite::lock(&path).map_err(anyhow::Error::from)?;
    Sqlite::check(&args.file).map_err(anyhow::Error::from)?;
    put(&args.file, &path)?;
    drop(_lock);
    // Opened once, so that what is wrong with it is said now; and what would go on sending is named.
    let live = runtime()?.block_on(async {
        let store = Sqlite::visit(&path)?;
        let live = store.live().await?;
        store.close().await?;
        Ok::<_, crate::store::StoreError>(live)
    });
    let live = live.map_err(anyhow::Error::from)?;
    show::line(&format!("{} is restored", path.display()))?;
    for broadcast in live {
        show::line(&format!(
            "{} ({}, {}) goes on with the next start; loudhailer stop ends it",
            broadcast.id, broadcast.audience, broadcast.state
        ))?;
    }
    Ok(())
}

/// Copies beside its place first, so that a copy cut off leaves the store as it was.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let beside = PathBuf::from(format!("{}.restoring", to.display()));
    std::fs::copy(from, &beside).with_context(|| format!("{}: can't be copied", from.display()))?;
    std::fs::File::open(&beside).and_then(|file| file.sync_all()).with_context(|| beside.display().to_string())?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(format!("{}{suffix}", to.display())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(anyhow!("{}{suffix}: {error}", to.display()));
            }
            _ => {}
        }
    }
    std::fs::rename(&beside, to).with_context(|| to.display().to_string())?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| folder.display().to_string())
}
