//! `loudhailer source`: where foreign webhooks come in, what comes out of a document, and their brake.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, Server};
use super::{Failure, remote, show};
use crate::app;
use crate::config::Config;
use crate::ingest::source::example::lower;
use crate::ingest::source::{Format, native};

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Those that are set up, and the URL of each.
    List {
        #[arg(long)]
        json: bool,
    },
    /// The formats at hand, and the page that each was written from.
    Formats {
        #[arg(long)]
        json: bool,
    },
    /// Reads a document and shows the events that come of it; takes nothing in.
    Try {
        /// A file of a format, or the name of one.
        format: String,
        /// A header that came with it.
        #[arg(long, value_name = "NAME: VALUE")]
        header: Vec<String>,
    },
    /// Answers its documents, and nothing comes of them.
    Mute { name: String },
    /// Takes them in again.
    Unmute { name: String },
}

pub fn run(config: Config, server: &Server, args: Args) -> Result<(), Failure> {
    match args.what {
        What::List { json } => remote(&config, server, |client| list(client, json)),
        What::Formats { json } => formats(&config, json),
        What::Try { format, header } => tried(&config, &format, &header),
        What::Mute { name } => remote(&config, server, |client| set(client, name, "mute")),
        What::Unmute { name } => remote(&config, server, |client| set(client, name, "unmute")),
    }
}

async fn list(client: Client, json: bool) -> Result<(), Failure> {
    let sources = client.get("/v1/sources").await?;
    if json {
        return show::json(&sources["items"]);
    }
    let rows = sources["items"].as_array().cloned().unwrap_or_default();
    let cells = |row: &Value| {
        let state = if row["muted"] == json!(true) { "muted" } else { "takes" };
        let proof = if row["signed"] == json!(true) { "signature" } else { "token" };
        vec![show::cell(&row["name"]), show::cell(&row["title"]), state.into(), proof.into(), show::cell(&row["url"])]
    };
    show::table(&["source", "format", "state", "proved by", "URL"], &rows.iter().map(cells).collect::<Vec<_>>())
}

fn formats(config: &Config, json: bool) -> Result<(), Failure> {
    let formats = app::load_formats(config).map_err(|error| Failure::Wrong(error.to_string()))?;
    if json {
        let all = formats.iter().map(|format| {
            json!({ "name": format.name, "title": format.title, "docs": format.docs, "signs": format.verify.is_some() })
        });
        return show::json(&all.collect::<Vec<_>>());
    }
    let cells = |format: &Format| vec![format.name.clone(), format.title.clone(), format.docs.clone()];
    show::table(&["format", "title", "documentation"], &formats.iter().map(|format| cells(format)).collect::<Vec<_>>())
}

fn tried(config: &Config, name: &str, headers: &[String]) -> Result<(), Failure> {
    let wrong = |message: String| Failure::Wrong(message);
    let mut given: Vec<(&str, &str)> = Vec::new();
    for header in headers {
        let (name, value) = header.split_once(':').ok_or_else(|| wrong(format!("{header:?} is no NAME: VALUE")))?;
        given.push((name.trim(), value.trim()));
    }
    let mut body = Vec::new();
    std::io::stdin().lock().read_to_end(&mut body).map_err(anyhow::Error::from)?;
    let document: Value =
        serde_json::from_slice(&body).map_err(|error| wrong(format!("the document is no JSON: {error}")))?;
    let read = |format: &Format| {
        let events = format.read(&document, &lower(given.iter().copied()), &BTreeMap::new());
        events.map_err(|error| wrong(format!("{}: {error}", format.name)))
    };
    let events = if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        let text = std::fs::read_to_string(name).map_err(|error| wrong(format!("{name}: {error}")))?;
        let own = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        read(&Format::parse(&own, &text, name).map_err(|error| wrong(error.to_string()))?)?
    } else {
        let formats = app::load_formats(config).map_err(|error| wrong(error.to_string()))?;
        read(formats.get(name).map_err(wrong)?)?
    };
    if events.is_empty() {
        eprintln!("This document says nothing that makes an event.");
    }
    show::json(&events.into_iter().map(native).collect::<Vec<_>>())
}

async fn set(client: Client, name: String, what: &str) -> Result<(), Failure> {
    let path: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let source = client.post(&format!("/v1/sources/{path}:{what}"), &json!({})).await?;
    let state = if source["muted"] == json!(true) { "is muted" } else { "takes what comes" };
    show::line(&format!("{} {state}", show::cell(&source["name"])))
}
