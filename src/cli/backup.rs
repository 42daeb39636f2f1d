//! `loudhailer backup`: the whole store as one file, taken beside a running server or its nodes.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use serde_json::json;

use super::restore::{Progress, print};
use super::{Failure, runtime, show, store};
use crate::config::Config;

#[derive(Parser)]
pub struct Backup {
    /// Where it goes; a file that is there is left alone.
    file: PathBuf,
    /// Prints every table with its rows and checksum as JSON.
    #[arg(long)]
    json: bool,
}

pub fn backup(config: Config, args: Backup) -> Result<(), Failure> {
    if args.file.exists() {
        return Err(Failure::Wrong(format!("{} is there already", args.file.display())));
    }
    let progress = Progress::new()?;
    let tables = runtime()?.block_on(async {
        let store = store(&config).await?;
        let done = store.backup(&args.file, progress.watch()).await.map_err(anyhow::Error::from);
        store.close().await.map_err(anyhow::Error::from)?;
        done.map_err(Failure::from)
    })?;
    progress.end();
    let size = std::fs::metadata(&args.file).with_context(|| args.file.display().to_string())?.len();
    if args.json {
        return show::json(&json!({ "file": args.file, "bytes": size, "tables": tables }));
    }
    print(&tables)?;
    show::line(&format!("{}: {size} bytes", args.file.display()))
}
