//! `loudhailer watchers`: what is watched, and what one of them would see now.

use clap::Parser;
use serde_json::{Value, json};

use super::client::{Client, Server};
use super::{Failure, remote, runtime, show};
use crate::clock::Clock;
use crate::config::{Config, suggest};
use crate::watch::Watchers;

#[derive(Parser)]
pub struct Args {
    /// Asks the page of this one now, without the server, and shows what it says; nothing comes of it.
    #[arg(long = "try", value_name = "NAME")]
    tried: Option<String>,
    #[arg(long)]
    json: bool,
}

pub fn run(config: &Config, server: &Server, args: Args) -> Result<(), Failure> {
    match args.tried {
        Some(name) => runtime()?.block_on(tried(config, &name, args.json)),
        None => remote(config, server, |client| list(client, args.json)),
    }
}

async fn list(client: Client, json: bool) -> Result<(), Failure> {
    let watchers = client.get("/v1/watchers").await?;
    if json {
        return show::json(&watchers["items"]);
    }
    let rows = watchers["items"].as_array().cloned().unwrap_or_default();
    let cells = |row: &Value| {
        let says = row["says"].as_array().cloned().unwrap_or_default();
        let says: Vec<String> = says
            .iter()
            .map(|said| format!("{}: {}", show::cell(&said["component"]), show::cell(&said["text"])))
            .collect();
        let wrong = [&row["error"], &row["note"]].into_iter().find(|text| !text.is_null());
        let mut cells: Vec<String> =
            ["name", "kind", "host", "health"].iter().map(|key| show::cell(&row[*key])).collect();
        cells.extend([says.join("\n"), wrong.map(show::cell).unwrap_or_default(), show::cell(&row["next_at"])]);
        cells
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    show::table(&["watcher", "kind", "host", "health", "says", "wrong", "next"], &rows)
}

async fn tried(config: &Config, name: &str, json: bool) -> Result<(), Failure> {
    // As the server does at its start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let watchers = Watchers::build(config).map_err(|error| Failure::Wrong(error.to_string()))?;
    let Some(watcher) = watchers.get(name) else {
        let near = suggest(name, config.watchers.keys().map(String::as_str));
        return Err(Failure::Wrong(format!("there is no watcher {name:?}{near} (they stand under [watchers])")));
    };
    let looked = watcher.try_now(&Clock::system()).await;
    let (says, note) = looked.map_err(|why| Failure::Failed(anyhow::anyhow!("{name} cannot be read: {why}")))?;
    if json {
        let says = says.iter().map(|(component, finding)| json!({ "component": component, "text": finding.text }));
        return show::json(&json!({ "says": says.collect::<Vec<_>>(), "note": note }));
    }
    for (component, finding) in &says {
        show::line(&format!("{component}: {}", finding.text))?;
    }
    if says.is_empty() {
        show::line("it says of nothing that it does not work")?;
    }
    note.map_or(Ok(()), |note| show::line(&format!("but {note}")))
}
