//! `loudhailer import subscribers FILE`: through the running server, or straight into a store that nothing sends from.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};

use super::{Failure, runtime};
use crate::app::{self, App};
use crate::audience::import::{Format, ImportError, Importer, Options, Report};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::Store;
use crate::store::sqlite::Sqlite;

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CSV with a header row, or NDJSON. Columns: key name locale time_zone quiet_hours min_severity audiences components
    /// regions exercises, one for each kind of address (email phone url telegram …) and <kind>_verified. Lists are
    /// separated by semicolons.
    Subscribers {
        /// The file; - is standard input.
        file: PathBuf,
        /// By default from the name: .csv, or .ndjson and .jsonl.
        #[arg(long)]
        format: Option<Format>,
        /// The addresses have been verified: for rows that do not say so themselves.
        #[arg(long)]
        verified: bool,
        /// For rows that name no audience.
        #[arg(long)]
        audience: Option<String>,
        /// Prints the report as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    let What::Subscribers { file, format, verified, audience, json } = args.what;
    let format = format.map_or_else(|| by_name(&file), Ok)?;
    let options = options(&config, verified, audience)?;
    let path = App::store_path(&config).map_err(|error| Failure::Wrong(format!("{error:#}")))?;
    let report = runtime()?.block_on(async {
        let store: Arc<dyn Store> = Arc::new(Sqlite::own(&path, 64).map_err(anyhow::Error::from)?);
        let importer = Importer::new(format, options, store.clone(), None, Arc::new(Clock::system()));
        let report = read(&file, importer).await?;
        store.close().await.map_err(anyhow::Error::from)?;
        Ok::<_, Failure>(report)
    })?;
    print(&report, json)
}

async fn read(file: &Path, mut importer: Importer) -> Result<Report, Failure> {
    let mut input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).with_context(|| file.display().to_string())?),
    };
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match input.read(&mut chunk).context("reading")? {
            0 => return importer.finish().await.map_err(wrong),
            n => importer.feed(&chunk[..n]).await.map_err(wrong)?,
        }
    }
}

fn wrong(error: ImportError) -> Failure {
    match error {
        ImportError::Header { .. } => Failure::Wrong(error.to_string()),
        ImportError::Store(error) => Failure::Failed(error.into()),
    }
}

fn by_name(file: &Path) -> Result<Format, Failure> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(Format::Csv),
        Some("ndjson" | "jsonl") => Ok(Format::Ndjson),
        _ => Err(Failure::Wrong(format!("{}: say --format csv or --format ndjson", file.display()))),
    }
}

pub fn options(config: &Config, verified: bool, audience: Option<String>) -> Result<Options, Failure> {
    let platforms = app::load_platforms(config).map_err(|error| Failure::Wrong(format!("{error:#}")))?;
    Ok(Options {
        verified,
        audience,
        locale: config.sender.locale.clone(),
        zone: config.sender.zone.clone(),
        audiences: config.audiences.keys().cloned().collect(),
        validators: platforms.validators(),
    })
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(report).map_err(anyhow::Error::from)?);
        return Ok(());
    }
    for bad in &report.bad_rows {
        println!("line {}: {}", bad.line, bad.reason);
    }
    let Report { rows, created, updated, unchanged, bad, unverified, .. } = report;
    println!("{rows} rows: created {created}, updated {updated}, unchanged {unchanged}, bad {bad}");
    if *unverified > 0 {
        println!("{unverified} addresses are not verified: nothing is sent to them. If you know them to be right, import again with --verified.");
    }
    Ok(())
}
