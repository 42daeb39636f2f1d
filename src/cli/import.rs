//! `loudhailer import subscribers FILE`: through the running server, or straight into a store that nothing sends from.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::client::{Client, Server};
use super::{Failure, runtime, show};
use crate::app;
use crate::audience::import::{Format, ImportError, Importer, Options, Report};
use crate::clock::Clock;
use crate::config::{Config, Place};
use crate::store::Store;
use crate::store::postgres::Postgres;
use crate::store::sqlite::Sqlite;

const CHUNK: usize = 64 * 1024;

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CSV with a header row, or NDJSON. Columns: key name locale time_zone quiet_hours min_severity audiences components
    /// regions exercises, one for each kind of address (email phone url telegram …) and <kind>_verified; url_secret for a webhook. Lists are
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

pub fn run(config: Config, server: &Server, args: Args) -> Result<(), Failure> {
    let What::Subscribers { file, format, verified, audience, json } = args.what;
    let format = format.map_or_else(|| by_name(&file), Ok)?;
    let input: Box<dyn Read + Send> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(&file).with_context(|| file.display().to_string())?),
    };
    let report = match &server.server {
        Some(_) => {
            let client = Client::new(server, &config)?;
            runtime()?.block_on(through(client, input, format, verified, audience.as_deref()))?
        }
        None => {
            let platforms = app::load_platforms(&config).map_err(|error| Failure::Wrong(format!("{error:#}")))?;
            let options = Options::new(&config, platforms.validators(), verified, audience);
            runtime()?.block_on(straight(&config, input, format, options))?
        }
    };
    print(&report, json)
}

/// Into a store that nothing sends from.
async fn straight(
    config: &Config,
    mut input: Box<dyn Read + Send>,
    format: Format,
    options: Options,
) -> Result<Report, Failure> {
    let hint = |error: &dyn std::fmt::Display| {
        let hint = format!("import through it: --server http://{}", config.server.listen);
        Failure::Failed(anyhow!("{error} or {hint}"))
    };
    let place = config.store.place().map_err(Failure::Wrong)?;
    let store: Arc<dyn Store> = match place {
        Place::File(path) => {
            drop(Sqlite::lock(&path).map_err(|error| hint(&error))?);
            Arc::new(Sqlite::alone(&path, 64).map_err(anyhow::Error::from)?)
        }
        Place::Server(server) => Arc::new(Postgres::visit(&server).await.map_err(|error| hint(&error))?),
    };
    let mut importer = Importer::new(format, options, store.clone(), None, Arc::new(Clock::system()));
    let mut chunk = vec![0; CHUNK];
    let report = loop {
        match input.read(&mut chunk).context("reading")? {
            0 => break importer.finish().await.map_err(wrong)?,
            n => importer.feed(&chunk[..n]).await.map_err(wrong)?,
        }
    };
    store.close().await.map_err(anyhow::Error::from)?;
    Ok(report)
}

/// Through the running server, read on a thread of its own while it goes over the wire.
async fn through(
    client: Client,
    mut input: Box<dyn Read + Send>,
    format: Format,
    verified: bool,
    audience: Option<&str>,
) -> Result<Report, Failure> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(4);
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            let piece = match input.read(&mut chunk) {
                Ok(0) => return,
                Ok(n) => Ok(Bytes::copy_from_slice(&chunk[..n])),
                Err(error) => Err(error),
            };
            let last = piece.is_err();
            if sender.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece.map(Frame::data), receiver))
    });
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("format", format.word()).append_pair("verified", if verified { "true" } else { "false" });
    if let Some(audience) = audience {
        query.append_pair("audience", audience);
    }
    let content_type = match format {
        Format::Csv => "text/csv",
        Format::Ndjson => "application/x-ndjson",
    };
    let path = format!("/v1/subscribers:import?{}", query.finish());
    let report = client.upload(&path, content_type, StreamBody::new(pieces).boxed_unsync()).await?;
    Ok(serde_json::from_value(report).context("the server's report")?)
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

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        return show::json(report);
    }
    for bad in &report.bad_rows {
        show::line(&format!("line {}: {}", bad.line, bad.reason))?;
    }
    let Report { rows, created, updated, unchanged, bad, unverified, .. } = report;
    show::line(&format!("{rows} rows: created {created}, updated {updated}, unchanged {unchanged}, bad {bad}"))?;
    if *unverified > 0 {
        show::line(&format!(
            "{unverified} addresses are not verified: nothing is sent to them. If you know them to be right, import again with --verified."
        ))?;
    }
    Ok(())
}
