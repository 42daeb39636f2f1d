//! `loudhailer signals | confirm | dismiss`: what others see, and whether what that proposes is an incident.

use clap::Parser;
use serde_json::{Value, json};

use super::client::Client;
use super::{Failure, show};

#[derive(Parser)]
pub struct List {
    #[arg(long)]
    json: bool,
}

#[derive(Parser)]
pub struct Settle {
    /// Its id, `inc_…`, or its key.
    incident: String,
    /// How bad it is: info, minor, major or critical.
    #[arg(long)]
    severity: Option<String>,
    /// What is known, in one or two sentences.
    #[arg(long)]
    summary: Option<String>,
    #[arg(long)]
    json: bool,
}

#[derive(Parser)]
pub struct Dismiss {
    /// Its id, `inc_…`, or its key.
    incident: String,
    #[arg(long)]
    json: bool,
}

pub async fn list(client: Client, args: List) -> Result<(), Failure> {
    let signals = client.get("/v1/signals").await?;
    if args.json {
        return show::json(&signals["items"]);
    }
    let rows: Vec<Vec<String>> = signals["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| ["component", "origin", "at", "count", "text"].iter().map(|key| show::cell(&row[*key])).collect())
        .collect();
    show::table(&["component", "origin", "latest", "times", "said"], &rows)
}

pub async fn confirm(client: Client, args: Settle) -> Result<(), Failure> {
    let mut says = json!({});
    for (name, value) in [("severity", args.severity), ("summary", args.summary)] {
        if let Some(value) = value {
            says[name] = value.into();
        }
    }
    settle(client, &args.incident, "confirm", says, args.json).await
}

pub async fn dismiss(client: Client, args: Dismiss) -> Result<(), Failure> {
    settle(client, &args.incident, "dismiss", json!({}), args.json).await
}

async fn settle(client: Client, incident: &str, what: &str, says: Value, json: bool) -> Result<(), Failure> {
    let name: String = url::form_urlencoded::byte_serialize(incident.as_bytes()).collect();
    let ingested = client.post(&format!("/v1/incidents/{name}:{what}"), &says).await?;
    if json {
        return show::json(&ingested);
    }
    let broadcasts = ingested["broadcasts"].as_array().map_or(0, Vec::len);
    show::line(&match what {
        "confirm" => format!("{} is confirmed, and draws {broadcasts} broadcasts", show::cell(&ingested["incident"])),
        _ => format!("{} is dismissed: nobody was told", show::cell(&ingested["incident"])),
    })
}
